"""A symbol's filters and their checks (filters.md). Pure.

Filters are stored as ``exchangeInfo`` states them, so that orders are checked against what clients read, also after a
test has changed one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fortctl.paper.engine.errors import filter_failure

ZERO = Decimal(0)
Filters = dict[str, dict[str, Any]]
# Binance's minimum notional for these quote assets, at the time of the recordings or today.
MIN_NOTIONAL = {"BTC": "0.0001", "ETH": "0.005", "BNB": "0.05"}
HIGH = "9000000000.00000000"
# The field of the limit, by filter.
COUNTED = {
    "MAX_NUM_ORDERS": "maxNumOrders",
    "MAX_NUM_ALGO_ORDERS": "maxNumAlgoOrders",
    "MAX_NUM_ICEBERG_ORDERS": "maxNumIcebergOrders",
    "MAX_NUM_ORDER_LISTS": "maxNumOrderLists",
}
# Filters that no symbol has by default, with their initial values.
EXTRA: Filters = {
    "PERCENT_PRICE": {"filterType": "PERCENT_PRICE", "multiplierUp": "5", "multiplierDown": "0.2", "avgPriceMins": 5},
    "MIN_NOTIONAL": {
        "filterType": "MIN_NOTIONAL",
        "minNotional": "0.00000000",
        "applyToMarket": True,
        "avgPriceMins": 5,
    },
    "MAX_POSITION": {"filterType": "MAX_POSITION", "maxPosition": HIGH},
    "MAX_NUM_ICEBERG_ORDERS": {"filterType": "MAX_NUM_ICEBERG_ORDERS", "maxNumIcebergOrders": 5},
}
KNOWN = (
    *("PRICE_FILTER", "LOT_SIZE", "ICEBERG_PARTS", "MARKET_LOT_SIZE", "TRAILING_DELTA", "PERCENT_PRICE"),
    *("PERCENT_PRICE_BY_SIDE", "NOTIONAL", "MIN_NOTIONAL", "MAX_POSITION", "MAX_NUM_ORDER_AMENDS"),
    *COUNTED,
)


def text(value: Decimal) -> str:
    """Return a number as Binance prints it: eight decimals, no exponent."""
    return f"{value:.8f}" if value else "0.00000000"


def default_filters(quote: str, tick: Decimal, step: Decimal) -> Filters:
    """Return the filters of a symbol whose recording has this tick and step."""
    smallest, pace = text(step), text(tick)
    rows: list[dict[str, Any]] = [
        {"filterType": "PRICE_FILTER", "minPrice": pace, "maxPrice": "1000000.00000000", "tickSize": pace},
        {"filterType": "LOT_SIZE", "minQty": smallest, "maxQty": HIGH, "stepSize": smallest},
        {"filterType": "ICEBERG_PARTS", "limit": 100},
        {"filterType": "MARKET_LOT_SIZE", "minQty": text(ZERO), "maxQty": HIGH, "stepSize": text(ZERO)},
        {
            "filterType": "TRAILING_DELTA",
            "minTrailingAboveDelta": 10,
            "maxTrailingAboveDelta": 2000,
            "minTrailingBelowDelta": 10,
            "maxTrailingBelowDelta": 2000,
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": "5",
            "bidMultiplierDown": "0.2",
            "askMultiplierUp": "5",
            "askMultiplierDown": "0.2",
            "avgPriceMins": 5,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": text(Decimal(MIN_NOTIONAL.get(quote, "5"))),
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": 20},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": 10},
    ]
    return {row["filterType"]: row for row in rows}


@dataclass(slots=True)
class Candidate:
    """The properties of an order that filters check.

    Attributes:
        price: the limit price, or None.
        stop_price: the trigger price, or None.
        quantity: in base asset; for an order by quote amount, the quantity that it would buy.
        average: returns the average price over a number of minutes; for 0 the last price.
        worth: the quote amount of an order that states it, or 0.
        market: it is a MARKET order.
        algo: STOP_LOSS*, TAKE_PROFIT*.
        trailing_above: the above bounds apply to its trailing delta (STOP_LOSS BUY, TAKE_PROFIT SELL).
        position: free and locked base asset plus the open buys.
    """

    side: str
    price: Decimal | None
    stop_price: Decimal | None
    quantity: Decimal
    average: Callable[[int], Decimal]
    market: bool = False
    algo: bool = False
    worth: Decimal = ZERO
    iceberg: Decimal = ZERO
    trailing: int | None = None
    trailing_above: bool = False
    position: Decimal = ZERO


def check(filters: Filters, order: Candidate, counts: Mapping[str, int]) -> None:
    """Refuse an order that breaks a filter (:class:`~fortctl.paper.engine.errors.BinanceError`, -1013).

    Args:
        counts: how many orders are open, by filter name.
    """
    for price in (order.price, order.stop_price):
        if price is not None:
            _price(filters, price)
    if order.price is not None:
        _percent(filters, order.side, order.price, order.average)
    _lots(filters, order)
    _notional(filters, order)
    if order.iceberg and "ICEBERG_PARTS" in filters:
        parts = -(-order.quantity // order.iceberg)
        if parts > int(filters["ICEBERG_PARTS"]["limit"]):
            raise filter_failure("ICEBERG_PARTS")
    if order.trailing is not None and "TRAILING_DELTA" in filters:
        where = "Above" if order.trailing_above else "Below"
        bounds = filters["TRAILING_DELTA"]
        if not int(bounds[f"minTrailing{where}Delta"]) <= order.trailing <= int(bounds[f"maxTrailing{where}Delta"]):
            raise filter_failure("TRAILING_DELTA")
    limit = filters["MAX_POSITION"]["maxPosition"] if "MAX_POSITION" in filters else None
    if limit is not None and order.side == "BUY" and order.position + order.quantity > Decimal(limit):
        raise filter_failure("MAX_POSITION")
    check_counts(filters, counts, algo=order.algo, iceberg=bool(order.iceberg))


def check_counts(
    filters: Filters, counts: Mapping[str, int], *, algo: bool = False, iceberg: bool = False, lists: bool = False
) -> None:
    """Refuse an order (or list) that exceeds a filter's count."""
    for name, field in COUNTED.items():
        concerned = ("ALGO" not in name or algo) and ("ICEBERG" not in name or iceberg) and ("LISTS" in name) == lists
        if name in filters and concerned and counts.get(name, 0) >= int(filters[name][field]):
            raise filter_failure(name)


