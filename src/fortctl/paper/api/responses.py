"""Orders and lists as Binance's answers tell them (rest-api.md). Pure."""

from __future__ import annotations

from typing import Any

from fortctl.paper.engine.filters import ZERO, text
from fortctl.paper.engine.orders import OrderList, PaperOrder
from fortctl.paper.engine.state import ExchangeState

Row = dict[str, Any]


def numbers(order: PaperOrder) -> Row:
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


def conditional(order: PaperOrder, *, prices: bool = True) -> Row:
    """Return the fields that an order has only where they apply."""
    found: Row = {}
    if prices and order.stop_price:
        found["stopPrice"] = text(order.stop_price)
    if prices and order.iceberg:
        found["icebergQty"] = text(order.iceberg)
    if order.trailing_delta is not None:
        found["trailingDelta"] = order.trailing_delta
        found["trailingTime"] = order.trailing_time if order.trailing_time is not None else -1
    if order.strategy_id is not None:
        found["strategyId"] = order.strategy_id
    if order.strategy_type is not None:
        found["strategyType"] = order.strategy_type
    if order.prevented:
        found["preventedMatchId"] = order.prevented_id
        found["preventedQuantity"] = text(order.prevented)
    if order.expiry_reason is not None:
        found["expiryReason"] = order.expiry_reason
    return found


def order_row(order: PaperOrder) -> Row:
    """Return an order as ``GET /api/v3/order`` tells it."""
    shown = numbers(order)
    quote = shown.pop("origQuoteOrderQty")
    return {
        "symbol": order.symbol,
        "orderId": order.id,
        "orderListId": order.list_id,
        "clientOrderId": order.client_order_id,
        **shown,
        "stopPrice": text(order.stop_price),
        "icebergQty": text(order.iceberg),
        "time": order.time,
        "updateTime": order.update_time,
        "isWorking": order.working_time != -1,
        "workingTime": order.working_time,
        "origQuoteOrderQty": quote,
        "selfTradePreventionMode": order.stp,
        **conditional(order, prices=False),
    }


def placed(order: PaperOrder, kind: str, now: int, fills: list[Row], prevented: list[Row]) -> Row:
    """Return the answer to a new order; ``kind`` is ACK, RESULT or FULL."""
    answer: Row = {
        "symbol": order.symbol,
        "orderId": order.id,
        "orderListId": order.list_id,
        "clientOrderId": order.client_order_id,
        "transactTime": now,
    }
    if kind == "ACK":
        return answer
    answer |= numbers(order)
    answer["workingTime"] = order.working_time
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
        if prevented:
            names = ("preventedMatchId", "makerOrderId", "price", "takerPreventedQuantity", "makerPreventedQuantity")
            answer["preventedMatches"] = [{n: row[n] for n in names if n in row} for row in prevented]
    answer["selfTradePreventionMode"] = order.stp
    return answer | conditional(order)


def cancelled(order: PaperOrder, cancel_id: str, now: int) -> Row:
    """Return the answer to a cancel."""
    return {
        "symbol": order.symbol,
        "origClientOrderId": order.client_order_id,
        "orderId": order.id,
        "orderListId": order.list_id,
        "clientOrderId": cancel_id,
        "transactTime": now,
        **numbers(order),
        "selfTradePreventionMode": order.stp,
        **conditional(order),
    }


def amended(order: PaperOrder, before: str) -> Row:
    """Return ``amendedOrder`` of an amendment."""
    return {
        "symbol": order.symbol,
        "orderId": order.id,
        "orderListId": order.list_id,
        "origClientOrderId": before,
        "clientOrderId": order.client_order_id,
        "price": text(order.price),
        "qty": text(order.quantity),
        "executedQty": text(order.executed),
        "preventedQty": text(order.prevented),
        "quoteOrderQty": text(order.quote_quantity),
        "cumulativeQuoteQty": text(order.quote_executed),
        "status": order.status,
        "timeInForce": order.time_in_force,
        "type": order.type,
        "side": order.side,
        "workingTime": order.working_time,
        "selfTradePreventionMode": order.stp,
        **conditional(order),
    }


def list_row(state: ExchangeState, found: OrderList, *, short: bool = False) -> Row:
    """Return a list as ``GET /api/v3/orderList`` tells it; ``short`` is how an amendment names it."""
    row: Row = {"orderListId": found.id, "contingencyType": found.contingency}
    if not short:
        row["listStatusType"] = found.status_type
    row["listOrderStatus"] = found.order_status
    row["listClientOrderId"] = found.client_id
    if not short:
        row["transactionTime"] = found.time
    row["symbol"] = found.symbol
    row["orders"] = [
        {"symbol": found.symbol, "orderId": number, "clientOrderId": state.orders[number].client_order_id}
        for number in found.orders
    ]
    return row


def commissions(maker: Any = ZERO, taker: Any = ZERO, *, sides: bool = True) -> Row:
    row = {"maker": text(maker), "taker": text(taker)}
    return {**row, "buyer": text(ZERO), "seller": text(ZERO)} if sides else row
