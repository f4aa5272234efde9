"""Calls about single orders. No I/O. Sources: rest-api.md, enums.md."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from fortctl.paper.api.order_parameters import client_id_of, read_order, response_of
from fortctl.paper.api.parameters import (
    Context,
    Values,
    choice_of,
    decimal_of,
    flag_of,
    limit_of,
    span_of,
    symbol_named,
    whole_of,
)
from fortctl.paper.api.responses import amended, cancelled, commissions, list_row, order_row, placed
from fortctl.paper.engine import errors
from fortctl.paper.engine.amend import amend
from fortctl.paper.engine.order_checks import check_filters, check_order
from fortctl.paper.engine.orders import PaperOrder

Row = dict[str, Any]
DAY_HOURS = 24


def new_order(context: Context, values: Values) -> Row:
    order = read_order(context, values)
    kind = response_of(values, "FULL" if order.type in ("MARKET", "LIMIT") else "ACK")
    return _place(context, order, kind)


def _place(context: Context, order: PaperOrder, kind: str) -> Row:
    state = context.state
    before = state.next_prevented
    fills = context.engine.order_manager.place(order, context.now)
    rows = state.prevented.get((order.account, order.symbol), []) if state.next_prevented != before else []
    prevented = [row for row in rows if row["preventedMatchId"] >= before]
    return placed(order, kind, context.now, fills, prevented)


def test_order(context: Context, values: Values) -> Row:
    order = read_order(context, values)
    check_filters(context.state, order)
    check_order(context.state, order)
    if not flag_of(values, "computeCommissionRates"):
        return {}
    symbol, account = context.state.symbols[order.symbol], context.account
    return {
        "standardCommissionForOrder": commissions(symbol.maker, symbol.taker, sides=False),
        "specialCommissionForOrder": commissions(sides=False),
        "taxCommissionForOrder": commissions(sides=False),
        "discount": {
            "enabledForAccount": account.pays_in_bnb,
            "enabledForSymbol": True,
            "discountAsset": "BNB",
            "discount": "0.75000000",
        },
    }


def _named_order(
    context: Context,
    values: Values,
    absent: errors.BinanceError,
    by_id: str = "orderId",
    by_name: str = "origClientOrderId",
) -> PaperOrder:
    order_id, name = whole_of(values, by_id), values.get(by_name)
    if order_id is None and not name:
        raise errors.either(by_name, by_id)
    symbol = symbol_named(context, values)
    order = context.state.find_order(context.account.name, symbol.name, order_id, name)
    if order is None:
        raise absent
    if order_id is not None and name and order.client_order_id != name:
        raise errors.WRONG_CLIENT_ID
    return order


def query_order(context: Context, values: Values) -> Row:
    return order_row(_named_order(context, values, errors.NO_SUCH_ORDER))


# -- cancels -----------------------------------------------------------------------------------------------------------


def cancel_order(context: Context, values: Values) -> Row:
    order = _named_order(context, values, errors.UNKNOWN_ORDER)
    restrictions = values.get("cancelRestrictions", "")
    return _cancel(context, order, client_id_of(values, "newClientOrderId"), restrictions)


def _cancel(context: Context, order: PaperOrder, cancel_id: str, restrictions: str = "") -> Row:
    """Cancel an order and its list, if it has one; return Binance's response."""
    if restrictions and restrictions not in ("ONLY_NEW", "ONLY_PARTIALLY_FILLED"):
        raise errors.BinanceError(-1145, "Invalid cancelRestrictions")
    cancel_id = cancel_id or f"cancel{order.id:016d}"
    context.engine.order_manager.cancel(order, context.now, cancel_id, restrictions)
    if order.list_id == -1:
        return cancelled(order, cancel_id, context.now)
    return list_cancelled(context, order.list_id, cancel_id)


def list_cancelled(context: Context, list_id: int, cancel_id: str) -> Row:
    state = context.state
    order_list = state.lists[list_id]
    reports = [cancelled(state.orders[number], cancel_id, context.now) for number in order_list.orders]
    return {**list_row(state, order_list), "transactionTime": context.now, "orderReports": reports}


def cancel_open_orders(context: Context, values: Values) -> list[Row]:
    symbol = symbol_named(context, values).name
    orders = context.state.open_orders(context.account.name, symbol)
    if not orders:
        raise errors.UNKNOWN_ORDER
    answers = []
    for order in orders:
        if order.open or order.status == "PENDING_NEW":
            answers.append(_cancel(context, order, ""))
    return answers


def cancel_replace(context: Context, values: Values) -> Row:
    """``POST order/cancelReplace``: the new order's parameters and filters first, then the cancel, then the order."""
    return _cancel_replace(context, values, None)


def replace_over_limit(context: Context, values: Values, over: errors.BinanceError) -> Row:
    """The same over the limit of unfilled orders: refused, or with ``CANCEL_ONLY`` only cancelled."""
    if values.get("orderRateLimitExceededMode") != "CANCEL_ONLY":
        raise over
    return _cancel_replace(context, values, over)


