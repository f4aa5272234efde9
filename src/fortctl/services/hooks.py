"""Run an operator's hooks and notifications at an event. A hook that fails is reported, and never fatal.

A hook is an argument list that the operator configured; it receives one JSON event on its standard input::

    {"v": 1, "event": "on-held", "account": "default", "host": "trader", "at": "2026-11-24T12:00:00.000Z", "facts": {…}}

The event holds no secret, the environment holds nothing of fortctl's, and the time is limited.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fortctl.ports import Clock, HookReport, HookRunner, RunningHook
from fortctl.secret import redact
from fortctl.timestamps import rfc3339

# How long after its own limit a hook's report may take (s).
_REPORT_WITHIN_S = 3.0


@dataclass(frozen=True)
class HookPlan:
    """What runs at which event.

    Attributes:
        commands: by event, an argument list; events without one run nothing.
        notification: the argument list that notifies, or empty.
        notify_events: the events that are notified.
        limit_s: seconds that a hook may take.
    """

    commands: Mapping[str, Sequence[str]]
    notification: Sequence[str] = ()
    notify_events: Sequence[str] = ()
    limit_s: float = 30.0

    def of(self, event: str) -> list[tuple[str, Sequence[str]]]:
        """Return what an event runs, as (name, argument list)."""
        command = self.commands.get(event) or ()
        planned = [(event, command)] if command else []
        if self.notification and event in self.notify_events:
            planned.append(("notify", self.notification))
        return planned


class Hooks:
    """One account's hooks; implements :class:`fortctl.ports.Hooks`.

    Args:
        account, host: named in each event.
        plan: what runs at which event.
        runner: starts the programs.
        clock: the clock.
    """

    def __init__(self, account: str, host: str, plan: HookPlan, runner: HookRunner, clock: Clock) -> None:
        self._account = account
        self._host = host
        self._plan = plan
        self._runner = runner
        self._clock = clock

    def names(self, event: str) -> list[str]:
        """Return the names of what an event runs."""
        return [name for name, _command in self._plan.of(event)]

    def fire(self, event: str, facts: Mapping[str, Any], *, wait_s: float | None = None) -> tuple[HookReport, ...]:
        """Run an event's hook and notification side by side; never raises.

        Args:
            event: its name.
            facts: JSON values that may be shown to anybody.
            wait_s: how long to wait for their end (s), by default as long as they may take. A program that still runs
                then continues, and is killed at its limit.
        """
        planned = self._plan.of(event)
        if not planned:
            return ()
        body = {
            "v": 1,
            "event": event,
            "account": self._account,
            "host": self._host,
            "at": rfc3339(self._clock.now_ms()),
            "facts": dict(facts),
        }
        document = redact(json.dumps(body, ensure_ascii=False)).encode() + b"\n"
        started = [(name, self._start(argv, document)) for name, argv in planned]
        timeout_s = self._plan.limit_s + _REPORT_WITHIN_S if wait_s is None else wait_s
        deadline = self._clock.monotonic() + timeout_s
        return tuple(self._report(name, running, deadline) for name, running in started)

    def _start(self, argv: Sequence[str], document: bytes) -> RunningHook | str:
        try:
            return self._runner.start(argv, document, limit_s=self._plan.limit_s)
        except OSError as error:
            return error.strerror or "it cannot be started"

    def _report(self, name: str, running: RunningHook | str, deadline: float) -> HookReport:
        if isinstance(running, str):
            return HookReport(name, "failed", running)
        outcome = running.outcome(max(0.0, deadline - self._clock.monotonic()))
        if outcome is None:
            return HookReport(name, "running", f"it still runs; its limit is {self._plan.limit_s:.0f} s")
        if outcome.timed_out:
            return HookReport(name, "failed", f"it was killed after {self._plan.limit_s:.0f} s")
        if outcome.exit_code == 0:
            return HookReport(name, "done", "")
        stderr = f": {outcome.stderr}" if outcome.stderr else ""
        end = "it could not be started" if outcome.exit_code is None else f"it ended with {outcome.exit_code}"
        return HookReport(name, "failed", f"{end}{stderr}")


def warnings_of(reports: Sequence[HookReport]) -> tuple[tuple[str, str], ...]:
    """Return a ``HOOK_FAILED`` warning for each hook that failed."""
    return tuple(("HOOK_FAILED", f"{report.name}: {report.detail}") for report in reports if report.state == "failed")
