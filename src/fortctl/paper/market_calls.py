"""Calls about the market: everybody may make them. No I/O. Source: rest-api.md."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from fortctl.paper import refusals
from fortctl.paper.engine import ZERO
from fortctl.paper.parameters import Context, Values, limit_of, symbol_named, whole_of
from fortctl.paper.symbols import text

INTERVALS = {"1s": 1, "1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "4h": 14400, "1d": 86400}


def exchange_info(context: Context, values: Values) -> dict[str, Any]:
    names = list(context.engine.symbols)
    if "symbol" in values:
        names = [symbol_named(context, values).name]
    elif "symbols" in values:
        try:
            names = [symbol_named(context, {"symbol": str(name)}).name for name in json.loads(values["symbols"])]
        except (ValueError, TypeError):
            raise refusals.illegal("symbols", r'^\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}")*\]$') from None
    return {
        "timezone": "UTC",
        "serverTime": context.now,
        "rateLimits": context.limits,
        "exchangeFilters": [],
        "symbols": [context.engine.symbols[name].info() for name in names],
    }


def depth(context: Context, values: Values) -> dict[str, Any]:
    book = context.engine.books[symbol_named(context, values).name]
    limit = min(whole_of(values, "limit") or 100, 5000)

    def rows(side: str) -> list[list[str]]:
        return [[text(price), text(size)] for price, size in book.levels(side)[:limit]]

    return {"lastUpdateId": book.update_id, "bids": rows("bids"), "asks": rows("asks")}


def trades(context: Context, values: Values) -> list[dict[str, Any]]:
    found = context.engine.public[symbol_named(context, values).name][-limit_of(values) :]
    return [
        {
            "id": trade.id,
            "price": text(trade.price),
            "qty": text(trade.quantity),
            "quoteQty": text(trade.price * trade.quantity),
            "time": trade.time,
            "isBuyerMaker": trade.buyer_is_maker,
            "isBestMatch": True,
        }
        for trade in found
    ]


def klines(context: Context, values: Values) -> list[list[Any]]:
    symbol = symbol_named(context, values)
    seconds = INTERVALS.get(values["interval"])
    if seconds is None:
        raise refusals.Refusal(-1120, "Invalid interval.")
    width = seconds * 1000
    rows: dict[int, list[Any]] = {}
    start, end = whole_of(values, "startTime") or 0, whole_of(values, "endTime")
    for trade in context.engine.public[symbol.name]:
        if trade.time < start or (end is not None and trade.time > end):
            continue
        opens = trade.time // width * width
        row = rows.setdefault(opens, [trade.price, trade.price, trade.price, trade.price, ZERO, ZERO, 0, ZERO, ZERO])
        row[1], row[2], row[3] = max(row[1], trade.price), min(row[2], trade.price), trade.price
        quote = trade.price * trade.quantity
        row[4], row[5], row[6] = row[4] + trade.quantity, row[5] + quote, row[6] + 1
        if not trade.buyer_is_maker:
            row[7], row[8] = row[7] + trade.quantity, row[8] + quote
    shown = []
    for opens, row in sorted(rows.items())[-limit_of(values) :]:
        opened, high, low, close, volume, quote, count, taker, taker_quote = row
        prices = [text(value) for value in (opened, high, low, close)]
        tail = [text(quote), count, text(taker), text(taker_quote), "0"]
        shown.append([opens, *prices, text(volume), opens + width - 1, *tail])
    return shown


def _price(context: Context, name: str) -> Decimal:
    last = context.engine.books[name].last
    return last.price if last else ZERO


def ticker_price(context: Context, values: Values) -> Any:
    if "symbol" in values:
        name = symbol_named(context, values).name
        return {"symbol": name, "price": text(_price(context, name))}
    return [{"symbol": name, "price": text(_price(context, name))} for name in context.engine.symbols]


def _best(context: Context, name: str) -> dict[str, Any]:
    book = context.engine.books[name]
    bids, asks = book.levels("bids")[:1], book.levels("asks")[:1]
    (bid, bid_size), (ask, ask_size) = (bids or [(ZERO, ZERO)])[0], (asks or [(ZERO, ZERO)])[0]
    return {
        "symbol": name,
        "bidPrice": text(bid),
        "bidQty": text(bid_size),
        "askPrice": text(ask),
        "askQty": text(ask_size),
    }


def book_ticker(context: Context, values: Values) -> Any:
    if "symbol" in values:
        return _best(context, symbol_named(context, values).name)
    return [_best(context, name) for name in context.engine.symbols]


def avg_price(context: Context, values: Values) -> dict[str, Any]:
    name = symbol_named(context, values).name
    recent = [trade for trade in context.engine.public[name] if trade.time > context.now - 300_000]
    volume = sum((trade.quantity for trade in recent), ZERO)
    quote = sum((trade.quantity * trade.price for trade in recent), ZERO)
    average = quote / volume if volume else _price(context, name)
    return {"mins": 5, "price": text(average), "closeTime": recent[-1].time if recent else context.now}
