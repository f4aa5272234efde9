"""Report what somebody else does on the robot's account, as far as its user stream shows it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from fortctl.model import FundsMoved, OrderUpdate
from fortctl.robot.core.events import ForeignActivityReported
from fortctl.robot.core.foreign_activity import (
    ActivityKind,
    ForeignAction,
    ForeignActivity,
    foreign_order,
    funds_moved,
    own_order,
)
from fortctl.robot.trading.state import RobotState

# So many orders are remembered, so that one with many fills is reported once.
REMEMBERED = 1_000


class ForeignWatch:
    """Watches the account of one robot for activity that is not the robot's.

    Args:
        robot: the robot's state.
        panic: starts a panic of this robot, for a reason; returns at once.
        is_cancelling: returns whether the robot asked for the cancellation of one of its orders.
    """

    def __init__(self, robot: RobotState, panic: Callable[[str], None], is_cancelling: Callable[[str], bool]) -> None:
        self._robot = robot
        self._panic = panic
        self._is_cancelling = is_cancelling
        self._reported: deque[tuple[ActivityKind, int]] = deque(maxlen=REMEMBERED)

    def on_order_update(self, update: OrderUpdate, name: str | None) -> None:
        """Judge an update of an order, before the book learns of it.

        Args:
            name: the order's client order id in the journal; None: it is not the robot's.
        """
        robot = self._robot
        if name is None:
            self._report_once(foreign_order(update, robot.foreign_settings), update.order.order_id)
            return
        final, cancelling = robot.book.orders[name].final, self._is_cancelling(name)
        self._report_once(own_order(update, name, final=final, cancelling=cancelling), update.order.order_id)

    def on_funds_moved(self, event: FundsMoved) -> None:
        """Report funds that came or went without an order."""
        self._report(funds_moved(event))

    def _report_once(self, activity: ForeignActivity | None, order_id: int) -> None:
        if activity is None or (activity.kind, order_id) in self._reported:
            return
        if activity.kind is not ActivityKind.OWN_AMENDED:
            self._reported.append((activity.kind, order_id))
        self._report(activity)

    def _report(self, activity: ForeignActivity) -> None:
        robot = self._robot
        action = robot.foreign_settings.action
        robot.log.warning("foreign activity: %s", activity.detail)
        if action is ForeignAction.PANIC:
            self._panic(activity.detail)
        robot.record_with_next(ForeignActivityReported(activity))
        robot.spawn(self._flush(), "journal")
        robot.announce("on-foreign-activity", {"activity": activity.row(), "action": action.value})

    async def _flush(self) -> None:
        self._robot.flush()
