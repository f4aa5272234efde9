"""What the machine offers: clocks, the audit log, programs that are run when something happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fortctl.secret import Secret


class Clock(Protocol):
    def now_ms(self) -> int:
        """Wall clock, integer milliseconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    async def sleep(self, seconds: float) -> None: ...


class AuditLog(Protocol):
    def seal_with(self, key: Secret) -> None:
        """Seal the entries of this process from here on."""

    def append(self, what: str, *, account: str, result: str, best_effort: bool = False, **facts: Any) -> None:
        """Append one entry durably; ``best_effort`` writes what can be written and never raises."""

    def head(self) -> tuple[int, str] | None:
        """Return the last entry's number and hash, or None where there is none to be read."""


@dataclass(frozen=True)
class HookOutcome:
    """How a hook ended.

    Attributes:
        exit_code: its exit code (negative: a signal ended it), or None when it could not be started.
        timed_out: it was ended at its limit.
        stderr: the end of its standard error, redacted.
    """

    exit_code: int | None
    timed_out: bool
    stderr: str


@dataclass(frozen=True)
class HookReport:
    """What became of one hook.

    Attributes:
        name: the event, or ``notify``.
        state: ``done``, ``failed`` or ``running``.
        detail: why; empty when done.
    """

    name: str
    state: str
    detail: str


class RunningHook(Protocol):
    def outcome(self, wait_s: float) -> HookOutcome | None:
        """Return how it ended, or None when it has not ended in time (it goes on)."""


class HookRunner(Protocol):
    """Starts programs, each under a time limit, in an environment without any secret."""

    def start(self, argv: Sequence[str], event: bytes, *, limit_s: float) -> RunningHook:
        """Start a program with an event on its standard input. Raises ``OSError``."""


class HooksPort(Protocol):
    """What an operator wants to be run and told when something happens."""

    def fire(self, event: str, facts: Mapping[str, Any], *, wait_s: float | None = None) -> tuple[HookReport, ...]:
        """Run an event's hooks, waiting for their end at most ``wait_s`` seconds; never raises.

        Args:
            event: ``pre-rotate``, ``post-rotate``, ``on-key-lost``, ``on-held`` or ``on-panic``.
            facts: JSON values that may be shown to anybody.
        """
