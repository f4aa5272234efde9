"""The robot's side of panic: obey orders in the mailbox, and suspend trading while the mailbox cannot be reached.

In a shared mailbox a panic order may wait since before the robot started, so the robot places nothing until it has
read the mailbox once. If it cannot read the mailbox for longer than the deadman's time, it places nothing until it can.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from fortctl.mailbox.messages import CommandRejectedError
from fortctl.mailbox.panic_order import PanicOrder, check_order, sign_answer
from fortctl.model import HaltReport, KeyCard
from fortctl.ports import Clock, Latch, PanicBoard, PanicRow
from fortctl.robot.control.robot_vault import RobotVault
from fortctl.robot.core.hold_reasons import HoldCode, HoldReason

NOT_YET = HoldReason(HoldCode.DEADMAN, "the mailbox was not reached since the robot came up")


def orders_of(rows: Iterable[PanicRow], operator_id: str) -> list[str]:
    """Return the nonces of those orders that say that an operator has signed them (nothing is checked here)."""
    return [row.nonce for row in rows if _signer(row.body) == operator_id]


def _signer(body: bytes) -> object:
    try:
        return json.loads(body)["operator_id"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


class Haltable(Protocol):
    """What a panic asks of the robot (:class:`fortctl.robot.trading.runner.Runner`)."""

    def suspend_trading(self, reason: HoldReason | None) -> None: ...

    def place_nothing_more(self) -> None: ...

    async def halt(self, *, cancel_orders: bool) -> HaltReport: ...


class PanicListener:
    """Obeys panic orders.

    Args:
        vault: the robot's vault: who may command, which orders were obeyed.
        board: where orders wait.
        runner: the robot.
        latch: its latch.
        destroy: destroys every copy of its key; returns their names.
        halt: halts the robot and ends it; returns what the runner's ``halt`` says.
        clock, log: as named.
        deadman_s: how long the mailbox may stay unreachable before trading is suspended (s); None: for ever.
    """

    def __init__(
        self,
        vault: RobotVault,
        board: PanicBoard,
        runner: Haltable,
        latch: Latch,
        destroy: Callable[[], tuple[str, ...]],
        halt: Callable[[bool], Awaitable[HaltReport]],
        clock: Clock,
        log: logging.Logger,
        deadman_s: float | None,
    ) -> None:
        self._vault = vault
        self._board = board
        self._runner = runner
        self._latch = latch
        self._destroy = destroy
        self._halt = halt
        self._clock = clock
        self._log = log
        self._deadman_s = deadman_s
        self._identity = vault.identity()
        self._reached_at: float | None = None
        if deadman_s is not None:
            runner.suspend_trading(NOT_YET)

    async def poll(self) -> bool:
        """Read the mailbox and obey the first valid order; return whether one was obeyed.

        Raises:
            FortctlError: the mailbox cannot be read.
        """
        valid = [(row, order) for row, order in self._checked() if order is not None]
        if valid:
            first = valid[0][1]
            # What the same operator has sent twice is obeyed once; another operator's order stays what it is.
            await self._obey([row for row, order in valid if order.operator_id == first.operator_id], first)
            return True
        if self._reached_at is not None and self._deadman_s is not None and self._unreachable_for() > self._deadman_s:
            self._log.warning("the mailbox is back and holds no panic order: the robot resumes trading")
        self._reached_at = self._clock.monotonic()
        if self._deadman_s is not None:
            self._runner.suspend_trading(None)
        return False

    def _checked(self) -> Iterator[tuple[PanicRow, PanicOrder | None]]:
        for row in self._board.open_panics(self._vault.account):
            try:
                yield (
                    row,
                    check_order(
                        row.body,
                        row.signature,
                        operators=self._vault.operators(),
                        account=self._vault.account,
                        robot_id=self._identity.id,
                        used=self._vault.used_orders(),
                    ),
                )
            except CommandRejectedError as refused:
                self._log.warning("a panic order in the mailbox is not obeyed: %s", refused.reason)
                self._answer([row], "refused", {"reason": refused.reason})
                yield row, None

    def set_deadman(self, deadman_s: float | None) -> None:
        """Set how long the mailbox may stay unreachable (s); None: for ever."""
        if deadman_s is None and self._deadman_s is not None:
            self._runner.suspend_trading(None)
        self._deadman_s = deadman_s
        if deadman_s is not None and self._reached_at is None:
            self._runner.suspend_trading(NOT_YET)

    def check_deadman(self) -> None:
        """Suspend trading if the mailbox was not read for too long."""
        if self._deadman_s is None or self._reached_at is None or self._unreachable_for() <= self._deadman_s:
            return
        words = f"the mailbox was not reached for more than {self._deadman_s:.0f} s"
        self._runner.suspend_trading(HoldReason(HoldCode.DEADMAN, words))

    def _unreachable_for(self) -> float:
        return self._clock.monotonic() - (self._reached_at or 0.0)

    async def panic(self, why: str) -> None:
        """Latch, destroy the key and cancel the robot's orders, because the robot itself saw a reason to."""
        self._log.error("panic: %s", why)
        self._runner.place_nothing_more()
        self._latch_for("the robot itself", self._named_key(), cancel_orders=True, more={"reason": why})
        self._try("the key could not be destroyed", self._destroy)
        await self._halted(cancel_orders=True)

    async def _obey(self, rows: Sequence[PanicRow], order: PanicOrder) -> None:
        """Latch, answer, destroy the key, halt, answer again. A step that fails does not stop the others."""
        self._log.error("panic: obeying the order of operator %s", order.operator_id)
        self._runner.place_nothing_more()
        nonces, key = [row.nonce for row in rows], self._named_key()
        latched = self._latch_for(
            f"operator {order.operator_id}",
            key,
            cancel_orders=order.cancel_orders,
            more={"operator": order.operator_id, "orders": nonces},
        )
        self._answer(rows, "latched", {"latched": latched, "key": key})
        destroyed = self._try("the key could not be destroyed", self._destroy)
        self._try("the order's use could not be noted", lambda: self._vault.use_orders(nonces))
        halted = await self._halted(cancel_orders=order.cancel_orders)
        done = {
            "latched": latched,
            "destroyed": destroyed,
            "cancelled": len(halted.cancelled) if halted else 0,
            "left": len(halted.left) if halted else None,
            "key": key,
        }
        self._answer(rows, "halted", done)

    def _latch_for(
        self, who: str, key: Mapping[str, Any] | None, *, cancel_orders: bool, more: Mapping[str, Any]
    ) -> bool:
        """Write the latch; return whether it could be written."""
        facts = {
            "at": self._clock.now_ms(),
            "who": who,
            "keys": [key] if key else [],
            "cancel_orders": cancel_orders,
            **more,
        }
        return self._try("the latch could not be written", lambda: self._latch.set(facts))

    async def _halted(self, *, cancel_orders: bool) -> HaltReport | None:
        try:
            return await self._halt(cancel_orders)
        except Exception:
            self._log.exception("panic: the orders could not all be cancelled")
            return None

    def _named_key(self) -> dict[str, str] | None:
        """Return what the latch and the answers may name of the key."""
        card = self._card()
        if card is None:
            return None
        return {"role": "robot", "name": card.name, "tail": card.tail, "fingerprint": card.fingerprint}

    def _card(self) -> KeyCard | None:
        try:
            key = self._vault.key()
        except Exception:
            self._log.exception("panic: the key cannot be named")
            return None
        return key.card if key is not None else None

    def _try(self, complaint: str, work: Callable[[], object]) -> bool:
        try:
            work()
        except Exception:
            self._log.exception("panic: %s", complaint)
            return False
        return True

    def _answer(self, rows: Sequence[PanicRow], outcome: str, data: Mapping[str, Any]) -> None:
        for row in rows:
            signed = sign_answer(self._identity, self._vault.account, row.nonce, outcome, self._clock.now_ms(), data)
            words = (self._vault.account, row.nonce, signed.body, signed.signature)
            self._try("the order could not be answered", partial(self._board.answer_panic, *words))
