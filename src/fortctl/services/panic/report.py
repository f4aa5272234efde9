"""What a panic did, step by step, and how the command ends. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fortctl.errors import ActionRequiredError, FortctlError, RobotTimeoutError
from fortctl.ports import ExchangeError
from fortctl.services.panic.actions import Action, ActionKind


class StepSkippedError(Exception):
    """A step had nothing to do, and why."""


class StepEndedError(Exception):
    """A step ended otherwise than done, skipped or failed."""

    def __init__(self, state: str, detail: str) -> None:
        super().__init__(detail)
        self.state = state


class StepNotNeededError(Exception):
    """A step does not belong to this panic: the report does not name it."""


RUNNING = "running"


@dataclass
class PanicStep:
    """How one step of the panic ended, after how many milliseconds.

    Attributes:
        state: ``done``, ``skipped``, ``failed``, ``unproved``, ``queued``, ``running`` or ``would``.
    """

    name: str
    state: str = RUNNING
    elapsed_ms: float = 0.0
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return an entry of ``steps[]`` as JSON."""
        return {
            "name": self.name,
            "state": self.state,
            "elapsed_ms": round(self.elapsed_ms, 1),
            "detail": self.detail,
        }


@dataclass(frozen=True)
class PanicReport:
    """How one account's panic went; ``actions`` is what a person must still do."""

    account: str
    steps: tuple[PanicStep, ...]
    elapsed_ms: float
    actions: tuple[Action, ...]

    def as_json(self) -> dict[str, Any]:
        """Return ``steps[], elapsed_ms, actions[]`` as JSON, with the account's name."""
        return {
            "account": self.account,
            "steps": [step.as_json() for step in self.steps],
            "elapsed_ms": round(self.elapsed_ms, 1),
            "actions": [action.as_json() for action in self.actions],
        }


def reports_as_json(reports: Sequence[PanicReport]) -> dict[str, Any]:
    """Return ``steps[], elapsed_ms, actions[]`` as JSON; with several accounts, ``accounts[]`` as well."""
    several = len(reports) > 1
    steps = [
        {**step.as_json(), **({"account": report.account} if several else {})}
        for report in reports
        for step in report.steps
    ]
    data: dict[str, Any] = {
        "steps": steps,
        "elapsed_ms": round(max((report.elapsed_ms for report in reports), default=0.0), 1),
        "actions": [action.as_json() for report in reports for action in report.actions],
    }
    if several:
        data["accounts"] = [report.as_json() for report in reports]
    return data


def failure_of(reports: Sequence[PanicReport], text: str) -> FortctlError | None:
    """Return the error that the command ends with, the gravest first, or None when nothing is left to do.

    A robot that may still trade (9) outranks what a person must do at Binance (12).
    Source: docs/emergency.md, "Read what it says".
    """
    actions = [action for report in reports for action in report.actions]
    if not actions:
        return None
    unreached = [action for action in actions if action.kind is ActionKind.ROBOT_UNREACHED]
    hint = "; ".join(dict.fromkeys(action.text for action in actions))
    details: dict[str, Any] = {"actions": [action.as_json() for action in actions]}
    data = reports_as_json(reports)
    if unreached:
        details["queued"] = all(action.queued for action in unreached)
        names = ", ".join(dict.fromkeys(action.account for action in unreached))
        return RobotTimeoutError(
            f"the robot of account {names} was NOT reached: it may still be trading",
            details=details,
            data=data,
            text=text,
            hint=hint,
        )
    return ActionRequiredError(
        "everything that can be cut from here is cut; a person must do the rest",
        details=details,
        data=data,
        text=text,
        hint=hint,
    )


def why(error: Exception) -> str:
    """Return why a step failed; of an operating system's error its text, since others could quote anything."""
    if isinstance(error, ExchangeError):
        return f"the exchange: {error.message}"
    if isinstance(error, FortctlError):
        return f"{error.message}; {error.hint}"
    if isinstance(error, TimeoutError):
        return "it took too long"
    reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    return f"{type(error).__name__}{reason}"


def message_of(error: Exception) -> str:
    """Return the same without the hint of one of our own errors."""
    return error.message if isinstance(error, FortctlError) else why(error)
