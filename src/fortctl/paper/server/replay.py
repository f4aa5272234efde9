"""The replay of the recorded trades: in market time, or as fast as the connected accounts follow.

At a speed of X, X seconds of the recording pass in each second of real time. At ``max`` the replay begins with the
first order and keeps step with the accounts that have a user stream open: after a trade that changes an account's
orders it waits up to 100 ms for that account's next request, and it never exceeds 1,000 trades a second.
"""

from __future__ import annotations

import asyncio
import heapq
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress

from fortctl.paper.engine.errors import BinanceError
from fortctl.paper.engine.exchange import Engine
from fortctl.paper.engine.market_data import Recording
from fortctl.paper.engine.trades.table import Trade, TradeTable
from fortctl.paper.server.subscriptions import SubscriptionHub

# What ``--speed max`` plays at most (docs/paper-exchange.md).
TRADES_PER_SECOND = 1_000
WAIT_FOR_REQUEST_S = 0.1
BATCH = 50
# The longest sleep at a speed, so that a pause takes effect soon.
NAP_S = 0.05

PROGRESS_TRADES = 1_000_000

ApplyTrade = Callable[[str, Trade, int], set[str]]


class Arrivals:
    """Counts the requests of each account, and lets the replay wait for the next one."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = defaultdict(int)
        self._arrived = asyncio.Event()

    def add(self, account: str) -> None:
        """Count a request of an account."""
        self._counts[account] += 1
        self._arrived.set()

    def counts(self) -> dict[str, int]:
        return dict(self._counts)

    async def wait_beyond(self, account: str, count: int, clock: Callable[[], float], deadline: float) -> None:
        """Wait until an account has sent more than ``count`` requests, or the clock has reached the deadline (s)."""
        while self._counts[account] <= count and (left := deadline - clock()) > 0:
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.001, left)):
                    await self._arrived.wait()


class MergedTrades:
    """The trades of several recordings in the order of time, without a copy of them."""

    def __init__(self, recordings: dict[str, Recording]) -> None:
        self._names = list(recordings)
        self._trades = [recording.trades for recording in recordings.values()]
        self._count = sum(map(len, self._trades))
        # For each row which symbol's trade it is, and its index there; empty where there is one symbol only.
        self._which: array[int] = array("H")
        self._index: array[int] = array("I")
        if len(self._trades) > 1:
            for _time, symbol, index in heapq.merge(*map(self._times_of, range(len(self._trades)))):
                self._which.append(symbol)
                self._index.append(index)

    def _times_of(self, symbol: int) -> Iterator[tuple[int, int, int]]:
        return ((trade.time, symbol, index) for index, trade in enumerate(self._trades[symbol]))

    def __len__(self) -> int:
        return self._count

    def _place(self, row: int) -> tuple[int, int]:
        return (self._which[row], self._index[row]) if self._which else (0, row)

    def __getitem__(self, row: int) -> tuple[str, Trade]:
        symbol, index = self._place(row)
        return self._names[symbol], self._trades[symbol][index]

    def time(self, row: int) -> int:
        """Return a trade's time (ms of the recording's clock)."""
        symbol, index = self._place(row)
        trades = self._trades[symbol]
        return trades.time(index) if isinstance(trades, TradeTable) else trades[index].time


class Replay:
    """One replay of one or more recordings, merged by time.

    Args:
        recordings: the recorded market of each symbol.
        speed: market seconds for each real second; None for ``max``.
        start: share of the trades (0 to 1) that is history when the server starts.
        loop: begin again after the last trade.
        engine: records the earlier trades again after a restart.
        apply_trade: lets a trade happen; returns the accounts whose orders it changed.
        now: returns the exchange's time (ms).
        hub: tells which accounts have a user stream open.
        arrivals: counts their requests.
        commit: returns the write that user events wait for, or None.
        progress: is called with a line of text after each million trades of history.

    Attributes:
        rows: the trades of all symbols, in the order of time.
        position: how many of the rows have happened.
        began: at ``max``: an order has come.
    """

    def __init__(
        self,
        recordings: dict[str, Recording],
        *,
        speed: float | None,
        start: float,
        loop: bool,
        engine: Engine,
        apply_trade: ApplyTrade,
        now: Callable[[], int],
        hub: SubscriptionHub,
        arrivals: Arrivals,
        commit: Callable[[], asyncio.Future[None] | None],
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.rows = MergedTrades(recordings)
        self.speed = speed
        self.loop = loop
        self.position = 0
        self.paused = False
        self.began = speed is not None
        self._history = int(len(self.rows) * start)
        self._engine = engine
        self._apply_trade = apply_trade
        self._now = now
        self._hub = hub
        self._arrivals = arrivals
        self._commit = commit
        self._progress = progress
        # (monotonic seconds, the recording's ms) of one and the same moment
        self._origin: tuple[float, int] | None = None
        self._wake = asyncio.Event()

    @property
    def ended(self) -> bool:
        return self.position >= len(self.rows) and not self.loop

    def begin(self) -> None:
        """Begin a replay at ``max``: an order has come."""
        if not self.began:
            self.began = True
            self._wake.set()

    def serve_history(self, now_ms: int, now: float) -> None:
        """Let the trades that are history happen at once, with their times mapped to before now."""
        # One trade at least, so that there is a price.
        self.jump_to(max(1, self._history), now_ms)
        self._origin = (now, self._recorded_time())

    def _recorded_time(self) -> int:
        """Return the recording's time at the present position (ms)."""
        index = min(self.position, len(self.rows) - 1)
        return self.rows.time(index)

    def jump_to(self, position: int, now_ms: int) -> None:
        """Let every trade up to a position happen now."""
        target = min(position, len(self.rows))
        end_time = self.rows.time(max(0, target - 1))
        factor = self.speed or 1.0
        while self.position < target:
            name, trade = self.rows[self.position]
            self.position += 1
            self._report_progress(self.position, target)
            self._apply_trade(name, trade, now_ms - int((end_time - trade.time) / factor))

    def restore(self, position: int, now_ms: int) -> None:
        """Continue from a stored position: earlier trades are recorded again and touch no order."""
        self.position = min(position, len(self.rows))
        end_time = self.rows.time(max(0, self.position - 1))
        factor = self.speed or 1.0
        for index in range(self.position):
            name, trade = self.rows[index]
            self._report_progress(index + 1, self.position)
            self._engine.record_trade(name, trade, now_ms - int((end_time - trade.time) / factor))
        self._engine.restore_books()
        self.began = self.began or self.position > 1

    def _report_progress(self, done: int, target: int) -> None:
        if done % PROGRESS_TRADES == 0:
            self._progress(f"replaying history: {done:,} of {target:,} trades")

    def pause(self) -> None:
        self.paused = True

    def resume(self, now: float) -> None:
        """Continue; ``now`` in monotonic seconds."""
        self.paused = False
        if self.rows:
            self._origin = (now, self._recorded_time())
        self._wake.set()

    async def run(self, clock: Callable[[], float]) -> None:
        """Replay until cancelled; ``clock`` returns monotonic seconds."""
        while True:
            if self.paused or not self.began or (self.position >= len(self.rows) and not self.loop):
                self._wake.clear()
                await self._wake.wait()
                continue
            if self.position >= len(self.rows):
                self.position = 0
                self._origin = (clock(), self._recorded_time())
            if self.speed is None:
                await self._run_at_max(clock)
            else:
                await self._run_in_time(clock, self.speed)

    async def _run_in_time(self, clock: Callable[[], float], speed: float) -> None:
        """Let what is due happen, at most one batch."""
        if self._origin is None:
            self._origin = (clock(), self._recorded_time())
        began, first = self._origin
        market_now = first + (clock() - began) * 1000 * speed
        done = 0
        while self.position < len(self.rows) and not self.paused:
            time = self.rows.time(self.position)
            if time > market_now:
                await asyncio.sleep(max(0.0, min((time - market_now) / 1000 / speed, NAP_S)))
                return
            self._advance()
            done += 1
            if done >= BATCH:
                await asyncio.sleep(0)
                return

    async def _run_at_max(self, clock: Callable[[], float]) -> None:
        """Let one batch happen, in step with the connected accounts."""
        began = clock()
        done = 0
        while self.position < len(self.rows) and done < BATCH and not self.paused:
            done += 1
            counts = self._arrivals.counts() if self._hub.connected() else {}
            changed = self._advance()
            waiting = [account for account in changed if self._hub.connected(account)]
            commit = self._commit() if waiting else None
            if commit is not None:
                # The events leave once they are stored; a request before that does not answer them.
                with suppress(BinanceError):
                    await asyncio.shield(commit)
                counts = self._arrivals.counts()
            deadline = clock() + WAIT_FOR_REQUEST_S
            for account in waiting:
                await self._arrivals.wait_beyond(account, counts.get(account, 0), clock, deadline)
        if self._hub.connected():
            await asyncio.sleep(max(0.0, done / TRADES_PER_SECOND - (clock() - began)))
        else:
            await asyncio.sleep(0)

    def _advance(self) -> set[str]:
        """Let the next trade happen now; return the accounts whose orders it changed."""
        name, trade = self.rows[self.position]
        self.position += 1
        return self._apply_trade(name, trade, self._now())

    async def step(self, count: int) -> int:
        """Let so many trades happen now, paused or not; return how many did."""
        done = 0
        while done < count and self.position < len(self.rows):
            self._advance()
            done += 1
            if done % BATCH == 0:
                await asyncio.sleep(0)
        return done
