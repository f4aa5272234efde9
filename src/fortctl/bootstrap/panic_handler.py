"""Wires the robot's side of panic into its process: halting, orders out of the mailbox, the deadman, hooks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from fortctl.errors import ConflictError, FortctlError
from fortctl.robot.core.hold_reasons import HoldCode, HoldReason
from fortctl.system.threads import run_in_own_thread

if TYPE_CHECKING:
    from fortctl.bootstrap.container import Container
    from fortctl.ports import HooksPort
    from fortctl.robot.control.robot_vault import RobotVault
    from fortctl.robot.trading.runner import Runner

# A panic asks within milliseconds of latching; a latch that nobody asks about is obeyed all the same.
ASKED_WITHIN_S = 2.0
ON_PANIC_WAIT_S = 1.0


def void_waiting(container: Container) -> None:
    """Before the latch is lifted: note as used what the operator whose order it was has sent beside that one.

    It lies there unanswered, for the robot had ended: cleared, it would be latched once more by the same panic. Another
    operator's order stays what it is.
    """
    from fortctl.robot.control.panic_listener import orders_of

    operator = container.latch.read().get("operator")
    if not isinstance(operator, str):
        return
    try:
        waiting = orders_of(container.mailbox.open_panics(container.account), operator)
    except FortctlError as error:
        container.warn(
            "ORDERS_MAY_WAIT", f"a second order of the same panic may latch the robot again: {error.message}"
        )
        return
    container.latch.update(lambda facts: {**facts, "orders": [*facts.get("orders", ()), *waiting]})


class HookDispatcher:
    """Runs the robot's hooks beside its work; what fails is in its log.

    Args:
        hooks: returns the account's, as the configuration in force has them.
        log: the robot's.
    """

    def __init__(self, hooks: Callable[[], HooksPort], log: logging.Logger) -> None:
        self._hooks = hooks
        self._log = log
        self._running: set[asyncio.Future[None]] = set()

    def ring(self, event: str, facts: Mapping[str, Any]) -> None:
        """Run an event's hooks; return at once."""
        fired = asyncio.ensure_future(run_in_own_thread(self._fire, event, dict(facts), None))
        self._running.add(fired)
        fired.add_done_callback(self._running.discard)

    async def ring_last(self, event: str, facts: Mapping[str, Any]) -> None:
        """Run an event's hooks as the robot's last act: they go on without it."""
        await run_in_own_thread(self._fire, event, dict(facts), ON_PANIC_WAIT_S)

    def _fire(self, event: str, facts: Mapping[str, Any], wait_s: float | None) -> None:
        for report in self._hooks().fire(event, facts, wait_s=wait_s):
            if report.state == "failed":
                self._log.warning("the hook %s failed: %s", report.name, report.detail)


class RobotPanic:
    """How a robot process is halted, by whomever.

    Args:
        wiring: the adapters.
        box, runner: the robot's.
        bell: its hooks.
        log: its log.
        end: ends the process.
    """

    def __init__(
        self,
        wiring: Container,
        box: RobotVault,
        runner: Runner,
        bell: HookDispatcher,
        log: logging.Logger,
        end: Callable[[], None],
    ) -> None:
        from fortctl.robot.control.panic_listener import PanicListener
        from fortctl.vault.erasure import destroy

        self._runner = runner
        self._latch = wiring.latch
        self._clock = wiring.clock
        self._bell = bell
        self._log = log
        self._end = end
        self._halting: asyncio.Future[dict[str, Any]] | None = None
        self._latched_at: float | None = None
        self._take_over(box)
        self._obedience = PanicListener(
            box,
            wiring.mailbox,
            runner,
            self._latch,
            partial(destroy, wiring.robot_home.erasure, wiring.account),
            self._halt_by_order,
            wiring.clock,
            log,
            _deadman_s(wiring),
        )

    @property
    def halted(self) -> bool:
        """The robot was halted: its service manager need not start it again."""
        return self._halting is not None

    def _take_over(self, box: RobotVault) -> None:
        """Hold after a panic that was cleared, and remember which orders it has used up."""
        cleared = self._latch.cleared()
        if cleared is None:
            return
        box.use_orders([str(nonce) for nonce in cleared.get("orders", ())])
        self._runner.robot.hold_for(
            HoldReason(HoldCode.PANIC, "the robot was latched; look at the account, then 'fortctl robot resume'")
        )
        self._latch.forget_cleared()

    # -- the mailbox -----------------------------------------------------------------------------------------------

    async def look(self) -> bool:
        """Look for panic orders, and at the latch; True when the robot is to end now.

        Raises:
            FortctlError: the mailbox cannot be looked into.
        """
        if self.halted or not (await self._obey_latch() or await self._obedience.look()):
            return False
        await self._bell.ring_last("on-panic", {"by": "order"})
        return True

    def reconfigure(self, wiring: Container) -> None:
        """Take over what the configuration says now."""
        self._obedience.set_deadman(_deadman_s(wiring))

    def check_deadman(self) -> None:
        self._obedience.check_deadman()

    async def _obey_latch(self) -> bool:
        """Halt when the latch is on and nobody asks (whoever latched may have been killed)."""
        if not self._latch.is_latched():
            self._latched_at = None
            return False
        now = self._clock.monotonic()
        self._latched_at = self._latched_at if self._latched_at is not None else now
        if now - self._latched_at < ASKED_WITHIN_S:
            return False
        self._log.error("panic: the latch is on and nobody asks; halting")
        await self._halt_by_order(bool(self._latch.read().get("cancel_orders", True)))
        return True

    async def _halt_by_order(self, cancel_orders: bool) -> dict[str, Any]:
        self._halting = asyncio.ensure_future(self._runner.halt(cancel_orders=cancel_orders))
        return await self._halting

    # -- the socket ------------------------------------------------------------------------------------------------

    def handlers(self) -> dict[str, Any]:
        return {"halt": self._halt, "halt-result": self._halt_result}

    async def _halt(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._halting is None:
            self._runner.place_nothing_more()
            self._halting = asyncio.ensure_future(self._runner.halt(cancel_orders=bool(request.get("cancel_orders"))))
        return {"acknowledged": True}

    async def _halt_result(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._halting is None:
            raise ConflictError("no halt was asked for")
        try:
            return await self._halting
        finally:
            # After the answer has left: the robot ends, its key forgotten with its memory.
            asyncio.get_running_loop().call_later(0.05, self._end)


def _deadman_s(wiring: Container) -> float | None:
    from fortctl.config.settings import ROBOT_DEADMAN

    # A robot of this home is reached by its latch: it needs no mailbox to be stopped.
    deadman_ms = wiring.settings.get(ROBOT_DEADMAN) if wiring.config.mailbox else None
    return deadman_ms / 1000 if deadman_ms else None
