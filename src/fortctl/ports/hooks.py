"""The operator's hooks: programs that run on an event, and their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class HookOutcome:
    """How a hook ended.

    Attributes:
        exit_code: its exit code (negative: the number of the signal that ended it); None: it could not be started.
        timed_out: it was killed at its time limit.
        stderr: the end of its standard error, redacted.
    """

    exit_code: int | None
    timed_out: bool
    stderr: str


@dataclass(frozen=True)
class HookReport:
    """The result of one hook.

    Attributes:
        name: the event, or ``notify``.
        state: ``done``, ``failed`` or ``running``.
        detail: why it failed or still runs; empty if done.
    """

    name: str
    state: str
    detail: str


class RunningHook(Protocol):
    """A hook that was started."""

    def outcome(self, wait_s: float) -> HookOutcome | None:
        """Return how the hook ended; None if it still runs after ``wait_s`` seconds."""


class HookRunner(Protocol):
    """Starts programs with a time limit, in an environment without secrets."""

    def start(self, argv: Sequence[str], event: bytes, *, limit_s: float) -> RunningHook:
        """Start a program that receives an event on its standard input. Raises ``OSError``."""


class HooksPort(Protocol):
    """Runs the operator's hooks and notifications."""

    def fire(self, event: str, facts: Mapping[str, Any], *, wait_s: float | None = None) -> tuple[HookReport, ...]:
        """Run an event's hooks and wait for them at most ``wait_s`` seconds; never raise.

        Args:
            event: one of :data:`fortctl.config.settings.EVENTS`, such as ``on-held``.
            facts: the event's details: JSON values without secrets.
            wait_s: None: as long as the hooks' time limit.
        """