def _price(filters: Filters, price: Decimal) -> None:
    rule = filters.get("PRICE_FILTER")
    if rule is None:
        return
    low, high, tick = (Decimal(rule[name]) for name in ("minPrice", "maxPrice", "tickSize"))
    if (low and price < low) or (high and price > high) or (tick and price % tick):
        raise filter_failure("PRICE_FILTER")


def _percent(filters: Filters, side: str, price: Decimal, average: Callable[[int], Decimal]) -> None:
    rule = filters.get("PERCENT_PRICE_BY_SIDE")
    if rule is not None:
        who, reference = "bid" if side == "BUY" else "ask", average(rule["avgPriceMins"])
        low, high = Decimal(rule[f"{who}MultiplierDown"]), Decimal(rule[f"{who}MultiplierUp"])
        if not reference * low <= price <= reference * high:
            raise filter_failure("PERCENT_PRICE_BY_SIDE")
    rule = filters.get("PERCENT_PRICE")
    if rule is not None:
        low, high = Decimal(rule["multiplierDown"]), Decimal(rule["multiplierUp"])
        reference = average(rule["avgPriceMins"])
        if not reference * low <= price <= reference * high:
            raise filter_failure("PERCENT_PRICE")


def _lots(filters: Filters, order: Candidate) -> None:
    quantities = [order.quantity, *([order.iceberg] if order.iceberg else [])]
    for name in ("LOT_SIZE", *(("MARKET_LOT_SIZE",) if order.market else ())):
        rule = filters.get(name)
        if rule is None:
            continue
        low, high, step = (Decimal(rule[field]) for field in ("minQty", "maxQty", "stepSize"))
        for quantity in quantities:
            uneven = bool(step) and not order.worth and bool(quantity % step)
            if (low and quantity < low) or (high and quantity > high) or uneven:
                raise filter_failure(name)


def _notional(filters: Filters, order: Candidate) -> None:
    rule = filters.get("NOTIONAL")
    if rule is not None:
        worth = _worth(order, rule)
        least = rule["applyMinToMarket"] or not order.market
        most = rule["applyMaxToMarket"] or not order.market
        if (least and worth < Decimal(rule["minNotional"])) or (most and worth > Decimal(rule["maxNotional"])):
            raise filter_failure("NOTIONAL")
    rule = filters.get("MIN_NOTIONAL")
    if rule is None or (order.market and not rule["applyToMarket"]):
        return
    if _worth(order, rule) < Decimal(rule["minNotional"]):
        raise filter_failure("MIN_NOTIONAL")


def _worth(order: Candidate, rule: Mapping[str, Any]) -> Decimal:
    """Return price × quantity, at the average price for a market order, or the quote amount that an order states."""
    if order.worth:
        return order.worth
    price = None if order.market else order.stop_price if order.price is None else order.price
    return (order.average(rule["avgPriceMins"]) if price is None else price) * order.quantity
