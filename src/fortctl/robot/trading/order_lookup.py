"""Look up at the exchange what became of orders, and fetch their trades."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from fortctl.model import Fill, OrderState, OrderStatus, Side
from fortctl.ports import Exchange, ExchangeError, Outcome
from fortctl.robot.core.cycle import Cycle, CycleState, Order
from fortctl.robot.core.events import FillRecorded, OrderIntended, OrderNotFound
from fortctl.robot.core.order_ids import client_order_id
from fortctl.robot.core.reconciliation import fill_record, rollback_reason, status_report
from fortctl.robot.core.settings import Settings
from fortctl.robot.core.submission import PROVED_AFTER_MS
from fortctl.robot.trading.state import RobotState

NOT_FOUND = "not found at the exchange"
# The stream usually brings a fill's trade sooner than it could be asked for.
FILLS_AFTER_S = 0.25
_ARCHIVED = -2026
# A page of all orders weighs as much as five look-ups, one of all trades as much as four orders' trades.
LISTING_WORTHWHILE = 5
MINUTE_MS = 60_000


@dataclass(frozen=True)
class OrderTraits:
    """What an order is known by that may have another name by now.

    Attributes:
        first: the lowest number that the exchange can have given it.
    """

    name: str
    side: Side
    price: Decimal
    first: int


class _ArchivedError(Exception):
    """The exchange has put the order away: it ended without a fill over 90 days ago (errors.md, -2026)."""


class OrderLookup:
    """Looks up the orders of one robot, and fetches their trades.

    Args:
        robot: the robot's state.
    """

    def __init__(self, robot: RobotState) -> None:
        self._robot = robot
        self._unknown: set[str] = set()
        self._fetching: dict[str, asyncio.Task[None]] = {}
        # What is doubted was not sent after this (exchange's clock, ms; 0: not measured yet).
        self._owner_since = 0
        # The last listing of orders: when (exchange's clock, ms), from which number on.
        self._listing: tuple[int, int, tuple[OrderState, ...]] = (0, 0, ())

    @property
    def unknown(self) -> list[str]:
        """The orders whose outcome is unknown."""
        return sorted(self._unknown)

    def forget(self) -> None:
        """Forget what is unknown, because the book was read again: everything open in it is looked up anyway."""
        self._unknown.clear()
        # What may have left meanwhile was this process's own.
        self._owner_since = self._robot.exchange_now()

    def mark_unknown(self, name: str) -> None:
        """Note that an order's outcome is unknown: it is looked up before anything else is done with it."""
        self._unknown.add(name)
        self._robot.wake()

    async def resolve_unknown(self, exchange: Exchange) -> None:
        """Look up every order whose outcome is unknown."""
        for name in self.unknown:
            order = self._robot.book.orders.get(name)
            if order is not None:
                await self._settle(exchange, order, await self.look_up(exchange, order))
            self._unknown.discard(name)

    async def _settle(self, exchange: Exchange, order: Order, state: OrderState | None) -> None:
        robot, name = self._robot, order.client_order_id
        reason = rollback_reason(order, state)
        if reason is not None:
            robot.hold_for(reason)
            return
        if state is None:
            robot.record(OrderNotFound(name, NOT_FOUND))
            return
        fills = await self.missing_fills(exchange, [state])
        booked: list[FillRecorded] = [fill_record(fill, name) for fill in fills.get(name, ())]
        robot.record(*booked, status_report(state))

    async def resolve_doubted_sells(self, exchange: Exchange, open_orders: Iterable[OrderState]) -> None:
        """Look up every promised sell that a process before this one may have sent (robot.md, rule 1).

        Args:
            open_orders: the symbol's open orders, reported just now; a buy among them has not finished, so its sell
                never left.
        """
        robot, book = self._robot, self._robot.book
        if not book.doubted:
            return
        self._owner_since = self._owner_since or robot.exchange_clock.process_start()
        there = {order.client_order_id: order for order in open_orders}
        for cycle in [book.cycles[number] for number in sorted(book.doubted)]:
            if cycle.orders["buy"] in there:
                book.doubted.discard(cycle.id)
            elif cycle.state is CycleState.BOUGHT:
                name = client_order_id(robot.robot_id, cycle.id, "sell", 1)
                state = there.get(name)
                if state is None:
                    # Whatever was sent has arrived by then, so that one look proves it either way.
                    await self._wait_until_proved(self._owner_since)
                    traits = OrderTraits(
                        name, Side.SELL, cycle.sell_price, book.orders[cycle.orders["buy"]].order_id + 1
                    )
                    state = await self._find(exchange, traits, self._owner_since)
                await self._settle_doubt(exchange, cycle, name, state)

    async def _settle_doubt(self, exchange: Exchange, cycle: Cycle, name: str, state: OrderState | None) -> None:
        robot = self._robot
        price, quantity = (state.price, state.quantity) if state else (cycle.sell_price, cycle.promised)
        at = state.time if state else self._owner_since
        # Its number is spent either way: an id that may have left is never sent again.
        robot.record(OrderIntended(cycle.id, cycle.level, "sell", 1, name, price, quantity, Decimal(0), at))
        await self._settle(exchange, robot.book.orders[name], state)

    async def list_orders(self, exchange: Exchange, orders: Sequence[Order]) -> dict[str, OrderState]:
        """Return orders of ours as one listing of the exchange shows them, where that costs less than looking each up.

        An order that is not in it must be looked up; only that proves it absent.
        """
        numbers = {order.order_id: order.client_order_id for order in orders if order.order_id}
        settings = self._robot.book.settings
        if len(numbers) <= LISTING_WORTHWHILE or settings is None:
            return {}
        listed = await exchange.all_orders(settings.symbol, from_id=min(numbers))
        return {
            numbers[state.order_id]: replace(state, client_order_id=numbers[state.order_id])
            for state in listed
            if state.order_id in numbers
        }

    async def look_up(self, exchange: Exchange, order: Order) -> OrderState | None:
        """Return an order of ours as the exchange has it, under our name; None only once it is proved absent."""
        try:
            state = await self._find(exchange, self._traits(order), order.at, order.order_id)
        except _ArchivedError:
            state = _archived_state(self._robot.book.settings, order)
        # Amended by hand, it has another client order id and is still ours.
        return replace(state, client_order_id=order.client_order_id) if state is not None else None

    async def _find(self, exchange: Exchange, traits: OrderTraits, at: int, order_id: int = 0) -> OrderState | None:
        """Return an order as the exchange has it; None only once it is proved absent (robot.md, rule 2).

        Args:
            at: when its request can have been stamped at the latest (exchange's clock, ms).
            order_id: the exchange's number, where it is known.
        """
        settings = self._robot.book.settings
        assert settings is not None
        while True:
            try:
                state = await exchange.order(settings.symbol, traits.name)
                if order_id and state.order_id != order_id:
                    # Another order has its name.
                    return await self._by_number(exchange, settings.symbol, traits.name, order_id)
                return state
            except ExchangeError as fault:
                if fault.outcome is not Outcome.ABSENT:
                    raise
                if fault.code == _ARCHIVED:
                    raise _ArchivedError from None
            if order_id:
                return await self._by_number(exchange, settings.symbol, traits.name, order_id)
            # One more look proves it: asking in between would cost requests, and hurry nothing that must wait.
            if not await self._wait_until_proved(at):
                return await self._find_amended(exchange, settings.symbol, traits, at)

    def _traits(self, order: Order) -> OrderTraits:
        orders = self._robot.book.orders.values()
        # An order stamped a minute earlier was accepted earlier, and so has a lower number.
        before = [one.order_id for one in orders if one.order_id and one.at < order.at - MINUTE_MS]
        return OrderTraits(order.client_order_id, order.side, order.price, max(before, default=-1) + 1)

    async def _find_amended(self, exchange: Exchange, symbol: str, traits: OrderTraits, at: int) -> OrderState | None:
        """Return an order that nobody knows by its name, because it was amended before the robot learnt its number.

        An amended order is found by its new id alone; its amendments list the earlier ones (decision 0018).
        """
        robot = self._robot
        ours = robot.book.orders
        numbers = {order.order_id for order in ours.values() if order.order_id}
        for state in await self._orders_from(exchange, symbol, traits.first, at):
            if state.order_id in numbers or (state.side, state.price) != (traits.side, traits.price):
                continue
            if state.client_order_id in ours and state.client_order_id != traits.name:
                continue
            if state.client_order_id == traits.name:
                # It is listed under its name, although the exchange says that no order has it.
                return state
            earlier = [state.client_order_id, *await exchange.previous_client_order_ids(symbol, state.order_id)]
            if traits.name in earlier:
                robot.log.warning("%s was amended before its answer was known: it is %d", traits.name, state.order_id)
                amended = await exchange.order(symbol, traits.name, order_id=state.order_id)
                return replace(amended, client_order_id=traits.name)
        return None

    async def _orders_from(self, exchange: Exchange, symbol: str, first: int, at: int) -> tuple[OrderState, ...]:
        """Return all orders of the symbol from a number on; one listing serves for all that had arrived before it."""
        since, lowest, orders = self._listing
        if since - PROVED_AFTER_MS <= at or first < lowest:
            since = self._robot.exchange_now()
            orders = await exchange.all_orders(symbol, from_id=first)
            self._listing = since, first, orders
        return orders

    async def _wait_until_proved(self, at: int) -> bool:
        """Wait until what was stamped then (exchange's clock, ms) has arrived or never will; True if that took time."""
        left_ms = at + PROVED_AFTER_MS - self._robot.exchange_now()
        if left_ms < 0:
            return False
        await self._robot.clock.sleep(left_ms / 1000 + 0.05)
        return True

    async def _by_number(self, exchange: Exchange, symbol: str, name: str, order_id: int) -> OrderState | None:
        try:
            return await exchange.order(symbol, name, order_id=order_id)
        except ExchangeError as fault:
            if fault.outcome is not Outcome.ABSENT:
                raise
            return None

    async def missing_fills(self, exchange: Exchange, orders: Iterable[OrderState]) -> dict[str, tuple[Fill, ...]]:
        """Return the trades of those orders of ours that executed more than is booked."""
        book = self._robot.book
        missing = [
            order
            for order in orders
            if (ours := book.orders.get(order.client_order_id)) is not None and order.executed > ours.booked
        ]
        by_order = await self._fills_from(exchange, missing)
        for order in missing:
            if order.client_order_id not in by_order:
                by_order[order.client_order_id] = await exchange.trades(order.symbol, order_id=order.order_id)
        return by_order

    async def _fills_from(self, exchange: Exchange, orders: Sequence[OrderState]) -> dict[str, tuple[Fill, ...]]:
        """Return the trades since the last that is booked, by order, for those orders that they explain wholly."""
        book = self._robot.book
        last = max(book.trades, default=0)
        if len(orders) <= LISTING_WORTHWHILE or not last:
            return {}
        by_number: dict[int, list[Fill]] = {}
        for fill in await exchange.trades(orders[0].symbol, from_id=last + 1):
            by_number.setdefault(fill.order_id, []).append(fill)
        by_order = {}
        for order in orders:
            fills, name = by_number.get(order.order_id, []), order.client_order_id
            if sum((fill.quantity for fill in fills), book.orders[name].booked) == order.executed:
                by_order[name] = tuple(fills)
        return by_order

    def fetch_fills_of(self, name: str) -> None:
        """Fetch an order's trades soon, unless the stream brings them first."""
        if name not in self._fetching:
            task = self._robot.spawn(self._fetch(name), f"fills of {name}")
            self._fetching[name] = task
            task.add_done_callback(lambda _task: self._fetching.pop(name, None))

    async def _fetch(self, name: str) -> None:
        robot = self._robot
        await asyncio.sleep(FILLS_AFTER_S)
        order, exchange, settings = robot.book.orders.get(name), robot.exchange, robot.book.settings
        if order is None or not order.missing or exchange is None or settings is None:
            return
        try:
            fills = await exchange.trades(settings.symbol, order_id=order.order_id)
        except ExchangeError as fault:
            robot.log.warning("the trades of %s: %s", name, fault)
            robot.resync()
            return
        robot.record(*(fill_record(fill, name) for fill in fills if not robot.book.has_booked(name, fill.trade_id)))


def _archived_state(settings: Settings | None, order: Order) -> OrderState:
    assert settings is not None
    zero = Decimal(0)
    return OrderState(
        *(settings.symbol, order.order_id, order.client_order_id, order.side, "LIMIT", order.price, order.quantity),
        *(zero, zero, OrderStatus.CANCELED, order.at, order.at),
    )


def restore_client_ids(orders: Iterable[OrderState], ours: Mapping[str, Order]) -> tuple[OrderState, ...]:
    """Return the exchange's orders; one that a person amended gets back the client order id that we know it by."""
    names = {order.order_id: name for name, order in ours.items() if order.order_id}
    return tuple(
        replace(order, client_order_id=names[order.order_id])
        if order.client_order_id not in ours and order.order_id in names
        else order
        for order in orders
    )
