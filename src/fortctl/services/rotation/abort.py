"""Abort a rotation: decide what to undo (pure), undo it, describe what is left."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fortctl.errors import ConflictError, FortctlError, RobotTimeoutError
from fortctl.model import Role
from fortctl.services.keys.issuer import SUB_ACCOUNT
from fortctl.services.robot.client import VALID_FOR_S
from fortctl.services.rotation.context import AT_WORK, SETTLES_WITHIN_S, RotationDeps, open_issuer, start_again
from fortctl.services.rotation.facts import OperatorAction
from fortctl.services.rotation.operator_actions import (
    delete_named_action,
    delete_new_action,
    delete_old_actions,
    unused_keys,
)
from fortctl.services.rotation.plan import Operation, RotationMode
from fortctl.timestamps import rfc3339

# How late the robot's clock may be (s).
LATE_S = 60.0


@dataclass(frozen=True)
class AbortReport:
    """What an abort leaves.

    Attributes:
        text: the sentence that a person reads.
        actions: what a person must still do.
    """

    text: str
    actions: tuple[OperatorAction, ...]


@dataclass(frozen=True)
class AbortPlan:
    """What an abort undoes.

    Attributes:
        placed: roles whose new key is in use: it stays.
        kept: roles that keep the key they have.
        issued: keys of these names the issuer made for roles in ``kept``, by name: they are deleted.
        restart: the robot traded before, so it trades again.
        end_drain: the robot was stopped before and drains now, so it stops.
    """

    placed: tuple[Role, ...]
    kept: tuple[Role, ...]
    issued: Mapping[str, Role]
    restart: bool
    end_drain: bool


def plan_abort(operation: Operation, in_use: Mapping[Role, str | None]) -> AbortPlan:
    """Decide what an abort undoes. Pure.

    Args:
        operation: the rotation.
        in_use: fingerprints of the keys in use.
    """
    facts, roles = operation.facts, operation.scope.roles
    placed = tuple(role for role in roles if facts.new.get(role) and in_use.get(role) == facts.new[role])
    kept = tuple(role for role in roles if role not in placed)
    by_issuer = facts.issuer == SUB_ACCOUNT
    return AbortPlan(
        placed=placed,
        kept=kept,
        issued={name: role for role in kept for name in facts.issued_names(role)} if by_issuer else {},
        restart=Role.ROBOT in roles and facts.robot_was in AT_WORK,
        end_drain=Role.ROBOT in roles and facts.robot_was == "stopped",
    )


class RotationAbort:
    """Aborts one rotation.

    Args:
        deps: what the steps use.
        operation: the rotation.
    """

    def __init__(self, deps: RotationDeps, operation: Operation) -> None:
        self._deps = deps
        self._operation = operation
        self._roles = operation.scope.roles

    async def run(self) -> AbortReport:
        """Leave the account with keys that work and the robot as before; report exactly what is left.

        Raises:
            ConflictError: the account would be left without a working key.
            RobotTimeoutError: the robot may still apply the delivery of the new key.
        """
        latched = self._deps.client.latched
        if Role.ROBOT in self._roles and not latched:
            self._deps.client.ensure_running()
            if not self._deps.client.wait_until_idle(SETTLES_WITHIN_S):
                self._refuse_unanswered()
        plan = plan_abort(self._operation, self._in_use())
        if plan.kept and not latched:
            await self._refuse_keyless(plan.kept)
        deleted = await self._delete_issued(plan)
        if not latched:
            self._robot_as_before(plan)
        for role in plan.placed:
            await self._deps.proofs.drop(role)
        return self._report(plan, deleted)

    def _in_use(self) -> dict[Role, str | None]:
        site, card = self._deps.vault.site_key(), self._deps.keys.robot_card()
        return {
            Role.SITE: self._deps.vault.fingerprint(site.pair) if site is not None else None,
            Role.ROBOT: card.fingerprint if card is not None else None,
        }

    def _refuse_unanswered(self) -> None:
        """Refuse to abort while a delivery of the new key waits for the robot, which may apply it at any moment."""
        operation = self._operation
        handed_over = Role.ROBOT in operation.facts.new and not operation.is_done("deliver")
        # Journaled right before it was sent. A robot refuses a delivery that is older, its clock being a minute late.
        applies_until = operation.updated_at + int((VALID_FOR_S + LATE_S) * 1000)
        if handed_over and self._deps.clock.now_ms() < applies_until:
            raise RobotTimeoutError(
                "the robot has not answered yet what became of the new key: it may accept it at any moment",
                hint=f"abort once it answers (see 'fortctl robot status'), or after {rfc3339(applies_until)}, when it"
                " refuses the delivery as too old; 'fortctl panic-disconnect' cuts it off now",
                details={"queued": True, "until": rfc3339(applies_until)},
                data={"operation": operation.as_json()},
            )

    async def _refuse_keyless(self, roles: Collection[Role]) -> None:
        if self._operation.mode in (RotationMode.URGENT, RotationMode.ISSUE) or self._operation.step == "check":
            return
        # A key that was deleted here can neither be asked about nor kept.
        listed = {card.role for card in self._deps.keys.cards()}
        asked = [role for role in roles if role in listed]
        if not asked:
            return
        results, _warnings = await self._deps.keys.verify(asked)
        deleted = [result.role.value for result in results if result.reason == "unknown_key"]
        if deleted:
            raise ConflictError(
                f"the old {' and '.join(deleted)} key is deleted: an abort would leave the account no working key",
                hint="continue with a new key: 'fortctl keys rotate --finish --input -'",
                details={"roles": deleted},
            )

    async def _delete_issued(self, plan: AbortPlan) -> tuple[str, ...] | None:
        """Delete the issuer's keys of journaled names; return the names, or None if the issuer cannot be asked."""
        if not plan.issued:
            return ()
        try:
            async with open_issuer(self._deps, self._operation) as issuer:
                return await self._deps.proofs.delete_named(issuer, list(plan.issued))
        except FortctlError:
            # An issuer that does not answer must not prevent an abort: a person deletes the keys.
            return None

    def _robot_as_before(self, plan: AbortPlan) -> None:
        if plan.restart:
            start_again(self._deps)
        elif plan.end_drain and self._deps.status_reader.status().state == "draining":
            self._deps.robot.stop_now(cancel_orders=False)

    def _report(self, plan: AbortPlan, deleted: tuple[str, ...] | None) -> AbortReport:
        """Describe what is left, and what a person must still do.

        Args:
            deleted: names of the issuer's keys that were deleted; None: it could not be asked.
        """
        operation = self._operation
        first_keys = operation.mode is RotationMode.ISSUE
        alive = [role for role in plan.placed if not first_keys and role not in operation.facts.deleted]
        unasked = sorted(plan.issued) if deleted is None else []
        unused = unused_keys(operation, plan.placed)
        parts = [f"the {role} key is {self._describe_kept(role)}" for role in plan.kept]
        parts += [
            f"the {role} key is the new one{'; the deletion of the old one is not proved' if role in alive else ''}"
            for role in plan.placed
        ]
        parts += [f"the issuer's key '{name}' was deleted" for name in deleted or ()]
        parts += [f"the issuer's key '{name}' may live: the issuer could not be asked" for name in unasked]
        parts += [f"the robot is {self._deps.robot.await_reconciled().state}"] if Role.ROBOT in self._roles else []
        parts += [f"the new {role} key '{key.name}' is not in use" for role, keys in unused.items() for key in keys]
        todo = delete_old_actions(operation, alive)
        todo += [delete_named_action(operation, plan.issued[name], name) for name in unasked]
        todo += [delete_new_action(operation, role, key) for role, keys in unused.items() for key in keys]
        return AbortReport("; ".join(parts), tuple(todo))

    def _describe_kept(self, role: Role) -> str:
        """Say which key a role has that did not get the new one."""
        card = next((card for card in self._deps.keys.cards() if card.role is role), None)
        old = self._operation.facts.old.get(role)
        if card is None:
            return "gone" if old else "none, as before"
        if old is None or card.fingerprint == old.fingerprint:
            return "the old one, as before"
        return f"'{card.name}' (…{card.tail}), which is neither this rotation's old one nor its new one"
