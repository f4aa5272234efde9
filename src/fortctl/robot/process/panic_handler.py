"""Halt the robot: on request of a panic over the socket, on an order in the mailbox, on the latch, or by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fortctl.errors import ConflictError
from fortctl.model import HaltReport
from fortctl.ports import Clock, Latch, PanicBoard
from fortctl.robot.control.panic_listener import Haltable, PanicListener
from fortctl.robot.control.robot_vault import RobotVault
from fortctl.robot.core.hold_reasons import HoldCode, HoldReason
from fortctl.robot.process.hook_dispatcher import HookDispatcher

# A panic connects to the socket within milliseconds of latching; if none does in time (s), the latch alone is obeyed.
CONNECT_WITHIN_S = 2.0
# The answer leaves before the process ends (s).
_ANSWER_S = 0.05

Handler = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class PanicHandler:
    """The robot's side of a panic.

    Args:
        robot_vault: the robot's vault: who may command, which orders were obeyed.
        mailbox: where panic orders wait.
        robot: the runner.
        hold: holds the robot for a reason until a person resumes it.
        latch: the account's latch.
        destroy: destroys every copy of the robot's key; returns their names.
        hooks: runs ``on-panic``.
        clock, log: as named.
        end: ends the process.
        requested: returns why the robot itself asks for a panic; empty where it does not.
        deadman_s: how long the mailbox may stay unreachable before trading is suspended (s); None: for ever.
    """

    def __init__(
        self,
        *,
        robot_vault: RobotVault,
        mailbox: PanicBoard,
        robot: Haltable,
        hold: Callable[[HoldReason], None],
        latch: Latch,
        destroy: Callable[[], tuple[str, ...]],
        hooks: HookDispatcher,
        clock: Clock,
        log: logging.Logger,
        end: Callable[[], None],
        requested: Callable[[], str],
        deadman_s: float | None,
    ) -> None:
        self._robot = robot
        self._latch = latch
        self._hooks = hooks
        self._clock = clock
        self._log = log
        self._end = end
        self._requested = requested
        self._halting: asyncio.Future[HaltReport] | None = None
        self._latched_at: float | None = None
        self._hold_after_panic(robot_vault, hold)
        self._listener = PanicListener(
            robot_vault, mailbox, robot, latch, destroy, self._halt_now, clock, log, deadman_s
        )

    @property
    def halted(self) -> bool:
        """Whether the robot was halted: its service manager need not start it again."""
        return self._halting is not None

    def _hold_after_panic(self, robot_vault: RobotVault, hold: Callable[[HoldReason], None]) -> None:
        """Hold after a panic that was cleared, and mark the orders that it used up as obeyed."""
        cleared = self._latch.cleared()
        if cleared is None:
            return
        robot_vault.use_orders([str(nonce) for nonce in cleared.get("orders", ())])
        hold(HoldReason(HoldCode.PANIC, "the robot was latched; look at the account, then 'fortctl robot resume'"))
        self._latch.forget_cleared()

    # -- the mailbox and the latch ---------------------------------------------------------------------------------

    async def poll(self) -> bool:
        """Look at the robot's own request, for panic orders and at the latch; return True if it must end now.

        Raises:
            FortctlError: the mailbox cannot be read.
        """
        if not self.halted and self._requested():
            await self._listener.panic(self._requested())
            await self._hooks.fire_last("on-panic", {"by": "robot", "reason": self._requested()})
            return True
        if self.halted or not (await self._obey_latch() or await self._listener.poll()):
            return False
        await self._hooks.fire_last("on-panic", {"by": "order"})
        return True

    def set_deadman(self, deadman_s: float | None) -> None:
        self._listener.set_deadman(deadman_s)

    def check_deadman(self) -> None:
        self._listener.check_deadman()

    async def _obey_latch(self) -> bool:
        """Halt if the latch is on and no panic connects: the process that latched may have been killed."""
        if not self._latch.is_latched():
            self._latched_at = None
            return False
        now = self._clock.monotonic()
        self._latched_at = self._latched_at if self._latched_at is not None else now
        if now - self._latched_at < CONNECT_WITHIN_S:
            return False
        self._log.error("panic: the latch is on and no panic connects; halting")
        await self._halt_now(bool(self._latch.read().get("cancel_orders", True)))
        return True

    async def _halt_now(self, cancel_orders: bool) -> HaltReport:
        self._halting = asyncio.ensure_future(self._robot.halt(cancel_orders=cancel_orders))
        return await self._halting

    # -- the socket ------------------------------------------------------------------------------------------------

    def handlers(self) -> dict[str, Handler]:
        """Return the socket's operations of a panic."""
        return {"halt": self._halt, "halt-result": self._halt_result}

    async def _halt(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._halting is None:
            self._robot.place_nothing_more()
            self._halting = asyncio.ensure_future(self._robot.halt(cancel_orders=bool(request.get("cancel_orders"))))
        return {"acknowledged": True}

    async def _halt_result(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._halting is None:
            raise ConflictError("no halt was requested")
        try:
            return (await self._halting).to_json()
        finally:
            # The robot ends, and forgets its key with its memory.
            asyncio.get_running_loop().call_later(_ANSWER_S, self._end)
