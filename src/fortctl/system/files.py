"""Write files so that a crash, a full disk or a broken one leaves the old or the new state, never neither (adapter)."""

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
    """What lies in a file's place is a pipe, a device or a folder, or a link where none may be."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(errno.EINVAL, "it is no plain file", str(path))

    def as_config_error(self) -> ConfigError:
        """Return the error that a user sees where no more is known of the file."""
        return ConfigError(f"{self.filename} is no plain file", hint="see what was put in its place")


def open_regular(path: Path | str, flags: int, mode: int = 0o600) -> int:
    """Open a file, but nothing that would keep its reader or writer waiting; return the descriptor (``open``'s opener).

    Raises:
        NotARegularFileError: it is a pipe, a device or a folder; with ``O_NOFOLLOW`` a symbolic link as well.
        OSError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, mode)
    except OSError as error:
        # ENXIO is the pipe's, to whoever would write where nobody reads.
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise NotARegularFileError(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotARegularFileError(path)
    return descriptor


def read_regular(path: Path) -> bytes:
    """Read a file of the home as a whole. Raises ``OSError``, as :func:`open_regular`."""
    with open(path, "rb", opener=open_regular) as stream:
        return stream.read()


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of the data; ``os.write`` may write less of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(path: Path) -> None:
    """Make what was created, renamed or unlinked in a folder last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes, *, locked: bool = False) -> None:
    """Replace a file's content as one; it is 0600 (temporary file, fsync, read back, rename, fsync of the folder).

    Args:
        locked: the caller holds a lock, so that a crash's leftover may be taken away.

    Raises:
        OSError: the old content is untouched, or the new one is in place.
        VaultDamagedError: the disk did not keep what was written; the old content is untouched.
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


def create_file(path: Path, data: bytes) -> None:
    """Make a file with its content as one, 0600. Raises ``FileExistsError``: it is there; ``OSError``, as above."""
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
                f"the disk did not keep what was written to {path.name}", hint="nothing was replaced"
            )
    finally:
        os.close(descriptor)


def read_file(path: Path, most: int, *, follow: bool = False) -> tuple[bytes, os.stat_result]:
    """Read a plain file of at most ``most`` bytes, and one more where it is longer; a pipe or a device is not opened.

    Args:
        follow: it may be a symbolic link.

    Raises:
        OSError: it cannot be read.
        VaultDamagedError: it is a link, or no plain file.
    """
    if not follow and path.is_symlink():
        raise VaultDamagedError(f"{path} is a symbolic link", hint="put the file itself there")
    try:
        descriptor = open_regular(path, os.O_RDONLY | (0 if follow else os.O_NOFOLLOW))
    except NotARegularFileError:
        raise VaultDamagedError(f"{path} is no file", hint="see what was put in its place") from None
    try:
        status = os.fstat(descriptor)
        pieces, left = [], most + 1
        while left and (piece := os.read(descriptor, min(left, 1 << 20))):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces), status
    finally:
        os.close(descriptor)


def lock_holder(path: Path) -> str | None:
    """Return the process id that holds a lock just now, or None."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _named(descriptor)
    finally:
        os.close(descriptor)
    return None


@contextmanager
def file_lock(path: Path, what: str, timeout_s: float) -> Iterator[None]:
    """Hold a lock file (flock(2)) that names its holder.

    Args:
        what: what the lock is for, in words.

    Raises:
        ConflictError: it stays taken (``details.holder_pid``), or cannot be taken at all.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConflictError(f"the lock of {what} cannot be taken: {error.strerror}", hint="mend the disk") from None
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = _named(descriptor) or "unknown"
                    raise ConflictError(
                        f"another process (pid {holder}) is writing {what}",
                        hint="wait for it, or see what it does",
                        details={"holder_pid": holder},
                    ) from None
                time.sleep(0.01)
        with suppress(OSError):  # a full disk takes no name, but locks
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _named(descriptor: int) -> str | None:
    text = os.pread(descriptor, 64, 0).decode("ascii", "replace").strip()
    return text if text.isdigit() else None
