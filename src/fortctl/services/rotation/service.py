"""Rotate the keys of an account: a journaled sequence that resumes wherever it was killed (docs/rotation.md).

The steps are in :mod:`.plan`, what each does in :mod:`.steps` and :mod:`.key_steps`, and the store in :mod:`.journal`.
Here: the calls that begin, resume and abort a rotation, and how each ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from fortctl.errors import ActionRequiredError, ConflictError, FortctlError
from fortctl.model import KeyPair, Role
from fortctl.ports import AuditLog, Clock, HooksPort
from fortctl.services.rotation import operator_actions as actions
from fortctl.services.rotation.abort import RotationAbort
from fortctl.services.rotation.context import AT_WORK, DrainTimeoutError, RotationDeps, open_issuer
from fortctl.services.rotation.hooks import fire_post_rotate, fire_pre_rotate, must_announce
from fortctl.services.rotation.journal import RotationJournal
from fortctl.services.rotation.key_steps import refuse_late_keys
from fortctl.services.rotation.plan import (
    ABORTED,
    FINISHED,
    Operation,
    RotationMode,
)
from fortctl.services.rotation.steps import Steps

Warnings = tuple[tuple[str, str], ...]
# What a robot was at, and in which state it is instead, and why.
Standing = Mapping[str, str | None]


@dataclass
class RotationResult:
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
        """Go on from where it stands.

        Args:
            given: keys that were entered already.
            until: the step at which a person takes over (``--begin``), whatever could be asked here.

        Raises:
            ActionRequiredError: a person must act first; ``details.actions`` says what. It stays open.
            ConflictError: a key was entered whose place another new one has taken.
            FortctlError: a step failed; it stays open, unless nothing had been changed yet.
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
            still = self._standing(steps.operation)
            # A drain has the robot stand still until the person is done: that is told, and is no warning.
            unasked = still if steps.operation.mode is not RotationMode.DRAIN else None
            error.warnings = (*self._warnings, *steps.warnings, *_warned(unasked), *error.warnings)
            _tell_standing(error, still)
            raise
        except FortctlError as error:
            if self._deps.client.latched:
                await self._take_back(steps.operation, error)
                # Unless the panic has done it: where it could not, nothing else would.
                with contextlib.suppress(ConflictError):
                    self._close(steps.operation.aborted(self._clock.now_ms(), "panic"))
            self._failed(steps, error)
            raise
        done = self._close(steps.operation.finished(self._clock.now_ms()), "done")
        still = self._standing(done) or self._held_after_loss(done)
        return RotationResult(done, True, (*self._warnings, *steps.warnings, *_warned(still)))

    def _standing(self, operation: Operation) -> Standing | None:
        """Tell of a robot that was at work before and does not trade any more; None where there is none."""
        if operation.facts.robot_was not in AT_WORK:
            return None
        try:
            status = self._deps.status_reader.status()
        except FortctlError as error:
            status = {"state": "unreachable", "reason": error.message}
        if status["state"] in (*AT_WORK, "latched"):
            return None
        return {"was": operation.facts.robot_was, "state": status["state"], "reason": status.get("reason")}

    def _held_after_loss(self, operation: Operation) -> Standing | None:
        """Tell of a robot that has its key again, and waits for a person all the same."""
        was = operation.facts.robot_was
        if was is None or was == "held":
            return None
        # Whether it goes on is known once its books agree.
        status = self._deps.robot.settled()
        return {"was": was, "state": "held", "reason": status.get("reason")} if status["state"] == "held" else None

    async def _take_back(self, operation: Operation, error: FortctlError) -> None:
        """After a panic: delete what the issuer made for this rotation, for the panic may have looked too early."""
        names = {name: role for role in operation.facts.issue for name in operation.facts.issued_names(role)}
        if not names or operation.is_done("create"):
            # The panic knows of it, and may still cancel orders with it.
            return
        try:
            async with open_issuer(self._deps, operation) as issuer:
                gone = await self._deps.proofs.delete_named(issuer, names)
        except FortctlError as problem:
            todo = [actions.to_delete_named(operation, role, name) for name, role in names.items()]
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
            with contextlib.suppress(ConflictError):
                operation = self._close(operation.aborted(self._clock.now_ms(), error.code.lower()), "refused")
        error.data = {**(error.data or {}), "operation": operation.as_json()}
        still = self._standing(operation)
        error.warnings = (*self._warnings, *steps.warnings, *_warned(still), *error.warnings)
        _tell_standing(error, still)

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
        """End it where it stands; say exactly what that leaves.

        Raises:
            ConflictError: the old key is dead and no new one is in use: aborting would leave the account without a key.
        """
        left = await RotationAbort(self._deps, operation).run()
        facts = replace(operation.facts, left=left.text, actions=tuple(left.actions))
        closed = self._close(operation.aborted(self._clock.now_ms(), reason, facts), "aborted")
        return RotationResult(closed, True, self._warnings, left.text, left.actions)

    def _close(self, operation: Operation, result: str | None = None) -> Operation:
        """Make its end durable, and tell of it. Raises ``ConflictError`` where somebody else has closed it."""
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
