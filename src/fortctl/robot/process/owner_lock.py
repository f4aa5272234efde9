"""The lock that makes one process the owner of an account, and who holds it (adapter)."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path

from fortctl.errors import ConflictError
from fortctl.robot.process.proc import process_start_time, real_uid
from fortctl.system.files import open_regular

LOCK_NAME = "robot.lock"


@dataclass(frozen=True)
class Owner:
    """The process that holds an account's lock. ``started`` is the kernel's start time, so a reused pid is noticed."""

    pid: int
    started: str
    host: str


class OwnerLock:
    """Exclusive ownership of one account's robot folder, released by the kernel when the process ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_NAME
        self._descriptor: int | None = None

    def acquire(self, host: str) -> None:
        """Take the lock and write who holds it. Raises ``ConflictError`` when another robot has it."""
        descriptor = open_regular(self._path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read_owner(descriptor)
            os.close(descriptor)
            who = f" (pid {holder.pid} on {holder.host})" if holder else ""
            raise ConflictError(f"another robot owns this account{who}", hint="see 'fortctl robot status'") from None
        facts = {"pid": os.getpid(), "started": process_start_time(os.getpid()) or "", "host": host}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(facts).encode(), 0)
        os.fsync(descriptor)
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _read_owner(descriptor: int) -> Owner | None:
    try:
        facts = json.loads(os.pread(descriptor, 4096, 0))
        return Owner(int(facts["pid"]), str(facts["started"]), str(facts["host"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def owner_of(folder: Path) -> Owner | None:
    """Return the process that holds the account's lock, or None."""
    try:
        # For reading alone: a panic finds the owner in a read-only home, too.
        descriptor = open_regular(folder / LOCK_NAME, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_owner(descriptor)
    else:
        return None
    finally:
        os.close(descriptor)


def last_owner(folder: Path) -> Owner | None:
    """Return the process that holds the lock or held it last; None if the file is missing or unreadable."""
    try:
        descriptor = open_regular(folder / LOCK_NAME, os.O_RDONLY)
    except OSError:
        return None
    try:
        return _read_owner(descriptor)
    finally:
        os.close(descriptor)


def stray(home: Path, account: str) -> Owner | None:
    """Return this user's robot process that names a home and an account on its command line, or None.

    Only where its lock is gone or spoilt is it looked for so; without ``/proc`` never.
    """
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if entry.stat().st_uid != os.geteuid() and real_uid(entry) != os.getuid():
                continue
            words = (entry / "cmdline").read_bytes().decode("utf-8", "surrogateescape").split("\0")
        except OSError:
            continue
        run = next((at for at, pair in enumerate(itertools.pairwise(words)) if pair == ("robot", "run")), 0)
        given = dict(itertools.pairwise(words))
        if run and given.get("--home") == str(home) and given.get("--account", "default") == account:
            pid = int(entry.name)
            started = process_start_time(pid)
            if started is not None:
                return Owner(pid, started, os.uname().nodename)
    return None
