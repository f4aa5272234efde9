"""Make the book agree with the exchange: observations in, events and reasons to hold out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from fortctl.model import AccountState, Fill, OrderState
from fortctl.robot.book import Book
from fortctl.robot.events import Absent, Booked, Event, Told
from fortctl.robot.ids import prefix_of
from fortctl.robot.records import Order

HUNDRED = Decimal(100)


@dataclass(frozen=True)
class Limits:
    """How long a break and how large a move the robot bridges alone.

    Attributes:
        max_gap_ms: milliseconds of the exchange's time since the last accepted signed answer.
        max_drift: per cent between the last price then and now.
    """

    max_gap_ms: int = 6 * 3600 * 1000
    max_drift: Decimal = Decimal(5)


@dataclass(frozen=True)
class Mark:
    """The last accepted signed answer: when (exchange's clock, ms), and the market's last price then."""

    at: int
    price: Decimal


def told_of(order: OrderState) -> Told:
    """Return what an order's state at the exchange tells."""
    return Told(order.client_order_id, order.order_id, order.status.value, order.executed)


def booked_of(fill: Fill, client_order_id: str) -> Booked:
    """Return a fill as it is booked."""
    return Booked(
        client_order_id,
        fill.trade_id,
        fill.price,
        fill.quantity,
        fill.quote,
        fill.commission,
        fill.commission_asset,
        fill.time,
    )


def to_look_up(book: Book, open_orders: Iterable[OrderState]) -> list[Order]:
    """Return our orders that may still change and are not among the open ones: each must be asked for."""
    seen = {order.client_order_id for order in open_orders}
    return [order for order in book.unsettled() if order.client_order_id not in seen]


def agree(
    book: Book,
    open_orders: Iterable[OrderState],
    looked_up: Mapping[str, OrderState | None],
    fills: Mapping[str, Iterable[Fill]],
) -> list[Event]:
    """Return the events that the robot missed.

    Args:
        open_orders: the symbol's open orders at the exchange.
        looked_up: our other unsettled orders by client order id; None where it is proved absent.
        fills: the trades of our orders, by client order id.
    """
    events: list[Event] = []
    for name, found in fills.items():
        if name in book.orders:
            events += [booked_of(fill, name) for fill in found if not book.has_booked(name, fill.trade_id)]
    for order in open_orders:
        if order.client_order_id in book.orders:
            events.append(told_of(order))
    for name, looked in looked_up.items():
        events.append(Absent(name, "not found at the exchange") if looked is None else told_of(looked))
    return events


def reasons_to_hold(
    book: Book,
    robot_id: str,
    open_orders: Iterable[OrderState],
    account: AccountState,
    price: Decimal,
    now: int,
    mark: Mark | None,
    limits: Limits,
) -> list[str]:
    """Return why the robot must not go on alone; empty when it may.

    Args:
        now: the exchange's time (ms).
        mark: the last accepted signed answer before the break.
    """
    reasons = []
    if mark is not None and book.live:
        gap = now - mark.at
        if gap > limits.max_gap_ms:
            reasons.append(f"GAP: the break lasted {gap / 3_600_000:.1f} h")
        drift = abs(price - mark.price) / mark.price * HUNDRED
        if drift > limits.max_drift:
            reasons.append(f"DRIFT: the price moved by {drift:.1f} % meanwhile")
    prefix = prefix_of(robot_id)
    for order in open_orders:
        if order.client_order_id.startswith(prefix) and order.client_order_id not in book.orders:
            reasons.append(f"UNKNOWN_ORDER: {order.client_order_id} bears our prefix and is not in the journal")
    held = account.balance(book.base)
    if held.free + held.locked < book.inventory():
        reasons.append(
            f"BALANCE: {held.free + held.locked:f} {book.base} at the exchange, {book.inventory():f} in our cycles"
        )
    return reasons
