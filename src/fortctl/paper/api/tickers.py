"""Tickers: 24 hours, trading day, rolling window, last price, best prices. No I/O. Source: rest-api.md."""

from __future__ import annotations

import re
from typing import Any

from fortctl.paper.api.parameters import Context, Values, choice_of, symbols_named, zone_of
from fortctl.paper.engine import errors
from fortctl.paper.engine.filters import ZERO
from fortctl.paper.engine.state import ExchangeState
from fortctl.paper.engine.symbols import Symbol, text
from fortctl.paper.engine.trades.history import DAY_MS, MINUTE_MS, Candle

Row = dict[str, Any]
WIDTHS = {"m": (MINUTE_MS, 59), "h": (3_600_000, 23), "d": (DAY_MS, 7)}
MOST_SYMBOLS = 100


def ticker_weight(values: Values) -> int:
    """Return the weight of ``ticker/24hr``: 1-20 symbols 2, 21-100 40, more or all 80."""
    if "symbol" in values:
        return 2
    if "symbols" in values:
        count = values["symbols"].count(",") + 1
        return 2 if count <= 20 else 40 if count <= 100 else 80
    return 80


def per_symbol_weight(values: Values) -> int:
    count = values["symbols"].count(",") + 1 if "symbols" in values else 1
    return min(4 * count, 200)


def one_or_all_weight(values: Values) -> int:
    return 2 if "symbol" in values else 4


def _one_or_all(values: Values, rows: list[Row]) -> Any:
    return rows[0] if "symbol" in values and rows else rows


def _selected(context: Context, values: Values, *, needed: bool = False) -> list[Symbol]:
    if needed and "symbol" not in values and "symbols" not in values:
        raise errors.either("symbol", "symbols")
    symbols = symbols_named(context, values)
    if needed and len(symbols) > MOST_SYMBOLS:
        raise errors.BinanceError(
            -1101, f"Too many parameters; expected '{MOST_SYMBOLS}' and received '{len(symbols)}'."
        )
    return symbols


class Statistics:
    """Price statistics of a symbol between two times (ms)."""

    def __init__(self, state: ExchangeState, symbol: str, start: int, end: int) -> None:
        candle = state.history[symbol].window(start, end)
        if candle is None:
            price = state.history[symbol].price_before(start) or state.last_price(symbol)
            candle = Candle(start, end, price, price, price, price, ZERO, ZERO, 0, ZERO, ZERO, -1, -1)
        self.candle = candle
        self.start, self.end = start, end
        self.change = candle.close - candle.open
        self.percent = self.change / candle.open * 100 if candle.open else ZERO
        self.average = candle.quote / candle.volume if candle.volume else candle.close

    def short(self, symbol: str) -> Row:
        """Return type ``MINI``."""
        candle = self.candle
        return {
            "symbol": symbol,
            "openPrice": text(candle.open),
            "highPrice": text(candle.high),
            "lowPrice": text(candle.low),
            "lastPrice": text(candle.close),
            "volume": text(candle.volume),
            "quoteVolume": text(candle.quote),
            **self._ends(),
        }

    def _ends(self) -> Row:
        candle = self.candle
        return {
            "openTime": self.start,
            "closeTime": self.end,
            "firstId": candle.first_id,
            "lastId": candle.last_id,
            "count": candle.count,
        }

    def full(self, symbol: str) -> Row:
        """Return type ``FULL`` of the rolling window and the trading day."""
        candle = self.candle
        return {
            "symbol": symbol,
            "priceChange": text(self.change),
            "priceChangePercent": f"{self.percent:.3f}",
            "weightedAvgPrice": text(self.average),
            "openPrice": text(candle.open),
            "highPrice": text(candle.high),
            "lowPrice": text(candle.low),
            "lastPrice": text(candle.close),
            "volume": text(candle.volume),
            "quoteVolume": text(candle.quote),
            **self._ends(),
        }


def day_statistics(state: ExchangeState, symbol: str, now: int) -> Statistics:
    return Statistics(state, symbol, now - DAY_MS, now)


