"""Where the market was since a time, read from candles (rest-api.md, "Kline/Candlestick data"). Pure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any

from fortctl.exchange import parsing
from fortctl.model import PriceRange

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
PAGE = 1_000

# Asks for candles: interval, first and last opening time (ms; None: until now).
Ask = Callable[[str, int, int | None], Awaitable[Sequence[Any]]]


def spans(since: int) -> tuple[tuple[str, int, int | None, int], ...]:
    """Return which candles cover all that was traded since a time, and nothing of before that second.

    Returns:
        Interval, first and last opening time, and how long one lasts (ms): seconds to the next full minute, minutes to
        the next full hour, hours from there on.
    """
    minute = -(-since // MINUTE) * MINUTE
    hour = -(-minute // HOUR) * HOUR
    return (
        ("1s", since // SECOND * SECOND, minute - 1, SECOND),
        ("1m", minute, hour - 1, MINUTE),
        ("1h", hour, None, HOUR),
    )


async def _candles(ask: Ask, since: int) -> AsyncIterator[tuple[int, Decimal, Decimal, Decimal, int]]:
    for interval, first, last, length in spans(since):
        page: list[tuple[int, Decimal, Decimal, Decimal, int]] = []
        while last is None or first <= last:
            page = parsing.candles(await ask(interval, first, last))
            for candle in page:
                yield candle
            if len(page) < PAGE:
                break
            first = max(first, page[-1][0]) + length


async def price_range(ask: Ask, since: int) -> PriceRange | None:
    """Return the range since a time (ms), or None where nothing was traded."""
    low = high = last = None
    async for _opened, highest, lowest, close, trades in _candles(ask, since):
        if trades:
            low = lowest if low is None else min(low, lowest)
            high = highest if high is None else max(high, highest)
            last = close
    return PriceRange(low, high, last) if low is not None and high is not None and last is not None else None
