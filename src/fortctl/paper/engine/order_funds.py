"""What an order costs: the asset and the amount that it locks, and what it no longer needs. No I/O, no clock."""

from __future__ import annotations

from decimal import Decimal

from fortctl.paper.engine.orders import ZERO, PaperOrder
from fortctl.paper.engine.state import ExchangeState


def paying_asset(state: ExchangeState, order: PaperOrder) -> str:
    """Return the asset that an order gives: the base asset of a sell, the quote asset of a buy."""
    symbol = state.symbols[order.symbol]
    return symbol.base if order.side == "SELL" else symbol.quote


def required_funds(state: ExchangeState, order: PaperOrder) -> tuple[str, Decimal]:
    """Return the asset that an order needs, and how much of it."""
    symbol, book = state.symbols[order.symbol], state.books[order.symbol]
    if order.side == "SELL":
        return symbol.base, book.cost(order) if order.quote_quantity else order.left
    if order.type == "MARKET":
        return symbol.quote, order.quote_quantity or book.cost(order)
    return symbol.quote, order.left * lock_price(state, order)


def lock_price(state: ExchangeState, order: PaperOrder) -> Decimal:
    """Return the price at which a buy locks its quote amount."""
    if not order.takes_any_price:
        return order.price
    return order.stop_price or state.last_price(order.symbol)


def release_excess(state: ExchangeState, order: PaperOrder) -> None:
    """Unlock what an order no longer needs."""
    if order.type == "MARKET" or not order.held:
        return
    needed = ZERO
    if order.open:
        needed = order.left if order.side == "SELL" else order.left * lock_price(state, order)
    excess = order.held - needed
    if excess > 0:
        order.held -= excess
        state.accounts[order.account].lock(paying_asset(state, order), -excess)
