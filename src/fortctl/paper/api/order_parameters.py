"""Reads the parameters of an order, alone or as a leg of a list (rest-api.md, "New order"). No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

from fortctl.paper.api.parameters import CLIENT_ID, Context, Values, choice_of, decimal_of, symbol_named, whole_of
from fortctl.paper.engine import errors
from fortctl.paper.engine.orders import STOP_TYPES, ZERO, PaperOrder
from fortctl.paper.engine.symbols import STP_MODES, Symbol

TYPES = ("LIMIT", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT", "LIMIT_MAKER")
FORCED = ("LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT")
PRICED = (*FORCED, "LIMIT_MAKER")
RESPONSES = ("ACK", "RESULT", "FULL")
LEG = (
    *("price", "stopPrice", "trailingDelta", "timeInForce", "icebergQty", "strategyId", "strategyType"),
    *("pegPriceType", "pegOffsetType", "pegOffsetValue"),
)


def leg_names(prefix: str) -> tuple[str, ...]:
    """Return a leg's optional parameters."""
    return (f"{prefix}ClientOrderId", *(named(prefix, name) for name in LEG))


def named(prefix: str, name: str) -> str:
    return prefix + name[0].upper() + name[1:] if prefix else name


def client_id_of(values: Values, name: str) -> str:
    value = values.get(name, "")
    if value and not re.fullmatch("[a-zA-Z0-9-_]{1,36}", value):
        raise errors.illegal(name, CLIENT_ID)
    return value


def response_of(values: Values, default: str) -> str:
    kind = values.get("newOrderRespType") or default
    if kind not in RESPONSES:
        raise errors.illegal("newOrderRespType", "^(ACK|RESULT|FULL)$")
    return kind


def read_order(
    context: Context,
    values: Values,
    prefix: str = "",
    *,
    kind: str | None = None,
    side: str | None = None,
    quantity: str = "quantity",
) -> PaperOrder:
    """Read one order.

    Args:
        prefix: the prefix of its parameters in a list (``above``, ``working`` …).
        kind, side: type and side, if the list states them in another way.
        quantity: the name of its quantity.

    Raises:
        BinanceError: a parameter is refused.
    """
    symbol = symbol_named(context, values)

    def name(short: str) -> str:
        return named(prefix, short)

    kind = kind or values.get(name("type"), "")
    side = side or values.get(name("side"), "")
    if side not in ("BUY", "SELL"):
        raise errors.BAD_SIDE
    if kind not in TYPES:
        raise errors.BAD_TYPE
    _check_flags(symbol, values, name, kind)
    client_id = client_id_of(values, f"{prefix}ClientOrderId" if prefix else "newClientOrderId")
    force = _force(values, name("timeInForce"), kind)
    price = _price_if(values, name("price"), kind in PRICED)
    quote = _quote(symbol, values, kind) if not prefix else ZERO
    size = ZERO if quote else decimal_of(values, quantity)
    stop, delta = _trigger(values, name, kind)
    order = PaperOrder(
        0, context.account.name, symbol.name, client_id, side, kind, force, price, size, quote, context.now
    )
    order.stop_price, order.trailing_delta = stop, delta
    _read_iceberg(values, name("icebergQty"), order)
    order.strategy_id = whole_of(values, name("strategyId"))
    order.strategy_type = whole_of(values, name("strategyType"))
    if order.strategy_type is not None and order.strategy_type < 1_000_000:
        raise errors.BinanceError(-1134, "`strategyType` was less than 1000000.")
    order.stp = choice_of(values, "selfTradePreventionMode", STP_MODES, symbol.stp_default)
    if order.stp not in symbol.stp_modes:
        raise errors.BAD_STP
    return order


def _check_flags(symbol: Symbol, values: Values, name: Callable[[str], str], kind: str) -> None:
    if kind not in symbol.order_types:
        raise errors.unsupported(kind.replace("_", " ").capitalize())
    if any(name(peg) in values for peg in ("pegPriceType", "pegOffsetType", "pegOffsetValue")):
        raise errors.unsupported("Pegged")
    if name("icebergQty") in values and not symbol.flags["icebergAllowed"]:
        raise errors.unsupported("Iceberg")
    if name("trailingDelta") in values and not symbol.flags["allowTrailingStop"]:
        raise errors.unsupported("Trailing stop")


def _force(values: Values, name: str, kind: str) -> str:
    if kind not in FORCED:
        if name in values:
            raise errors.not_required(name)
        return "GTC"
    if not values.get(name):
        raise errors.missing(name)
    if values[name] not in ("GTC", "IOC", "FOK"):
        raise errors.BAD_FORCE
    return values[name]


def _price_if(values: Values, name: str, required: bool) -> Decimal:
    if required:
        return decimal_of(values, name)
    if name in values:
        raise errors.not_required(name)
    return ZERO


def _quote(symbol: Symbol, values: Values, kind: str) -> Decimal:
    if "quoteOrderQty" not in values:
        if kind == "MARKET" and "quantity" not in values:
            raise errors.either("quantity", "quoteOrderQty")
        return ZERO
    if kind != "MARKET":
        raise errors.not_required("quoteOrderQty")
    if "quantity" in values:
        raise errors.bad_combination()
    if not symbol.flags["quoteOrderQtyMarketAllowed"]:
        raise errors.BinanceError(-1013, "Quote order qty market orders are not support for this symbol.")
    amount = decimal_of(values, "quoteOrderQty")
    if not amount:
        raise errors.bad_value("quoteOrderQty")
    return amount


def _trigger(values: Values, name: Callable[[str], str], kind: str) -> tuple[Decimal, int | None]:
    if kind not in STOP_TYPES:
        for parameter in ("stopPrice", "trailingDelta"):
            if name(parameter) in values:
                raise errors.not_required(name(parameter))
        return ZERO, None
    if not values.get(name("stopPrice")) and not values.get(name("trailingDelta")):
        raise errors.either(name("stopPrice"), name("trailingDelta"))
    stop = decimal_of(values, name("stopPrice")) if values.get(name("stopPrice")) else ZERO
    if values.get(name("stopPrice")) and not stop:
        # 0 stands for "no stop price" here.
        raise errors.filter_failure("PRICE_FILTER")
    return stop, whole_of(values, name("trailingDelta"))


def _read_iceberg(values: Values, name: str, order: PaperOrder) -> None:
    if name not in values:
        return
    if order.type not in PRICED:
        raise errors.not_required(name)
    order.iceberg = decimal_of(values, name)
    if not order.iceberg:
        return
    if order.time_in_force != "GTC":
        raise errors.BAD_COMBINATION
    if order.iceberg > order.quantity:
        raise errors.new_order_refused("IcebergQty exceeds QTY.")
    if order.iceberg == order.quantity:
        order.iceberg = ZERO
