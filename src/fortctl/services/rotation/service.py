"""Rotate the keys of an account: journaled steps that resume wherever the process was killed (docs/rotation.md).

The steps are in :mod:`.plan`, what each does in :mod:`.steps` and :mod:`.key_steps`, and the store in :mod:`.journal`.
This module has the calls that run and abort a rotation, and decides how each ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from fortctl.errors import ActionRequiredError, ConflictError, FortctlError
from fortctl.model import KeyPair, Role
from fortctl.ports import AuditLog, Clock, HooksPort
from fortctl.services.robot.status import RobotReport
from fortctl.services.rotation.abort import RotationAbort
from fortctl.services.rotation.context import AT_WORK, DrainTimeoutError, RotationDeps, open_issuer
from fortctl.services.rotation.facts import OperatorAction
from fortctl.services.rotation.hooks import fire_post_rotate, fire_pre_rotate, must_announce
from fortctl.services.rotation.journal import RotationJournal
from fortctl.services.rotation.key_steps import refuse_late_keys
from fortctl.services.rotation.operator_actions import delete_named_action
from fortctl.services.rotation.plan import (
    ABORTED,
    FINISHED,
    Operation,
    RotationMode,
)
from fortctl.services.rotation.steps import Steps

Warnings = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class IdleRobot:
    """A robot that does not trade although it did before the rotation, or that waits for a person.

    Attributes:
        before: the state that it was in before the rotation.
        state: the state that it is in now.
        reason: why, or None if the robot gives no reason.
    """

    before: str
    state: str
    reason: str | None

    @property
    def warning(self) -> tuple[str, str]:
        """The warning, as ``(code, message)``."""
        why = self.reason or "no reason given"
        text = f"the robot was {self.before} before, and is {self.state} now ({why}): see 'fortctl robot status'"
        return ("ROBOT_STANDS_STILL", text)

    def add_to(self, error: FortctlError) -> None:
        """Add to an error that the robot does not trade, and what makes it trade again."""
        doing = "begins no new cycle" if self.state == "draining" else "stands still"
        error.message += f"; the robot {doing}: it was {self.before} before, and is {self.state} now"
        error.hint += "; 'fortctl keys rotate --resume' continues the rotation, '--abort' has the robot trade as before"
        error.hint += " where it still has a key that works"
        error.details["robot"] = {"was": self.before, "state": self.state, "reason": self.reason}


@dataclass(frozen=True)
class RotationResult:
    """How far a rotation came.

    Attributes:
        changed: something was done.
        left: what an abort left, as text.
        actions: what a person must still do.
    """

    operation: Operation
    changed: bool = True
    warnings: Warnings = ()
    left: str = ""
    actions: tuple[OperatorAction, ...] = ()

    def as_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"operation": self.operation.as_json()}
        if self.operation.state == ABORTED:
            data |= {"left": self.left, "actions": [action.to_json() for action in self.actions]}
        return data


class RotationService:
    """Drives one account's rotation.

    Args:
        journal: where it is written down; this process holds its lock.
        deps: what the steps use.
        hooks: run before and after.
        audit, clock: as named.
    """

    def __init__(
        self, journal: RotationJournal, deps: RotationDeps, hooks: HooksPort, audit: AuditLog, clock: Clock
    ) -> None:
        self._journal = journal
        self._deps = deps
        self._hooks = hooks
        self._audit = audit
        self._clock = clock
        self._warnings: Warnings = ()

    async def run(
        self, operation: Operation, given: Mapping[Role, KeyPair], *, until: str | None = None
    ) -> RotationResult:
        """Continue a rotation from the step that it has reached.

        Args:
            given: keys that were entered already.
            until: the step at which the rotation stops for a person (``--begin``), even at a terminal.

        Raises:
            ActionRequiredError: a person must act first; ``details.actions`` says what. The rotation stays open.
            ConflictError: another new key is already in use in the place of the entered one.
            FortctlError: a step failed; the rotation stays open, unless nothing had been changed yet.
        """
        refuse_late_keys(operation, given, self._deps.vault.fingerprint)
        if must_announce(operation):
            operation = self._journal.put(
                operation.noted(self._clock.now_ms(), replace(operation.facts, announced=True))
            )
            self._warnings += fire_pre_rotate(self._hooks, operation)
        steps = Steps(self._deps, self._journal, operation, dict(given), until)
        try:
            while steps.operation.step != FINISHED:
                await steps.next()
        except DrainTimeoutError as unfinished:
            await self._drain_timed_out(steps.operation, unfinished)
        except ActionRequiredError as error:
            error.data = {"operation": steps.operation.as_json()}
            # A drain stops the robot until the person is done: the error mentions it, and needs no warning.
            idle = self._mention_idle_robot(error, steps.operation)
            warn = idle if steps.operation.mode is not RotationMode.DRAIN else None
            error.warnings = (*self._warnings, *steps.warnings, *_warnings_of(warn), *error.warnings)
            raise
        except FortctlError as error:
            if self._deps.client.latched:
                await self._delete_issued_keys(steps.operation, error)
                # The panic has usually closed it; where it could not, nothing else would.
                with contextlib.suppress(ConflictError):
                    self._close(steps.operation.aborted(self._clock.now_ms(), "panic"))
            self._close_if_unchanged(steps, error)
            raise
        done = self._close(steps.operation.finished(self._clock.now_ms()), "done")
        idle = self._idle_robot(done) or self._held_after_loss(done)
        return RotationResult(done, True, (*self._warnings, *steps.warnings, *_warnings_of(idle)))

    def _idle_robot(self, operation: Operation) -> IdleRobot | None:
        """Return the robot if it traded before and does not now; else None."""
        before = operation.facts.robot_was
        if before is None or before not in AT_WORK:
            return None
        try:
            status = self._deps.status_reader.status()
        except FortctlError as error:
            status = RobotReport("unreachable", error.message)
        if status.state in (*AT_WORK, "latched"):
            return None
        return IdleRobot(before, status.state, status.reason)

    def _held_after_loss(self, operation: Operation) -> IdleRobot | None:
        """Return the robot if it has a key again and waits for a person all the same; else None."""
        before = operation.facts.robot_was
        if before is None or before == "held":
            return None
        # Whether it trades is known once its book agrees with the exchange.
        status = self._deps.robot.await_reconciled()
        return IdleRobot(before, "held", status.reason) if status.state == "held" else None

    async def _delete_issued_keys(self, operation: Operation, error: FortctlError) -> None:
        """After a panic: delete what the issuer made for this rotation, since the panic may have listed too early."""
        names = {name: role for role in operation.facts.issue for name in operation.facts.issued_names(role)}
        if not names or operation.is_done("create"):
            # The panic knows this key, and may still cancel orders with it.
            return
        try:
            async with open_issuer(self._deps, operation) as issuer:
                deleted = await self._deps.proofs.delete_named(issuer, names)
        except FortctlError as problem:
            todo = [delete_named_action(operation, role, name) for name, role in names.items()]
            error.details["actions"] = [action.to_json() for action in todo]
            error.hint = f"{'; '.join(action.text for action in todo)} (the issuer could not: {problem.message})"
            return
        if deleted:
            error.details["deleted"] = list(deleted)
            error.hint = f"the key that was made for it was deleted: {', '.join(deleted)}. {error.hint}"

    def _close_if_unchanged(self, steps: Steps, error: FortctlError) -> None:
        """Close a rotation that failed before it changed anything; leave every other one open to be resumed."""
        operation = steps.operation
        if operation.step == "check":
            # Where a panic has closed it meanwhile, it stays as the panic left it.
            with contextlib.suppress(ConflictError):
                operation = self._close(operation.aborted(self._clock.now_ms(), error.code.lower()), "refused")
        error.data = {**(error.data or {}), "operation": operation.as_json()}
        idle = self._mention_idle_robot(error, operation)
        error.warnings = (*self._warnings, *steps.warnings, *_warnings_of(idle), *error.warnings)

    def _mention_idle_robot(self, error: FortctlError, operation: Operation) -> IdleRobot | None:
        """Add to an error that the robot does not trade any more, if so; return that robot, or None."""
        idle = self._idle_robot(operation)
        if idle is not None:
            idle.add_to(error)
        return idle

    async def _drain_timed_out(self, operation: Operation, unfinished: DrainTimeoutError) -> NoReturn:
        ended = await self.abort(operation, "drain_timed_out")
        raise ConflictError(
            f"the drain did not finish in time ({unfinished.cycles_open} cycles open): the rotation was aborted,"
            f" {ended.left}",
            hint="give --timeout more seconds, or --on-timeout wait|keep|cancel",
            details={"reason": "drain_timed_out", "cycles_open": unfinished.cycles_open},
            data=ended.as_json(),
            warnings=ended.warnings,
        )

    async def abort(self, operation: Operation, reason: str = "aborted") -> RotationResult:
        """End a rotation at the step that it has reached; report exactly what that leaves.

        Raises:
            ConflictError: the old key is deleted and no new one is in use: the account would be left without a key.
        """
        left = await RotationAbort(self._deps, operation).run()
        facts = replace(operation.facts, left=left.text, actions=left.actions)
        closed = self._close(operation.aborted(self._clock.now_ms(), reason, facts), "aborted")
        return RotationResult(closed, True, self._warnings, left.text, left.actions)

    def _close(self, operation: Operation, result: str | None = None) -> Operation:
        """Make its end durable, audit it and run ``post-rotate``. Raises ``ConflictError``: it was closed before."""
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
        self._warnings += fire_post_rotate(self._hooks, closed)
        return closed


def _warnings_of(idle: IdleRobot | None) -> Warnings:
    return (idle.warning,) if idle is not None else ()
