"""Calls about orders. No I/O. Sources: rest-api.md, enums.md."""

from __future__ import annotations

import re
from typing import Any

from fortctl.paper import refusals
from fortctl.paper.engine import ZERO
from fortctl.paper.matching import PaperOrder
from fortctl.paper.parameters import CLIENT_ID, Context, Values, decimal_of, limit_of, symbol_named, whole_of
from fortctl.paper.symbols import ORDER_TYPES, text


def _read_order(context: Context, values: Values) -> PaperOrder:
    symbol, kind = symbol_named(context, values), values["type"]
    if values["side"] not in ("BUY", "SELL"):
        raise refusals.Refusal(-1117, "Invalid side.")
    if kind not in ORDER_TYPES:
        raise refusals.Refusal(-1116, "Invalid orderType.")
    name = values.get("newClientOrderId", "")
    if name and not re.fullmatch(CLIENT_ID.strip("^$"), name):
        raise refusals.illegal("newClientOrderId", CLIENT_ID)
    force, price, quote = "GTC", ZERO, ZERO
    if kind == "LIMIT":
        force = values.get("timeInForce", "")
        if not force:
            raise refusals.missing("timeInForce")
        if force not in ("GTC", "IOC", "FOK"):
            raise refusals.Refusal(-1115, "Invalid timeInForce.")
    elif "timeInForce" in values:
        raise refusals.Refusal(-1106, "Parameter 'timeInForce' sent when not required.")
    if kind == "MARKET":
        if "price" in values:
            raise refusals.Refusal(-1106, "Parameter 'price' sent when not required.")
        if "quoteOrderQty" in values:
            quote = decimal_of(values, "quoteOrderQty")
    else:
        price = decimal_of(values, "price")
    quantity = ZERO if quote else decimal_of(values, "quantity")
    if values.get("selfTradePreventionMode", "NONE") != "NONE":
        raise refusals.Refusal(-1013, "This symbol does not allow the specified self-trade prevention mode.")
    account = context.account.name
    return PaperOrder(0, account, symbol.name, name, values["side"], kind, force, price, quantity, quote, context.now)


def new_order(context: Context, values: Values) -> dict[str, Any]:
    order = _read_order(context, values)
    kind = values.get("newOrderRespType") or ("FULL" if order.type in ("MARKET", "LIMIT") else "ACK")
    if kind not in ("ACK", "RESULT", "FULL"):
        raise refusals.illegal("newOrderRespType", "^(ACK|RESULT|FULL)$")
    fills = context.engine.new_order(context.account.name, order, context.now)
    answer: dict[str, Any] = {
        "symbol": order.symbol,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.client_order_id,
        "transactTime": context.now,
    }
    if kind != "ACK":
        answer |= _numbers(order)
        answer |= {"workingTime": order.time, "selfTradePreventionMode": order.stp}
    if kind == "FULL":
        answer["fills"] = [
            {
                "price": fill["price"],
                "qty": fill["qty"],
                "commission": fill["commission"],
                "commissionAsset": fill["commissionAsset"],
                "tradeId": fill["id"],
            }
            for fill in fills
        ]
    return answer


def test_order(context: Context, values: Values) -> dict[str, Any]:
    context.engine.check_order(context.account.name, _read_order(context, values))
    return {}


def _numbers(order: PaperOrder) -> dict[str, Any]:
    return {
        "price": text(order.price),
        "origQty": text(order.quantity),
        "executedQty": text(order.executed),
        "origQuoteOrderQty": text(order.quote_quantity),
        "cummulativeQuoteQty": text(order.quote_executed),
        "status": order.status,
        "timeInForce": order.time_in_force,
        "type": order.type,
        "side": order.side,
    }


def order_row(order: PaperOrder) -> dict[str, Any]:
    """Return an order as ``GET /api/v3/order`` tells it."""
    numbers = _numbers(order)
    quote = numbers.pop("origQuoteOrderQty")
    return {
        "symbol": order.symbol,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.client_order_id,
        **numbers,
        "stopPrice": "0.00000000",
        "icebergQty": "0.00000000",
        "time": order.time,
        "updateTime": order.update_time,
        "isWorking": True,
        "workingTime": order.time,
        "origQuoteOrderQty": quote,
        "selfTradePreventionMode": order.stp,
    }


def _named_order(context: Context, values: Values, absent: refusals.Refusal) -> PaperOrder:
    order_id, name = whole_of(values, "orderId"), values.get("origClientOrderId")
    if order_id is None and not name:
        raise refusals.Refusal(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
    symbol = symbol_named(context, values)
    order = context.engine.find(context.account.name, symbol.name, order_id, name)
    if order is None:
        raise absent
    if order_id is not None and name and order.client_order_id != name:
        raise refusals.Refusal(-2039, "Client order ID is not correct for this order ID.")
    return order


def query_order(context: Context, values: Values) -> dict[str, Any]:
    return order_row(_named_order(context, values, refusals.NO_SUCH_ORDER))


def cancel_order(context: Context, values: Values) -> dict[str, Any]:
    order = _named_order(context, values, refusals.UNKNOWN_ORDER)
    return _cancelled(context, order, values.get("newClientOrderId", ""))


def _cancelled(context: Context, order: PaperOrder, cancel_id: str) -> dict[str, Any]:
    cancel_id = cancel_id or f"cancel{order.id:016d}"
    context.engine.cancel(context.account.name, order, context.now, cancel_id)
    return {
        "symbol": order.symbol,
        "origClientOrderId": order.client_order_id,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": cancel_id,
        "transactTime": context.now,
        **_numbers(order),
        "selfTradePreventionMode": order.stp,
    }


def _open(context: Context, symbol: str | None) -> list[PaperOrder]:
    books = [context.engine.books[symbol]] if symbol else list(context.engine.books.values())
    name = context.account.name
    return sorted((one for book in books for one in book.resting.values() if one.account == name), key=lambda o: o.id)


def open_orders(context: Context, values: Values) -> list[dict[str, Any]]:
    symbol = symbol_named(context, values).name if "symbol" in values else None
    return [order_row(order) for order in _open(context, symbol)]


def cancel_open_orders(context: Context, values: Values) -> list[dict[str, Any]]:
    found = _open(context, symbol_named(context, values).name)
    if not found:
        raise refusals.UNKNOWN_ORDER
    return [_cancelled(context, order, "") for order in found]


def all_orders(context: Context, values: Values) -> list[dict[str, Any]]:
    symbol, account = symbol_named(context, values).name, context.account.name
    first, start = whole_of(values, "orderId"), whole_of(values, "startTime")
    found = [
        order
        for order in context.engine.orders.values()
        if order.account == account
        and order.symbol == symbol
        and (first is None or order.id >= first)
        and (start is None or order.time >= start)
    ]
    limit = limit_of(values)
    return [order_row(order) for order in (found[:limit] if first is not None or start is not None else found[-limit:])]


def my_trades(context: Context, values: Values) -> list[dict[str, Any]]:
    symbol = symbol_named(context, values).name
    order_id, first = whole_of(values, "orderId"), whole_of(values, "fromId")
    start, end = whole_of(values, "startTime"), whole_of(values, "endTime")
    found = [
        fill
        for fill in context.engine.fills.get((context.account.name, symbol), [])
        if (order_id is None or fill["orderId"] == order_id)
        and (first is None or fill["id"] >= first)
        and (start is None or fill["time"] >= start)
        and (end is None or fill["time"] <= end)
    ]
    limit = limit_of(values)
    return found[:limit] if first is not None or start is not None else found[-limit:]
