"""Compare the book with the exchange: observations in, missed events and reasons to hold out. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from fortctl.model import AccountState, Fill, OrderState
from fortctl.robot.core.book import Book
from fortctl.robot.core.cycle import Order
from fortctl.robot.core.events import Event, FillRecorded, OrderNotFound, OrderStatusReported
from fortctl.robot.core.hold_reasons import HoldCode, HoldReason
from fortctl.robot.core.order_ids import prefix_of

HUNDRED = Decimal(100)
_OF_A_ROBOT = re.compile(r"fc[0-9a-f]{8}-")


@dataclass(frozen=True)
class ResumeLimits:
    """How long a break and how large a price move the robot bridges without a person.

    Attributes:
        max_gap_ms: milliseconds of the exchange's time since the last accepted signed answer.
        max_drift: per cent between the last price then and now.
    """

    max_gap_ms: int = 6 * 3600 * 1000
    max_drift: Decimal = Decimal(5)


@dataclass(frozen=True)
class LastContact:
    """The last accepted signed answer: when (exchange's clock, ms), and the market's last price then."""

    at: int
    price: Decimal


@dataclass(frozen=True)
class Outage:
    """From the last accepted signed answer until now.

    Attributes:
        last_contact: that answer, or None where there was none.
        now: the exchange's time (ms).
        price: the market's last price.
    """

    last_contact: LastContact | None
    now: int
    price: Decimal

    def too_long(self, limits: ResumeLimits) -> list[HoldReason]:
        """Return why this break is not bridged without a person; empty when it is."""
        if self.last_contact is None:
            return []
        reasons: list[HoldReason] = []
        gap = self.now - self.last_contact.at
        if gap > limits.max_gap_ms:
            allowed = limits.max_gap_ms / 3_600_000
            words = f"the break lasted {gap / 3_600_000:.1f} h, {allowed:.1f} h are bridged alone"
            reasons.append(HoldReason(HoldCode.GAP, words))
        drift = abs(self.price - self.last_contact.price) / self.last_contact.price * HUNDRED
        if drift > limits.max_drift:
            moved = f"the price moved by {drift:.1f} % meanwhile ({self.last_contact.price:f} to {self.price:f})"
            reasons.append(HoldReason(HoldCode.DRIFT, f"{moved}, {limits.max_drift:f} % are bridged alone"))
        return reasons


def status_report(order: OrderState) -> OrderStatusReported:
    """Return the event for an order's state at the exchange."""
    return OrderStatusReported(order.client_order_id, order.order_id, order.status.value, order.executed)


def fill_record(fill: Fill, client_order_id: str) -> FillRecorded:
    """Return the event that books a fill of one of our orders."""
    return FillRecorded(
        client_order_id,
        fill.trade_id,
        fill.price,
        fill.quantity,
        fill.quote,
        fill.commission,
        fill.commission_asset,
        fill.time,
    )


def twins(book: Book, open_orders: Iterable[OrderState]) -> list[OrderState]:
    """Return open orders that have a client order id of ours and are another order than ours.

    Ours is the one with the number that the exchange reported; where it has reported none yet, the oldest.
    """
    by_name: dict[str, list[OrderState]] = {}
    for order in open_orders:
        if order.client_order_id in book.orders:
            by_name.setdefault(order.client_order_id, []).append(order)
    others = []
    for name, orders in by_name.items():
        ours = book.orders[name].order_id or min(order.order_id for order in orders)
        others += [order for order in orders if order.order_id != ours]
    return others


def twin_reasons(others: Iterable[OrderState]) -> list[HoldReason]:
    """Return why the robot must hold beside orders that share a client order id with one of ours."""
    return [
        HoldReason(
            HoldCode.UNKNOWN_ORDER,
            f"order {order.order_id} has the client order id {order.client_order_id} of another order of ours;"
            f" {order.side} {order.quantity:f} at {order.price:f}",
            subject=f"{order.client_order_id}/{order.order_id}",
        )
        for order in others
    ]


def orders_to_look_up(book: Book, open_orders: Iterable[OrderState]) -> list[Order]:
    """Return our orders that may still change and are not among the open ones; each must be looked up."""
    seen = {order.client_order_id for order in open_orders}
    return [order for order in book.unsettled() if order.client_order_id not in seen]


def has_missed_events(book: Book, open_orders: Sequence[OrderState]) -> bool:
    """Return whether the exchange's open orders show changes that the book does not have."""
    return bool(orders_to_look_up(book, open_orders)) or any(
        order.executed != ours.executed
        for order in open_orders
        if (ours := book.orders.get(order.client_order_id)) is not None
    )


def regressed_orders(book: Book, open_orders: Iterable[OrderState]) -> list[str]:
    """Return our orders of which the exchange reports less than before; it must be asked again about each."""
    return [
        order.client_order_id
        for order in open_orders
        if (ours := book.orders.get(order.client_order_id)) is not None
        and (order.executed < ours.executed or (ours.final and not ours.absent))
    ]


def rollback_reason(ours: Order, state: OrderState | None) -> HoldReason | None:
    """Return a reason to hold where the exchange reports less of an order than it reported before, or None.

    Args:
        ours: as it was before the exchange was asked.
        state: what it answered; None for an order that it does not know.
    """
    name = ours.client_order_id
    if state is None:
        words = "the exchange accepted it and does not know it any more" if ours.status is not None else ""
    elif state.executed < ours.executed:
        words = f"it has executed {state.executed:f} at the exchange, which had reported {ours.executed:f}"
    elif state.status.is_open and ours.final and not ours.absent:
        words = "the exchange reports it as open, after it had reported its end"
    else:
        words = ""
    return HoldReason(HoldCode.ROLLED_BACK, f"{name}; {words}", subject=name) if words else None


def missed_events(
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
    for name, trades in fills.items():
        if name in book.orders:
            events += [fill_record(fill, name) for fill in trades if not book.has_booked(name, fill.trade_id)]
    for order in open_orders:
        if order.client_order_id in book.orders:
            events.append(status_report(order))
    for name, state in looked_up.items():
        events.append(OrderNotFound(name, "not found at the exchange") if state is None else status_report(state))
    return events


def reasons_to_hold(
    book: Book,
    robot_id: str,
    open_orders: Iterable[OrderState],
    account: AccountState,
    outage: Outage,
    limits: ResumeLimits,
) -> list[HoldReason]:
    """Return why the robot must wait for a person; empty when it may trade."""
    reasons: list[HoldReason] = outage.too_long(limits) if book.live else []
    prefix = prefix_of(robot_id)
    for order in open_orders:
        if order.client_order_id.startswith(prefix) and order.client_order_id not in book.orders:
            worth = order.price * (order.quantity - order.executed)
            words = (
                f"{order.client_order_id} has our prefix and is not in the journal;"
                f" {order.side} {order.quantity:f} at {order.price:f}, {worth:f} {book.quote}"
            )
            reasons.append(HoldReason(HoldCode.UNKNOWN_ORDER, words, subject=order.client_order_id))
    lack = shortage(book, account, outage.price)
    return [*reasons, lack] if lack is not None else reasons


def shortage(book: Book, account: AccountState, price: Decimal) -> HoldReason | None:
    """Return a reason to hold where less can be sold than our cycles have bought, or None.

    What other orders than ours have locked cannot be sold.
    """
    held, bought = account.balance(book.base), book.inventory()
    offered = sum((o.quantity - o.executed for o in book.unsettled() if o.leg == "sell" and not o.final), Decimal(0))
    there = held.free + min(held.locked, offered)
    if there >= bought:
        return None
    lack = bought - there
    words = (
        f"{lack:f} {book.base} are missing; {there:f} can be sold at the exchange, {bought:f} are"
        f" in our cycles; the difference is worth {lack * price:f} {book.quote}"
    )
    return HoldReason(HoldCode.BALANCE, words, amount=lack, asset=book.base)


def other_robots(robot_id: str, open_orders: Iterable[OrderState]) -> dict[str, int]:
    """Return the prefixes of other robots' orders, with how many of each are open."""
    prefixes = [match[0] for order in open_orders if (match := _OF_A_ROBOT.match(order.client_order_id)) is not None]
    return {prefix: prefixes.count(prefix) for prefix in sorted({*prefixes} - {prefix_of(robot_id)})}
