"""One symbol's order book: resting orders, stop orders, and the levels derived from recorded trades. Pure.

A resting order fills only from recorded trades: a trade's quantity is shared among the orders that it reaches, best
price first, then oldest. The fill model says which orders a trade reaches:

- ``touch``: those whose price it reaches or passes;
- ``through``: those whose price it passes (default: an order's rank in Binance's queue is unknown);
- ``queue``: those whose price it passes, and those at its price once the quantity ahead of them has traded.

Takers walk a book that is derived from the recording: the last trade of each side gives the best price, and each
earlier one a level a tick further, with that trade's quantity until takers have consumed it. A resting order of the
paper exchange matches before a level of the same or a worse price.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fortctl.paper.engine.book_side import BookSide
from fortctl.paper.engine.orders import ZERO, PaperOrder
from fortctl.paper.engine.symbols import Symbol
from fortctl.paper.engine.trades.table import Trade

DEPTH = 20
FILL_MODELS = ("touch", "through", "queue")
Levels = list[tuple[Decimal, Decimal]]


@dataclass(frozen=True, slots=True)
class Match:
    """One possible execution.

    Attributes:
        order: the order that executes.
        against: the resting order on the other side, or None for the recorded market.
    """

    order: PaperOrder
    price: Decimal
    quantity: Decimal
    maker: bool
    against: PaperOrder | None = None


@dataclass
class OrderBook:
    """One symbol's resting orders, waiting stop orders, and the derived book that takers walk."""

    symbol: Symbol
    model: str = "through"
    resting: dict[int, PaperOrder] = field(default_factory=dict)
    waiting: dict[int, PaperOrder] = field(default_factory=dict)
    last: Trade | None = None
    bid: Decimal = ZERO
    ask: Decimal = ZERO
    bid_sizes: deque[Decimal] = field(default_factory=lambda: deque(maxlen=DEPTH))
    ask_sizes: deque[Decimal] = field(default_factory=lambda: deque(maxlen=DEPTH))
    update_id: int = 0
    next_rank: int = 1
    # takers have consumed some of the derived levels
    consumed: bool = False
    # orders whose queue or trail has moved, which no event reports
    moved: set[int] = field(default_factory=set)
    # the resting orders in the order in which they match
    bids: BookSide = field(default_factory=lambda: BookSide(True))
    offers: BookSide = field(default_factory=lambda: BookSide(False))
    # account → its resting and waiting orders
    by_account: dict[str, dict[int, PaperOrder]] = field(default_factory=dict)

    def record_trade(self, trade: Trade) -> None:
        """Update the derived book with a recorded trade."""
        self.last = trade
        self.update_id += 1
        tick = self.symbol.tick
        if trade.buyer_is_maker:
            self.bid = trade.price
            self.bid_sizes.appendleft(trade.quantity)
            ask = trade.price + tick
            if not self.ask or self.ask < ask:
                self.ask = ask
        else:
            self.ask = trade.price
            self.ask_sizes.appendleft(trade.quantity)
            bid = trade.price - tick
            if not self.bid or self.bid > bid:
                self.bid = bid

    def as_json(self) -> dict[str, Any]:
        """Return what cannot be restored from its orders and the recorded trades."""
        sizes = {"bids": list(self.bid_sizes), "asks": list(self.ask_sizes)} if self.consumed else {}
        return {"rank": self.next_rank, "update_id": self.update_id, **sizes}

    def restore(self, body: dict[str, Any]) -> None:
        """Set what :meth:`as_json` returned, after the earlier trades have been recorded again."""
        self.next_rank, self.update_id = body["rank"], body["update_id"]
        if "bids" in body:
            self.consumed = True
            self.bid_sizes = deque(map(Decimal, body["bids"]), maxlen=DEPTH)
            self.ask_sizes = deque(map(Decimal, body["asks"]), maxlen=DEPTH)

    # -- levels ------------------------------------------------------------------------------------------------------

    def derived(self, side: str) -> Levels:
        """Return the derived levels (price, quantity) of a side (``bids`` or ``asks``), best first."""
        if side == "asks":
            levels = [(self.ask + self.symbol.tick * n, size) for n, size in enumerate(self.ask_sizes)]
        else:
            levels = [(self.bid - self.symbol.tick * n, size) for n, size in enumerate(self.bid_sizes)]
        return [(price, size) for price, size in levels if size > 0 and price > 0]

    def levels(self, side: str) -> Levels:
        """Return the public book: the derived levels, and resting orders that do not cross them."""
        derived = self.derived(side)
        buying = side == "bids"
        mine = [order for order in self.resting.values() if (order.side == "BUY") == buying]
        if not mine:
            return derived
        opposite = self.derived("asks" if buying else "bids")
        edge = opposite[0][0] if opposite else None
        sizes = dict(derived)
        for order in mine:
            if edge is None or (order.price < edge if buying else order.price > edge):
                sizes[order.price] = sizes.get(order.price, ZERO) + _visible(order)
        return sorted(sizes.items(), reverse=buying)

    def best(self) -> tuple[tuple[Decimal, Decimal], tuple[Decimal, Decimal]]:
        """Return the best bid and the best ask; (0, 0) for an empty side."""
        bids, asks = self.levels("bids"), self.levels("asks")
        return (bids or [(ZERO, ZERO)])[0], (asks or [(ZERO, ZERO)])[0]

    # -- recorded trades ---------------------------------------------------------------------------------------------

    def reached(self, price: Decimal) -> bool:
        """Return whether a recorded price reaches the best order of a side: most of a recording reach none."""
        bid, offer = self.bids.best_price, self.offers.best_price
        return (bid is not None and price <= bid) or (offer is not None and price >= offer)

    def match(self, trade: Trade) -> Iterator[Match]:
        """Yield the executions of resting orders by a recorded trade, at most its quantity in all.

        The caller must book each match before it asks for the next.
        """
        left = trade.quantity
        queue = self._reached(trade)
        while queue and left > 0:
            order = queue.popleft()
            available = left
            if order.price == trade.price and self.model == "queue":
                gone = min(order.queue_ahead, left)
                if gone:
                    order.queue_ahead -= gone
                    self.moved.add(order.id)
                if order.queue_ahead > 0:
                    continue
                available = left - gone
            quantity = min(_visible(order), available)
            if quantity <= 0:
                continue
            left -= quantity
            yield Match(order, order.price, quantity, maker=True)
            if self._show_next_part(order):
                place = next((n for n, other_order in enumerate(queue) if other_order.price != order.price), len(queue))
                queue.insert(place, order)

    def _reached(self, trade: Trade) -> deque[PaperOrder]:
        at_price, price = self.model != "through", trade.price
        reached = [*self.bids.until(price, including=at_price), *self.offers.until(price, including=at_price)]
        return deque(reached)

    def _show_next_part(self, order: PaperOrder) -> bool:
        """Let an iceberg whose visible part has executed show the next, behind the orders of its price."""
        if not order.iceberg or not order.open or order.shown > 0:
            return False
        order.shown = min(order.iceberg, order.left)
        order.rank, self.next_rank = self.next_rank, self.next_rank + 1
        self._side(order).add(order)
        return order.shown > 0

    def rest(self, order: PaperOrder) -> None:
        """Enter an order; under ``queue`` it stands behind the quantity at its price."""
        if self.model == "queue":
            levels = self.derived("bids" if order.side == "BUY" else "asks")
            order.queue_ahead = sum((size for price, size in levels if price == order.price), ZERO)
        if order.iceberg:
            order.shown = min(order.iceberg, order.left)
        order.rank, self.next_rank = self.next_rank, self.next_rank + 1
        self.add(order)
        self.update_id += 1

    def add(self, order: PaperOrder) -> None:
        """Add an open order to the waiting orders if it waits for its stop price, else to the resting ones."""
        if order.waits:
            self.waiting[order.id] = order
        else:
            self.resting[order.id] = order
            self._side(order).add(order)
        self.by_account.setdefault(order.account, {})[order.id] = order

    def _side(self, order: PaperOrder) -> BookSide:
        return self.bids if order.side == "BUY" else self.offers

    def remove(self, order: PaperOrder) -> None:
        """Remove an order that has ended or triggered."""
        if self.resting.pop(order.id, None) is not None:
            self._side(order).remove(order.id)
            self.update_id += 1
        self.waiting.pop(order.id, None)
        mine = self.by_account.get(order.account)
        if mine is not None and mine.pop(order.id, None) is not None and not mine:
            del self.by_account[order.account]

    # -- takers ------------------------------------------------------------------------------------------------------

    def opposite(self, order: PaperOrder) -> list[PaperOrder]:
        """Return the resting orders that an order can match, in the order of matching."""
        other = self.offers if order.side == "BUY" else self.bids
        return list(other) if order.takes_any_price else other.until(order.price)

    def take(self, order: PaperOrder) -> Iterator[Match]:
        """Yield the executions of an order that takes liquidity now.

        The caller must book each match before it asks for the next, and prevent self-trades: matches with resting
        orders of the same account are yielded too.
        """
        buying = order.side == "BUY"
        sizes = self.ask_sizes if buying else self.bid_sizes
        best, other = (self.ask, self.offers) if buying else (self.bid, self.bids)
        number = 0
        while True:
            resting = other.best(None if order.takes_any_price else order.price)
            while number < len(sizes) and sizes[number] <= 0:
                number += 1
            price = best + self.symbol.tick * number if buying else best - self.symbol.tick * number
            shown = number < len(sizes) and price > 0
            if shown and not order.takes_any_price:
                shown = price <= order.price if buying else price >= order.price
            if resting is not None and (not shown or (resting.price <= price if buying else resting.price >= price)):
                quantity = min(_visible(resting), self.fillable(order, resting.price))
                if quantity <= 0:
                    return
                yield Match(order, resting.price, quantity, maker=False, against=resting)
                self._show_next_part(resting)
            elif shown:
                quantity = min(sizes[number], self.fillable(order, price))
                if quantity <= 0:
                    return
                yield Match(order, price, quantity, maker=False)
                sizes[number] -= quantity
                self.consumed = True
                self.update_id += 1
            else:
                return
            if not order.open:
                return

    def fillable(self, order: PaperOrder, price: Decimal) -> Decimal:
        """Return how much of an order can still execute at a price."""
        if order.quote_quantity:
            affordable = (order.quote_quantity - order.quote_executed) / price
            return affordable // self.symbol.step * self.symbol.step
        return order.left

    def cost(self, order: PaperOrder) -> Decimal:
        """Return what a market order would cost: quote asset for a buy, base asset for a sell by quote amount."""
        buying = order.side == "BUY"
        total, quantity, worth = ZERO, order.left, order.quote_quantity
        resting: Levels = [(other_order.price, other_order.left) for other_order in self.opposite(order)]
        for price, size in sorted([*resting, *self.derived("asks" if buying else "bids")], reverse=not buying):
            if buying:
                part = min(size, quantity)
                total, quantity = total + part * price, quantity - part
            else:
                part = min(size, worth / price // self.symbol.step * self.symbol.step)
                total, worth = total + part, worth - part * price
        return total

    def would_take(self, side: str, price: Decimal) -> bool:
        """Return whether a limit order would match at once."""
        buying = side == "BUY"
        if (bool(self.ask) and price >= self.ask) if buying else (bool(self.bid) and price <= self.bid):
            return True
        return (self.offers if buying else self.bids).best(price) is not None

    def takeable(self, order: PaperOrder) -> Decimal:
        """Return how much of an order can execute now (for FOK)."""
        buying = order.side == "BUY"
        total = sum((other_order.left for other_order in self.opposite(order)), ZERO)
        for price, size in self.derived("asks" if buying else "bids"):
            if price > order.price if buying else price < order.price:
                break
            total += size
        return total

    # -- triggers ----------------------------------------------------------------------------------------------------

    def triggered(self, price: Decimal, now: int) -> list[PaperOrder]:
        """Return the waiting orders that a last price triggers, oldest first; trailing orders follow the price."""
        triggered = []
        for order in list(self.waiting.values()):
            before = order.extreme, order.trailing_time
            if is_triggered(order, price, now):
                triggered.append(order)
            elif (order.extreme, order.trailing_time) != before:
                self.moved.add(order.id)
        return triggered


def is_triggered(order: PaperOrder, price: Decimal, now: int) -> bool:
    """Return whether a last price triggers a stop order (faqs/trailing-stop-faq.md).

    Without a trailing delta, the price must reach the stop price. With one, the order trails once the stop price is
    reached (at once if there is none): a sell follows the highest price and triggers on a fall by the delta, a buy
    follows the lowest and triggers on a rise; the delta is in basis points.
    """
    reached = price >= order.stop_price if order.rises else price <= order.stop_price
    if order.trailing_delta is None:
        return reached
    if order.trailing_time is None:
        if not order.stop_price or reached:
            order.trailing_time, order.extreme = now, price
        return False
    if order.side == "BUY":
        order.extreme = min(order.extreme, price)
        return price >= order.extreme * (10_000 + order.trailing_delta) / 10_000
    order.extreme = max(order.extreme, price)
    return price <= order.extreme * (10_000 - order.trailing_delta) / 10_000


def _visible(order: PaperOrder) -> Decimal:
    return order.shown if order.iceberg else order.left
