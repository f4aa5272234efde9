"""The lowest, highest and last price since a time, read from candles (rest-api.md, "Kline/Candlestick data"). Pure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any

from fortctl.exchange import parsing
from fortctl.model import PriceRange

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
PAGE = 1_000

# Fetches a page of candles: interval, first and last opening time (ms since the epoch; None: until now).
FetchCandles = Callable[[str, int, int | None], Awaitable[Sequence[Any]]]


def spans(since: int) -> tuple[tuple[str, int, int | None, int], ...]:
    """Return which candles cover all trades since a time, and none before that second.

    Returns:
        Interval, first and last opening time, and length of a candle (all in ms): seconds up to the next full minute,
        minutes up to the next full hour, hours after that.
    """
    minute = -(-since // MINUTE) * MINUTE
    hour = -(-minute // HOUR) * HOUR
    return (
        ("1s", since // SECOND * SECOND, minute - 1, SECOND),
        ("1m", minute, hour - 1, MINUTE),
        ("1h", hour, None, HOUR),
    )


async def _candles(fetch: FetchCandles, since: int) -> AsyncIterator[tuple[int, Decimal, Decimal, Decimal, int]]:
    for interval, first, last, length in spans(since):
        page: list[tuple[int, Decimal, Decimal, Decimal, int]] = []
        while last is None or first <= last:
            page = parsing.candles(await fetch(interval, first, last))
            for candle in page:
                yield candle
            if len(page) < PAGE:
                break
            first = max(first, page[-1][0]) + length


async def price_range(fetch: FetchCandles, since: int) -> PriceRange | None:
    """Return the range since a time (ms since the epoch), or None if there was no trade."""
    low = high = last = None
    async for _opened, highest, lowest, close, trades in _candles(fetch, since):
        if trades:
            low = lowest if low is None else min(low, lowest)
            high = highest if high is None else max(high, highest)
            last = close
    return PriceRange(low, high, last) if low is not None and high is not None and last is not None else None
