"""Kill, or let the disk refuse, between any two system calls that change something (a shim over ``os``)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# What changes something on a disk; ``open`` counts where it may create.
CALLS = ("open", "write", "pwrite", "fsync", "fdatasync", "replace", "rename", "link", "unlink", "mkdir", "ftruncate")
HOW = ("killed", "disk full", "disk broken")
if os.environ.get("FORTCTL_CRASHES") == "all":
    HOW += ("torn", "disk stays full")


class Killed(BaseException):
    """The process is dead: nothing of it runs any more, no clean-up either."""


class Fate:
    """Lets the n-th changing call meet its fate.

    Attributes:
        seen: how many changing calls there were.
        struck: whether the fate struck.
    """

    def __init__(self, number: int, how: str) -> None:
        self.number, self.how, self.seen, self.struck = number, how, 0, False
        self._real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in CALLS}

    def meet(self, name: str, *args: Any, **more: Any) -> Any:
        real = self._real[name]
        if name == "open" and not args[1] & os.O_CREAT:
            if self.struck and self.how in ("killed", "torn"):
                raise Killed
            return real(*args, **more)
        self.seen += 1
        dead = self.struck and self.how in ("killed", "torn")
        full = self.struck and self.how == "disk stays full" and name in ("open", "write", "pwrite", "mkdir")
        if dead:
            raise Killed
        if self.seen != self.number and not full:
            return real(*args, **more)
        self.struck = True
        if self.how == "killed":
            raise Killed
        if name in ("write", "pwrite") and len(args[1]) > 1:
            # Half of it arrives: a disk that fills up, a machine that loses power.
            real(args[0], bytes(args[1][: len(args[1]) // 2]), *args[2:])
        if self.how == "torn":
            raise Killed
        raise OSError(errno.EIO if self.how == "disk broken" else errno.ENOSPC, "played")


@contextmanager
def fated(number: int, how: str) -> Iterator[Fate]:
    """Let the ``number``-th changing call inside the block be met so."""
    fate = Fate(number, how)

    def shim(name: str) -> Callable[..., Any]:
        return lambda *args, **more: fate.meet(name, *args, **more)

    try:
        for name in CALLS:
            setattr(os, name, shim(name))
        yield fate
    finally:
        for name, real in fate._real.items():
            setattr(os, name, real)
