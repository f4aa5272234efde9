"""Recorded and synthetic markets: the trades of a symbol, with time and price.

The layouts are those of Binance's public archive (github.com/binance/binance-public-data): trades, aggTrades, klines,
with or without a header, times in ms or µs. An error names the line that does not match the layout.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import random
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from fortctl.errors import BadInputError
from fortctl.paper.engine.symbols import Symbol, symbol_of

SYNTHETIC_TRADES = 60_000
_TRADES, _AGGREGATES, _KLINES = 7, 8, 12
_EIGHT = Decimal("0.00000001")


@dataclass(frozen=True, slots=True)
class Trade:
    """One recorded trade; ``time`` in ms of the recording's own clock."""

    id: int
    price: Decimal
    quantity: Decimal
    time: int
    buyer_is_maker: bool


@dataclass(frozen=True)
class Recording:
    """A symbol and its trades, in order."""

    symbol: Symbol
    trades: tuple[Trade, ...]


def load(source: str, symbol: str | None = None) -> Recording:
    """Load a market.

    Args:
        source: a file in a layout of Binance's public archive (``.csv``, ``.csv.gz``, ``.zip``), or
            ``synthetic:SEED``.
        symbol: its symbol; by default the first part of the file's name.

    Raises:
        BadInputError: the file cannot be read, or a line is malformed.
    """
    if source.startswith("synthetic:"):
        return synthetic(source.partition(":")[2], symbol or "BTCUSDT")
    path = Path(source)
    name = symbol or path.name.split("-")[0].split(".")[0].upper()
    if not name.isalnum() or not 2 < len(name) <= 20:
        raise BadInputError(f"the file name {path.name} does not begin with a symbol", hint="give --symbol")
    try:
        trades = tuple(_rows(_lines(path), path.name))
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(
            f"the recording {path} cannot be read: {type(error).__name__}", hint="check --market"
        ) from None
    if not trades:
        raise BadInputError(f"the recording {path} is empty", hint="check --market")
    tick = Decimal(1).scaleb(-max(_decimals(trade.price) for trade in trades))
    step = Decimal(1).scaleb(-max(_decimals(trade.quantity) for trade in trades))
    return Recording(symbol_of(name, tick, step), trades)


def _lines(path: Path) -> Iterator[str]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".csv")]
            if len(names) != 1:
                raise BadInputError(f"{path.name} must contain one .csv file, not {len(names)}", hint="check --market")
            with archive.open(names[0]) as stream:
                yield from io.TextIOWrapper(stream, "utf-8-sig")
    elif path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8-sig") as stream:
            yield from stream
    else:
        with path.open(encoding="utf-8-sig") as stream:
            yield from stream


def _rows(lines: Iterable[str], name: str) -> Iterator[Trade]:
    before, last_id, width = 0, -1, 0
    for number, row in enumerate(csv.reader(lines), 1):
        if number == 1 and row and not row[0].strip().isdigit():
            # The archive has a header in some years.
            continue
        width = width or len(row)
        try:
            if len(row) != width:
                raise ValueError
            trades = _parse(row, last_id)
            if any(not (trade.price > 0 and trade.quantity > 0 and trade.time >= before) for trade in trades):
                raise ValueError
        except (ValueError, InvalidOperation):
            raise BadInputError(f"line {number} of {name} is not a trade in the archive's layout") from None
        for trade in trades:
            before, last_id = trade.time, trade.id
            yield trade


def _parse(row: list[str], last_id: int) -> list[Trade]:
    if len(row) == _TRADES:
        number, price, size, _quote, time, maker = row[:6]
        return [_trade(int(number), price, size, time, maker)]
    if len(row) == _AGGREGATES:
        # An aggregate is one trade here: the file does not state its parts.
        number, price, size, _first, _last, time, maker = row[:7]
        return [_trade(int(number), price, size, time, maker)]
    if len(row) == _KLINES:
        return _trades_of_kline(row, last_id + 1)
    raise ValueError


def _trade(number: int, price: str, size: str, time: str, maker: str) -> Trade:
    if maker.lower() not in ("true", "false") or number < 0:
        raise ValueError
    return Trade(number, _number(price), _number(size), _ms(int(time)), maker.lower() == "true")


def _number(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError
    return value


def _trades_of_kline(row: list[str], first_id: int) -> list[Trade]:
    """Return four trades for a candle: open, the two extremes, close, a quarter of its volume each.

    A rising candle reaches its low first, a falling one its high. A trade below the previous price is a taker's sell.
    """
    opens, closes = _ms(int(row[0])), _ms(int(row[6]))
    first, high, low, last, volume = (_number(text) for text in row[1:6])
    if not (low <= min(first, last) and max(first, last) <= high):
        raise ValueError
    if volume == 0:
        return []
    part = (volume / 4).quantize(_EIGHT)
    sizes = [part, part, part, volume - 3 * part]
    prices = [first, low, high, last] if last >= first else [first, high, low, last]
    times = [opens, opens + (closes - opens) // 3, opens + 2 * (closes - opens) // 3, closes]
    before, trades = first, []
    for index, (price, size, time) in enumerate(zip(prices, sizes, times, strict=True)):
        if size > 0:
            trades.append(Trade(first_id + index, price, size, time, price < before))
        before = price
    return trades


def _ms(time: int) -> int:
    # The archive has microseconds since 2025.
    return time // 1000 if time > 10**14 else time


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def synthetic(seed: str, symbol: str) -> Recording:
    """Return a seeded market: two slow waves and noise around 40,000, in which a grid finds reversals."""
    try:
        chance = random.Random(int(seed))  # noqa: S311 (repeatable, not secret)
    except ValueError:
        raise BadInputError(
            "the seed of a synthetic market must be a whole number", hint="for example synthetic:1"
        ) from None
    phase, noise, time = chance.uniform(0, 6.28), 0.0, 1_700_000_000_000
    trades = []
    for number in range(SYNTHETIC_TRADES):
        noise = noise * 0.999 + chance.gauss(0, 0.00025)
        wave = 0.012 * math.sin(number / 900 + phase) + 0.02 * math.sin(number / 7000)
        price = Decimal(f"{40_000 * (1 + wave + noise):.2f}")
        quantity = Decimal(f"{0.0001 + chance.expovariate(12):.5f}")
        time += chance.randrange(50, 1500)
        trades.append(Trade(number + 1, price, quantity, time, chance.random() < 0.5))
    return Recording(symbol_of(symbol, Decimal("0.01"), Decimal("0.00001")), tuple(trades))