def _cancel_replace(context: Context, values: Values, over: errors.BinanceError | None) -> Row:
    symbol = symbol_named(context, values)
    if not symbol.flags["cancelReplaceAllowed"]:
        raise errors.NO_REPLACE
    mode = choice_of(values, "cancelReplaceMode", ("STOP_ON_FAILURE", "ALLOW_FAILURE"))
    choice_of(values, "orderRateLimitExceededMode", ("DO_NOTHING", "CANCEL_ONLY"), "DO_NOTHING")
    if not values.get("cancelOrderId") and not values.get("cancelOrigClientOrderId"):
        raise errors.either("cancelOrigClientOrderId", "cancelOrderId")
    order = read_order(context, values)
    kind = response_of(values, "FULL" if order.type in ("MARKET", "LIMIT") else "ACK")
    check_filters(context.state, order)
    cancel_result = new_result = "SUCCESS"
    cancel_answer: Row
    new_answer: Row | None = None
    try:
        old = _named_order(context, values, errors.UNKNOWN_ORDER, "cancelOrderId", "cancelOrigClientOrderId")
        cancel_id = client_id_of(values, "cancelNewClientOrderId")
        cancel_answer = _cancel(context, old, cancel_id, values.get("cancelRestrictions", ""))
    except errors.BinanceError as refusal:
        cancel_result, cancel_answer = "FAILURE", refusal.body()
    if cancel_result == "FAILURE" and mode == "STOP_ON_FAILURE":
        new_result = "NOT_ATTEMPTED"
    else:
        try:
            if over is not None:
                raise over
            new_answer = _place(context, order, kind)
        except errors.BinanceError as refusal:
            new_result, new_answer = "FAILURE", refusal.body()
    answer = {
        "cancelResult": cancel_result,
        "newOrderResult": new_result,
        "cancelResponse": cancel_answer,
        "newOrderResponse": new_answer,
    }
    if (cancel_result, new_result) == ("SUCCESS", "SUCCESS"):
        return answer
    if "SUCCESS" in (cancel_result, new_result):
        raise errors.BinanceError(-2021, "Order cancel-replace partially failed.", 409, answer)
    raise errors.BinanceError(-2022, "Order cancel-replace failed.", 400, answer)


def amend_order(context: Context, values: Values) -> Row:
    """``PUT order/amend/keepPriority``."""
    order = _named_order(context, values, errors.UNKNOWN_ORDER)
    quantity, name = decimal_of(values, "newQty"), client_id_of(values, "newClientOrderId")
    if not order.open:
        raise errors.BinanceError(-2038, "Unknown order sent.")
    before = order.client_order_id
    row = amend(context.state, context.engine.order_manager.reports, order, quantity, name, context.now)
    answer: Row = {
        "transactTime": context.now,
        "executionId": row["executionId"],
        "amendedOrder": amended(order, before),
    }
    if order.list_id != -1:
        answer["listStatus"] = list_row(context.state, context.state.lists[order.list_id], short=True)
    return answer


# -- queries -----------------------------------------------------------------------------------------------------------


def open_orders(context: Context, values: Values) -> list[Row]:
    symbol = symbol_named(context, values).name if "symbol" in values else None
    return [order_row(order) for order in context.state.open_orders(context.account.name, symbol)]


def all_orders(context: Context, values: Values) -> list[Row]:
    symbol, account = symbol_named(context, values).name, context.account.name
    first, limit = whole_of(values, "orderId"), limit_of(values)
    start, end = span_of(values, DAY_HOURS)
    orders = context.state.orders_by_symbol.get((account, symbol), [])
    if first is not None:
        orders = orders[bisect_left(orders, first, key=lambda order: order.id) :]
    if start is not None or end is not None:
        orders = [
            order for order in orders if (start is None or order.time >= start) and (end is None or order.time <= end)
        ]
    return [
        order_row(order) for order in (orders[:limit] if first is not None or start is not None else orders[-limit:])
    ]


def my_trades(context: Context, values: Values) -> list[Row]:
    symbol = symbol_named(context, values).name
    order_id, first, limit = whole_of(values, "orderId"), whole_of(values, "fromId"), limit_of(values)
    start, end = span_of(values, DAY_HOURS)
    if first is not None and (start is not None or end is not None):
        raise errors.bad_combination()
    fills = context.state.fills.get((context.account.name, symbol), [])
    if first is not None:
        fills = fills[bisect_left(fills, first, key=lambda fill: int(fill["id"])) :]
    if order_id is not None or start is not None or end is not None:
        fills = [
            fill
            for fill in fills
            if (order_id is None or fill["orderId"] == order_id)
            and (start is None or fill["time"] >= start)
            and (end is None or fill["time"] <= end)
        ]
    return fills[:limit] if first is not None or start is not None else fills[-limit:]


def prevented_matches(context: Context, values: Values) -> list[Row]:
    symbol = symbol_named(context, values).name
    number, order_id = whole_of(values, "preventedMatchId"), whole_of(values, "orderId")
    first, limit = whole_of(values, "fromPreventedMatchId"), limit_of(values)
    if number is None and order_id is None:
        raise errors.either("preventedMatchId", "orderId")
    rows = [
        row
        for row in context.state.prevented.get((context.account.name, symbol), [])
        if (number is None or row["preventedMatchId"] == number)
        and (order_id is None or order_id in (row["takerOrderId"], row["makerOrderId"]))
        and (first is None or row["preventedMatchId"] >= first)
    ]
    return rows[:limit]


def amendments(context: Context, values: Values) -> list[Row]:
    symbol, order_id = symbol_named(context, values).name, whole_of(values, "orderId")
    order = context.state.find_order(context.account.name, symbol, order_id, None)
    if order is None:
        raise errors.NO_SUCH_ORDER
    first, limit = whole_of(values, "fromExecutionId") or 0, limit_of(values)
    return [row for row in context.state.amendments.get(order.id, []) if row["executionId"] >= first][:limit]


def allocations(context: Context, values: Values) -> list[Row]:
    """``myAllocations``: always empty, without smart order routing."""
    symbol_named(context, values)
    span_of(values, DAY_HOURS)
    for name in ("fromAllocationId", "orderId"):
        whole_of(values, name)
    limit_of(values)
    return []


def no_routing(context: Context, values: Values) -> Row:
    """``sor/order``: refused as Binance refuses for a symbol without smart order routing."""
    symbol_named(context, values)
    raise errors.BinanceError(-1013, "SOR is not enabled for this symbol.")
