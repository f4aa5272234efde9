"""Calls about the market, which need no key. No I/O. Source: rest-api.md, "Market data endpoints"."""

from __future__ import annotations

import json
import re
from typing import Any

from fortctl.paper.api.parameters import (
    Context,
    Values,
    flag_of,
    limit_of,
    span_of,
    symbol_named,
    symbols_named,
    whole_of,
    zone_of,
)
from fortctl.paper.engine import errors
from fortctl.paper.engine.symbols import text
from fortctl.paper.engine.trades.history import INTERVALS, Candle
from fortctl.paper.engine.trades.table import Trade

Row = dict[str, Any]
PERMISSIONS = re.compile(r"SPOT|MARGIN|LEVERAGED|TRD_GRP_\d{3}")


def exchange_info(context: Context, values: Values) -> Row:
    if "permissions" in values:
        if "symbol" in values or "symbols" in values:
            raise errors.bad_combination()
        permissions = _permissions(values["permissions"])
    else:
        permissions = {"SPOT"}
    if "symbolStatus" in values and ("symbol" in values or "symbols" in values):
        raise errors.bad_combination()
    symbols = symbols_named(context, values) if "SPOT" in permissions else []
    sets = flag_of(values, "showPermissionSets", True)
    return {
        "timezone": "UTC",
        "serverTime": context.now,
        "rateLimits": context.limits,
        "exchangeFilters": [],
        "symbols": [symbol.info(permission_sets=sets) for symbol in symbols],
    }


def _permissions(value: str) -> set[str]:
    names: Any = [value]
    if value.startswith("["):
        try:
            names = json.loads(value)
        except (ValueError, RecursionError):
            names = []
    if not names or not all(isinstance(name, str) and PERMISSIONS.fullmatch(name) for name in names):
        raise errors.bad_value("permissions")
    return set(names)


def depth_weight(values: Values) -> int:
    limit = values.get("limit", "")
    size = int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 20 else 100
    return next((weight for most, weight in ((100, 5), (500, 25), (1000, 50)) if size <= most), 250)


def depth(context: Context, values: Values) -> Row:
    book = context.state.books[symbols_named(context, values)[0].name]
    limit = limit_of(values, 100, 5000)

    def rows(side: str) -> list[list[str]]:
        return [[text(price), text(size)] for price, size in book.levels(side)[:limit]]

    return {"lastUpdateId": book.update_id, "bids": rows("bids"), "asks": rows("asks")}


def _trade_row(row: tuple[int, int, Trade]) -> Row:
    number, time, trade = row
    return {
        "id": number,
        "price": text(trade.price),
        "qty": text(trade.quantity),
        "quoteQty": text(trade.price * trade.quantity),
        "time": time,
        "isBuyerMaker": trade.buyer_is_maker,
        "isBestMatch": True,
    }


def trades(context: Context, values: Values) -> list[Row]:
    history = context.state.history[symbol_named(context, values).name]
    return [_trade_row(row) for row in history.last(limit_of(values))]


def historical_trades(context: Context, values: Values) -> list[Row]:
    history = context.state.history[symbol_named(context, values).name]
    first, limit = whole_of(values, "fromId"), limit_of(values)
    return [_trade_row(row) for row in (history.last(limit) if first is None else history.from_id(first, limit))]


def aggregate_trades(context: Context, values: Values) -> list[Row]:
    history = context.state.history[symbol_named(context, values).name]
    first, limit = whole_of(values, "fromId"), limit_of(values)
    start, end = span_of(values)
    if first is not None and (start is not None or end is not None):
        raise errors.bad_combination()
    return [
        {
            "a": aggregate.id,
            "p": text(aggregate.price),
            "q": text(aggregate.quantity),
            "f": aggregate.first_id,
            "l": aggregate.last_id,
            "T": aggregate.time,
            "m": aggregate.buyer_is_maker,
            "M": True,
        }
        for aggregate in history.aggregates(limit, first=first, start=start, end=end)
    ]


def kline_row(candle: Candle) -> list[Any]:
    return [
        candle.open_time,
        *(text(value) for value in (candle.open, candle.high, candle.low, candle.close, candle.volume)),
        candle.close_time,
        text(candle.quote),
        candle.count,
        text(candle.taker_volume),
        text(candle.taker_quote),
        "0",
    ]


def klines(context: Context, values: Values) -> list[list[Any]]:
    symbol, interval = symbol_named(context, values), values["interval"]
    if interval not in INTERVALS:
        raise errors.BAD_INTERVAL
    start, end = span_of(values)
    candles = context.state.history[symbol.name].candles(
        interval, limit_of(values), start=start, end=end, offset=zone_of(values)
    )
    return [kline_row(candle) for candle in candles]


def avg_price(context: Context, values: Values) -> Row:
    name = symbol_named(context, values).name
    history = context.state.history[name]
    average = history.average(context.now)
    price = average if average is not None else context.state.last_price(name)
    return {"mins": 5, "price": text(price), "closeTime": history.times[-1] if len(history) else context.now}


def no_block_trades(context: Context, values: Values) -> list[Row]:
    """``historicalBlockTrades``: there are none here."""
    symbol_named(context, values)
    whole_of(values, "fromId")
    limit_of(values)
    return []


def no_reference_price(context: Context, values: Values) -> Row:
    symbol_named(context, values)
    raise errors.NO_REFERENCE


def execution_rules(context: Context, values: Values) -> Row:
    """``executionRules``: no symbol here has any."""
    return {"symbolRules": [{"symbol": symbol.name, "rules": []} for symbol in symbols_named(context, values)]}