def day_row(state: ExchangeState, symbol: str, now: int) -> Row:
    """Return the FULL row of ``ticker/24hr``."""
    statistics = day_statistics(state, symbol, now)
    candle = statistics.candle
    last = state.books[symbol].last
    (bid, bid_size), (ask, ask_size) = state.books[symbol].best()
    return {
        "symbol": symbol,
        "priceChange": text(statistics.change),
        "priceChangePercent": f"{statistics.percent:.3f}",
        "weightedAvgPrice": text(statistics.average),
        "prevClosePrice": text(state.history[symbol].price_before(statistics.start) or candle.open),
        "lastPrice": text(candle.close),
        "lastQty": text(last.quantity if last else ZERO),
        "bidPrice": text(bid),
        "bidQty": text(bid_size),
        "askPrice": text(ask),
        "askQty": text(ask_size),
        "openPrice": text(candle.open),
        "highPrice": text(candle.high),
        "lowPrice": text(candle.low),
        "volume": text(candle.volume),
        "quoteVolume": text(candle.quote),
        "openTime": statistics.start,
        "closeTime": now,
        "firstId": candle.first_id,
        "lastId": candle.last_id,
        "count": candle.count,
    }


def ticker_24h(context: Context, values: Values) -> Any:
    kind = _kind(values)
    state, now = context.state, context.now
    rows = [
        day_row(state, symbol.name, now)
        if kind == "FULL"
        else day_statistics(state, symbol.name, now).short(symbol.name)
        for symbol in _selected(context, values)
    ]
    return _one_or_all(values, rows)


def _kind(values: Values) -> str:
    try:
        return choice_of(values, "type", ("FULL", "MINI"), "FULL")
    except errors.BinanceError:
        raise errors.BinanceError(-1139, "Invalid ticker type.") from None


def trading_day(context: Context, values: Values) -> Any:
    kind, offset = _kind(values), zone_of(values)
    start = (context.now + offset) // DAY_MS * DAY_MS - offset
    return _windowed(context, values, start, start + DAY_MS - 1, kind)


def window_ms(size: str) -> int:
    """Return a window's width (ms): 1m to 59m, 1h to 23h, 1d to 7d."""
    match = re.fullmatch(r"([1-9]\d?)([mhd])", size, re.ASCII)
    if match is None:
        raise errors.bad_value("windowSize")
    width, most = WIDTHS[match[2]]
    if int(match[1]) > most:
        raise errors.bad_value("windowSize")
    return int(match[1]) * width


def rolling(context: Context, values: Values) -> Any:
    """``ticker``: the window begins at a full minute, so it may be up to 59,999 ms wider than requested."""
    kind, width = _kind(values), window_ms(values.get("windowSize", "1d"))
    start = (context.now - width) // MINUTE_MS * MINUTE_MS
    return _windowed(context, values, start, context.now, kind)


def _windowed(context: Context, values: Values, start: int, end: int, kind: str) -> Any:
    rows = []
    for symbol in _selected(context, values, needed=True):
        statistics = Statistics(context.state, symbol.name, start, end)
        rows.append(statistics.full(symbol.name) if kind == "FULL" else statistics.short(symbol.name))
    return _one_or_all(values, rows)


def ticker_price(context: Context, values: Values) -> Any:
    state = context.state
    rows = [
        {"symbol": symbol.name, "price": text(state.last_price(symbol.name))} for symbol in _selected(context, values)
    ]
    return _one_or_all(values, rows)


def best_row(state: ExchangeState, symbol: str) -> Row:
    (bid, bid_size), (ask, ask_size) = state.books[symbol].best()
    return {
        "symbol": symbol,
        "bidPrice": text(bid),
        "bidQty": text(bid_size),
        "askPrice": text(ask),
        "askQty": text(ask_size),
    }


def book_ticker(context: Context, values: Values) -> Any:
    return _one_or_all(values, [best_row(context.state, symbol.name) for symbol in _selected(context, values)])
