"""Calls about order lists. No I/O. Source: rest-api.md, "Order lists"."""

from __future__ import annotations

from typing import Any

from fortctl.paper.api.order_parameters import client_id_of, leg_names, read_order, response_of
from fortctl.paper.api.orders import list_cancelled
from fortctl.paper.api.parameters import Context, Values, limit_of, span_of, symbol_named, whole_of
from fortctl.paper.api.responses import list_row, placed
from fortctl.paper.engine import errors
from fortctl.paper.engine.orders import OrderList, PaperOrder

Row = dict[str, Any]
COMMON = ("listClientOrderId", "newOrderRespType", "selfTradePreventionMode")
OCO_NEEDED = ("symbol", "side", "quantity", "aboveType", "belowType")
OCO_OPTIONAL = (*COMMON, *leg_names("above"), *leg_names("below"))
WORKING_NEEDED = ("symbol", "workingType", "workingSide", "workingPrice", "workingQuantity")
WORKING_OPTIONAL = (*COMMON, *(name for name in leg_names("working") if name != "workingPrice"))
OTO_NEEDED = (*WORKING_NEEDED, "pendingType", "pendingSide", "pendingQuantity")
OTO_OPTIONAL = (*WORKING_OPTIONAL, *leg_names("pending"))
OTOCO_NEEDED = (*WORKING_NEEDED, "pendingSide", "pendingQuantity", "pendingAboveType")
OTOCO_OPTIONAL = (*WORKING_OPTIONAL, *leg_names("pendingAbove"), "pendingBelowType", *leg_names("pendingBelow"))
OLD_OCO_NEEDED = ("symbol", "side", "quantity", "price", "stopPrice")
OLD_OCO_OPTIONAL = (
    *COMMON,
    *("limitClientOrderId", "limitStrategyId", "limitStrategyType", "limitIcebergQty", "trailingDelta"),
    *("stopClientOrderId", "stopStrategyId", "stopStrategyType", "stopLimitPrice", "stopIcebergQty"),
    "stopLimitTimeInForce",
)
OPO_NEEDED = tuple(name for name in OTO_NEEDED if name != "pendingQuantity")
OPOCO_NEEDED = tuple(name for name in OTOCO_NEEDED if name != "pendingQuantity")


def _allowed(context: Context, values: Values, flag: str, what: str) -> None:
    if not symbol_named(context, values).flags[flag]:
        raise errors.BinanceError(-1013, f"{what} orders are not supported for this symbol")


def new_oco(context: Context, values: Values) -> Row:
    _allowed(context, values, "ocoAllowed", "OCO")
    side = values["side"]
    orders = [read_order(context, values, leg, side=side) for leg in ("above", "below")]
    return _place(context, values, "OCO", orders)


def new_oto(context: Context, values: Values) -> Row:
    _allowed(context, values, "otoAllowed", "OTO")
    working = _working(context, values)
    pending = read_order(context, values, "pending", quantity="pendingQuantity")
    return _place(context, values, "OTO", [working, pending])


def new_otoco(context: Context, values: Values) -> Row:
    _allowed(context, values, "otoAllowed", "OTO")
    _allowed(context, values, "ocoAllowed", "OCO")
    working, side = _working(context, values), values["pendingSide"]
    if not values.get("pendingBelowType"):
        raise errors.missing("pendingBelowType")
    legs = [
        read_order(context, values, leg, side=side, quantity="pendingQuantity")
        for leg in ("pendingAbove", "pendingBelow")
    ]
    return _place(context, values, "OTOCO", [working, *legs])


def _working(context: Context, values: Values) -> PaperOrder:
    if values["workingType"] not in ("LIMIT", "LIMIT_MAKER"):
        raise errors.BAD_TYPE
    return read_order(context, values, "working", quantity="workingQuantity")


