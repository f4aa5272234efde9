"""Halt a robot: the local one over its socket or by SIGKILL, one on another host by its pre-signed order."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fortctl.errors import FortctlError, RobotUnreachableError
from fortctl.mailbox.crypto import verify
from fortctl.mailbox.panic_order import PanicOrderFile, read_answer
from fortctl.ports import Clock, Latch, PanicBoard, RobotOwner, RobotProcess
from fortctl.services.panic.known_key import KnownKey
from fortctl.services.panic.report import StepSkippedError
from fortctl.system.threads import run_in_daemon_thread

ACKNOWLEDGE_WITHIN_S = 0.3
DRAIN_PLACERS_S = 0.2
END_WITHIN_S = 1.0
_POLL_S, _RETRY_S = 0.05, 0.2


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
    """Halts the robot on this machine.

    Args:
        process, latch: the robot's.
        clock: the clock.
        cancel_orders: have it cancel its own orders first.
        timeout_s: how long that may take once it has acknowledged.
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
        """Halt it.

        Raises:
            StepSkippedError: no robot is running.
            RobotUnreachableError: it could not be ended.
        """
        owner = await run_in_daemon_thread(self._process.owner)
        if owner is None:
            raise StepSkippedError("no robot is running here")
        if await run_in_daemon_thread(self._process.is_stopped, owner):
            # A stopped process answers nobody and hands nothing to the kernel.
            return await self._kill(owner, "it was stopped")
        try:
            await self._query({"op": "halt", "cancel_orders": self._cancel}, ACKNOWLEDGE_WITHIN_S)
        except FortctlError:
            with suppress(OSError):
                await run_in_daemon_thread(self._latch.drain_placers, DRAIN_PLACERS_S)
            return await self._kill(owner, "it gave no answer")
        try:
            result = await self._query({"op": "halt-result"}, self._timeout_s)
        except FortctlError:
            return await self._kill(owner, "it did not finish in time")
        left = len(result.get("left") or ())
        if not await self._ended():
            return replace(await self._kill(owner, "it did not end in time"), left=left)
        count = len(result.get("cancelled", ()))
        return HaltResult(f"the robot halted, cancelled {count} orders and ended", left)

    async def kill_again(self) -> str:
        """Kill a robot that came up in the meantime. Raises ``StepSkippedError``, ``RobotUnreachableError``."""
        owner = await run_in_daemon_thread(self._process.owner)
        if owner is None:
            raise StepSkippedError("none came up meanwhile")
        return (await self._kill(owner, "it came up meanwhile")).detail

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


class OrderSource(Protocol):
    """Where the order for a robot on another host comes from."""

    def order(self) -> PanicOrderFile:
        """Return the order at hand. Raises ``FortctlError``: there is none, and none can be signed."""

    def fresh(self) -> PanicOrderFile:
        """Sign a fresh one. Raises ``FortctlError``: the site's vault does not open by itself."""

    def used(self, order: PanicOrderFile) -> None:
        """Note that an order was sent; best effort."""

    def sent(self, order: PanicOrderFile) -> bool:
        """Return whether this panic has sent an order before."""


