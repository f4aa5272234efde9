"""What a panic did, step by step, and what of it a person must still do. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fortctl.errors import ActionRequiredError, FortctlError, RobotTimeoutError
from fortctl.model import KeyPair
from fortctl.ports import ExchangeError
from fortctl.secret import Secret

# The gravest first: a robot that may still trade outranks what a person must do at Binance (contract.md, "Exit codes").
UNREACHED = "robot_unreached"
ROLES = ("site", "robot")
# Purposes of erasure keys whose records are no keys of the exchange (yet).
NOT_AT_EXCHANGE = ("recipient", "pending")

UNREAD = (
    "whether a key was on its way to the robot of account {account} cannot be told: run this again once the mailbox can"
    " be read, or delete on Binance's page whichever robot key you sent last"
)
# What a person does about a step that failed; what is not here is told by an action of its own, or changes nothing.
REMEDIES = {
    "latch": "the latch of account {account} could not be written: stop the robot's service, make the home writable,"
    " and run this again",
    "destroy keys": "the key copies of account {account} could not all be destroyed: make the home writable (or do it"
    " as its user), and run this again",
    "look again": "look whether a robot of account {account} still runs, and run this again",
    "abort operation again": "the rotation of account {account} could not be ended: run this again once nothing holds"
    " its store",
    "delete at exchange": "the keys of account {account} could not be deleted by the issuer: delete them on Binance's"
    " page",
    "delete at exchange again": "the rotation's keys of account {account} could not be deleted by the issuer: delete"
    " them on Binance's page",
}


class StepEndedError(Exception):
    """A step that ended otherwise than done, skipped or failed."""

    def __init__(self, state: str, detail: str) -> None:
        super().__init__(detail)
        self.state = state


@dataclass
class PanicStep:
    """One step of the panic: what became of it, in how many milliseconds.

    Attributes:
        state: ``done``, ``skipped``, ``failed``, ``unproved``, ``queued``, ``running`` or ``would``.
    """

    name: str
    state: str = "running"
    elapsed_ms: float = 0.0
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "elapsed_ms": round(self.elapsed_ms, 1),
            "detail": self.detail,
        }


@dataclass(frozen=True)
class KnownKey:
    """A key that lives at the exchange until somebody deletes it.

    Attributes:
        pair: the key itself, only where it could be read.
        listed: the issuer's list named it.
    """

    role: str
    name: str
    tail: str = ""
    fingerprint: str = ""
    pair: KeyPair | None = field(default=None, repr=False)
    listed: bool = False

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"role": self.role, "name": self.name, "tail": self.tail}
        return {**shown, "fingerprint": self.fingerprint, **({"listed": True} if self.listed else {})}

    def same_as(self, other: KnownKey) -> bool:
        """Two sightings of one key; of a locked vault there is only the name."""
        tails = {self.tail, other.tail} - {""}
        return (self.role, self.name) == (other.role, other.name) and len(tails) <= 1

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> KnownKey:
        role, name, tail, shown = (str(entry.get(part) or "") for part in ("role", "name", "tail", "fingerprint"))
        return cls(role, name, tail, shown, listed=bool(entry.get("listed")))


@dataclass(frozen=True)
class KeysRead:
    """What could be read of an account's keys.

    Attributes:
        keys: every key that something tells of.
        unknown: the roles of which nothing tells whether there was a key, and which.
        queued: when keys were sent to the robot that it has not taken up (RFC 3339).
        mark: makes the fingerprint of an API key, where what that takes could be read.
    """

    keys: Sequence[KnownKey] = ()
    unknown: Collection[str] = ()
    queued: Collection[str] = ()
    mark: Callable[[Secret], str] | None = None


def nameless(account: str, roles: Sequence[str]) -> list[dict[str, Any]]:
    """Return what a person must do about keys that nothing names any more."""
    if not roles:
        return []
    which = "every key" if len(roles) == len(ROLES) else f"the {roles[0]} key"
    text = (
        f"nothing here tells any more which keys account {account} had: delete on Binance's API management page {which}"
        " that you gave to fortctl"
    )
    return [{"what": "delete_key_at_exchange", "account": account, "role": "|".join(roles), "text": text}]


def deduplicate(keys: Iterable[KnownKey]) -> list[KnownKey]:
    """Return each key once, as it is known best."""
    found: list[KnownKey] = []
    for key in sorted(keys, key=lambda one: (one.pair is None, not one.tail)):
        known = next((at for at, other in enumerate(found) if key.same_as(other)), None)
        if known is None:
            found.append(key)
        else:
            found[known] = replace(found[known], listed=found[known].listed or key.listed)
    return found


@dataclass(frozen=True)
class PanicReport:
    """How one account's panic went; ``actions`` is what a person must still do."""

    account: str
    steps: tuple[PanicStep, ...]
    elapsed_ms: float
    actions: tuple[dict[str, Any], ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "account": self.account,
            "steps": [step.as_json() for step in self.steps],
            "elapsed_ms": round(self.elapsed_ms, 1),
            "actions": list(self.actions),
        }


def data_of(reports: Sequence[PanicReport]) -> dict[str, Any]:
    """Return the contract's ``steps[], elapsed_ms, actions[]``; with several accounts each one's besides."""
    several = len(reports) > 1
    steps = [
        {**step.as_json(), **({"account": report.account} if several else {})}
        for report in reports
        for step in report.steps
    ]
    data: dict[str, Any] = {
        "steps": steps,
        "elapsed_ms": round(max((report.elapsed_ms for report in reports), default=0.0), 1),
        "actions": [action for report in reports for action in report.actions],
    }
    if several:
        data["accounts"] = [report.as_json() for report in reports]
    return data


def failure_of(reports: Sequence[PanicReport], text: str) -> FortctlError | None:
    """Return the error that the command ends with, the gravest first, or None when nothing is left to do."""
    data = data_of(reports)
    actions = data["actions"]
    if not actions:
        return None
    unreached = [action for action in actions if action["what"] == UNREACHED]
    hint = "; ".join(dict.fromkeys(action["text"] for action in actions))
    facts: dict[str, Any] = {"details": {"actions": actions}, "data": data, "text": text, "hint": hint}
    if unreached:
        facts["details"]["queued"] = all(action.get("queued") for action in unreached)
        names = ", ".join(dict.fromkeys(action["account"] for action in unreached))
        return RobotTimeoutError(f"the robot of account {names} was NOT reached: it may still be trading", **facts)
    return ActionRequiredError(
        "cut off as far as can be done from here; what is left must be done by a person", **facts
    )


def why(error: Exception) -> str:
    """Return why something failed; of an operating system's error its text, others could quote anything."""
    if isinstance(error, ExchangeError):
        return f"the exchange: {error.message}"
    if isinstance(error, FortctlError):
        return f"{error.message}; {error.hint}"
    if isinstance(error, TimeoutError):
        return "it took too long"
    reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    return f"{type(error).__name__}{reason}"
