"""Rotate the keys of an account: a journaled sequence that goes on from wherever it was killed (robot.md, "Rotation").

The steps are in :mod:`rotation_plan`, what each does in :mod:`rotation_steps`. Here: who may begin, who goes on, how it
ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from fortctl.errors import ConflictError, NotFoundError
from fortctl.model import Role
from fortctl.ports import Clock, OperationOwner, OperationRow, OperationStore
from fortctl.services.rotation import operator_actions as actions
from fortctl.services.rotation.plan import (
    ABORTED,
    OPEN,
    Operation,
    RotationMode,
    Scope,
    begin,
    from_text,
    to_text,
)

KIND = "rotation"
# Those who hold the same lock while they write a key, and work on no rotation.
WRITERS = ("keys add", "keys change", "keys delete", "keys generate", "issuer set")


class RotationJournal:
    """One account's rotations in the store, and the lock of the one who works on them. Nothing here is unlocked.

    Args:
        account: the account.
        store: the operation store.
        me: this process.
        alive: whether another owner still lives.
        clock: the clock.
    """

    def __init__(
        self,
        account: str,
        store: OperationStore,
        me: OperationOwner,
        alive: Callable[[OperationOwner], bool],
        clock: Clock,
    ) -> None:
        self.account = account
        self._store = store
        self._me = me
        self._alive = alive
        self._clock = clock

    def current(self) -> Operation | None:
        """Return the open rotation, or None."""
        return _read(self._store.current(self.account))

    def last(self) -> Operation | None:
        """Return the rotation that was begun last, or None."""
        return _read(self._store.last(self.account))

    def born_with(self, role: Role, shown: str) -> tuple[str, ...] | None:
        """Return the IP list that a key of this fingerprint was made with by the issuer, or None."""
        for row in self._store.all(self.account):
            facts = _told_by(row).facts
            made = facts.get("issue", {}).get(role.value)
            if made is not None and facts.get("new", {}).get(role.value) == shown:
                return tuple(made["addresses"])
        return None

    def owner(self) -> OperationOwner | None:
        """Return the living process that works on it, or None."""
        found = self._store.owner(self.account)
        return found if found is not None and found.what not in WRITERS and self._alive(found) else None

    def take(self) -> OperationOwner | None:
        """Take the lock; return the dead owner that it was taken from, or None. Raises ``ConflictError``."""
        return self._store.acquire(self.account, self._me, self._alive)

    def force_acquire(self) -> None:
        """Take the lock from whoever has it: what it works on is ended, and it hears of that at its next step."""
        self._store.acquire(self.account, self._me, lambda _owner: False)

    def release(self) -> None:
        self._store.release(self.account, self._me)

    def beat(self) -> None:
        """Say that this process lives. Raises ``ConflictError`` when a panic or another command has taken over."""
        self._store.renew(self.account, self._me, self._clock.now_ms())

    def put(self, operation: Operation) -> Operation:
        """Make where it stands durable; return it. Raises ``ConflictError`` when it was closed meanwhile."""
        row = OperationRow(
            *(operation.id, operation.account, KIND, operation.state, to_text(operation)),
            *(operation.started_at, operation.updated_at),
        )
        self._store.put(row, self._me)
        return operation

    def begin(self, mode: RotationMode, scope: Scope, issuer: str, **facts: Any) -> Operation:
        """Begin a rotation. Raises ``ConflictError`` when one is open."""
        now = self._clock.now_ms()
        return self.put(begin(f"r{os.urandom(4).hex()}", self.account, mode, scope, now, issuer=issuer, **facts))

    def expect(self, mode: RotationMode | None, scope: Scope | None) -> Operation | None:
        """Return the open rotation if it is the one that is meant, or None where none is open.

        Raises:
            ConflictError: another one is open.
        """
        found = self.current()
        if found is None or (mode in (None, found.mode) and scope in (None, found.scope)):
            return found
        raise ConflictError(
            f"another rotation of account {self.account} is open: {found.id} ({found.mode}, {found.scope}), at"
            f" '{found.step}'",
            hint="'fortctl keys rotate --resume' goes on with it, '--abort' ends it",
            details={"operation": found.as_json()},
        )


def _read(row: OperationRow | None) -> Operation | None:
    return _told_by(row) if row is not None else None


def _told_by(row: OperationRow) -> Operation:
    return from_text(row.id, row.account, row.state, row.body, row.started_at, row.updated_at)


def refuse_open(operation: Operation | None, role: Role | None = None) -> None:
    """Raise ``ConflictError`` where a rotation is open: of a role, or of any role."""
    if operation is None or (role is not None and role not in operation.scope.roles):
        return
    whose = f"the {role} key" if role is not None else f"account {operation.account}"
    raise ConflictError(
        f"a rotation of {whose} is open: {operation.id} ({operation.mode}, {operation.scope}), at '{operation.step}'",
        hint="'fortctl keys rotate --resume' goes on with it, '--abort' ends it; 'panic-disconnect' cuts it off",
        details={"operation": operation.as_json()},
    )


def destroyed(operation: Operation, role: Role, now: int) -> Operation:
    """Return a rotation ended because a role's keys are destroyed here; it says which may live at the exchange."""
    facts = operation.facts
    names = facts.get("issue", {}).get(role.value, {}).get("names", ())
    dead = role.value in facts.get("dead", {}) or role.value not in facts.get("old", {})
    todo = actions.to_delete(operation, [] if dead else [role])
    todo += [one for one in actions.unused_keys(operation) if one["role"] == role.value]
    todo += [actions.to_delete_named(operation, name) for name in names]
    left = f"the {role} keys were destroyed here; at the exchange the old one and the new one may live"
    return operation.aborted(now, "key_destroyed", left=left, actions=todo)


def no_operation(account: str) -> NotFoundError:
    """Return the error where none is open."""
    return NotFoundError(
        f"no rotation of account {account} is open", hint="'fortctl keys rotate --role site|robot|both' begins one"
    )


def status_of(operation: Operation, owner: OperationOwner | None, now: int) -> dict[str, Any]:
    """Return the contract's ``operation{…}`` with who works on it and what a person must do."""
    data: dict[str, Any] = {"operation": operation.as_json(), "actions": []}
    data["operation"]["owner"] = (
        {"pid": owner.pid, "host": owner.host, "age_s": (now - owner.acquired_at) // 1000} if owner else None
    )
    if operation.state == OPEN:
        data["actions"] = actions.waited_for(operation)
    if operation.state == ABORTED:
        data["left"], data["actions"] = operation.facts.get("left"), operation.facts.get("actions", [])
    return data