class RemoteHalt:
    """Halts a robot on another host.

    Args:
        orders: the pre-signed order.
        open_board: opens the mailbox that an order names; called and used in one thread.
        clock: the clock.
        cancel_orders, timeout_s: as for :class:`LocalHalt`.
        begun_ms: when this panic began, its first run if it is run again (ms); an answer from before is another's.
    """

    def __init__(
        self,
        orders: OrderSource,
        open_board: Callable[[str], PanicBoard],
        clock: Clock,
        *,
        cancel_orders: bool,
        timeout_s: float,
        begun_ms: int,
    ) -> None:
        self._orders = orders
        self._open = open_board
        self._clock = clock
        self._cancel = cancel_orders
        self._timeout_s = timeout_s
        self._begun_ms = begun_ms

    async def run(self) -> HaltResult:
        """Send the order, and wait for the robot's answer.

        Raises:
            FortctlError: it could not even be queued.
        """
        deadline = self._clock.monotonic() + self._timeout_s
        order = await run_in_daemon_thread(self._orders.order)
        try:
            return await self._with(order, deadline)
        except _OrderUsedError:
            pass
        try:
            order = await run_in_daemon_thread(self._orders.fresh)
        except FortctlError as error:
            raise RobotUnreachableError(
                f"the pre-signed order was used already, and no other can be signed ({error.message})",
                hint="panic on the robot's own host: nothing else stops it",
            ) from None
        try:
            return await self._with(order, deadline)
        except _OrderUsedError:
            raise RobotUnreachableError("the robot obeys no order", hint="panic on the robot's own host") from None

    async def _with(self, order: PanicOrderFile, deadline: float) -> HaltResult:
        while True:
            try:
                board = await run_in_daemon_thread(self._send, order)
                break
            except FortctlError as error:
                if self._clock.monotonic() < deadline - 1.0:
                    await self._clock.sleep(_RETRY_S)
                    continue
                raise RobotUnreachableError(
                    f"the mailbox could not take the order: {error.message}",
                    hint="run this again as soon as the mailbox can be reached, or panic on the robot's own host;"
                    " its deadman stops it by itself",
                ) from None
        return await self._await_answer(board, order, deadline)

    def _send(self, order: PanicOrderFile) -> PanicBoard:
        form, board = order.form(self._cancel), self._open(order.mailbox)
        answer = _answer_of(board, order)
        if answer is not None and self._is_anothers(board, order, int(answer["at"])):
            raise _OrderUsedError
        board.post_panic(order.account, order.nonce, form.body, form.signature)
        self._orders.used(order)
        return board

    def _is_anothers(self, board: PanicBoard, order: PanicOrderFile, at_ms: int) -> bool:
        """Return whether an answer that lies there tells nothing of now: the robot may have been cleared since."""
        # The hosts' clocks may differ: the answer to what this panic has sent is its own, whatever time it tells.
        return (at_ms < self._begun_ms and not self._orders.sent(order)) or _came_up_since(board, order, at_ms)

    async def _await_answer(self, board: PanicBoard, order: PanicOrderFile, deadline: float) -> HaltResult:
        latched = False
        while True:
            facts = await run_in_daemon_thread(_answer_of, board, order)
            if facts is not None and facts["outcome"] == "refused":
                raise _OrderUsedError
            if facts is not None and facts["outcome"] == "halted":
                data = facts["data"]
                key = KnownKey.from_json(data["key"]) if data.get("key") else None
                detail = f"the robot obeyed, cancelled {data['cancelled']} orders and ended"
                return HaltResult(detail, data.get("left"), key)
            latched = latched or facts is not None
            if self._clock.monotonic() >= deadline:
                break
            await self._clock.sleep(_POLL_S)
        if latched:
            return HaltResult("the robot has latched and is still cancelling")
        return HaltResult("NOT REACHED in time; the order waits for the robot", reached=False, queued=True)


class _OrderUsedError(Exception):
    """The robot does not obey this order, or has obeyed it in another life."""


def _came_up_since(board: PanicBoard, order: PanicOrderFile, at_ms: int) -> bool:
    """Return whether the robot has published its card after a time: a halted one publishes none."""
    found = board.card(order.account)
    if found is None or not verify(order.robot_public, "card", *found):
        return False
    return int(json.loads(found[0]).get("at") or 0) > at_ms


def _answer_of(board: PanicBoard, order: PanicOrderFile) -> dict[str, Any] | None:
    try:
        row = board.panic(order.account, order.nonce)
    except FortctlError:
        return None
    if row is None or row.answer is None or row.answer_signature is None:
        return None
    return read_answer(row.answer, row.answer_signature, order)
