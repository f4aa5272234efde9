"""The robot's pure core over the paper exchange's matching, with no network and no clock: for benchmarks."""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import Any

from fortctl.exchange import parsing
from fortctl.paper.api import registry
from fortctl.paper.api.parameters import Context
from fortctl.paper.engine import errors
from fortctl.paper.engine.accounts import ApiKey
from fortctl.paper.engine.exchange import Engine
from fortctl.paper.engine.market_data import Recording
from fortctl.paper.engine.trades.table import Trade
from fortctl.robot.core.book import Book
from fortctl.robot.core.events import (
    AssetsNamed,
    Cancel,
    Configured,
    Event,
    FillRecorded,
    ModeChanged,
    OrderIntended,
    OrderNotFound,
    OrderStatusReported,
    Place,
)
from fortctl.robot.core.order_ids import client_order_id
from fortctl.robot.core.reconciliation import fill_record, status_report
from fortctl.robot.core.settings import GridSettings
from fortctl.robot.strategy.api import View, first_sell
from fortctl.robot.strategy.grid import Grid
from fortctl.robot.strategy.guard import apply_limits

ROBOT_ID = "0123456789abcdef"
PLACE, CANCEL = registry.CALLS["POST", "/api/v3/order"].handler, registry.CALLS["DELETE", "/api/v3/order"].handler


class Replay:
    """One grid over one recording; events that a journal would keep go to ``journal``, or are dropped."""

    def __init__(
        self, tape: Recording, settings: GridSettings, deposit: dict[str, Decimal], *, keep: bool = False
    ) -> None:
        self.engine = Engine({settings.symbol: tape}, "through")
        self.settings = settings
        self.book, self.grid = Book(), Grid()
        self.journal: list[Event] | None = [] if keep else None
        self.placed = self.asked = 0
        start = tape.trades[0].time - 1
        self.engine.create_account("default", deposit, start)
        self._key = ApiKey("robot", "default", "k" * 64, "hmac", ("reading", "spot_trading"), start, secret="s" * 64)
        self.engine.add_key(self._key)
        self.engine.listeners.on_user_event = self._emit
        self._events: deque[dict[str, Any]] = deque()
        info = registry.CALLS["GET", "/api/v3/exchangeInfo"].handler(self._context(start), {"symbol": settings.symbol})
        self.rules = parsing.symbol_rules(info)
        self._quiet: Decimal | None = None
        self._record(Configured(settings.as_json()), AssetsNamed(self.rules.base, self.rules.quote))
        self._record(ModeChanged("running", "started", start))

    def run(self, trades: list[Trade]) -> None:
        symbol, engine = self.settings.symbol, self.engine
        for trade in trades:
            engine.apply_trade(symbol, trade, trade.time)
            if self._events:
                self._take_in(trade)
                self._plan(trade)
            elif self._quiet is None or trade.price >= self._quiet:
                self._plan(trade)

    def _context(self, now: int) -> Context:
        return Context(self.engine, now, self._key, [])

    def _emit(self, account: str, kind: str, event: dict[str, Any]) -> None:
        if kind == "order":
            self._events.append(event)

    def _record(self, *events: Event) -> None:
        self.book.replay(events)
        if self.journal is not None:
            self.journal += events

    def _take_in(self, trade: Trade) -> None:
        while self._events:
            update = parsing.order_update(self._events.popleft())
            name, book = update.order.client_order_id, self.book
            if name not in book.orders:
                continue
            fills: list[FillRecorded] = []
            if update.fill is not None and not book.has_booked(name, update.fill.trade_id):
                fills = [fill_record(update.fill, name)]
            self._record(*fills, status_report(update.order))
            order = book.orders[name]
            if order.leg == "buy" and order.settled:
                place = first_sell(book, book.cycles[order.cycle], self._view(trade))
                if place is not None:
                    self._send(place, order.cycle, 1, trade.time)

    def _view(self, trade: Trade) -> View:
        return View(trade.price, self.rules, Decimal("0.001"), now=trade.time)

    def _plan(self, trade: Trade) -> None:
        for _ in range(20):
            self.asked += 1
            view = self._view(trade)
            plan, _complaints = apply_limits(self.grid.plan(self.book, view), self.book, view)
            self._quiet = plan.quiet_below
            if not plan.events and not plan.intents:
                return
            self._record(*plan.events)
            for intent in plan.intents:
                self._carry_out(intent, trade.time)
            self._take_in(trade)

    def _carry_out(self, intent: Place | Cancel, now: int) -> None:
        if isinstance(intent, Cancel):
            values = {"symbol": self.settings.symbol, "origClientOrderId": intent.client_order_id}
            self._record(status_report(parsing.order_state(CANCEL(self._context(now), values))))
            return
        cycle, attempt = intent.cycle or self.book.next_cycle, 1
        if intent.cycle is not None:
            attempt = self.book.next_attempt(self.book.cycles[cycle], intent.leg, intent.price, intent.quantity)
        self._send(intent, cycle, attempt, now)

    def _send(self, place: Place, cycle: int, attempt: int, now: int) -> None:
        name = client_order_id(ROBOT_ID, cycle, place.leg, attempt)
        step = self.rules.step_size if place.sell_price else Decimal(0)
        self._record(
            OrderIntended(
                *(cycle, place.level, place.leg, attempt, name, place.price, place.quantity, place.dust, now),
                *(place.sell_price, step),
            )
        )
        self.placed += 1
        values = {
            "symbol": self.settings.symbol,
            "side": place.leg.upper(),
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": f"{place.quantity:f}",
            "price": f"{place.price:f}",
            "newClientOrderId": name,
            "newOrderRespType": "RESULT",
        }
        try:
            answer = PLACE(self._context(now), values)
        except errors.BinanceError as refusal:
            self._record(OrderNotFound(name, refusal.message))
            return
        order = parsing.order_state(answer)
        self._record(OrderStatusReported(name, order.order_id, order.status.value, order.executed))
