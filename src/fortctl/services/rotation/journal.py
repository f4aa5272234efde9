"""The journal of an account's rotations, and the lock of the process that works on one."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fortctl.errors import ConflictError, NotFoundError
from fortctl.model import Role
from fortctl.ports import Clock, OperationOwner, OperationRow, OperationStore
from fortctl.services.rotation.facts import OperatorAction, RotationFacts
from fortctl.services.rotation.operator_actions import (
    delete_named_action,
    delete_new_action,
    delete_old_actions,
    pending_actions,
    unused_keys,
)
from fortctl.services.rotation.plan import (
    ABORTED,
    OPEN,
    Operation,
    RotationMode,
    Scope,
    begin,
    from_row,
    to_row,
)

# Commands that hold the same lock while they write a key; none of them is a rotation.
WRITERS = ("keys add", "keys change", "keys delete", "keys generate", "issuer set")


class RotationJournal:
    """One account's rotations in the store, and their lock. No vault is needed.

    Args:
        account: the account.
        store: the operation store.
        me: this process.
        alive: returns whether another owner's process still lives.
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
        return _from_row(self._store.current(self.account))

    def last(self) -> Operation | None:
        """Return the rotation that was begun last, or None."""
        return _from_row(self._store.last(self.account))

    def issued_addresses(self, role: Role, fingerprint: str) -> tuple[str, ...] | None:
        """Return the IP list that the issuer made a key with, or None if no rotation of this account had it made."""
        for row in self._store.all(self.account):
            facts = from_row(row).facts
            if role in facts.issue and facts.new.get(role) == fingerprint:
                return facts.issue[role].addresses
        return None

    def owner(self) -> OperationOwner | None:
        """Return the living process that works on the rotation, or None."""
        owner = self._store.owner(self.account)
        return owner if owner is not None and owner.what not in WRITERS and self._alive(owner) else None

    def acquire(self) -> OperationOwner | None:
        """Acquire the lock; return the dead owner that held it before, or None.

        Raises:
            ConflictError: another living process holds it.
        """
        return self._store.acquire(self.account, self._me, self._alive)

    def force_acquire(self) -> None:
        """Take the lock over from its owner, whose next write raises ``ConflictError``."""
        self._store.acquire(self.account, self._me, lambda _owner: False)

    def release(self) -> None:
        self._store.release(self.account, self._me)

    def renew(self) -> None:
        """Renew this process's lease. Raises ``ConflictError`` if a panic or another command took over."""
        self._store.renew(self.account, self._me, self._clock.now_ms())

    def put(self, operation: Operation) -> Operation:
        """Make the rotation's progress durable; return it. Raises ``ConflictError`` if it was closed meanwhile."""
        self._store.put(to_row(operation), self._me)
        return operation

    def begin(
        self,
        mode: RotationMode,
        scope: Scope,
        issuer: str,
        addresses: Sequence[str] | None = None,
        allow: Collection[str] = (),
    ) -> Operation:
        """Begin a rotation.

        Args:
            issuer: who makes the keys.
            addresses: the IP list that the issuer's new keys get; None: the old keys' lists.
            allow: what the operator accepts for the new keys (``--allow``).

        Raises:
            ConflictError: one is open already.
        """
        ip_list = tuple(addresses) if addresses is not None else None
        facts = RotationFacts(issuer=issuer, addresses=ip_list, allow=tuple(sorted(set(allow))))
        operation_id = f"r{os.urandom(4).hex()}"
        return self.put(begin(operation_id, self.account, mode, scope, self._clock.now_ms(), facts))

    def accept(self, operation: Operation, allow: Collection[str]) -> Operation:
        """Journal what the operator accepts for the new keys of an open rotation, besides what was accepted before.

        Raises:
            ConflictError: it was closed meanwhile.
        """
        known = operation.facts.allow
        if set(allow) <= set(known):
            return operation
        facts = replace(operation.facts, allow=tuple(sorted({*known, *allow})))
        return self.put(operation.noted(self._clock.now_ms(), facts))

    def require(self, mode: RotationMode | None, scope: Scope | None) -> Operation | None:
        """Return the open rotation, or None if none is open.

        Args:
            mode, scope: what the caller asks for; None: any.

        Raises:
            ConflictError: the open rotation is of another mode or scope.
        """
        current = self.current()
        if current is None or (mode in (None, current.mode) and scope in (None, current.scope)):
            return current
        raise ConflictError(
            f"another rotation of account {self.account} is open: {current.id} ({current.mode}, {current.scope}), at"
            f" '{current.step}'",
            hint="'fortctl keys rotate --resume' continues it, '--abort' ends it",
            details={"operation": current.as_json()},
        )


def _from_row(row: OperationRow | None) -> Operation | None:
    return from_row(row) if row is not None else None


def require_none_open(operation: Operation | None, role: Role | None = None) -> None:
    """Raise ``ConflictError`` if the rotation is open and of this role (None: of any)."""
    if operation is None or (role is not None and role not in operation.scope.roles):
        return
    whose = f"the {role} key" if role is not None else f"account {operation.account}"
    raise ConflictError(
        f"a rotation of {whose} is open: {operation.id} ({operation.mode}, {operation.scope}), at '{operation.step}'",
        hint="'fortctl keys rotate --resume' continues it, '--abort' ends it; 'panic-disconnect' cuts it off",
        details={"operation": operation.as_json()},
    )


def aborted_by_deletion(operation: Operation, role: Role, now: int) -> Operation:
    """Return a rotation, aborted because fortctl destroyed a role's keys; its actions name the keys left at Binance."""
    facts = operation.facts
    todo = delete_old_actions(operation, [role] if role in facts.old and role not in facts.deleted else [])
    todo += [delete_new_action(operation, role, key) for key in unused_keys(operation).get(role, ())]
    todo += [delete_named_action(operation, role, name) for name in facts.issued_names(role)]
    left = f"the {role} keys were destroyed here; the old one and the new one may still exist at the exchange"
    return operation.aborted(now, "key_destroyed", replace(facts, left=left, actions=tuple(todo)))


def no_operation(account: str) -> NotFoundError:
    """Return the error of a command that needs an open rotation."""
    return NotFoundError(
        f"no rotation of account {account} is open", hint="'fortctl keys rotate --role site|robot|both' begins one"
    )


@dataclass(frozen=True)
class RotationStatus:
    """Where a rotation stands.

    Attributes:
        owner: the process that works on it, or None.
        owner_age_s: for how long that process has worked on it (s).
        actions: what a person must do.
    """

    operation: Operation
    owner: OperationOwner | None
    owner_age_s: int
    actions: tuple[OperatorAction, ...]

    @classmethod
    def of(cls, operation: Operation, owner: OperationOwner | None, now: int) -> RotationStatus:
        """Return the status of *operation* at *now* (ms)."""
        actions: tuple[OperatorAction, ...] = ()
        if operation.state == OPEN:
            actions = tuple(pending_actions(operation))
        elif operation.state == ABORTED:
            actions = operation.facts.actions
        return cls(operation, owner, (now - owner.acquired_at) // 1000 if owner is not None else 0, actions)

    def as_json(self) -> dict[str, Any]:
        """Return ``operation{…}`` with its owner, ``actions[]`` and what an abort left, as JSON."""
        owner = self.owner
        working = {"pid": owner.pid, "host": owner.host, "age_s": self.owner_age_s} if owner is not None else None
        data: dict[str, Any] = {
            "operation": {**self.operation.as_json(), "owner": working},
            "actions": [action.to_json() for action in self.actions],
        }
        if self.operation.state == ABORTED:
            data["left"] = self.operation.facts.left
        return data
