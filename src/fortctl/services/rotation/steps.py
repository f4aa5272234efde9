"""What each step of a rotation does, also if an earlier process was interrupted in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from fortctl.errors import ConflictError, FortctlError, KeyRejectedError, NotFoundError, RobotTimeoutError
from fortctl.mailbox.payloads import DrainCycles
from fortctl.mailbox.receipts import TradingStopped
from fortctl.model import KeyPair, Role
from fortctl.services.keys.results import verification_error
from fortctl.services.robot.service import cycles_text
from fortctl.services.rotation.context import (
    AT_WORK,
    SETTLES_WITHIN_S,
    DrainTimeoutError,
    Journal,
    RotationContext,
    RotationDeps,
    start_again,
)
from fortctl.services.rotation.facts import KeyReference, RotationFacts
from fortctl.services.rotation.key_steps import NewKeys, OldKeys
from fortctl.services.rotation.plan import DOING, Operation, RotationMode
from fortctl.services.rotation.preflight import ask_issuer, verify_given

# Receives whether an earlier process began the step; returns the facts that the step ends with.
Step = Callable[[bool], Awaitable[RotationFacts]]


class Steps:
    """Does the steps of one rotation, journaling each before and after.

    Args:
        deps: what the steps use.
        journal: where they are journaled.
        operation: the rotation, at the step that it has reached.
        given: keys that were entered already.
        until: the step at which the rotation stops for a person, even at a terminal.
    """

    def __init__(
        self,
        deps: RotationDeps,
        journal: Journal,
        operation: Operation,
        given: dict[Role, KeyPair],
        until: str | None,
    ) -> None:
        self._context, self._deps, self._given = RotationContext(deps, journal, operation), deps, given
        new, old = NewKeys(self._context, given, ask=until != "create"), OldKeys(self._context)
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
        """The rotation, at the step that it has reached."""
        return self._context.operation

    @property
    def warnings(self) -> tuple[tuple[str, str], ...]:
        return self._context.warnings

    async def next(self) -> None:
        """Do the step that the rotation has reached.

        Raises:
            ConflictError: a panic has latched the robot.
            ActionRequiredError: a person must act first.
        """
        name = self._context.operation.step
        if self._deps.client.latched:
            raise ConflictError(
                "the robot is latched after a panic: the rotation cannot continue",
                hint="check the account first, then 'fortctl panic-clear'",
                details={"state": "latched"},
            )
        resumed = any(step.name == name and step.state == DOING for step in self._context.operation.steps)
        if not resumed:
            self._context.put(self._context.operation.begun(name, self._context.now()))
        self._deps.guide.progress(f"{name}…" if not resumed else f"{name}: continuing")
        facts = await self._steps[name](resumed)
        self._context.put(self._context.operation.ended(name, self._context.now(), facts))

    async def _check(self, resumed: bool) -> RotationFacts:
        deps = self._deps
        if Role.ROBOT in self._context.roles:
            deps.client.ensure_running()
            # A key that was sent without waiting for its receipt is the old key once the robot has it.
            if not deps.client.wait_until_idle(SETTLES_WITHIN_S):
                raise RobotTimeoutError(
                    "the robot has not answered yet what was sent to it before",
                    hint="see 'fortctl robot status' and 'fortctl robot logs', then try again",
                )
        old = {
            card.role: KeyReference(card.name, card.tail, card.fingerprint)
            for card in deps.keys.cards()
            if card.role in self._context.roles
        }
        for role in self._context.roles:
            if role not in old:
                raise NotFoundError(
                    f"account {self._context.operation.account} has no {role} key to rotate",
                    hint=f"'fortctl keys add --role {role}' adds one",
                )
        reached_from = {role: deps.address(role) for role in self._context.roles}
        facts = replace(self._context.facts, old=old, reached_from=reached_from)
        if Role.ROBOT in self._context.roles:
            facts = self._with_robot(facts)
        if self._context.operation.mode is not RotationMode.URGENT:
            results, warnings = await deps.keys.verify(self._context.roles)
            failure = verification_error(results, warnings)
            if isinstance(failure, KeyRejectedError):
                urgent = "'fortctl keys rotate --mode urgent' needs no working old key"
                if failure.details.get("reason") == "unknown_key":
                    failure.hint = f"the old key is deleted already: {urgent}"
                else:
                    # It still exists: an operator who believes that it is deleted leaves it at the exchange.
                    failure.hint += f"; if that cannot be fixed, {urgent}"
                raise failure
        self._context.note(facts)
        await ask_issuer(self._context)
        await verify_given(self._context, self._given)
        return self._context.facts

    def _with_robot(self, facts: RotationFacts) -> RotationFacts:
        """Return the facts with what the robot is doing. Raises ``ConflictError`` if it waits for a person."""
        status = self._deps.status_reader.status()
        state = status.state
        if state in ("held", "unreachable") and self._context.operation.mode is not RotationMode.URGENT:
            raise ConflictError(
                f"the robot is {state}: {status.reason or 'a person must check it first'}",
                hint="see 'fortctl robot status', check the account, then 'fortctl robot resume'",
                details={"state": state},
            )
        return replace(facts, robot_was=state, lost_since=status.lost_since)

    async def _drain(self, resumed: bool) -> RotationFacts:
        deps = self._deps
        # In every state of the robot: cycles that a crash or 'stop --now' has left open are drained, too.
        if self._drained():
            return self._context.facts
        deps.client.execute(DrainCycles())
        while not self._context.wait(deps.timeout_s, self._drained):
            count = deps.status_reader.status().cycles_open
            choice = deps.guide.on_timeout(count)
            if choice == "abort":
                raise DrainTimeoutError(count)
            if choice in ("keep", "cancel"):
                return replace(self._context.facts, unfinished=choice)
            deps.guide.progress(f"still draining: {cycles_text(count)}")
        return self._context.facts

    def _drained(self) -> bool:
        # A local robot that was killed meanwhile comes back and continues the drain.
        self._deps.client.ensure_running()
        return self._deps.status_reader.status().drained

    async def _stop(self, resumed: bool) -> RotationFacts:
        choice = self._context.facts.unfinished
        if choice or self._state() != "stopped":
            _status, stopped, error = self._deps.robot.stop_trading(cancel_orders=choice == "cancel")
            self._context.warnings += stopped.differences()
            if error is not None:
                self._context.warnings += (("ORDERS_NOT_CANCELLED", _orders_left(error, stopped)),)
        if not self._context.wait(SETTLES_WITHIN_S, lambda: self._state() == "stopped"):
            raise ConflictError(f"the robot did not stop in time: it is {self._state()}")
        return replace(self._context.facts, stopped_at=self._context.now())

    async def _verify(self, resumed: bool) -> RotationFacts:
        deps, new = self._deps, self._context.facts.new[Role.ROBOT]
        passing = ("verifying", "reconciling", "awaiting_key", "unreachable")
        deps.client.ensure_running()
        status = deps.status_reader.status()

        def settled() -> bool:
            nonlocal status
            status = deps.status_reader.status()
            return status.state not in passing

        # One status decides: by the next one the robot may be reconciling again, for a reason of its own.
        at_rest = self._context.wait(SETTLES_WITHIN_S, settled)
        card = deps.keys.robot_card()
        if not at_rest or card is None or card.fingerprint != new or status.state == "key_lost":
            raise ConflictError(
                f"the robot does not work with the new key: it is {status.state}"
                f" ({status.reason or 'no reason given'})",
                hint="see 'fortctl robot status' and 'fortctl keys verify', then 'fortctl keys rotate --resume'",
                details={"state": status.state},
            )
        return self._context.with_trading_gap(status)

    async def _start(self, resumed: bool) -> RotationFacts:
        facts = self._context.facts
        if facts.robot_was not in AT_WORK:
            return facts
        start_again(self._deps)
        if facts.stopped_at is None:
            return facts
        return replace(facts, trading_gap_s=round((self._context.now() - facts.stopped_at) / 1000, 3))

    def _state(self) -> str:
        return self._deps.status_reader.status().state


def _orders_left(error: FortctlError, stopped: TradingStopped) -> str:
    """Return which orders could not be cancelled, why, and what to do about them."""
    names = [*(order.client_order_id for order in stopped.orders_left), *stopped.in_doubt]
    return (
        f"{error.message} ({', '.join(dict.fromkeys(names))}): 'fortctl robot stop --now --cancel-orders' tries again,"
        " or cancel them on Binance's page; the robot continues with the others when it starts again"
    )
