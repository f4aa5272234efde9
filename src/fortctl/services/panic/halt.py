"""Halt the robot of this machine, over its control socket or by SIGKILL."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from fortctl.errors import FortctlError, RobotUnreachableError
from fortctl.ports import Clock, Latch, RobotOwner, RobotProcess
from fortctl.services.panic.known_key import KnownKey
from fortctl.services.panic.report import StepSkippedError
from fortctl.system.threads import run_in_daemon_thread

# How long the robot may take to acknowledge, panic to wait for the placing lock, and the robot to end (s).
ACKNOWLEDGE_WITHIN_S = 0.3
DRAIN_PLACERS_S = 0.2
END_WITHIN_S = 1.0


@dataclass(frozen=True)
class HaltResult:
    """How a robot was halted.

    Attributes:
        detail: for a person.
        left: how many orders the robot says that it left open, or None where it did not say.
        key: the key that it says it traded with.
        reached: it places nothing more for certain.
        queued: the order to halt waits for it.
    """

    detail: str
    left: int | None = None
    key: KnownKey | None = None
    reached: bool = True
    queued: bool = False

    @property
    def left_nothing(self) -> bool:
        return self.left == 0


class LocalHalt:
    """Halts the robot of this machine.

    Args:
        process, latch: the robot's.
        cancel_orders: have it cancel its own orders first.
        timeout_s: how long that may take once it has acknowledged (s).
    """

    def __init__(
        self, process: RobotProcess, latch: Latch, clock: Clock, *, cancel_orders: bool, timeout_s: float
    ) -> None:
        self._process = process
        self._latch = latch
        self._clock = clock
        self._cancel = cancel_orders
        self._timeout_s = timeout_s

    async def run(self) -> HaltResult:
        """Ask the robot to halt; kill it when it does not acknowledge, finish or end in time.

        Raises:
            StepSkippedError: no robot is running.
            RobotUnreachableError: it could not be killed.
        """
        owner = await run_in_daemon_thread(self._process.owner)
        if owner is None:
            raise StepSkippedError("no robot is running here")
        if await run_in_daemon_thread(self._process.is_stopped, owner):
            # A stopped process answers nobody and hands nothing to the kernel.
            return await self._kill(owner, "the robot was stopped")
        try:
            await self._query({"op": "halt", "cancel_orders": self._cancel}, ACKNOWLEDGE_WITHIN_S)
        except FortctlError:
            # A disk that hangs keeps no robot alive (TimeoutError is an OSError).
            with suppress(OSError):
                async with asyncio.timeout(2 * DRAIN_PLACERS_S):
                    await run_in_daemon_thread(self._latch.drain_placers, DRAIN_PLACERS_S)
            return await self._kill(owner, "the robot did not acknowledge")
        try:
            result = await self._query({"op": "halt-result"}, self._timeout_s)
        except FortctlError:
            return await self._kill(owner, "the robot did not finish in time")
        left = len(result.get("left") or ())
        if not await self._ended():
            return replace(await self._kill(owner, "the robot did not end in time"), left=left)
        count = len(result.get("cancelled", ()))
        return HaltResult(f"the robot halted, cancelled {count} orders and ended", left)

    async def kill_again(self) -> str:
        """Kill a robot that came up in the meantime. Raises ``StepSkippedError``, ``RobotUnreachableError``."""
        owner = await run_in_daemon_thread(self._process.owner)
        if owner is None:
            raise StepSkippedError("no robot came up meanwhile")
        return (await self._kill(owner, "a robot came up meanwhile")).detail

    async def _query(self, request: Mapping[str, Any], timeout_s: float) -> Mapping[str, Any]:
        return await run_in_daemon_thread(self._process.query, request, timeout_s=timeout_s)

    async def _ended(self) -> bool:
        deadline = self._clock.monotonic() + END_WITHIN_S
        while await run_in_daemon_thread(self._process.owner) is not None:
            if self._clock.monotonic() > deadline:
                return False
            await self._clock.sleep(0.005)
        return True

    async def _kill(self, owner: RobotOwner, why: str) -> HaltResult:
        if not await run_in_daemon_thread(self._process.kill, owner):
            raise RobotUnreachableError(
                f"{why} and could not be killed (pid {owner.pid})", hint=f"end process {owner.pid} as its user, or root"
            )
        return HaltResult(f"{why}: killed (pid {owner.pid})")
