"""Orders against recorded trades. Pure.

Resting orders fill from recorded trades under one of three models, never from thin air: a trade's quantity is shared
among the orders that it reaches, best price first, then oldest.

- ``touch``: a trade at the order's price or beyond it;
- ``through``: only a trade beyond the order's price (default: nobody knows our place in the queue);
- ``queue``: a trade beyond it, or what trades at it once the quantity that stood ahead of the order is gone.

Takers walk a book derived from the recording: the last trades of each side give the levels, one tick apart from the
last price on that side, each with the quantity of one recorded trade, until it is consumed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fortctl.paper.market import Trade
from fortctl.paper.symbols import Symbol

ZERO = Decimal(0)
DEPTH = 20
FILL_MODELS = ("touch", "through", "queue")


@dataclass
class PaperOrder:
    """An order of the paper exchange, in Binance's words."""

    id: int
    account: str
    symbol: str
    client_order_id: str
    side: str
    type: str
    time_in_force: str
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    time: int
    status: str = "NEW"
    executed: Decimal = ZERO
    quote_executed: Decimal = ZERO
    update_time: int = 0
    working: bool = False
    queue_ahead: Decimal = ZERO
    stp: str = "NONE"

    @property
    def left(self) -> Decimal:
        return self.quantity - self.executed

    @property
    def open(self) -> bool:
        return self.status in ("NEW", "PARTIALLY_FILLED")

    def as_json(self) -> dict[str, Any]:
        return {name: str(value) if isinstance(value, Decimal) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> PaperOrder:
        numbers = ("price", "quantity", "quote_quantity", "executed", "quote_executed", "queue_ahead")
        values: dict[str, Any] = {name: Decimal(value) if name in numbers else value for name, value in body.items()}
        return cls(**values)


@dataclass(frozen=True)
class Match:
    """One execution that the market allows."""

    order: PaperOrder
    price: Decimal
    quantity: Decimal
    maker: bool


@dataclass
class Book:
    """One symbol's resting orders, and the derived book that takers walk."""

    symbol: Symbol
    model: str = "through"
    resting: dict[int, PaperOrder] = field(default_factory=dict)
    last: Trade | None = None
    bid: Decimal = ZERO
    ask: Decimal = ZERO
    bid_sizes: deque[Decimal] = field(default_factory=lambda: deque(maxlen=DEPTH))
    ask_sizes: deque[Decimal] = field(default_factory=lambda: deque(maxlen=DEPTH))
    update_id: int = 0

    def see(self, trade: Trade) -> None:
        """Take a recorded trade into the derived book."""
        self.last = trade
        self.update_id += 1
        tick = self.symbol.tick
        if trade.buyer_is_maker:
            self.bid = trade.price
            self.bid_sizes.appendleft(trade.quantity)
            self.ask = max(self.ask, self.bid + tick) if self.ask else self.bid + tick
        else:
            self.ask = trade.price
            self.ask_sizes.appendleft(trade.quantity)
            self.bid = min(self.bid, self.ask - tick) if self.bid else self.ask - tick

    def levels(self, side: str) -> list[tuple[Decimal, Decimal]]:
        """Return (price, quantity) of a side (``bids`` or ``asks``), best first."""
        if side == "asks":
            found = [(self.ask + self.symbol.tick * n, size) for n, size in enumerate(self.ask_sizes)]
        else:
            found = [(self.bid - self.symbol.tick * n, size) for n, size in enumerate(self.bid_sizes)]
        return [(price, size) for price, size in found if size > 0 and price > 0]

    def match(self, trade: Trade) -> Iterator[Match]:
        """Yield what a recorded trade fills of the resting orders; at most its quantity in all."""
        left = trade.quantity
        for order in self._reached(trade):
            if order.price == trade.price and self.model == "queue":
                gone = min(order.queue_ahead, left)
                order.queue_ahead -= gone
                if order.queue_ahead > 0:
                    continue
                available = left - gone
            else:
                available = left
            quantity = min(order.left, available)
            if quantity <= 0:
                continue
            left -= quantity
            yield Match(order, order.price, quantity, maker=True)
            if left <= 0:
                return

    def _reached(self, trade: Trade) -> list[PaperOrder]:
        at_price = self.model != "through"

        def reached(order: PaperOrder) -> bool:
            if order.price == trade.price:
                return at_price
            return trade.price < order.price if order.side == "BUY" else trade.price > order.price

        found = [order for order in self.resting.values() if reached(order)]
        found.sort(key=lambda order: (-order.price if order.side == "BUY" else order.price, order.id))
        return found

    def rest(self, order: PaperOrder) -> None:
        """Put an order on the book; under ``queue`` it stands behind what shows at its price."""
        levels = self.levels("bids" if order.side == "BUY" else "asks")
        order.queue_ahead = sum((size for price, size in levels if price == order.price), ZERO)
        order.working = True
        self.resting[order.id] = order

    def take(self, order: PaperOrder) -> Iterator[Match]:
        """Yield what an order takes from the derived book at once; what it takes is gone from the book."""
        buying = order.side == "BUY"
        sizes = self.ask_sizes if buying else self.bid_sizes
        best = self.ask if buying else self.bid
        for number in range(len(sizes)):
            price = best + self.symbol.tick * number if buying else best - self.symbol.tick * number
            if price <= 0 or (order.type != "MARKET" and (price > order.price if buying else price < order.price)):
                return
            quantity = min(sizes[number], self._wanted(order, price))
            if quantity <= 0:
                if sizes[number] > 0:
                    return
                continue
            sizes[number] -= quantity
            yield Match(order, price, quantity, maker=False)

    def _wanted(self, order: PaperOrder, price: Decimal) -> Decimal:
        if order.quote_quantity:
            affordable = (order.quote_quantity - order.quote_executed) / price
            return affordable // self.symbol.step * self.symbol.step
        return order.left

    def cost(self, quantity: Decimal) -> Decimal:
        """Return what a market buy of that quantity would pay on the derived book."""
        total = ZERO
        for price, size in self.levels("asks"):
            part = min(size, quantity)
            total, quantity = total + part * price, quantity - part
        return total

    def would_take(self, side: str, price: Decimal) -> bool:
        """Return whether a limit order would match at once."""
        return (bool(self.ask) and price >= self.ask) if side == "BUY" else (bool(self.bid) and price <= self.bid)

    def takeable(self, order: PaperOrder) -> Decimal:
        """Return how much of an order the derived book could fill now (for FOK)."""
        total = ZERO
        for price, size in self.levels("asks" if order.side == "BUY" else "bids"):
            if price > order.price if order.side == "BUY" else price < order.price:
                break
            total += size
        return total
