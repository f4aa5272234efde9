"""What else a panic reads: the operation store, a mailbox that is not the home's own, the configuration in time."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from fortctl.cli.prompts import INPUT_LIMIT, Prompts
from fortctl.errors import BadInputError, FortctlError, RobotUnreachableError, VaultLockedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fortctl.mailbox.postgres import PostgresMailbox
    from fortctl.mailbox.sqlite import SqliteMailbox
    from fortctl.vault.file import OpenVault


T = TypeVar("T")
BUSY_MS = 1_000
READ_WITHIN_S = 1.0
# Deriving a key takes a second on a busy machine. Two vaults and the stores take less than a panic waits for them.
UNLOCK_WITHIN_S = 2.0


def read_in_time(read: Callable[[], T], within_s: float | None = None) -> T | None:
    """Return what can be read, or None where it fails or takes too long (its disk may be gone: nothing ends that)."""
    found: list[T] = []

    def work() -> None:
        with suppress(FortctlError, OSError, ValueError, KeyError, TypeError, RecursionError):
            found.append(read())

    # No thread of a pool: the process ends without it.
    reading = threading.Thread(target=work, daemon=True)
    try:
        reading.start()
    except RuntimeError:
        work()  # The machine gives no thread any more.
    else:
        reading.join(READ_WITHIN_S if within_s is None else within_s)
    return found[0] if found else None


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
    """Open a vault. Raises ``FortctlError``, ``OSError``; ``VaultLockedError`` too where it does not open in time."""

    def work() -> OpenVault | Exception:
        try:
            return open_vault()
        except (FortctlError, OSError) as error:
            return error

    opened = read_in_time(work, UNLOCK_WITHIN_S)
    if opened is None:
        raise VaultLockedError("the vault does not open in time", hint="a panic goes on with what it shows")
    if isinstance(opened, Exception):
        raise opened
    return opened


def open_board(url: str) -> SqliteMailbox | PostgresMailbox:
    """Open a shared mailbox for a moment. Raises ``FortctlError``."""
    from pathlib import Path

    from fortctl.mailbox.postgres import PostgresMailbox
    from fortctl.mailbox.sqlite import SqliteMailbox

    if url.startswith("postgresql://"):
        return PostgresMailbox(url)
    path = Path(url.removeprefix("sqlite://"))
    if not path.exists():
        # In a new one, in a folder where nothing is mounted just now, an order would wait for nobody.
        raise RobotUnreachableError(f"the mailbox {path} is not there", hint="see whether its folder is mounted")
    try:
        return SqliteMailbox(path, shared=True, busy_timeout_ms=BUSY_MS, any_thread=True)
    except OSError as error:
        raise RobotUnreachableError(f"the mailbox {path} cannot be opened: {error.strerror}") from None
