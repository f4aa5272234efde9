"""Recorded and synthetic markets: what traded, when, at which price."""

from __future__ import annotations

import csv
import gzip
import io
import math
import random
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from fortctl.errors import BadInput
from fortctl.paper.symbols import Symbol, symbol_of

SYNTHETIC_TRADES = 60_000


@dataclass(frozen=True, slots=True)
class Trade:
    """One recorded trade; ``time`` in ms of the recording's own clock."""

    id: int
    price: Decimal
    quantity: Decimal
    time: int
    buyer_is_maker: bool


@dataclass(frozen=True)
class Tape:
    """A symbol and everything that traded, in order."""

    symbol: Symbol
    trades: tuple[Trade, ...]


def load(source: str, symbol: str | None = None) -> Tape:
    """Load a market.

    Args:
        source: a file in the layout of Binance's public trade archive (``.csv``, ``.csv.gz``, ``.zip``), or
            ``synthetic:SEED``.
        symbol: its symbol; by default the first part of the file's name.

    Raises:
        BadInput: the file cannot be read, or a line is malformed (named with its number).
    """
    if source.startswith("synthetic:"):
        return synthetic(source.partition(":")[2], symbol or "BTCUSDT")
    path = Path(source)
    name = symbol or path.name.split("-")[0].split(".")[0].upper()
    try:
        trades = tuple(_rows(_lines(path), path.name))
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise BadInput(f"the recording {path} cannot be read: {type(error).__name__}", hint="check --market") from None
    if not trades:
        raise BadInput(f"the recording {path} is empty", hint="check --market")
    tick = Decimal(1).scaleb(-max(_decimals(trade.price) for trade in trades))
    step = Decimal(1).scaleb(-max(_decimals(trade.quantity) for trade in trades))
    return Tape(symbol_of(name, tick, step), trades)


def _lines(path: Path) -> Iterator[str]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as stream:
            yield from io.TextIOWrapper(stream, "utf-8")
    elif path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            yield from stream
    else:
        with path.open(encoding="utf-8") as stream:
            yield from stream


def _rows(lines: Iterable[str], name: str) -> Iterator[Trade]:
    before = 0
    for number, row in enumerate(csv.reader(lines), 1):
        try:
            trade_id, price, quantity, _quote, time, maker = row[:6]
            trade = Trade(int(trade_id), Decimal(price), Decimal(quantity), _ms(int(time)), maker.lower() == "true")
            if not (trade.price > 0 and trade.quantity > 0 and trade.time >= before):
                raise ValueError
        except (ValueError, InvalidOperation):
            raise BadInput(f"line {number} of {name} is no trade in the archive's layout") from None
        before = trade.time
        yield trade


def _ms(time: int) -> int:
    # The archive has microseconds since 2025.
    return time // 1000 if time > 10**14 else time


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def synthetic(seed: str, symbol: str) -> Tape:
    """Return a seeded market: two slow waves and noise round 40,000, so that grids find their reversals."""
    try:
        chance = random.Random(int(seed))  # noqa: S311 (repeatable, not secret)
    except ValueError:
        raise BadInput("the seed of a synthetic market is a whole number", hint="for example synthetic:1") from None
    phase, noise, time = chance.uniform(0, 6.28), 0.0, 1_700_000_000_000
    trades = []
    for number in range(SYNTHETIC_TRADES):
        noise = noise * 0.999 + chance.gauss(0, 0.00025)
        wave = 0.012 * math.sin(number / 900 + phase) + 0.02 * math.sin(number / 7000)
        price = Decimal(f"{40_000 * (1 + wave + noise):.2f}")
        quantity = Decimal(f"{0.0001 + chance.expovariate(12):.5f}")
        time += chance.randrange(50, 1500)
        trades.append(Trade(number + 1, price, quantity, time, chance.random() < 0.5))
    return Tape(symbol_of(symbol, Decimal("0.01"), Decimal("0.00001")), tuple(trades))
