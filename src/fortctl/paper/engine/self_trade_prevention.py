"""Self-trade prevention (faqs/stp_faq.md). No I/O, no clock."""

from __future__ import annotations

from typing import Any, Protocol

from fortctl.paper.engine.filters import text
from fortctl.paper.engine.order_book import Match
from fortctl.paper.engine.order_funds import release_excess
from fortctl.paper.engine.order_reports import OrderReports
from fortctl.paper.engine.orders import PaperOrder
from fortctl.paper.engine.state import ExchangeState, Row


class EndsOrders(Protocol):
    """Ends an order, as :meth:`fortctl.paper.engine.order_manager.OrderManager.end` does."""

    def __call__(self, order: PaperOrder, status: str, now: int, *, kind: str, prevented: Row) -> None: ...


def prevent_self_trade(
    state: ExchangeState, reports: OrderReports, end: EndsOrders, taker: PaperOrder, match: Match, now: int
) -> None:
    """Keep two orders of one account from trading with each other, in the taker's mode."""
    maker = match.against
    assert maker is not None
    taker_left = state.books[taker.symbol].fillable(taker, match.price)
    # TRANSFER needs it of both orders, and between orders of one account moves nothing: it works as DECREMENT.
    mode = "DECREMENT" if taker.stp == "TRANSFER" != maker.stp else taker.stp
    both = mode in ("DECREMENT", "TRANSFER")
    number, state.next_prevented = state.next_prevented, state.next_prevented + 1
    quantities = {taker.id: taker_left, maker.id: maker.left}
    smaller = min(quantities.values())
    if both:
        quantities = {taker.id: smaller, maker.id: smaller}
    row: dict[str, Any] = {
        "symbol": taker.symbol,
        "preventedMatchId": number,
        "takerOrderId": taker.id,
        "makerSymbol": maker.symbol,
        "makerOrderId": maker.id,
        "tradeGroupId": -1,
        "selfTradePreventionMode": mode,
        "price": text(match.price),
        "transactTime": now,
    }
    for order, field, modes in (
        (maker, "makerPreventedQuantity", ("EXPIRE_MAKER", "EXPIRE_BOTH")),
        (taker, "takerPreventedQuantity", ("EXPIRE_TAKER", "EXPIRE_BOTH")),
    ):
        if not both and mode not in modes:
            continue
        quantity = quantities[order.id]
        row[field] = text(quantity)
        order.prevented += quantity
        order.prevented_id = number
        if order.iceberg:
            order.shown = min(order.shown, order.left)
        other = taker if order is maker else maker
        event = {"B": text(quantity), "u": -1, "U": other.id, "Cs": order.symbol}
        event |= {"pl": text(smaller), "pL": text(match.price), "pY": text(smaller * match.price)}
        if order.left <= 0 or order.quote_quantity:
            end(order, "EXPIRED_IN_MATCH", now, kind="TRADE_PREVENTION", prevented=event)
        else:
            release_excess(state, order)
            reports.mark(order)
            reports.report(order, "TRADE_PREVENTION", now, prevented=event)
    state.prevented.setdefault((taker.account, taker.symbol), []).append(row)
    state.changed.add(("prevented", f"{taker.account}/{taker.symbol}/{number}"))
