"""What a rotation is: its steps for each mode and role, and how one follows another. Pure.

A step is journaled as ``doing`` before anything of it is done and as ``done`` after it; a command that resumes a step
at ``doing`` checks how far it came before it repeats anything. The diagrams and the table in docs/rotation.md come from
this module.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from fortctl.errors import ConflictError, VaultDamagedError
from fortctl.model import Role
from fortctl.ports import OperationRow
from fortctl.services.rotation.facts import RotationFacts
from fortctl.timestamps import rfc3339


class RotationMode(StrEnum):
    DRAIN = "drain"
    OVERLAP = "overlap"
    URGENT = "urgent"
    # Not a rotation: the issuer makes a role's first key (``keys add --issue``), journaled the same way.
    ISSUE = "issue"


# The store's name for rotations among long operations.
KIND = "rotation"
ROTATIONS = (RotationMode.DRAIN, RotationMode.OVERLAP, RotationMode.URGENT)


class Scope(StrEnum):
    """Whose key is rotated."""

    SITE = "site"
    ROBOT = "robot"
    BOTH = "both"

    @property
    def roles(self) -> tuple[Role, ...]:
        return (Role.SITE, Role.ROBOT) if self is Scope.BOTH else (Role(self.value),)


@dataclass(frozen=True)
class RotationStepKind:
    """One step.

    Attributes:
        does: what it does.
        waits_for: what it waits for; empty if it waits for nothing.
        resumes: what ``--resume`` does if the step was interrupted.
        aborts: what ``--abort`` leaves if the rotation is at this step.
    """

    name: str
    does: str
    waits_for: str
    resumes: str
    aborts: str


_BEFORE = "the robot continues to trade with the old key; nothing was changed"
_AFTER = "the new key stays in use and the robot continues; the old key must still be deleted at the exchange"

KINDS: dict[str, RotationStepKind] = {
    kind.name: kind
    for kind in (
        RotationStepKind(
            "check", "verifies the state of keys, robot and latch", "", "checks again", "nothing was changed"
        ),
        RotationStepKind(
            "drain",
            "lets the robot finish its open cycles and begin none",
            "the last open cycle (--timeout, --on-timeout)",
            "continues to wait for the same drain",
            _BEFORE,
        ),
        RotationStepKind("stop", "stops the robot's trading", "", "stops it, unless it is stopped", _BEFORE),
        RotationStepKind(
            "create",
            "has the new key created at the exchange, by a person or by the issuer under a name journaled before",
            "the new key (a person), or the exchange's answer (the issuer)",
            "asks the person again; the issuer lists its keys and uses the one with the journaled name",
            f"{_BEFORE}; a key that the issuer created for it is deleted",
        ),
        RotationStepKind(
            "store",
            "verifies the new site key at the exchange and stores it, in one write with the old key as retiring",
            "the exchange's answer",
            "checks whether the vault holds the new key; if not, gets the key again",
            _BEFORE,
        ),
        RotationStepKind(
            "deliver",
            "seals the new key to the robot, which verifies it and uses it, in one write with the old key as retiring",
            "the robot's receipt",
            "waits for the command that was sent, then checks whether the robot uses the new key",
            _BEFORE,
        ),
        RotationStepKind(
            "verify",
            "confirms that the robot's book agrees with the exchange under the new key",
            "the robot",
            "checks again",
            _AFTER,
        ),
        RotationStepKind(
            "start", "lets the robot trade again, if it traded before", "", "starts it, unless it trades", _AFTER
        ),
        RotationStepKind(
            "delete",
            "has the old key deleted at the exchange",
            "a person, or the exchange's answer (the issuer)",
            "checks whether it is deleted",
            _AFTER,
        ),
        RotationStepKind(
            "prove",
            "proves that the old key is deleted, then destroys its retiring copy",
            "the exchange's answers that prove it",
            "asks again",
            _AFTER,
        ),
    )
}

_SITE = ("check", "create", "store", "delete", "prove")
_SWAP = ("deliver", "verify")
PLAN: dict[tuple[RotationMode, Scope], tuple[str, ...]] = {
    (RotationMode.DRAIN, Scope.SITE): _SITE,
    (RotationMode.DRAIN, Scope.ROBOT): ("check", "drain", "stop", "create", *_SWAP, "start", "delete", "prove"),
    (RotationMode.DRAIN, Scope.BOTH): ("check", "drain", "stop", "create", "store", *_SWAP, "start", "delete", "prove"),
    (RotationMode.OVERLAP, Scope.SITE): _SITE,
    (RotationMode.OVERLAP, Scope.ROBOT): ("check", "create", *_SWAP, "delete", "prove"),
    (RotationMode.OVERLAP, Scope.BOTH): ("check", "create", "store", *_SWAP, "delete", "prove"),
    (RotationMode.URGENT, Scope.SITE): _SITE,
    (RotationMode.URGENT, Scope.ROBOT): ("check", "create", *_SWAP, "delete", "prove"),
    (RotationMode.URGENT, Scope.BOTH): ("check", "create", "store", *_SWAP, "delete", "prove"),
    (RotationMode.ISSUE, Scope.SITE): ("create", "store"),
    (RotationMode.ISSUE, Scope.ROBOT): ("create", "deliver"),
}

TODO, DOING, DONE = "todo", "doing", "done"
OPEN, FINISHED, ABORTED = "open", "done", "aborted"


@dataclass(frozen=True)
class RotationStep:
    """The state of one step; ``at`` is when the step reached it (ms)."""

    name: str
    state: str = TODO
    at: int | None = None


@dataclass(frozen=True)
class Operation:
    """One rotation.

    Attributes:
        state: ``open``, ``done`` or ``aborted``.
        started_at, updated_at: milliseconds since the epoch.
        facts: what later steps need.
        reason: why it was aborted.
    """

    id: str
    account: str
    mode: RotationMode
    scope: Scope
    started_at: int
    updated_at: int
    steps: tuple[RotationStep, ...]
    state: str = OPEN
    facts: RotationFacts = field(default_factory=RotationFacts)
    reason: str = ""

    @property
    def step(self) -> str:
        """The step that it has reached; ``done`` or ``aborted`` when it is over."""
        if self.state != OPEN:
            return self.state
        return next((step.name for step in self.steps if step.state != DONE), FINISHED)

    def is_done(self, name: str) -> bool:
        return any(step.name == name and step.state == DONE for step in self.steps)

    def begun(self, name: str, at: int) -> Operation:
        """Return it with a step begun. Raises ``ConflictError`` if the rotation is at another step."""
        if self.step != name:
            raise ConflictError(f"the rotation is at '{self.step}', not at '{name}'")
        return self._with(name, DOING, at)

    def ended(self, name: str, at: int, facts: RotationFacts | None = None) -> Operation:
        """Return it with a step done, and the facts that the step ends with.

        Raises:
            ConflictError: the step was not begun.
        """
        if self.step != name or all(step.state != DOING for step in self.steps):
            raise ConflictError(f"the rotation's step '{name}' was not begun")
        return self._with(name, DONE, at).noted(at, facts or self.facts)

    def noted(self, at: int, facts: RotationFacts) -> Operation:
        """Return it with other facts. Raises ``ConflictError`` if it is over."""
        if self.state != OPEN:
            raise ConflictError("the rotation is over")
        return replace(self, updated_at=at, facts=facts)

    def finished(self, at: int) -> Operation:
        """Return it as done. Raises ``ConflictError`` if a step is left."""
        if self.step != FINISHED or self.state != OPEN:
            raise ConflictError(f"the rotation is at '{self.step}'")
        return replace(self, state=FINISHED, updated_at=at)

    def aborted(self, at: int, reason: str, facts: RotationFacts | None = None) -> Operation:
        """Return it as aborted. Raises ``ConflictError`` if it is over."""
        return replace(self.noted(at, facts or self.facts), state=ABORTED, reason=reason)

    def _with(self, name: str, state: str, at: int) -> Operation:
        steps = tuple(RotationStep(name, state, at) if step.name == name else step for step in self.steps)
        return replace(self.noted(at, self.facts), steps=steps)

    @property
    def swapped(self) -> bool:
        """Whether a new key is in use already."""
        return any(self.is_done(name) for name in ("store", "deliver"))

    def as_json(self) -> dict[str, Any]:
        """Return ``operation{…}`` as JSON, and more."""
        kind = KINDS.get(self.step)
        waits_for = kind.waits_for or None if kind else None
        if self.step in ("store", "deliver") and self.facts.missing:
            waits_for = f"another new {' and '.join(self.facts.missing)} key (a person)"
        return {
            "id": self.id,
            "account": self.account,
            "mode": self.mode.value,
            "role": self.scope.value,
            "state": self.state,
            "step": self.step,
            "waits_for": waits_for,
            "steps": [{"name": step.name, "state": step.state, "at": rfc3339(step.at)} for step in self.steps],
            "trading_gap_s": self.facts.trading_gap_s,
            "issuer": self.facts.issuer,
            "started_at": rfc3339(self.started_at),
            "updated_at": rfc3339(self.updated_at),
            "reason": self.reason or None,
        }

    def issued_names(self) -> tuple[str, ...]:
        """Return the unique names under which the issuer was asked for keys, oldest first, role by role."""
        return tuple(name for attempts in self.facts.issue.values() for name in attempts.names)


def begin(
    operation_id: str, account: str, mode: RotationMode, scope: Scope, at: int, facts: RotationFacts | None = None
) -> Operation:
    """Return a new rotation, no step of it done."""
    steps = tuple(RotationStep(name) for name in PLAN[mode, scope])
    return Operation(operation_id, account, mode, scope, at, at, steps, facts=facts or RotationFacts())


def to_row(operation: Operation) -> OperationRow:
    """Return a rotation as the operation store holds it."""
    body = {
        "mode": operation.mode.value,
        "scope": operation.scope.value,
        "steps": [[step.name, step.state, step.at] for step in operation.steps],
        "facts": operation.facts.to_json(),
        "reason": operation.reason,
    }
    return OperationRow(
        id=operation.id,
        account=operation.account,
        kind=KIND,
        state=operation.state,
        body=json.dumps(body, sort_keys=True),
        started_at=operation.started_at,
        updated_at=operation.updated_at,
    )


def from_row(row: OperationRow) -> Operation:
    """Read what :func:`to_row` wrote. Raises ``VaultDamagedError`` for anything else."""
    try:
        body = json.loads(row.body)
        return Operation(
            id=row.id,
            account=row.account,
            mode=RotationMode(body["mode"]),
            scope=Scope(body["scope"]),
            started_at=row.started_at,
            updated_at=row.updated_at,
            steps=tuple(RotationStep(str(name), str(state), at) for name, state, at in body["steps"]),
            state=row.state,
            facts=RotationFacts.from_json(body["facts"]),
            reason=body["reason"],
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        raise VaultDamagedError(
            "the operation store holds a rotation that cannot be read", hint="see 'fortctl doctor'"
        ) from None
