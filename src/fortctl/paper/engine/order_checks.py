"""What an order must pass before it is taken in: the symbol's filters, then the matching engine's own checks.

Source: filters.md, errors.md. No I/O, no clock.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from fortctl.paper.engine import errors
from fortctl.paper.engine.filters import Candidate, check
from fortctl.paper.engine.orders import MARKET_TYPES, ZERO, PaperOrder
from fortctl.paper.engine.trade_history import AVERAGE_MINUTES

if TYPE_CHECKING:
    from fortctl.paper.engine.exchange import Engine
    from fortctl.paper.engine.order_book import OrderBook


class Acceptance:
    """The checks of one engine; each refuses with :class:`errors.BinanceError`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def check_filters(self, order: PaperOrder) -> None:
        """Refuse what breaks a filter or finds no book (-1013)."""
        engine = self._engine
        symbol, book = engine.symbols[order.symbol], engine.books[order.symbol]
        quantity = order.quantity
        if order.quote_quantity:
            reference = self.average_price(order, AVERAGE_MINUTES)
            if not reference:
                raise errors.NO_BOOK
            quantity = order.quote_quantity / reference // symbol.step * symbol.step
        limit_price = None if order.type in MARKET_TYPES else order.price
        candidate = Candidate(
            side=order.side,
            price=limit_price,
            stop_price=order.stop_price or None,
            quantity=quantity,
            average=lambda minutes: self.average_price(order, minutes),
            market=order.type == "MARKET",
            algo=order.stop,
            worth=order.quote_quantity,
            iceberg=order.iceberg,
            trailing=order.trailing_delta,
            trailing_above=order.rises,
            position=self._position(order.account, symbol.base, book) if "MAX_POSITION" in symbol.filters else ZERO,
        )
        check(symbol.filters, candidate, self.counts(order, book))
        if limit_price is not None and not limit_price:
            # Where the symbol's lowest price is 0, the filter is off (filters.md).
            raise errors.new_order_refused("Price * QTY is zero or less.")

    def average_price(self, order: PaperOrder, minutes: int) -> Decimal:
        """Return the average price over a filter's minutes; the last price at 0, or where nothing traded in them."""
        engine = self._engine
        average = engine.history[order.symbol].average(order.time, minutes) if minutes else None
        if average is not None:
            return average
        last = engine.books[order.symbol].last
        return last.price if last else order.price

    def counts(self, order: PaperOrder, book: OrderBook) -> dict[str, int]:
        """Return how many orders of the account count against each filter that concerns an order."""
        mine = book.of.get(order.account, {})
        found = {"MAX_NUM_ORDERS": len(mine)}
        if order.stop:
            found["MAX_NUM_ALGO_ORDERS"] = sum(one.stop for one in mine.values())
        if order.iceberg:
            found["MAX_NUM_ICEBERG_ORDERS"] = sum(bool(one.iceberg) for one in mine.values())
        return found

    def _position(self, account: str, base: str, book: OrderBook) -> Decimal:
        found = self._engine.accounts[account]
        buys = (one.left for one in book.of.get(account, {}).values() if one.side == "BUY")
        return found.free.get(base, ZERO) + found.locked.get(base, ZERO) + sum(buys, ZERO)

    # -- the matching engine's own checks --------------------------------------------------------------------------

    def check_order(self, order: PaperOrder) -> None:
        """Refuse what Binance's matching engine would refuse: closed, duplicate, maker, trigger, funds."""
        engine = self._engine
        account, book = engine.accounts[order.account], engine.books[order.symbol]
        if not book.symbol.trading:
            raise errors.CLOSED
        if not account.can_trade:
            raise errors.MAY_NOT_TRADE
        self.check_client_id(order)
        self.check_placing(order)
        asset, amount = self.needs(order)
        if account.free.get(asset, ZERO) < amount:
            raise errors.NO_FUNDS

    def check_client_id(self, order: PaperOrder) -> None:
        engine = self._engine
        previous = engine.by_client_id.get((order.account, order.symbol, order.client_order_id))
        if previous is not None and engine.orders[previous].status in ("NEW", "PARTIALLY_FILLED", "PENDING_NEW"):
            raise errors.DUPLICATE

    def check_placing(self, order: PaperOrder) -> None:
        """Refuse a maker order that would take, and a stop order that would trigger at once."""
        book = self._engine.books[order.symbol]
        if order.type == "LIMIT_MAKER" and book.would_take(order.side, order.price):
            raise errors.WOULD_TAKE
        if order.stop and order.stop_price and book.last is not None:
            last = book.last.price
            if last >= order.stop_price if order.rises else last <= order.stop_price:
                raise errors.WOULD_TRIGGER

    def needs(self, order: PaperOrder) -> tuple[str, Decimal]:
        """Return the asset that an order needs, and how much of it."""
        symbol, book = self._engine.symbols[order.symbol], self._engine.books[order.symbol]
        if order.side == "SELL":
            return symbol.base, book.cost(order) if order.quote_quantity else order.left
        if order.type == "MARKET":
            return symbol.quote, order.quote_quantity or book.cost(order)
        return symbol.quote, order.left * self.lock_price(order)

    def lock_price(self, order: PaperOrder) -> Decimal:
        if not order.takes_any_price:
            return order.price
        last = self._engine.books[order.symbol].last
        return order.stop_price or (last.price if last else ZERO)
