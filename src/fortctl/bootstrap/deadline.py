"""Read what an emergency needs, and wait no longer than it can afford: a disk or a pipe may hang for ever."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from fortctl.errors import BadInputError, FortctlError, VaultLockedError
from fortctl.terminal.prompts import INPUT_LIMIT, Prompts

if TYPE_CHECKING:
    from collections.abc import Callable

    from fortctl.vault.file import OpenVault


T = TypeVar("T")
# How a file or a store of the home fails that is damaged, locked or gone.
UNREADABLE = (FortctlError, OSError, ValueError, KeyError, TypeError, RecursionError)
# How long to wait for another writer of a store (ms), for a file, and for a vault (s; deriving a key takes a second on
# a busy machine). services/panic/read_keys.py allows for all three.
BUSY_MS = 1_000
READ_WITHIN_S = 1.0
UNLOCK_WITHIN_S = 2.0


def read_in_time(read: Callable[[], T], within_s: float | None = None) -> T | None:
    """Return what *read* returns, or None where it fails or takes too long; then its thread is left behind.

    Args:
        within_s: how long to wait (s); by default ``READ_WITHIN_S``.
    """
    results: list[T] = []

    def work() -> None:
        with suppress(*UNREADABLE):
            results.append(read())

    # Not a thread of a pool: the process must end without it.
    reading = threading.Thread(target=work, daemon=True)
    try:
        reading.start()
    except RuntimeError:
        work()  # The machine has no thread left.
    else:
        reading.join(READ_WITHIN_S if within_s is None else within_s)
    return results[0] if results else None


class ImpatientPrompts(Prompts):
    """Never prompts, and reads input files only as far as they can be read at once."""

    def __init__(self) -> None:
        super().__init__(no_input=True)

    def read_input(self, source: str) -> bytes:
        if source not in self._read:
            self._read[source] = read_in_time(lambda: _read_all(source))
        data = self._read[source]
        if data is None:
            raise BadInputError("the input cannot be read, or not in time", hint="check the path")
        return data

    @cached_property
    def _read(self) -> dict[str, bytes | None]:
        return {}


def _read_all(source: str) -> bytes:
    # Not by way of sys.stdin: a thread that hangs in its lock ends the process with a fatal error.
    descriptor = 0 if source == "-" else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    pieces: list[bytes] = []
    try:
        while (piece := os.read(descriptor, 65536)) and sum(map(len, pieces)) <= INPUT_LIMIT:
            pieces.append(piece)
    finally:
        if descriptor:
            os.close(descriptor)
    return b"".join(pieces)


def opened_in_time(open_vault: Callable[[], OpenVault]) -> OpenVault:
    """Return what *open_vault* returns.

    Raises:
        FortctlError, OSError: the vault does not open.
        VaultLockedError: it does not open within ``UNLOCK_WITHIN_S`` seconds.
    """

    def work() -> OpenVault | Exception:
        try:
            return open_vault()
        except (FortctlError, OSError) as error:
            return error

    opened = read_in_time(work, UNLOCK_WITHIN_S)
    if opened is None:
        raise VaultLockedError(
            "the vault does not open in time", hint="the panic continues with the names in its header"
        )
    if isinstance(opened, Exception):
        raise opened
    return opened