def old_oco(context: Context, values: Values) -> Row:
    """``order/oco``, deprecated: a LIMIT_MAKER and a stop loss; the side says which is above."""
    names = {
        "price": "limit",
        "limitClientOrderId": "limit",
        "limitIcebergQty": "limit",
        "limitStrategyId": "limit",
        "limitStrategyType": "limit",
    }
    stop_limit = "stopLimitPrice" in values
    legs: dict[str, dict[str, str]] = {"limit": {}, "stop": {}}
    for name, value in values.items():
        if name in names:
            short = name.removeprefix("limit")
            legs["limit"][f"leg{short[0].upper()}{short[1:]}"] = value
        elif name == "stopLimitPrice":
            legs["stop"]["legPrice"] = value
        elif name == "stopLimitTimeInForce":
            legs["stop"]["legTimeInForce"] = value
        elif name in ("stopPrice", "trailingDelta"):
            legs["stop"][f"leg{name[0].upper()}{name[1:]}"] = value
        elif name.startswith("stop"):
            legs["stop"][f"leg{name.removeprefix('stop')}"] = value
    common = {name: values[name] for name in ("symbol", "quantity", "selfTradePreventionMode") if name in values}
    side = values["side"]
    limit = read_order(context, {**common, **legs["limit"]}, "leg", kind="LIMIT_MAKER", side=side)
    kind = "STOP_LOSS_LIMIT" if stop_limit else "STOP_LOSS"
    stop = read_order(context, {**common, **legs["stop"]}, "leg", kind=kind, side=side)
    _allowed(context, values, "ocoAllowed", "OCO")
    return _place(context, values, "OCO", [limit, stop] if side == "SELL" else [stop, limit])


def no_opo(context: Context, values: Values) -> Row:
    """``orderList/opo`` and ``opoco``: refused, as for a symbol whose ``opoAllowed`` is false."""
    symbol_named(context, values)
    raise errors.BinanceError(-1013, "OPO orders are not supported for this symbol.")


def _place(context: Context, values: Values, kind: str, orders: list[PaperOrder]) -> Row:
    state = context.state
    client_id = client_id_of(values, "listClientOrderId")
    answer = response_of(values, "RESULT")
    order_list = context.engine.order_manager.lists.place(kind, client_id, orders, context.now)
    fills = state.fills.get((order_list.account, order_list.symbol), [])
    reports = [
        placed(order, answer, context.now, [fill for fill in fills if fill["orderId"] == order.id], [])
        for order in orders
    ]
    return {**list_row(state, order_list), "orderReports": reports}


def _named_list(context: Context, values: Values, by_name: str, absent: errors.BinanceError) -> OrderList:
    state, account = context.state, context.account.name
    number, name = whole_of(values, "orderListId"), values.get(by_name)
    if number is None and not name:
        raise errors.either(by_name, "orderListId")
    if number is None and name:
        number = state.list_by_client_id.get((account, name))
    order_list = state.lists.get(number) if number is not None else None
    if order_list is None or order_list.account != account or (name and order_list.client_id != name):
        raise absent
    return order_list


def query_list(context: Context, values: Values) -> Row:
    return list_row(context.state, _named_list(context, values, "origClientOrderId", errors.NO_SUCH_LIST))


def cancel_list(context: Context, values: Values) -> Row:
    order_list = _named_list(context, values, "listClientOrderId", errors.UNKNOWN_ORDER)
    if order_list.symbol != symbol_named(context, values).name:
        raise errors.UNKNOWN_ORDER
    cancel_id = client_id_of(values, "newClientOrderId") or f"cancellist{order_list.id:012d}"
    context.engine.order_manager.lists.cancel(order_list, context.now)
    return list_cancelled(context, order_list.id, cancel_id)


def all_lists(context: Context, values: Values) -> list[Row]:
    state, account = context.state, context.account.name
    first, limit = whole_of(values, "fromId"), limit_of(values)
    start, end = span_of(values, 24)
    if first is not None and (start is not None or end is not None):
        raise errors.bad_combination()
    lists = [
        order_list
        for order_list in state.lists.values()
        if order_list.account == account
        and (first is None or order_list.id >= first)
        and (start is None or order_list.time >= start)
        and (end is None or order_list.time <= end)
    ]
    chosen = lists[:limit] if first is not None or start is not None else lists[-limit:]
    return [list_row(state, order_list) for order_list in chosen]


def open_lists(context: Context, values: Values) -> list[Row]:
    state, account = context.state, context.account.name
    lists = [state.lists[number] for number in state.open_lists]
    return [list_row(state, order_list) for order_list in lists if order_list.account == account]
