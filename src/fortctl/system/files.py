"""Write files so that a crash or a failing disk leaves the old content or the new, never a part (adapter)."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fortctl.errors import ConfigError, ConflictError, VaultDamagedError


class NotARegularFileError(OSError):
    """A path names a pipe, a device or a folder, or a symbolic link where none is allowed."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(errno.EINVAL, "not a regular file", str(path))

    def as_config_error(self) -> ConfigError:
        """Return the error to show to a user."""
        return ConfigError(f"{self.filename} is not a regular file", hint="check what was put in its place")


def open_regular(path: Path | str, flags: int, mode: int = 0o600) -> int:
    """Open a regular file and return its descriptor; also an ``opener`` for :func:`open`.

    A pipe or a device is refused, because it could make the process wait.

    Raises:
        NotARegularFileError: *path* is a pipe, a device or a folder; with ``O_NOFOLLOW`` also a symbolic link.
        OSError: the file cannot be opened.
    """
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, mode)
    except OSError as error:
        # ENXIO: opening a pipe for writing that no process reads.
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise NotARegularFileError(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotARegularFileError(path)
    return descriptor


def read_regular(path: Path) -> bytes:
    """Return the whole content of a regular file. Raises ``OSError``, as :func:`open_regular` does."""
    with open(path, "rb", opener=open_regular) as stream:
        return stream.read()


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of the data; a single ``os.write`` may write only a part."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(path: Path) -> None:
    """Make creations, renames and removals in a folder durable (fsync(2))."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes, *, locked: bool = False) -> None:
    """Replace a file's content atomically, with mode 0600.

    The steps are: write a temporary file, fsync, read it back, rename, fsync the folder.

    Args:
        locked: the caller holds a lock, so the temporary file of a crashed process may be removed.

    Raises:
        OSError: either the old content is untouched, or the new content is in place.
        VaultDamagedError: the disk did not keep the data; the old content is untouched.
    """
    temporary = path.with_name(f".{path.name}.new" if locked else f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        _write_new(temporary, data)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file's content as :func:`replace_file` does.

    Raises:
        ConflictError: the disk refuses.
    """
    try:
        replace_file(path, data)
    except OSError as error:
        raise ConflictError(
            f"{path} cannot be written: {error.strerror}",
            hint="free disk space or check the disk, then try again; the old file is unchanged",
        ) from error


class PrivateFile:
    """A file with mode 0600 whose content is replaced as a whole.

    Implements :class:`fortctl.services.panic.presigned_order.OrderFilePort`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> bytes | None:
        """Return the content, or None if there is no file. Raises ``OSError``."""
        try:
            return read_regular(self._path)
        except FileNotFoundError:
            return None

    def write(self, data: bytes) -> None:
        """Replace the content. Raises ``ConflictError``."""
        write_private(self._path, data)


def create_file(path: Path, data: bytes) -> None:
    """Create a file atomically, with mode 0600. Raises ``FileExistsError``, ``OSError``."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        _write_new(temporary, data)
        os.link(temporary, path)
    finally:
        with suppress(OSError):
            os.unlink(temporary)
    sync_folder(path.parent)


def _write_new(path: Path, data: bytes) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
        if os.pread(descriptor, len(data) + 1, 0) != data:
            raise VaultDamagedError(
                f"the disk did not keep the data written to {path.name}",
                hint="the old file is unchanged; check the disk",
            )
    finally:
        os.close(descriptor)


def read_file(path: Path, max_bytes: int, *, follow: bool = False) -> tuple[bytes, os.stat_result]:
    """Read at most ``max_bytes + 1`` bytes of a regular file, so that the caller notices a longer one.

    Args:
        follow: *path* may be a symbolic link.

    Raises:
        OSError: the file cannot be read.
        VaultDamagedError: *path* is a symbolic link, or not a regular file.
    """
    if not follow and path.is_symlink():
        raise VaultDamagedError(f"{path} is a symbolic link", hint="replace the link with the file itself")
    try:
        descriptor = open_regular(path, os.O_RDONLY | (0 if follow else os.O_NOFOLLOW))
    except NotARegularFileError:
        raise VaultDamagedError(f"{path} is not a regular file", hint="check what was put in its place") from None
    try:
        status = os.fstat(descriptor)
        pieces, left = [], max_bytes + 1
        while left and (piece := os.read(descriptor, min(left, 1 << 20))):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces), status
    finally:
        os.close(descriptor)


def lock_holder(path: Path) -> str | None:
    """Return the id of the process that holds a lock, or None."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_pid(descriptor)
    finally:
        os.close(descriptor)
    return None


@contextmanager
def file_lock(path: Path, what: str, timeout_s: float) -> Iterator[None]:
    """Hold a lock file (flock(2)) that contains the holder's process id.

    Args:
        path: the lock file.
        what: the protected thing, for messages (``the vault``).
        timeout_s: how long to wait for another holder.

    Raises:
        ConflictError: another process still holds it (``details.holder_pid``), or it cannot be locked at all.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConflictError(f"cannot lock {what}: {error.strerror}", hint="check the disk") from None
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = _read_pid(descriptor) or "unknown"
                    raise ConflictError(
                        f"another process (pid {holder}) is writing {what}",
                        hint="wait until it ends, or check what it does",
                        details={"holder_pid": holder},
                    ) from None
                time.sleep(0.01)
        with suppress(OSError):  # a full disk cannot store the pid, but still locks
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _read_pid(descriptor: int) -> str | None:
    text = os.pread(descriptor, 64, 0).decode("ascii", "replace").strip()
    return text if text.isdigit() else None


def disk_of(path: Path) -> tuple[str, int]:
    """Return where the disk is mounted that a file or folder lies on, or would lie on, and its free bytes."""
    there = next(one for one in (path, *path.parents) if one.exists()).resolve()
    free = os.statvfs(there)
    mount = next(one for one in (there, *there.parents) if os.path.ismount(one))
    return str(mount), free.f_bavail * free.f_frsize
