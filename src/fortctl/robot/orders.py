"""Carry out intents: journal first, then the latch, then the wire; what stays unknown is looked up, never assumed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING

from fortctl.model import Fill, OrderRequest, OrderState, OrderStatus, OrderType, Side, SymbolRules
from fortctl.ports import Exchange, ExchangeFault, Outcome
from fortctl.robot.cycle import CycleState
from fortctl.robot.events import Absent, Booked, Cancel, Intended, Intent, Place
from fortctl.robot.ids import client_order_id
from fortctl.robot.reconcile import booked_of, told_of
from fortctl.robot.records import Cycle, Order
from fortctl.robot.strategy import View, first_sell

if TYPE_CHECKING:
    from fortctl.robot.runner import Runner

RECV_WINDOW_MS = 1_000
PROVED_AFTER_MS = RECV_WINDOW_MS + 1_000
BACK_OFF_S = {Outcome.WOULD_TAKE: 1.0, Outcome.NO_FUNDS: 30.0, Outcome.REFUSED: 30.0}
AT_ONCE = 16
ENDED_BY_EXCHANGE = (OrderStatus.EXPIRED, OrderStatus.EXPIRED_IN_MATCH, OrderStatus.REJECTED)


class OrderDesk:
    """Places, cancels and looks up the orders of one runner."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._levels: dict[int, float] = {}
        self._sells: dict[int, float] = {}
        # Refusals in a row because the order would have matched at once, by level and by cycle.
        self._taking: dict[str, dict[int, int]] = {"buy": {}, "sell": {}}
        self._cancelling: set[str] = set()
        self._unknown: set[str] = set()
        self._busy_until = 0.0
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        # Whoever owned the account before us sent nothing after this (exchange's clock, ms; 0: not measured yet).
        self._owner_since = 0
        self._flying = 0
        self._landed = asyncio.Event()
        self._landed.set()

    def view(self, price: Decimal, rules: SymbolRules, rate: Decimal) -> View:
        """Return what the strategy looks at; levels and sells refused a moment ago are left out."""
        now = self._runner.monotonic()
        self._levels = {level: until for level, until in self._levels.items() if until > now}
        self._sells = {cycle: until for cycle, until in self._sells.items() if until > now}
        self._taking["sell"] = {
            cycle: count for cycle, count in self._taking["sell"].items() if cycle in self._runner.book.live
        }
        return View(
            *(price, rules, rate, frozenset(self._levels), frozenset(self._sells), self._runner.exchange_now()),
            nudged=self._taking["buy"],
            nudged_sells=self._taking["sell"],
        )

    async def carry_out(self, exchange: Exchange, intents: Sequence[Intent]) -> None:
        """Carry out intents side by side; sells and cancels first."""
        if self._runner.monotonic() < self._busy_until:
            wait = self._busy_until - self._runner.monotonic()
            self._runner.beat(wait)
            await asyncio.sleep(wait)
        places = [intent for intent in intents if isinstance(intent, Place)]
        cancels = [intent.client_order_id for intent in intents if isinstance(intent, Cancel)]
        with self._under_way():
            requests = self._journal(places)
            await asyncio.gather(
                *(self._place(exchange, request, at) for request, at in requests),
                *(self.cancel(exchange, name) for name in cancels if name not in self._cancelling),
            )

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        self._flying += 1
        self._landed.clear()
        try:
            yield
        finally:
            self._flying -= 1
            if not self._flying:
                self._landed.set()

    async def landed(self) -> None:
        """Wait until every order that was sent has been answered, or has become unknown."""
        await asyncio.sleep(0)  # what was spawned this instant takes off first
        await self._landed.wait()

    def in_doubt(self) -> list[str]:
        """Return the orders whose outcome is unknown."""
        return sorted(self._unknown)

    def _journal(self, places: Sequence[Place]) -> list[tuple[OrderRequest, int]]:
        """Make the intents durable, all in one write; only then may any of them leave."""
        runner, book = self._runner, self._runner.book
        events, requests, number = [], [], book.next_cycle
        for place in places:
            cycle, attempt = place.cycle, 1
            if cycle is None:
                cycle, number = number, number + 1
            else:
                attempt = book.next_attempt(book.cycles[cycle], place.leg, place.price, place.quantity)
            event = self._intended(place, cycle, attempt)
            events.append(event)
            requests.append((self._request(event), event.at))
        runner.record(*events)
        return requests

    def _intended(self, place: Place, cycle: int, attempt: int) -> Intended:
        runner = self._runner
        return Intended(
            *(cycle, place.level, place.leg, attempt, client_order_id(runner.robot_id, cycle, place.leg, attempt)),
            *(place.price, place.quantity, place.dust),
            # The timestamp is fixed before the lease is checked: what is delayed after that is refused (rule 5).
            at=runner.exchange_now(),
            sell_price=place.sell_price,
            sell_step=runner.step_size if place.sell_price else Decimal(0),
        )

    def _request(self, event: Intended) -> OrderRequest:
        settings = self._runner.book.settings
        assert settings is not None
        return OrderRequest(
            settings.symbol,
            Side.BUY if event.leg == "buy" else Side.SELL,
            OrderType.LIMIT_MAKER if settings.maker_only else OrderType.LIMIT,
            event.quantity,
            event.price,
            event.client_order_id,
            settings.self_trade_prevention,
        )

    def sell_at_once(self, name: str, view: View) -> bool:
        """Send a finished buy's promised sell without a write in between; True when it is on its way (rule 1)."""
        runner, book = self._runner, self._runner.book
        order, exchange = book.orders[name], runner.exchange
        if order.leg != "buy" or not order.settled or exchange is None or runner.monotonic() < self._busy_until:
            return False
        cycle = book.cycles[order.cycle]
        place = first_sell(book, cycle, view)
        if place is None:
            return False
        event = self._intended(place, cycle.id, 1)
        runner.take(event)
        runner.spawn(self._place(exchange, self._request(event), event.at), f"sell {event.client_order_id}")
        return True

    async def _place(self, exchange: Exchange, request: OrderRequest, at: int) -> None:
        with self._under_way():
            await self._send(exchange, request, at)

    async def _send(self, exchange: Exchange, request: OrderRequest, at: int) -> None:
        runner, name = self._runner, request.client_order_id
        async with self._slots:
            with runner.latch.placing() as free:
                if not free or not runner.may_place() or exchange is not runner.exchange:
                    runner.record(Absent(name, "not sent"))
                    return
                try:
                    order = await exchange.place(request, timestamp=at, recv_window=RECV_WINDOW_MS)
                except ExchangeFault as fault:
                    await self._not_placed(exchange, name, fault)
                    return
        self._taking[runner.book.orders[name].leg].pop(self._place_of(name), None)
        runner.record(told_of(order))
        self.noted(name)
        runner.accepted()
        if runner.book.orders[name].missing:
            self.fetch_fills_of(name)

    async def _not_placed(self, exchange: Exchange, name: str, fault: ExchangeFault) -> None:
        runner = self._runner
        runner.flush()
        order = runner.book.orders[name]
        if fault.outcome in (Outcome.UNKNOWN, Outcome.DUPLICATE):
            runner.log.warning("order %s: outcome unknown (%s); looking it up", name, fault)
            self._unknown.add(name)
            runner.look_again()
            return
        runner.record(Absent(name, f"{fault.outcome.value} {fault.code or ''}".strip()))
        wait = BACK_OFF_S.get(fault.outcome, fault.retry_after or 1.0)
        self._block(order, wait)
        if fault.outcome is Outcome.WOULD_TAKE:
            taking, place = self._taking[order.leg], self._place_of(name)
            taking[place] = taking.get(place, 0) + 1
        elif fault.outcome is Outcome.KEY_REFUSED:
            await runner.confirm_key_loss(fault)
        elif fault.outcome is Outcome.CLOCK:
            runner.resync()
        elif fault.outcome is Outcome.BUSY:
            self._busy_until = max(self._busy_until, runner.monotonic() + (fault.retry_after or 1.0))
        runner.log.warning("order %s not placed: %s", name, fault)
        asyncio.get_running_loop().call_later(wait, runner.look_again)

    def _block(self, order: Order, seconds: float) -> None:
        blocked = self._levels if order.leg == "buy" else self._sells
        blocked[self._place_of(order.client_order_id)] = self._runner.monotonic() + seconds

    def _place_of(self, name: str) -> int:
        """Return what must wait when an order is refused: a buy's level, or a sell's cycle."""
        order = self._runner.book.orders[name]
        return self._runner.book.cycles[order.cycle].level if order.leg == "buy" else order.cycle

    def noted(self, name: str) -> None:
        """Wait before the next try of an order that the exchange ended by itself (self-trade prevention, a halt)."""
        order = self._runner.book.orders[name]
        if order.status in ENDED_BY_EXCHANGE:
            self._block(order, BACK_OFF_S[Outcome.REFUSED])

    # -- cancelling ------------------------------------------------------------------------------------------------

    async def cancel(self, exchange: Exchange, name: str) -> bool:
        """Cancel one order of ours; what it had filled by then stays. True when it is final now."""
        runner = self._runner
        settings = runner.book.settings
        assert settings is not None
        self._cancelling.add(name)
        try:
            async with self._slots:
                order = await exchange.cancel(settings.symbol, name)
        except ExchangeFault as fault:
            if fault.outcome is Outcome.ABSENT:
                # Filled, cancelled or gone meanwhile: the exchange knows which.
                self._unknown.add(name)
                runner.look_again()
                return False
            if fault.outcome is Outcome.KEY_REFUSED:
                await runner.confirm_key_loss(fault)
            else:
                runner.log.warning("cancel of %s: %s", name, fault)
                self._unknown.add(name)
                runner.look_again()
            return False
        finally:
            self._cancelling.discard(name)
        runner.record(told_of(order))
        runner.accepted()
        if runner.book.orders[name].missing:
            self.fetch_fills_of(name)
        return True

    async def cancel_all(self) -> list[str]:
        """Cancel every open order of ours, one by one and side by side; return those that are cancelled."""
        exchange = self._runner.exchange
        if exchange is None:
            return []
        names = [order.client_order_id for order in self._runner.book.unsettled() if not order.final]
        done = await asyncio.gather(*(self.cancel(exchange, name) for name in names))
        return [name for name, cancelled in zip(names, done, strict=True) if cancelled]

    # -- looking up ------------------------------------------------------------------------------------------------

    async def resolve_unknown(self, exchange: Exchange) -> None:
        """Look up every order whose outcome is unknown."""
        for name in sorted(self._unknown):
            order = self._runner.book.orders[name]
            found = await self.look_up(exchange, name, order.at)
            self._unknown.discard(name)
            if found is None:
                self._runner.record(Absent(name, "not found at the exchange"))
                continue
            fills = await self.missing_fills(exchange, [found])
            booked: list[Booked] = [booked_of(fill, name) for fill in fills.get(name, ())]
            self._runner.record(*booked, told_of(found))

    async def resolve_doubts(self, exchange: Exchange, open_orders: Iterable[OrderState]) -> None:
        """Look up every promised sell that a process before this one may have sent (robot.md, rule 1).

        Args:
            open_orders: the symbol's open orders as the exchange told them just now; a buy among them has not finished,
                so its sell never left.
        """
        runner, book = self._runner, self._runner.book
        if not book.doubted:
            return
        self._owner_since = self._owner_since or runner.exchange_now()
        there = {order.client_order_id: order for order in open_orders}
        for cycle in [book.cycles[number] for number in sorted(book.doubted)]:
            if cycle.orders["buy"] in there:
                book.doubted.discard(cycle.id)
            elif cycle.state is CycleState.BOUGHT:
                name = client_order_id(runner.robot_id, cycle.id, "sell", 1)
                found = there.get(name) or await self.look_up(exchange, name, self._owner_since)
                await self._settle_doubt(exchange, cycle, name, found)

    async def _settle_doubt(self, exchange: Exchange, cycle: Cycle, name: str, found: OrderState | None) -> None:
        runner = self._runner
        price, quantity = (found.price, found.quantity) if found else (cycle.sell_price, cycle.promised)
        at = found.time if found else self._owner_since
        # Its number is spent either way: an id that may have left is never sent again.
        runner.record(Intended(cycle.id, cycle.level, "sell", 1, name, price, quantity, Decimal(0), at))
        if found is None:
            runner.record(Absent(name, "not found at the exchange"))
            return
        fills = await self.missing_fills(exchange, [found])
        runner.record(*(booked_of(fill, name) for fill in fills.get(name, ())), told_of(found))

    async def look_up(self, exchange: Exchange, name: str, at: int) -> OrderState | None:
        """Return an order as the exchange has it; None only once it is proved absent (robot.md, rule 2).

        Args:
            at: when its request can have been stamped at the latest (exchange's clock, ms).
        """
        settings = self._runner.book.settings
        assert settings is not None
        while True:
            try:
                return await exchange.order(settings.symbol, name)
            except ExchangeFault as fault:
                if fault.outcome is not Outcome.ABSENT:
                    raise
            left_ms = at + PROVED_AFTER_MS - self._runner.exchange_now()
            if left_ms < 0:
                return None
            await self._runner.sleep(max(0.05, left_ms / 1000 / 4))

    async def missing_fills(self, exchange: Exchange, orders: Iterable[OrderState]) -> dict[str, tuple[Fill, ...]]:
        """Return the trades of those orders of ours that executed more than is booked."""
        book, found = self._runner.book, {}
        for order in orders:
            ours = book.orders.get(order.client_order_id)
            if ours is not None and order.executed > ours.booked:
                found[order.client_order_id] = await exchange.trades(order.symbol, order_id=order.order_id)
        return found

    def fetch_fills_of(self, name: str) -> None:
        """Fetch an order's trades soon, unless the stream brings them first."""
        if name not in self._fetching:
            task = asyncio.create_task(self._fetch(name), name=f"fills of {name}")
            self._fetching[name] = task
            task.add_done_callback(lambda _task: self._fetching.pop(name, None))

    async def _fetch(self, name: str) -> None:
        runner = self._runner
        await asyncio.sleep(0.25)
        order, exchange, settings = runner.book.orders[name], runner.exchange, runner.book.settings
        if not order.missing or exchange is None or settings is None:
            return
        try:
            fills = await exchange.trades(settings.symbol, order_id=order.order_id)
        except ExchangeFault as fault:
            runner.log.warning("the trades of %s: %s", name, fault)
            runner.resync()
            return
        runner.record(*(booked_of(fill, name) for fill in fills if not runner.book.has_booked(name, fill.trade_id)))
