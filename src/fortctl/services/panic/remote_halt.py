"""Halt a robot on another host by its pre-signed order (docs/sealed-mailbox.md, "Panic orders")."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fortctl.errors import FortctlError, RobotUnreachableError
from fortctl.mailbox.crypto import verify
from fortctl.mailbox.panic_order import PanicOrderFile, read_answer
from fortctl.ports import Clock, PanicBoard
from fortctl.services.panic.halt import HaltResult
from fortctl.services.panic.known_key import KnownKey
from fortctl.system.threads import run_in_daemon_thread

_POLL_S, _RETRY_S = 0.05, 0.2
# The mailbox is not tried again where so little of the timeout is left (s).
_LEFT_TO_RETRY_S = 1.0


class OrderSource(Protocol):
    """Where the order for a robot on another host comes from."""

    def order(self) -> PanicOrderFile:
        """Return the order at hand. Raises ``FortctlError``: there is none, and none can be signed."""

    def sign(self) -> PanicOrderFile:
        """Sign a fresh one. Raises ``FortctlError``: the site's vault does not open by itself."""

    def mark_used(self, order: PanicOrderFile) -> None:
        """Note that an order was sent; best effort."""

    def was_sent(self, order: PanicOrderFile) -> bool:
        """Return whether this panic has sent an order before."""


class RemoteHalt:
    """Halts a robot on another host.

    Args:
        orders: where the order comes from.
        open_mailbox: opens the mailbox that an order names; called and used in one thread at a time.
        cancel_orders: have the robot cancel its own orders first.
        timeout_s: how long to wait for its answer (s).
        began_ms: when the first run of this panic began (ms); an earlier answer belongs to another panic.
    """

    def __init__(
        self,
        orders: OrderSource,
        open_mailbox: Callable[[str], PanicBoard],
        clock: Clock,
        *,
        cancel_orders: bool,
        timeout_s: float,
        began_ms: int,
    ) -> None:
        self._orders = orders
        self._open = open_mailbox
        self._clock = clock
        self._cancel = cancel_orders
        self._timeout_s = timeout_s
        self._began_ms = began_ms

    async def run(self) -> HaltResult:
        """Send the order, and wait for the robot's answer.

        Raises:
            FortctlError: it could not even be queued.
        """
        deadline = self._clock.monotonic() + self._timeout_s
        order = await run_in_daemon_thread(self._orders.order)
        try:
            return await self._send_and_wait(order, deadline)
        except _OrderUsedError:
            pass
        try:
            order = await run_in_daemon_thread(self._orders.sign)
        except FortctlError as error:
            raise RobotUnreachableError(
                f"the pre-signed order was used already, and no other can be signed ({error.message})",
                hint="panic on the robot's own host: nothing else stops it",
            ) from None
        try:
            return await self._send_and_wait(order, deadline)
        except _OrderUsedError:
            raise RobotUnreachableError("the robot obeys no order", hint="panic on the robot's own host") from None

    async def _send_and_wait(self, order: PanicOrderFile, deadline: float) -> HaltResult:
        while True:
            try:
                board = await run_in_daemon_thread(self._send, order)
                break
            except FortctlError as error:
                if self._clock.monotonic() < deadline - _LEFT_TO_RETRY_S:
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
        if answer is not None and self._is_outdated(board, order, answer.at_ms):
            raise _OrderUsedError
        board.post_panic(order.account, order.nonce, form.body, form.signature)
        self._orders.mark_used(order)
        return board

    def _is_outdated(self, board: PanicBoard, order: PanicOrderFile, at_ms: int) -> bool:
        """Return whether an answer says nothing about the robot of now: it may have been cleared since."""
        # The hosts' clocks may differ: the answer to what this panic has sent is its own, whatever time it names.
        is_earlier = at_ms < self._began_ms and not self._orders.was_sent(order)
        return is_earlier or _came_up_since(board, order, at_ms)

    async def _await_answer(self, board: PanicBoard, order: PanicOrderFile, deadline: float) -> HaltResult:
        has_latched = False
        while True:
            answer = await run_in_daemon_thread(_answer_of, board, order)
            if answer is not None and answer.outcome == "refused":
                raise _OrderUsedError
            if answer is not None and answer.outcome == "halted":
                return answer.as_result()
            has_latched = has_latched or answer is not None
            if self._clock.monotonic() >= deadline:
                break
            await self._clock.sleep(_POLL_S)
        if has_latched:
            return HaltResult("the robot has latched and is still cancelling")
        return HaltResult("NOT REACHED in time; the order waits for the robot", reached=False, queued=True)


@dataclass(frozen=True)
class _Answer:
    """A robot's answer to an order.

    Attributes:
        outcome: ``latched``, ``halted`` or ``refused``.
        at_ms: when, by the robot's clock (ms).
        cancelled: how many orders it cancelled.
        left: how many it left open, or None where it does not know.
        key: the key that it traded with.
    """

    outcome: str
    at_ms: int
    cancelled: int = 0
    left: int | None = None
    key: KnownKey | None = None

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> _Answer:
        data = facts.get("data") or {}
        key, left = data.get("key"), data.get("left")
        return cls(
            facts["outcome"],
            int(facts["at"]),
            int(data.get("cancelled") or 0),
            left if isinstance(left, int) else None,
            KnownKey.from_json(key) if key else None,
        )

    def as_result(self) -> HaltResult:
        detail = f"the robot obeyed, cancelled {self.cancelled} orders and ended"
        return HaltResult(detail, self.left, self.key)


class _OrderUsedError(Exception):
    """The robot refuses this order, or has obeyed it before it was cleared."""


def _came_up_since(board: PanicBoard, order: PanicOrderFile, at_ms: int) -> bool:
    """Return whether the robot has published its card after *at_ms*: a halted one publishes none."""
    card = board.card(order.account)
    if card is None or not verify(order.robot_public, "card", *card):
        return False
    return int(json.loads(card[0]).get("at") or 0) > at_ms


def _answer_of(board: PanicBoard, order: PanicOrderFile) -> _Answer | None:
    try:
        row = board.panic(order.account, order.nonce)
    except FortctlError:
        return None
    if row is None or row.answer is None or row.answer_signature is None:
        return None
    facts = read_answer(row.answer, row.answer_signature, order)
    return _Answer.from_json(facts) if facts is not None else None
