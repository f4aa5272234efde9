"""One symbol's trade history: trades, aggregates, candles, averages, for market calls and streams. Pure.

Aggregates, candles and averages are derived when they are read; recording a trade costs an append.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice

from fortctl.paper.engine.filters import ZERO
from fortctl.paper.engine.trades.table import Trade

# In memory at most twice as many, 350 bytes each.
KEPT = 250_000
AVERAGE_MINUTES, MINUTE_MS = 5, 60_000
AVERAGE_MS = AVERAGE_MINUTES * MINUTE_MS
SECOND_MS = 1000
DAY_MS = 86_400_000
SECONDS_KEPT = 20_000
# Fixed widths in ms; a week begins on Monday, a month is the calendar's.
INTERVALS = {
    "1s": SECOND_MS,
    **{f"{n}m": n * MINUTE_MS for n in (1, 3, 5, 15, 30)},
    **{f"{n}h": n * 3_600_000 for n in (1, 2, 4, 6, 8, 12)},
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": 7 * DAY_MS,
    "1M": 0,
}
# 1970-01-05, a Monday.
_FIRST_MONDAY_MS = 4 * DAY_MS


@dataclass(slots=True)
class Candle:
    """One candle; ``volume`` in base asset, ``quote`` in quote asset, ``taker_*`` the part that takers bought."""

    open_time: int
    close_time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote: Decimal
    count: int
    taker_volume: Decimal
    taker_quote: Decimal
    first_id: int
    last_id: int

    def absorb(self, later: Candle) -> None:
        """Extend this candle by the next one."""
        self.high, self.low, self.close = max(self.high, later.high), min(self.low, later.low), later.close
        self.volume, self.quote, self.count = (
            *(self.volume + later.volume, self.quote + later.quote),
            self.count + later.count,
        )
        self.taker_volume, self.taker_quote = (
            self.taker_volume + later.taker_volume,
            self.taker_quote + later.taker_quote,
        )
        self.last_id = later.last_id

    def copy(self, open_time: int, close_time: int) -> Candle:
        return Candle(open_time, close_time, *(getattr(self, name) for name in self.__slots__[2:]))


def candle_bounds(time: int, interval: str, offset: int = 0) -> tuple[int, int]:
    """Return open and close time (ms) of the candle that contains a time; ``offset`` is the time zone's (ms)."""
    local = time + offset
    if interval == "1M":
        day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=local)
        first = day.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        after = (first + timedelta(days=32)).replace(day=1)
        opens, closes = int(first.timestamp() * 1000), int(after.timestamp() * 1000)
    else:
        width = INTERVALS[interval]
        shift = _FIRST_MONDAY_MS if interval == "1w" else 0
        opens = (local - shift) // width * width + shift
        closes = opens + width
    return opens - offset, closes - offset - 1


