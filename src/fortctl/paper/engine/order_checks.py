"""The checks of a new order: the symbol's filters, then those of the matching engine (filters.md, errors.md).

Each function raises :class:`errors.BinanceError` and changes nothing. No I/O, no clock.
"""

from __future__ import annotations

from decimal import Decimal

from fortctl.paper.engine import errors
from fortctl.paper.engine.filters import Candidate, check
from fortctl.paper.engine.order_book import OrderBook
from fortctl.paper.engine.order_funds import required_funds
from fortctl.paper.engine.orders import MARKET_TYPES, ZERO, PaperOrder
from fortctl.paper.engine.state import ExchangeState
from fortctl.paper.engine.trades.history import AVERAGE_MINUTES


def check_filters(state: ExchangeState, order: PaperOrder) -> None:
    """Refuse an order that breaks a filter (-1013), or that has no price to be checked against."""
    symbol, book = state.symbols[order.symbol], state.books[order.symbol]
    quantity = order.quantity
    if order.quote_quantity:
        reference = average_price(state, order, AVERAGE_MINUTES)
        if not reference:
            raise errors.NO_BOOK
        quantity = order.quote_quantity / reference // symbol.step * symbol.step
    limit_price = None if order.type in MARKET_TYPES else order.price
    candidate = Candidate(
        side=order.side,
        price=limit_price,
        stop_price=order.stop_price or None,
        quantity=quantity,
        average=lambda minutes: average_price(state, order, minutes),
        market=order.type == "MARKET",
        algo=order.stop,
        worth=order.quote_quantity,
        iceberg=order.iceberg,
        trailing=order.trailing_delta,
        trailing_above=order.rises,
        position=_position(state, order.account, symbol.base, book) if "MAX_POSITION" in symbol.filters else ZERO,
    )
    check(symbol.filters, candidate, count_orders(order, book))
    if limit_price is not None and not limit_price:
        # PRICE_FILTER allows it if the symbol's minimum price is 0 (filters.md).
        raise errors.new_order_refused("Price * QTY is zero or less.")


def average_price(state: ExchangeState, order: PaperOrder, minutes: int) -> Decimal:
    """Return the average price over a filter's minutes; the last price for 0, or if nothing traded in them."""
    average = state.history[order.symbol].average(order.time, minutes) if minutes else None
    if average is not None:
        return average
    last = state.books[order.symbol].last
    return last.price if last else order.price


def count_orders(order: PaperOrder, book: OrderBook) -> dict[str, int]:
    """Return how many orders of the account count against each filter that concerns an order."""
    mine = book.by_account.get(order.account, {})
    counts = {"MAX_NUM_ORDERS": len(mine)}
    if order.stop:
        counts["MAX_NUM_ALGO_ORDERS"] = sum(other.stop for other in mine.values())
    if order.iceberg:
        counts["MAX_NUM_ICEBERG_ORDERS"] = sum(bool(other.iceberg) for other in mine.values())
    return counts


def _position(state: ExchangeState, account: str, base: str, book: OrderBook) -> Decimal:
    holder = state.accounts[account]
    buys = (other.left for other in book.by_account.get(account, {}).values() if other.side == "BUY")
    return holder.free.get(base, ZERO) + holder.locked.get(base, ZERO) + sum(buys, ZERO)


# -- the checks of the matching engine ---------------------------------------------------------------------------------


def check_order(state: ExchangeState, order: PaperOrder) -> None:
    """Refuse an order as the matching engine does: market closed, duplicate id, would match, would trigger, funds."""
    account, book = state.accounts[order.account], state.books[order.symbol]
    if not book.symbol.trading:
        raise errors.CLOSED
    if not account.can_trade:
        raise errors.MAY_NOT_TRADE
    check_client_id(state, order)
    check_placing(state, order)
    asset, amount = required_funds(state, order)
    if account.free.get(asset, ZERO) < amount:
        raise errors.NO_FUNDS


def check_client_id(state: ExchangeState, order: PaperOrder) -> None:
    """Refuse a client order id that an open order of the account and symbol has."""
    previous = state.by_client_id.get((order.account, order.symbol, order.client_order_id))
    if previous is not None and state.orders[previous].status in ("NEW", "PARTIALLY_FILLED", "PENDING_NEW"):
        raise errors.DUPLICATE


def check_placing(state: ExchangeState, order: PaperOrder) -> None:
    """Refuse a LIMIT_MAKER order that would match, and a stop order that would trigger at once."""
    book = state.books[order.symbol]
    if order.type == "LIMIT_MAKER" and book.would_take(order.side, order.price):
        raise errors.WOULD_TAKE
    if order.stop and order.stop_price and book.last is not None:
        last = book.last.price
        if last >= order.stop_price if order.rises else last <= order.stop_price:
            raise errors.WOULD_TRIGGER
