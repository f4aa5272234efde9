"""Where the market was since a time: every candle since then is asked for once, and none of before that second."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fortctl.exchange.price_range import HOUR, MINUTE, PAGE, SECOND, price_range, spans
from fortctl.model import PriceRange

START = 1_700_000_000_123
LENGTHS = {"1s": SECOND, "1m": MINUTE, "1h": HOUR}


class Market:
    """Trades, and the candles that an exchange makes of them."""

    def __init__(self, trades: list[tuple[int, Decimal]]) -> None:
        self.trades = trades
        self.intervals: list[str] = []

    async def fetch(self, interval: str, first: int, last: int | None) -> list[list[Any]]:
        self.intervals.append(interval)
        length, candles = LENGTHS[interval], {}
        for at, price in self.trades:
            candles.setdefault(at // length * length, []).append(price)
        return [
            [at, "", str(max(prices)), str(min(prices)), str(prices[-1]), "", 0, "", len(prices)]
            for at, prices in sorted(candles.items())
            if first <= at and (last is None or at <= last)
        ][:PAGE]


@given(st.lists(st.tuples(st.integers(-3 * HOUR, 50 * HOUR), st.integers(1, 10_000)), max_size=30))
def test_it_is_the_range_of_all_that_was_traded_since(rows: list[tuple[int, int]]) -> None:
    trades = [(START + at, Decimal(price)) for at, price in sorted(rows)]
    since = START // SECOND * SECOND
    prices = [price for at, price in trades if at >= since]
    found = asyncio.run(price_range(Market(trades).fetch, START))
    assert found == (PriceRange(min(prices), max(prices), prices[-1]) if prices else None)


def test_a_long_time_is_paged() -> None:
    market = Market([(START + hour * HOUR, Decimal(hour + 1)) for hour in range(2_500)])
    found = asyncio.run(price_range(market.fetch, START))
    assert found == PriceRange(Decimal(1), Decimal(2_500), Decimal(2_500))
    assert market.intervals == ["1s", "1m", "1h", "1h", "1h"]


def test_the_spans_join() -> None:
    (_s, first, last, _), (_m, minute, until, _), (_h, hour, _none, _) = spans(START)
    assert first <= START < first + SECOND and last + 1 == minute and until + 1 == hour
