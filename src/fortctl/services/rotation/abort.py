"""What an abort undoes, and what it leaves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from fortctl.errors import ConflictError, FortctlError, RobotTimeoutError
from fortctl.model import Role
from fortctl.services.keys.issuer import SUB_ACCOUNT
from fortctl.services.robot.client import VALID_FOR_S
from fortctl.services.rotation import operator_actions as actions
from fortctl.services.rotation.context import AT_WORK, SETTLES_WITHIN_S, RotationDeps, opened_issuer, start_again
from fortctl.services.rotation.plan import Operation, RotationMode
from fortctl.timestamps import rfc3339

# How much the robot's clock may be behind.
LATE_S = 60.0


@dataclass
class AbortReport:
    """What an abort leaves: in words, and what a person must still do."""

    text: str
    actions: list[dict[str, Any]] = field(default_factory=list)


class RotationAbort:
    """Ends one rotation where it stands.

    Args:
        tools: what the steps use.
        operation: where it stands.
    """

    def __init__(self, tools: RotationDeps, operation: Operation) -> None:
        self._tools = tools
        self._operation = operation
        self._roles = operation.scope.roles

    async def run(self) -> AbortReport:
        """Leave the account with the keys that work, the robot as before; say exactly what is left.

        Raises:
            ConflictError: the account would be left without a working key.
            RobotTimeoutError: the robot may take the new key yet.
        """
        tools, robot = self._tools, Role.ROBOT in self._roles
        latched = tools.control.latched
        if robot and not latched:
            tools.control.bring_up()
            if not tools.control.wait_until_idle(SETTLES_WITHIN_S):
                self._refuse_unanswered()
        new = self._new_in_place()
        before = [role for role in self._roles if role not in new]
        if before and not latched:
            await self._refuse_keyless(before)
        issued, unasked = await self._drop_issued(before)
        if robot and not latched:
            self._robot_as_before()
        for role in new:
            await tools.proofs.drop(role)
        lives = [role for role in new if self._operation.mode is not RotationMode.ISSUE and not self._is_dead(role)]
        told = [f"the {role} key is {self._as_found(role)}" for role in before]
        told += [
            f"the {role} key is the new one{'; the old one is not proved dead' if role in lives else ''}"
            for role in new
        ]
        told += [f"the issuer's key '{name}' was deleted" for name in issued]
        told += [f"the issuer's key '{name}' may live: the issuer could not be asked" for name in unasked]
        told += [f"the robot is {tools.robot.settled()['state']}"] if robot else []
        unused = actions.unused_keys(self._operation, new)
        told += [f"the new {one['role']} key '{one['name']}' is not in use" for one in unused]
        todo = [actions.to_delete_named(self._operation, name) for name in unasked] + unused
        return AbortReport("; ".join(told), [*actions.to_delete(self._operation, lives), *todo])

    def _refuse_unanswered(self) -> None:
        """Refuse to tell which key the robot has while a delivery of the new one lies before it."""
        operation, role = self._operation, Role.ROBOT.value
        handed_over = role in operation.facts.get("new", {}) and not operation.is_done("deliver")
        # It was journaled right before it was sent; a robot refuses what is older than this, its clock a minute late.
        applies_until = operation.updated_at + int((VALID_FOR_S + LATE_S) * 1000)
        if handed_over and self._tools.clock.now_ms() < applies_until:
            raise RobotTimeoutError(
                "the robot has not answered yet what became of the new key: it may take it in at any moment",
                hint=f"abort once it answers (see 'fortctl robot status'), or after {rfc3339(applies_until)}, when it"
                " refuses the delivery as too old; 'fortctl panic-disconnect' cuts it off now",
                details={"queued": True, "until": rfc3339(applies_until)},
                data={"operation": operation.as_json()},
            )

    def _robot_as_before(self) -> None:
        was = self._operation.facts.get("was")
        if was in AT_WORK:
            start_again(self._tools)
        elif was == "stopped" and self._tools.watch.status()["state"] == "draining":
            self._tools.robot.stop_now(cancel_orders=False)

    def _is_dead(self, role: Role) -> bool:
        return role.value in self._operation.facts.get("dead", {})

    def _as_found(self, role: Role) -> str:
        """Say which key a role has that did not get the new one."""
        card = next((card for card in self._tools.keys.listed() if card.role is role), None)
        old = self._operation.facts.get("old", {}).get(role.value)
        if card is None:
            return "gone" if old else "none, as before"
        if old is None or card.fingerprint == old["fingerprint"]:
            return "the old one, as before"
        return f"'{card.name}' (…{card.tail}), which is neither this rotation's old one nor its new one"

    def _new_in_place(self) -> list[Role]:
        new, tools = self._operation.facts.get("new", {}), self._tools
        found = []
        site, card = tools.custody.site_key(), tools.keys.robot_card()
        if site is not None and tools.custody.fingerprint(site.pair) == new.get(Role.SITE.value):
            found.append(Role.SITE)
        if card is not None and card.fingerprint == new.get(Role.ROBOT.value):
            found.append(Role.ROBOT)
        return [role for role in found if role in self._roles]

    async def _refuse_keyless(self, roles: Collection[Role]) -> None:
        if self._operation.mode in (RotationMode.URGENT, RotationMode.ISSUE) or self._operation.step == "check":
            return
        # Of a key that was taken away here nothing can be asked, and nothing is left to be kept.
        there = {card.role for card in self._tools.keys.listed()}
        asked = [role for role in roles if role in there]
        if not asked:
            return
        results, _warnings = await self._tools.keys.verify(asked)
        gone = [result["role"] for result in results if result["reason"] == "unknown_key"]
        if gone:
            raise ConflictError(
                f"the old {' and '.join(gone)} key is dead: aborting would leave the account without a working key",
                hint="go on with a new key: 'fortctl keys rotate --finish --input -'",
                details={"roles": gone},
            )

    async def _drop_issued(self, roles: Collection[Role]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Delete what the issuer made for roles that keep their old key: only what bears a journaled name.

        Returns:
            The names of those that were deleted, and of those that could not be asked for: they may live.
        """
        issue = self._operation.facts.get("issue", {})
        names = {name for role in roles for name in issue.get(role.value, {}).get("names", ())}
        if not names or self._operation.facts.get("issuer") != SUB_ACCOUNT:
            return (), ()
        try:
            async with opened_issuer(self._tools, self._operation) as issuer:
                return await self._tools.proofs.delete_named(issuer, names), ()
        except FortctlError:
            # An issuer that is gone or does not answer keeps nobody from ending it: a person deletes them.
            return (), tuple(sorted(names))
