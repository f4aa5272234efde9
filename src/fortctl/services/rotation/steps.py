"""What each step of a rotation does, and how it is found half done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fortctl.errors import ConflictError, FortctlError, KeyRejectedError, NotFoundError, RobotTimeoutError
from fortctl.mailbox.payloads import DrainCycles
from fortctl.model import KeyPair, Role
from fortctl.services.keys.results import verification_error
from fortctl.services.robot.service import counted, is_drained
from fortctl.services.rotation.context import (
    AT_WORK,
    SETTLES_WITHIN_S,
    DrainTimeoutError,
    Journal,
    RotationContext,
    RotationDeps,
    start_again,
)
from fortctl.services.rotation.key_steps import NewKeys, OldKeys
from fortctl.services.rotation.plan import DOING, Operation, RotationMode
from fortctl.services.rotation.preflight import ask_issuer, look_at_given

Step = Callable[[bool], Awaitable[dict[str, Any]]]


class Steps:
    """Does the steps of one rotation, journaling each before and after.

    Args:
        tools: what they use.
        journal: where they are written down.
        operation: where it stands.
        given: keys that were entered already.
        until: the step at which a person takes over, whoever could be asked here.
    """

    def __init__(
        self,
        tools: RotationDeps,
        journal: Journal,
        operation: Operation,
        given: dict[Role, KeyPair],
        until: str | None,
    ) -> None:
        self._work, self._tools, self._given = RotationContext(tools, journal, operation), tools, given
        new, old = NewKeys(self._work, given, ask=until != "create"), OldKeys(self._work)
        self._steps: dict[str, Step] = {
            "check": self._check,
            "drain": self._drain,
            "stop": self._stop,
            "create": new.create,
            "store": new.store,
            "deliver": new.deliver,
            "verify": self._verify,
            "start": self._start,
            "delete": old.delete,
            "prove": old.prove,
        }

    @property
    def operation(self) -> Operation:
        """Where it stands."""
        return self._work.operation

    @property
    def warnings(self) -> tuple[tuple[str, str], ...]:
        return self._work.warnings

    async def next(self) -> None:
        """Do the step that it stands at.

        Raises:
            ConflictError: a panic has latched the robot.
            ActionRequiredError: a person must act first.
        """
        name = self._work.operation.step
        if self._tools.control.latched:
            raise ConflictError(
                "the robot is latched after a panic: the rotation goes no further",
                hint="look at the account first, then 'fortctl panic-clear'",
                details={"state": "latched"},
            )
        resumed = any(step.name == name and step.state == DOING for step in self._work.operation.steps)
        if not resumed:
            self._work.put(self._work.operation.begun(name, self._work.now()))
        self._tools.guide.progress(f"{name}…" if not resumed else f"{name}: going on")
        facts = await self._steps[name](resumed)
        self._work.put(self._work.operation.ended(name, self._work.now(), **facts))

    async def _check(self, resumed: bool) -> dict[str, Any]:
        tools, old = self._tools, {}
        if Role.ROBOT in self._work.roles:
            tools.control.bring_up()
            # A key that was sent without waiting for its receipt is the old one, once the robot has it.
            if not tools.control.wait_until_idle(SETTLES_WITHIN_S):
                raise RobotTimeoutError(
                    "the robot has not answered yet what was sent to it before",
                    hint="see 'fortctl robot status' and 'fortctl robot logs', then try again",
                )
        for card in tools.keys.listed():
            if card.role in self._work.roles:
                old[card.role.value] = {"name": card.name, "tail": card.tail, "fingerprint": card.fingerprint}
        for role in self._work.roles:
            if role.value not in old:
                raise NotFoundError(
                    f"account {self._work.operation.account} has no {role} key to rotate",
                    hint=f"'fortctl keys add --role {role}' adds one",
                )
        facts: dict[str, Any] = {"old": old, "from": {role.value: tools.address(role) for role in self._work.roles}}
        if Role.ROBOT in self._work.roles:
            facts |= self._robot_facts()
        if self._work.operation.mode is not RotationMode.URGENT:
            results, warnings = await tools.keys.verify(self._work.roles)
            failure = verification_error(results, warnings)
            if isinstance(failure, KeyRejectedError):
                urgent = "'fortctl keys rotate --mode urgent' goes on without the old one"
                if failure.details.get("reason") == "unknown_key":
                    failure.hint = f"the old key is gone already: {urgent}"
                else:
                    # It lives: whoever is told that it is gone deletes no key, and leaves one at the exchange.
                    failure.hint += f"; where that cannot be mended, {urgent}"
                raise failure
        self._work.note(**facts)
        await ask_issuer(self._work)
        await look_at_given(self._work, self._given)
        return {}

    def _robot_facts(self) -> dict[str, Any]:
        status = self._tools.watch.status()
        state = status["state"]
        if state in ("held", "unreachable") and self._work.operation.mode is not RotationMode.URGENT:
            raise ConflictError(
                f"the robot is {state}: {status.get('reason') or 'a person must look first'}",
                hint="see 'fortctl robot status'; 'fortctl robot resume' after you have looked",
                details={"state": state},
            )
        lost = (status.get("key_loss") or {}).get("since")
        return {"was": state, "lost_since": lost}

    async def _drain(self, resumed: bool) -> dict[str, Any]:
        tools = self._tools
        # Whatever the robot was at: what a crash or 'stop --now' has left open is drained, too.
        if self._drained():
            return {}
        tools.control.execute(DrainCycles())
        while not self._work.wait(tools.timeout_s, self._drained):
            count = int(tools.watch.status()["cycles"]["open"])
            choice = tools.guide.on_timeout(count)
            if choice == "abort":
                raise DrainTimeoutError(count)
            if choice in ("keep", "cancel"):
                return {"unfinished": choice}
            tools.guide.progress(f"still draining: {counted(count)}")
        return {}

    def _drained(self) -> bool:
        # A local robot that was killed meanwhile comes back and drains on.
        self._tools.control.bring_up()
        return is_drained(self._tools.watch.status())

    async def _stop(self, resumed: bool) -> dict[str, Any]:
        choice = self._work.operation.facts.get("unfinished")
        if choice or self._state() != "stopped":
            _status, told, left = self._tools.robot.stand_still(cancel_orders=choice == "cancel")
            if left is not None:
                self._work.warnings += (("ORDERS_NOT_CANCELLED", _left_behind(left, told)),)
        if not self._work.wait(SETTLES_WITHIN_S, lambda: self._state() == "stopped"):
            raise ConflictError(f"the robot does not stand still: it is {self._state()}")
        return {"stopped_at": self._work.now()}

    async def _verify(self, resumed: bool) -> dict[str, Any]:
        tools, new = self._tools, self._work.operation.facts["new"][Role.ROBOT.value]
        passing = ("verifying", "reconciling", "awaiting_key", "unreachable")
        tools.control.bring_up()
        status: Mapping[str, Any] = {}

        def settled() -> bool:
            nonlocal status
            status = tools.watch.status()
            return status["state"] not in passing

        # One look decides: by a second one the robot may be reconciling again, for a reason of its own.
        at_rest = self._work.wait(SETTLES_WITHIN_S, settled)
        card = tools.keys.robot_card()
        if not at_rest or card is None or card.fingerprint != new or status["state"] == "key_lost":
            raise ConflictError(
                f"the robot does not work with the new key: it is {status['state']}"
                f" ({status.get('reason') or 'no reason given'})",
                hint="see 'fortctl robot status' and 'fortctl keys verify', then 'fortctl keys rotate --resume'",
                details={"state": status["state"]},
            )
        return self._work.trading_gap(status)

    async def _start(self, resumed: bool) -> dict[str, Any]:
        if self._work.operation.facts.get("was") not in AT_WORK:
            return {}
        start_again(self._tools)
        return {"trading_gap_s": round((self._work.now() - int(self._work.operation.facts["stopped_at"])) / 1000, 3)}

    def _state(self) -> str:
        return str(self._tools.watch.status()["state"])


def _left_behind(error: FortctlError, told: Mapping[str, Any]) -> str:
    """Say which orders could not be cancelled, why, and what to do about them."""
    names = [*(str(order["client_order_id"]) for order in told["orders_left"]), *told.get("in_doubt", ())]
    return (
        f"{error.message} ({', '.join(dict.fromkeys(names))}): 'fortctl robot stop --now --cancel-orders' tries again,"
        " or cancel them on Binance's page; the robot goes on with those that stay when it starts again"
    )
