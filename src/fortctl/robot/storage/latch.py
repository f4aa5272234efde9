"""The panic latch: while this small file exists, a robot places nothing (robot.md, rule 6).

``latch.lock`` is made once and never replaced. The robot holds it shared, for each order, from reading the latch until
the order has left; panic writes the latch first, then takes the lock exclusively for a moment. From then on every
order either left before the latch or is never sent.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fortctl.errors import ConflictError
from fortctl.system.files import open_regular, read_regular

LATCH_NAME = "latch"
LOCK_NAME = "latch.lock"
# A lifted latch leaves this file: the robot holds until a person resumes it, and remembers the panic orders that were
# used.
CLEARED_NAME = "latch.cleared"
_LOCK_WITHIN_S = 0.3
# Lists in the file, with the type of their items. Anything else is ignored, so that a spoiled file breaks no panic.
_LISTS: Mapping[str, type] = {"keys": dict, "issued": dict, "unknown": str, "queued": str, "orders": str}


class LatchFile:
    """The latch of one robot's folder; implements :class:`fortctl.ports.LatchGuard`.

    Args:
        folder: ``HOME/robots/ACCOUNT``; must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / LATCH_NAME
        self._lock_fd: int | None = None
        self._holders = 0

    def is_latched(self) -> bool:
        # Anything by that name counts: a latch that cannot be read must still hold.
        return os.path.lexists(self._path)

    def read(self) -> dict[str, Any]:
        """Return what panic wrote (who, when, the keys to delete); empty when unreadable or absent."""
        return _read_facts(self._path)

    def cleared(self) -> dict[str, Any] | None:
        """Return what the latch said that was lifted since the robot last came up, or None."""
        path = self._folder / CLEARED_NAME
        return _read_facts(path) if os.path.lexists(path) else None

    def forget_cleared(self) -> None:
        """Remove what :meth:`cleared` returns, because the robot has journaled it."""
        (self._folder / CLEARED_NAME).unlink(missing_ok=True)
        self._sync_folder()

    def set(self, facts: Mapping[str, Any]) -> None:
        """Write the latch durably. An existing latch stays on at every instant of the replacement.

        On a full disk it is only a name without facts; a folder that its owner has made read-only is opened first.

        Raises:
            OSError: it cannot be created at all; the caller continues with its other steps and reports it.
        """
        try:
            self._write(facts)
        except (PermissionError, FileNotFoundError):
            self._repair_folder()
            self._write(facts)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            self._create_empty()

    def update(self, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        """Change what the latch says; of several panics at once none loses what another wrote.

        Raises:
            OSError: as :meth:`set`.
        """
        with self._folder_lock():
            self.set(change(self.read()))

    def _repair_folder(self) -> None:
        """Let the owner into the robot's folder again, or create it again in a home that is there."""
        if self._folder.is_dir():
            os.chmod(self._folder, 0o700)
            return
        for folder in (self._folder.parent, self._folder):
            folder.mkdir(mode=0o700, exist_ok=True)

    def _write(self, facts: Mapping[str, Any]) -> None:
        temporary = self._folder / f".latch-{os.getpid()}-{time.monotonic_ns()}"
        data = (json.dumps(dict(facts), sort_keys=True) + "\n").encode()
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                if os.write(descriptor, data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, self._path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        self._sync_folder()

    def _create_empty(self) -> None:
        """Make the latch without writing a byte: another name of the lock file, or a link that leads nowhere."""
        if self.is_latched():
            return
        try:
            os.link(self._folder / LOCK_NAME, self._path)
        except FileExistsError:
            return
        except OSError:
            os.symlink("full", self._path)
        with suppress(OSError):
            self._sync_folder()

    @contextmanager
    def _folder_lock(self) -> Iterator[None]:
        """Hold the folder's own lock, for a moment; without it the work is done all the same."""
        try:
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (PermissionError, FileNotFoundError):
            self._repair_folder()
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            deadline = time.monotonic() + _LOCK_WITHIN_S
            while time.monotonic() < deadline:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    time.sleep(0.005)
            yield
        finally:
            os.close(descriptor)

    def clear(self) -> None:
        """Lift the latch; the robot will hold at its next start. Raises ``ConflictError`` when there is none."""
        if not self.is_latched():
            raise ConflictError("the robot is not latched", hint="nothing to clear")
        # On a full disk both are names of the lock file, and renaming one of a file's names to another does nothing.
        (self._folder / CLEARED_NAME).unlink(missing_ok=True)
        os.rename(self._path, self._folder / CLEARED_NAME)
        self._sync_folder()

    @contextmanager
    def placing(self) -> Iterator[bool]:
        """Hold the lock shared; yield False when latched, or when panic is at work this very moment."""
        if not self._acquire_shared():
            yield False
            return
        try:
            yield not self.is_latched()
        finally:
            self._release_shared()

    def drain_placers(self, timeout_s: float) -> bool:
        """Wait until nobody is placing: take the lock exclusively once, release it. False when time ran out."""
        descriptor = self._open_lock()
        try:
            deadline = time.monotonic() + timeout_s
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return True
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        return False
                    time.sleep(0.005)
        finally:
            os.close(descriptor)

    def _acquire_shared(self) -> bool:
        # One descriptor and a count: flock belongs to the open file, so a second shared lock of this process
        # would be released together with the first.
        if self._holders == 0:
            if self._lock_fd is None:
                self._lock_fd = self._open_lock()
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        self._holders += 1
        return True

    def _release_shared(self) -> None:
        self._holders -= 1
        if self._holders == 0 and self._lock_fd is not None:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def _open_lock(self) -> int:
        path = self._folder / LOCK_NAME
        try:
            return open_regular(path, os.O_RDWR | os.O_CREAT)
        except OSError:
            # In a read-only folder one that is there can be locked all the same.
            return open_regular(path, os.O_RDONLY)

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: fact for name, fact in value.items() if _is_valid(name, fact)} if isinstance(value, dict) else {}


def _is_valid(name: str, fact: object) -> bool:
    if name == "at_ms":
        return type(fact) is int
    kind = _LISTS.get(name)
    return kind is None or (isinstance(fact, list) and all(isinstance(one, kind) for one in fact))
