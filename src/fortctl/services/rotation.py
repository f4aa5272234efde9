"""Rotate the keys of an account: a journaled sequence that goes on from wherever it was killed (robot.md, "Rotation").

The steps are in :mod:`rotation_plan`, what each does in :mod:`rotation_steps`. Here: who may begin, who goes on, how it
ends.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from fortctl.errors import ActionRequired, Conflict, FortctlError, NotFound
from fortctl.model import KeyPair, Role
from fortctl.ports import AuditLog, Clock, Hooks, OperationOwner, OperationRow, OperationStore
from fortctl.services import rotation_actions as actions
from fortctl.services.rotation_hooks import ANNOUNCED, tell_begun, tell_ended, to_be_announced
from fortctl.services.rotation_keys import refuse_late
from fortctl.services.rotation_plan import (
    ABORTED,
    FINISHED,
    OPEN,
    Mode,
    Operation,
    Scope,
    begin,
    from_text,
    issued_names,
    to_text,
)
from fortctl.services.rotation_steps import Steps
from fortctl.services.rotation_tools import AT_WORK, Drained, StepTools, opened_issuer
from fortctl.services.rotation_undo import Undo

KIND = "rotation"
# Those who hold the same lock while they write a key, and work on no rotation.
WRITERS = ("keys add", "keys change", "keys delete", "keys generate", "issuer set")
Warnings = tuple[tuple[str, str], ...]
# What a robot was at, and in which state it is instead, and why.
Standing = Mapping[str, str | None]


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
        """Take the lock; return the dead owner that it was taken from, or None. Raises ``Conflict``."""
        return self._store.take(self.account, self._me, self._alive)

    def seize(self) -> None:
        """Take the lock from whoever has it: what it works on is ended, and it hears of that at its next step."""
        self._store.take(self.account, self._me, lambda _owner: False)

    def release(self) -> None:
        self._store.release(self.account, self._me)

    def beat(self) -> None:
        """Say that this process lives. Raises ``Conflict`` when a panic or another command has taken over."""
        self._store.beat(self.account, self._me, self._clock.now_ms())

    def put(self, operation: Operation) -> Operation:
        """Make where it stands durable; return it. Raises ``Conflict`` when it was closed meanwhile."""
        row = OperationRow(
            *(operation.id, operation.account, KIND, operation.state, to_text(operation)),
            *(operation.started_at, operation.updated_at),
        )
        self._store.put(row, self._me)
        return operation

    def begin(self, mode: Mode, scope: Scope, issuer: str, **facts: Any) -> Operation:
        """Begin a rotation. Raises ``Conflict`` when one is open."""
        now = self._clock.now_ms()
        return self.put(begin(f"r{os.urandom(4).hex()}", self.account, mode, scope, now, issuer=issuer, **facts))

    def expect(self, mode: Mode | None, scope: Scope | None) -> Operation | None:
        """Return the open rotation if it is the one that is meant, or None where none is open.

        Raises:
            Conflict: another one is open.
        """
        found = self.current()
        if found is None or (mode in (None, found.mode) and scope in (None, found.scope)):
            return found
        raise Conflict(
            f"another rotation of account {self.account} is open: {found.id} ({found.mode}, {found.scope}), at"
            f" '{found.step}'",
            hint="'fortctl keys rotate --resume' goes on with it, '--abort' ends it",
            details={"operation": found.as_json()},
        )


def _read(row: OperationRow | None) -> Operation | None:
    return _told_by(row) if row is not None else None


def _told_by(row: OperationRow) -> Operation:
    return from_text(row.id, row.account, row.state, row.body, row.started_at, row.updated_at)


@dataclass
class Ended:
    """How far a rotation came.

    Attributes:
        changed: something was done.
        left: what an abort leaves, in words.
        actions: what a person must still do.
    """

    operation: Operation
    changed: bool = True
    warnings: Warnings = ()
    left: str = ""
    actions: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"operation": self.operation.as_json()}
        if self.operation.state == ABORTED:
            data |= {"left": self.left, "actions": self.actions}
        return data


class RotationService:
    """Drives one account's rotation.

    Args:
        journal: where it is written down; this process holds its lock.
        tools: what the steps use.
        hooks: run before and after.
        audit, clock: as named.
    """

    def __init__(self, journal: RotationJournal, tools: StepTools, hooks: Hooks, audit: AuditLog, clock: Clock) -> None:
        self._journal = journal
        self._tools = tools
        self._hooks = hooks
        self._audit = audit
        self._clock = clock
        self._warnings: Warnings = ()

    async def run(self, operation: Operation, given: Mapping[Role, KeyPair], *, until: str | None = None) -> Ended:
        """Go on from where it stands.

        Args:
            given: keys that were entered already.
            until: the step at which a person takes over (``--begin``), whatever could be asked here.

        Raises:
            ActionRequired: a person must act first; ``details.actions`` says what. It stays open.
            Conflict: a key was entered whose place another new one has taken.
            FortctlError: a step failed; it stays open, unless nothing had been changed yet.
        """
        refuse_late(operation, given, self._tools.custody.fingerprint)
        if to_be_announced(operation):
            operation = self._journal.put(operation.noted(self._clock.now_ms(), **{ANNOUNCED: True}))
            self._warnings += tell_begun(self._hooks, operation)
        steps = Steps(self._tools, self._journal, operation, dict(given), until)
        try:
            while steps.operation.step != FINISHED:
                await steps.next()
        except Drained as unfinished:
            await self._drain_timed_out(steps.operation, unfinished)
        except ActionRequired as error:
            error.data = {"operation": steps.operation.as_json()}
            still = self._standing(steps.operation)
            # A drain has the robot stand still until the person is done: that is told, and is no warning.
            unasked = still if steps.operation.mode is not Mode.DRAIN else None
            error.warnings = (*self._warnings, *steps.warnings, *_warned(unasked), *error.warnings)
            _tell_standing(error, still)
            raise
        except FortctlError as error:
            if self._tools.control.latched:
                await self._take_back(steps.operation, error)
                # Unless the panic has done it: where it could not, nothing else would.
                with contextlib.suppress(Conflict):
                    self._close(steps.operation.aborted(self._clock.now_ms(), "panic"))
            self._failed(steps, error)
            raise
        done = self._close(steps.operation.finished(self._clock.now_ms()), "done")
        still = self._standing(done) or self._held_after_loss(done)
        return Ended(done, True, (*self._warnings, *steps.warnings, *_warned(still)))

    def _standing(self, operation: Operation) -> Standing | None:
        """Tell of a robot that was at work before and does not trade any more; None where there is none."""
        if operation.facts.get("was") not in AT_WORK:
            return None
        try:
            status = self._tools.watch.status()
        except FortctlError as error:
            status = {"state": "unreachable", "reason": error.message}
        if status["state"] in (*AT_WORK, "latched"):
            return None
        return {"was": operation.facts["was"], "state": status["state"], "reason": status.get("reason")}

    def _held_after_loss(self, operation: Operation) -> Standing | None:
        """Tell of a robot that has its key again, and waits for a person all the same."""
        was = operation.facts.get("was")
        if was is None or was == "held":
            return None
        # Whether it goes on is known once its books agree.
        status = self._tools.robot.settled()
        return {"was": was, "state": "held", "reason": status.get("reason")} if status["state"] == "held" else None

    async def _take_back(self, operation: Operation, error: FortctlError) -> None:
        """After a panic: delete what the issuer made for this rotation, for the panic may have looked too early."""
        names = issued_names(operation)
        if not names or operation.is_done("create"):
            # The panic knows of it, and may still cancel orders with it.
            return
        try:
            async with opened_issuer(self._tools, operation) as issuer:
                gone = await self._tools.proofs.delete_named(issuer, names)
        except FortctlError as problem:
            todo = [actions.to_delete_named(operation, name) for name in names]
            error.details["actions"] = todo
            error.hint = f"{'; '.join(one['text'] for one in todo)} (the issuer could not: {problem.message})"
            return
        if gone:
            error.details["deleted"] = list(gone)
            error.hint = f"the key that was made for it was deleted: {', '.join(gone)}. {error.hint}"

    def _failed(self, steps: Steps, error: FortctlError) -> None:
        """Leave it open to be gone on with, but close one that failed before it changed anything."""
        operation = steps.operation
        if operation.step == "check":
            # Where a panic has closed it meanwhile, it stays as the panic left it.
            with contextlib.suppress(Conflict):
                operation = self._close(operation.aborted(self._clock.now_ms(), error.code.lower()), "refused")
        error.data = {**(error.data or {}), "operation": operation.as_json()}
        still = self._standing(operation)
        error.warnings = (*self._warnings, *steps.warnings, *_warned(still), *error.warnings)
        _tell_standing(error, still)

    async def _drain_timed_out(self, operation: Operation, unfinished: Drained) -> NoReturn:
        ended = await self.abort(operation, "drain_timed_out")
        raise Conflict(
            f"the drain did not finish in time ({unfinished.cycles_open} cycles open): the rotation was aborted,"
            f" {ended.left}",
            hint="give --timeout more seconds, or --on-timeout wait|keep|cancel",
            details={"reason": "drain_timed_out", "cycles_open": unfinished.cycles_open},
            data=ended.as_json(),
            warnings=ended.warnings,
        )

    async def abort(self, operation: Operation, reason: str = "aborted") -> Ended:
        """End it where it stands; say exactly what that leaves.

        Raises:
            Conflict: the old key is dead and no new one is in use: aborting would leave the account without a key.
        """
        left = await Undo(self._tools, operation).run()
        closed = self._close(
            operation.aborted(self._clock.now_ms(), reason, left=left.text, actions=left.actions), "aborted"
        )
        return Ended(closed, True, self._warnings, left.text, left.actions)

    def _close(self, operation: Operation, result: str | None = None) -> Operation:
        """Make its end durable, and tell of it. Raises ``Conflict`` where somebody else has closed it."""
        closed = self._journal.put(operation)
        if result is not None:
            self._audit.append(
                "rotation",
                account=closed.account,
                result=result,
                operation=closed.id,
                mode=closed.mode.value,
                role=closed.scope.value,
            )
        self._warnings += tell_ended(self._hooks, closed)
        return closed


def _warned(still: Standing | None) -> Warnings:
    if still is None:
        return ()
    why = still["reason"] or "no reason given"
    text = f"the robot was {still['was']} before, and is {still['state']} now ({why}): see 'fortctl robot status'"
    return (("ROBOT_STANDS_STILL", text),)


def _tell_standing(error: FortctlError, still: Standing | None) -> None:
    """Have an error say that the robot does not trade, and what makes it trade again."""
    if still is None:
        return
    what = "begins no new cycle" if still["state"] == "draining" else "stands still"
    error.message += f"; the robot {what}: it was {still['was']} before, and is {still['state']} now"
    error.hint += "; 'fortctl keys rotate --resume' goes on with the rotation, '--abort' has the robot trade as before"
    error.hint += " where it still has a key that works"
    error.details["robot"] = dict(still)


def refuse_open(operation: Operation | None, role: Role | None = None) -> None:
    """Raise ``Conflict`` where a rotation is open: of a role, or of any role."""
    if operation is None or (role is not None and role not in operation.scope.roles):
        return
    whose = f"the {role} key" if role is not None else f"account {operation.account}"
    raise Conflict(
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
    todo += [one for one in actions.handed_over(operation) if one["role"] == role.value]
    todo += [actions.to_delete_named(operation, name) for name in names]
    left = f"the {role} keys were destroyed here; at the exchange the old one and the new one may live"
    return operation.aborted(now, "key_destroyed", left=left, actions=todo)


def no_operation(account: str) -> NotFound:
    """Return the error where none is open."""
    return NotFound(
        f"no rotation of account {account} is open", hint="'fortctl keys rotate --role site|robot|both' begins one"
    )


def status_of(operation: Operation, owner: OperationOwner | None, now: int) -> dict[str, Any]:
    """Return the contract's ``operation{…}`` with who works on it and what a person must do."""
    data: dict[str, Any] = {"operation": operation.as_json(), "actions": []}
    data["operation"]["owner"] = (
        {"pid": owner.pid, "host": owner.host, "age_s": (now - owner.taken_at) // 1000} if owner else None
    )
    if operation.state == OPEN:
        data["actions"] = actions.waited_for(operation)
    if operation.state == ABORTED:
        data["left"], data["actions"] = operation.facts.get("left"), operation.facts.get("actions", [])
    return data
