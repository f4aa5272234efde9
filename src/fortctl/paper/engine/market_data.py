"""Recorded and synthetic markets: the trades of a symbol, with time and price.

The layouts are those of Binance's public archive (github.com/binance/binance-public-data): trades, aggTrades, klines,
with or without a header, times in ms or µs. An error names the line that does not match the layout.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import heapq
import io
import math
import random
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path

from fortctl.errors import BadInputError
from fortctl.paper.engine.symbols import Symbol, symbol_of
from fortctl.paper.engine.trades.table import Trade, TradeTable
from fortctl.timestamps import rfc3339

SYNTHETIC_TRADES = 60_000
_TRADES, _AGGREGATES, _KLINES = 7, 8, 12
_EIGHT = Decimal("0.00000001")
_PROGRESS_ROWS = 1_000_000


@dataclass(frozen=True)
class Recording:
    """A symbol and its trades, in order."""

    symbol: Symbol
    trades: Sequence[Trade]


@dataclass(frozen=True)
class _File:
    """One file's trades.

    Attributes:
        name: the file's.
        header: whether its first line is one.
        width: the fields of a line.
    """

    name: str
    header: bool
    width: int
    trades: TradeTable

    def line(self, index: int) -> str:
        """Return how to name the line of a trade."""
        return "a candle" if self.width == _KLINES else f"line {index + 1 + self.header}"


class MalformedLineError(ValueError):
    """A line of a recording is not a trade; the message says why."""


def load(source: str, symbol: str | None = None) -> Recording:
    """Load one market. Arguments and exceptions as :func:`load_all`."""
    (recording,) = load_all([source], symbol).values()
    return recording


def load_all(
    sources: Iterable[str], symbol: str | None = None, progress: Callable[[str], None] = lambda text: None
) -> dict[str, Recording]:
    """Load markets; the files of one symbol are merged by time.

    Args:
        sources: files in a layout of Binance's public archive (``.csv``, ``.csv.gz``, ``.zip``), or
            ``synthetic:SEED``. Where a file ``NAME.CHECKSUM`` lies beside a file, its SHA-256 is checked.
        symbol: the symbol; by default the first part of the file's name.
        progress: is called with a line of text after each million rows.

    Raises:
        BadInputError: a file cannot be read, a line is malformed, doubled or out of order, or a checksum differs.
    """
    recordings: dict[str, Recording] = {}
    files: dict[str, list[_File]] = {}
    for source in sources:
        if source.startswith("synthetic:"):
            made = synthetic(source.partition(":")[2], symbol or "BTCUSDT")
            recordings[made.symbol.name] = made
            continue
        path = Path(source)
        name = symbol or path.name.split("-")[0].split(".")[0].upper()
        if not name.isalnum() or not 2 < len(name) <= 20:
            raise BadInputError(f"the file name {path.name} does not begin with a symbol", hint="give --symbol")
        files.setdefault(name, []).append(_read(path, progress))
    for name, parts in files.items():
        if name in recordings:
            raise BadInputError(f"{name} is both a file and a synthetic market", hint="give one of them")
        trades = _merge(parts)
        price_decimals, size_decimals = trades.precisions()
        tick, step = Decimal(1).scaleb(-price_decimals), Decimal(1).scaleb(-size_decimals)
        recordings[name] = Recording(symbol_of(name, tick, step), trades)
    return recordings


def _read(path: Path, progress: Callable[[str], None]) -> _File:
    try:
        _check_sum(path)
        found = _parse_lines(_lines(path), path.name, progress)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(
            f"the recording {path} cannot be read: {type(error).__name__}", hint="check --market"
        ) from None
    if not found.trades:
        raise BadInputError(f"the recording {path} is empty", hint="check --market")
    return found


def _check_sum(path: Path) -> None:
    """Compare a file with the ``.CHECKSUM`` beside it, as the archive publishes one (``sha256sum``'s format)."""
    beside = path.with_name(f"{path.name}.CHECKSUM")
    if not beside.exists():
        return
    stated = beside.read_text(encoding="ascii", errors="replace").split()
    if not stated or not re.fullmatch(r"[0-9a-fA-F]{64}", stated[0]):
        raise BadInputError(f"{beside.name} holds no SHA-256 checksum", hint="download it again, or remove it")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != stated[0].lower():
        raise BadInputError(
            f"{path.name} is not the file that {beside.name} was made for", hint="download both again, or remove it"
        )


def _merge(files: Sequence[_File]) -> TradeTable:
    """Return the trades of a symbol's files in the order of time. Raises ``BadInputError`` for a trade in two files."""
    ordered = sorted(files, key=lambda file: (file.trades.time(0), file.trades.time(-1)))
    merged = TradeTable()
    if all(_follows(before, after) for before, after in pairwise(ordered)):
        for file in ordered:
            merged.extend(file.trades)
        return merged
    last: tuple[_File, int, Trade] | None = None
    for file, index, trade in heapq.merge(*map(_numbered, ordered), key=lambda row: (row[2].time, row[2].id)):
        if last is not None and last[0] is not file and _same_trade(last[0], last[2], file, trade):
            raise BadInputError(
                f"{file.line(index)} of {file.name} doubles {last[0].line(last[1])} of {last[0].name}"
                f" (trade {trade.id} at {rfc3339(trade.time)})",
                hint="give each day or month once",
            )
        last = (file, index, trade)
        merged.append(trade)
    merged.seal()
    return merged


def _numbered(file: _File) -> Iterator[tuple[_File, int, Trade]]:
    return ((file, index, trade) for index, trade in enumerate(file.trades))


def _same_trade(one: _File, trade: Trade, other: _File, its: Trade) -> bool:
    if _KLINES in (one.width, other.width):
        return one.width == other.width and trade.time == its.time
    return (trade.id, trade.time) == (its.id, its.time)


def _follows(before: _File, after: _File) -> bool:
    """Return whether one file begins where another ends."""
    if _KLINES in (before.width, after.width):
        return after.trades.time(0) > before.trades.time(-1)
    return after.trades.time(0) >= before.trades.time(-1) and after.trades[0].id > before.trades[-1].id


def _lines(path: Path) -> Iterator[str]:
    suffix = path.suffix.lower()
    if suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            # macOS adds a folder with a file of its own for each file.
            names = [
                name
                for name in archive.namelist()
                if name.lower().endswith(".csv") and not name.startswith("__MACOSX/")
            ]
            if len(names) != 1:
                raise BadInputError(f"{path.name} must contain one .csv file, not {len(names)}", hint="check --market")
            with archive.open(names[0]) as stream:
                yield from io.TextIOWrapper(stream, "utf-8-sig")
    elif suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8-sig") as stream:
            yield from stream
    else:
        with path.open(encoding="utf-8-sig") as stream:
            yield from stream


def _parse_lines(lines: Iterable[str], name: str, progress: Callable[[str], None]) -> _File:
    """Read a file's lines. Raises ``BadInputError``, which names the line and the reason."""
    table, before, last_id, width, header, blank = TradeTable(), 0, -1, 0, False, 0
    for number, row in enumerate(csv.reader(lines), 1):
        if number == 1 and row and not row[0].strip().isdigit():
            # The archive has a header in some years.
            header = True
            continue
        try:
            if len(row) < 2 and not "".join(row).strip():
                blank = blank or number
                continue
            if blank:
                number = blank
                raise MalformedLineError("it is blank")
            width = width or len(row)
            if len(row) != width:
                raise MalformedLineError(f"it has {len(row)} fields, not {width}")
            before, last_id = _append(table, row, before, last_id)
        except (ValueError, InvalidOperation) as error:
            reason = f": {error}" if isinstance(error, MalformedLineError) else ""
            raise BadInputError(f"line {number} of {name} is not a trade in the archive's layout{reason}") from None
        if number % _PROGRESS_ROWS == 0:
            progress(f"reading {name}: {number:,} rows")
    table.seal()
    return _File(name, header, width, table)


def _append(table: TradeTable, row: list[str], before: int, last_id: int) -> tuple[int, int]:
    """Append a line's trades; return the time and the number of the last."""
    if len(row) == _KLINES:
        trades = _trades_of_kline(row, last_id + 1)
        for trade in trades:
            if trade.time <= before and last_id >= 0:
                raise MalformedLineError("its time does not lie after that of the line before")
            table.append(trade)
            before, last_id = trade.time, trade.id
        return before, last_id
    if len(row) == _TRADES:
        id_text, price, size, _quote, time_text, maker = row[:6]
    elif len(row) == _AGGREGATES:
        # An aggregate is one trade here: the file does not state its parts.
        id_text, price, size, _first, _last, time_text, maker = row[:7]
    else:
        raise MalformedLineError(f"it has {len(row)} fields")
    number, time, maker = int(id_text), _ms(int(time_text)), maker.lower()
    if maker not in ("true", "false"):
        raise MalformedLineError("the field isBuyerMaker is neither True nor False")
    if number <= last_id:
        doubled = number == last_id
        raise MalformedLineError(
            f"it doubles trade {number}" if doubled else f"its number {number} lies below that of the line before"
        )
    if number < 0:
        raise MalformedLineError("its number is negative")
    if time < before:
        raise MalformedLineError("its time lies before that of the line before")
    table.append_text(number, price.strip(), size.strip(), time, maker == "true")
    return time, number


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
