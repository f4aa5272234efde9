"""The machine: clock, audit log."""

from __future__ import annotations

from typing import Any, Protocol

from fortctl.secret import Secret


class Clock(Protocol):
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Return the wall clock in milliseconds since the epoch."""

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""

    async def sleep(self, seconds: float) -> None: ...


class AuditLog(Protocol):
    """The append-only log of what commands did to keys and vaults."""

    def seal_with(self, key: Secret) -> None:
        """Seal this process's entries with a key from now on."""

    def append(self, what: str, *, account: str, result: str, best_effort: bool = False, **facts: Any) -> None:
        """Append one entry durably; with ``best_effort``, write what is possible and never raise."""

    def head(self) -> tuple[int, str] | None:
        """Return the last entry's number and hash, or None if no entry can be read."""
