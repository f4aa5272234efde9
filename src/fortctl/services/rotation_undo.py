"""What an abort undoes, and what it leaves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from fortctl.errors import Conflict
from fortctl.model import Role
from fortctl.services import rotation_actions as actions
from fortctl.services.issuer import SUB_ACCOUNT
from fortctl.services.rotation_plan import Mode, Operation
from fortctl.services.rotation_tools import AT_WORK, SETTLES_WITHIN_S, StepTools, start_again


@dataclass
class Left:
    """What an abort leaves: in words, and what a person must still do."""

    text: str
    actions: list[dict[str, Any]] = field(default_factory=list)


class Undo:
    """Ends one rotation where it stands.

    Args:
        tools: what the steps use.
        operation: where it stands.
    """

    def __init__(self, tools: StepTools, operation: Operation) -> None:
        self._tools = tools
        self._operation = operation
        self._roles = operation.scope.roles

    async def run(self) -> Left:
        """Leave the account with the keys that work, the robot as before; say exactly what is left."""
        tools, robot = self._tools, Role.ROBOT in self._roles
        if robot and not tools.control.latched:
            tools.control.bring_up()
            tools.control.quiet(SETTLES_WITHIN_S)
        new = self._new_in_place()
        before = [role for role in self._roles if role not in new]
        if before:
            await self._refuse_keyless(before)
        issued = await self._drop_issued(before)
        was = self._operation.facts.get("was") if robot else None
        if was in AT_WORK:
            start_again(tools)
        elif was == "stopped" and tools.watch.status()["state"] == "draining":
            tools.robot.stop_now(cancel_orders=False)
        for role in new:
            await tools.proofs.drop(role)
        first = self._operation.mode is Mode.ISSUE
        as_before = "none, as before" if first else "the old one, as before"
        told = [f"the {role} key is {as_before}" for role in before]
        lives = "" if first else "; the old one still lives at the exchange"
        told += [f"the {role} key is the new one{lives}" for role in new]
        told += [f"the issuer's key '{name}' was deleted" for name in issued]
        told += [f"the robot is {tools.robot.settled()['state']}"] if robot else []
        return Left("; ".join(told), [] if first else actions.to_delete(self._operation, new))

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
        if self._operation.mode in (Mode.URGENT, Mode.ISSUE) or self._operation.step == "check":
            return
        results, _warnings = await self._tools.keys.verify(roles)
        gone = [result["role"] for result in results if result["reason"] == "unknown_key"]
        if gone:
            raise Conflict(
                f"the old {' and '.join(gone)} key is dead: aborting would leave the account without a working key",
                hint="go on with a new key: 'fortctl keys rotate --finish --input -'",
                details={"roles": gone},
            )

    async def _drop_issued(self, roles: Collection[Role]) -> tuple[str, ...]:
        """Delete what the issuer made for roles that keep their old key: only what bears a journaled name."""
        issue = self._operation.facts.get("issue", {})
        names = {name for role in roles for name in issue.get(role.value, {}).get("names", ())}
        if not names or self._operation.facts.get("issuer") != SUB_ACCOUNT:
            return ()
        issuer = self._tools.issuer()
        try:
            return await self._tools.proofs.delete_named(issuer, names)
        finally:
            await issuer.close()