class _Candles:
    """Candles of one width (ms), built trade by trade."""

    def __init__(self, width: int, kept: int | None) -> None:
        self.width = width
        self.kept = kept
        self.rows: list[Candle] = []
        self.opens: array[int] = array("q")

    def add(self, trade: Trade, number: int, time: int) -> None:
        opens = time // self.width * self.width
        price, size = trade.price, trade.quantity
        worth = price * size
        bought, bought_worth = (ZERO, ZERO) if trade.buyer_is_maker else (size, worth)
        # Candles stay in order even if the clock was set back (a fault).
        if self.opens and opens <= self.opens[-1]:
            row = self.rows[-1]
            row.high, row.low, row.close = max(row.high, price), min(row.low, price), price
            row.volume, row.quote, row.count = row.volume + size, row.quote + worth, row.count + 1
            row.taker_volume, row.taker_quote = row.taker_volume + bought, row.taker_quote + bought_worth
            row.last_id = number
            return
        closes = opens + self.width - 1
        self.rows.append(
            Candle(opens, closes, price, price, price, price, size, worth, 1, bought, bought_worth, number, number)
        )
        self.opens.append(opens)
        if self.kept is not None and len(self.rows) > 2 * self.kept:
            del self.rows[: self.kept], self.opens[: self.kept]

    def between(self, start: int, end: int) -> list[Candle]:
        return self.rows[bisect_left(self.opens, start) : bisect_right(self.opens, end)]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Trades of one taker order: same time, price and side (``aggTrades``)."""

    id: int
    price: Decimal
    quantity: Decimal
    first_id: int
    last_id: int
    time: int
    buyer_is_maker: bool


class TradeHistory:
    """One symbol's trades, oldest first, with the times (ms) at which they happened for clients."""

    def __init__(self) -> None:
        self._trades: list[Trade] = []
        self.times: array[int] = array("q")
        self._ids: array[int] = array("q")
        self._aggregates: list[Aggregate] = []
        self._aggregate_times: array[int] = array("q")
        self._dropped_aggregates = 0
        self._seconds = _Candles(SECOND_MS, SECONDS_KEPT)
        self._minutes = _Candles(MINUTE_MS, None)
        # How far each derivation has come.
        self._candled = self._aggregated = self._averaged = self._left = 0
        self._volume = self._worth = ZERO

    def add(self, trade: Trade, time: int) -> int:
        """Add a trade; return its id, which only rises, even when a recording begins again."""
        number, ids, times = trade.id, self._ids, self.times
        if ids:
            if number <= ids[-1]:
                number = ids[-1] + 1
            time = max(time, times[-1])
        self._trades.append(trade)
        times.append(time)
        ids.append(number)
        if len(self._trades) > 2 * KEPT:
            self._forget(KEPT)
        return number

    def _forget(self, count: int) -> None:
        self._build_candles()
        self._build_aggregates()
        self._average_to(self.times[-1])
        # At a high speed, or in a jump, all of them may lie within the average's minutes: it is one of the rest then.
        while self._left < count:
            self._leave_average()
        del self._trades[:count], self.times[:count], self._ids[:count]
        self._candled -= count
        self._aggregated -= count
        self._averaged -= count
        self._left -= count
        old = bisect_left(self._aggregates, self._ids[0], key=lambda aggregate: aggregate.last_id)
        del self._aggregates[:old], self._aggregate_times[:old]
        self._dropped_aggregates += old

    def __len__(self) -> int:
        return len(self._trades)

    # -- trades ------------------------------------------------------------------------------------------------------

    def row(self, index: int) -> tuple[int, int, Trade]:
        """Return (id, time, trade) at an index."""
        return self._ids[index], self.times[index], self._trades[index]

    def last(self, count: int) -> list[tuple[int, int, Trade]]:
        return [self.row(index) for index in range(max(0, len(self) - count), len(self))]

    def from_id(self, first: int, count: int) -> list[tuple[int, int, Trade]]:
        begin = bisect_left(self._ids, first)
        return [self.row(index) for index in range(begin, min(begin + count, len(self)))]

    # -- aggregates --------------------------------------------------------------------------------------------------

    def aggregates(
        self, count: int, *, first: int | None = None, start: int | None = None, end: int | None = None
    ) -> list[Aggregate]:
        """Return aggregates from an id on, in a span of time (ms, inclusive), or the last ones."""
        self._build_aggregates()
        rows = self._aggregates
        if first is not None:
            begin = max(0, first - 1 - self._dropped_aggregates)
            return rows[begin : begin + count]
        low = bisect_left(self._aggregate_times, start) if start is not None else 0
        high = bisect_right(self._aggregate_times, end) if end is not None else len(rows)
        return rows[low:high][:count] if start is not None else rows[max(low, high - count) : high]

    def _build_aggregates(self) -> None:
        for index in range(self._aggregated, len(self)):
            number, time, trade = self.row(index)
            last = self._aggregates[-1] if self._aggregates else None
            same = last is not None and (last.time, last.price, last.buyer_is_maker) == (
                *(time, trade.price),
                trade.buyer_is_maker,
            )
            if last is not None and same:
                self._aggregates[-1] = Aggregate(
                    last.id,
                    last.price,
                    last.quantity + trade.quantity,
                    last.first_id,
                    number,
                    time,
                    last.buyer_is_maker,
                )
            else:
                aggregate_id = self._dropped_aggregates + len(self._aggregates) + 1
                self._aggregates.append(
                    Aggregate(aggregate_id, trade.price, trade.quantity, number, number, time, trade.buyer_is_maker)
                )
                self._aggregate_times.append(time)
        self._aggregated = len(self)

    # -- candles -----------------------------------------------------------------------------------------------------

    def candles(
        self, interval: str, count: int, *, start: int | None = None, end: int | None = None, offset: int = 0
    ) -> list[Candle]:
        """Return candles by open time; an interval without trades has a flat candle.

        Args:
            start, end: bounds of the open time (ms, inclusive). With ``start`` the first ``count`` are returned,
                otherwise the last.
            offset: the time zone's, in ms.
        """
        self._build_candles()
        source = self._seconds if interval == "1s" else self._minutes
        if not source.rows or count <= 0:
            return []
        latest = source.rows[-1].open_time
        if start is not None and start > latest:
            return []
        first = candle_bounds(source.rows[0].open_time, interval, offset)[0]
        last = candle_bounds(min(latest, end) if end is not None else latest, interval, offset)[0]
        if start is not None:
            first = max(first, candle_bounds(start, interval, offset)[0])
            if first < start:
                first = candle_bounds(start, interval, offset)[1] + 1
        bounds: list[tuple[int, int]] = []
        opens = first if start is not None else last
        while first <= opens <= last and len(bounds) < count:
            low, high = candle_bounds(opens, interval, offset)
            bounds.append((low, high))
            opens = high + 1 if start is not None else candle_bounds(low - 1, interval, offset)[0]
        if start is None:
            bounds.reverse()
        if not bounds:
            return []
        return self._filled(source, bounds)

    def _filled(self, source: _Candles, bounds: list[tuple[int, int]]) -> list[Candle]:
        rows = source.between(bounds[0][0], bounds[-1][1])
        before = bisect_left(source.opens, bounds[0][0]) - 1
        previous = source.rows[before] if before >= 0 else None
        candles: list[Candle] = []
        place = 0
        for low, high in bounds:
            candle: Candle | None = None
            while place < len(rows) and rows[place].open_time <= high:
                if candle is None:
                    candle = rows[place].copy(low, high)
                else:
                    candle.absorb(rows[place])
                place += 1
            if candle is None:
                if previous is None:
                    continue
                price, number = previous.close, previous.last_id
                flat = (price, price, price, price, ZERO, ZERO, 0, ZERO, ZERO)
                candle = Candle(low, high, *flat, number + 1, number)
            previous = candle
            candles.append(candle)
        return candles

    def window(self, start: int, end: int) -> Candle | None:
        """Return one candle over the minutes from ``start`` to ``end`` (ms), or None if nothing traded."""
        self._build_candles()
        whole: Candle | None = None
        for row in self._minutes.between(start, end):
            if whole is None:
                whole = row.copy(row.open_time, row.close_time)
            else:
                whole.absorb(row)
        return whole

    def price_before(self, time: int) -> Decimal | None:
        """Return the last price before a minute begins."""
        self._build_candles()
        index = bisect_left(self._minutes.opens, time) - 1
        return self._minutes.rows[index].close if index >= 0 else None

    def _build_candles(self) -> None:
        for index in range(self._candled, len(self)):
            number, time, trade = self.row(index)
            self._seconds.add(trade, number, time)
            self._minutes.add(trade, number, time)
        self._candled = len(self)

    # -- averages ----------------------------------------------------------------------------------------------------

    def average(self, now: int, minutes: int = AVERAGE_MINUTES) -> Decimal | None:
        """Return the volume-weighted price of the last minutes, or None if nothing traded in them.

        Args:
            minutes: the average of five, which ``avgPrice`` and filters use, is maintained; any other is computed.
        """
        if minutes == AVERAGE_MINUTES:
            self._average_to(now)
            return self._worth / self._volume if self._volume else None
        trades = self._trades[bisect_right(self.times, now - minutes * MINUTE_MS) :]
        volume = sum((trade.quantity for trade in trades), ZERO)
        return sum((trade.price * trade.quantity for trade in trades), ZERO) / volume if volume else None

    def _average_to(self, now: int) -> None:
        # Each trade comes in and goes out once, in order.
        volume, worth, trades, times = self._volume, self._worth, self._trades, self.times
        for trade in islice(trades, self._averaged, None):
            volume += trade.quantity
            worth += trade.price * trade.quantity
        self._averaged, left, end = len(trades), self._left, now - AVERAGE_MS
        while left < self._averaged and times[left] <= end:
            trade = trades[left]
            volume -= trade.quantity
            worth -= trade.price * trade.quantity
            left += 1
        self._volume, self._worth, self._left = volume, worth, left

    def _leave_average(self) -> None:
        """Take the oldest trade out of the average."""
        trade = self._trades[self._left]
        self._volume -= trade.quantity
        self._worth -= trade.price * trade.quantity
        self._left += 1
