"""Orders and lists as JSON of Binance's responses (rest-api.md). Pure."""

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
    """Return the fields that a response has only if they apply to the order."""
    fields: Row = {}
    if prices and order.stop_price:
        fields["stopPrice"] = text(order.stop_price)
    if prices and order.iceberg:
        fields["icebergQty"] = text(order.iceberg)
    if order.trailing_delta is not None:
        fields["trailingDelta"] = order.trailing_delta
        fields["trailingTime"] = order.trailing_time if order.trailing_time is not None else -1
    if order.strategy_id is not None:
        fields["strategyId"] = order.strategy_id
    if order.strategy_type is not None:
        fields["strategyType"] = order.strategy_type
    if order.prevented:
        fields["preventedMatchId"] = order.prevented_id
        fields["preventedQuantity"] = text(order.prevented)
    if order.expiry_reason is not None:
        fields["expiryReason"] = order.expiry_reason
    return fields


def order_row(order: PaperOrder) -> Row:
    """Return an order as ``GET /api/v3/order`` states it."""
    fields = numbers(order)
    quote = fields.pop("origQuoteOrderQty")
    return {
        "symbol": order.symbol,
        "orderId": order.id,
        "orderListId": order.list_id,
        "clientOrderId": order.client_order_id,
        **fields,
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
    """Return the response to a new order; ``kind`` is ACK, RESULT or FULL."""
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
    """Return the response to a cancel."""
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


def list_row(state: ExchangeState, order_list: OrderList, *, short: bool = False) -> Row:
    """Return a list as ``GET /api/v3/orderList`` states it; ``short`` as an amendment does."""
    row: Row = {"orderListId": order_list.id, "contingencyType": order_list.contingency}
    if not short:
        row["listStatusType"] = order_list.status_type
    row["listOrderStatus"] = order_list.order_status
    row["listClientOrderId"] = order_list.client_id
    if not short:
        row["transactionTime"] = order_list.time
    row["symbol"] = order_list.symbol
    row["orders"] = [
        {"symbol": order_list.symbol, "orderId": number, "clientOrderId": state.orders[number].client_order_id}
        for number in order_list.orders
    ]
    return row


def commissions(maker: Any = ZERO, taker: Any = ZERO, *, sides: bool = True) -> Row:
    row = {"maker": text(maker), "taker": text(taker)}
    return {**row, "buyer": text(ZERO), "seller": text(ZERO)} if sides else row
