"""Let the recorded trades happen: in market time, or as fast as the connected accounts follow."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from fortctl.paper.engine.errors import BinanceError
from fortctl.paper.engine.market_data import Recording, Trade

if TYPE_CHECKING:
    from fortctl.paper.server.server import PaperServer

# contract.md, "--speed max".
TRADES_PER_SECOND = 1_000
WAIT_FOR_REQUEST_S = 0.1
BATCH = 50


class Replay:
    """One replay of one or more tapes, merged by time.

    Args:
        server: where the trades happen.
        speed: market seconds a real second; None for ``max``.
        start: share of the trades (0 to 1) that is history when the server starts.
        loop: begin again after the last trade.
    """

    def __init__(
        self, server: PaperServer, tapes: dict[str, Recording], speed: float | None, start: float, loop: bool
    ) -> None:
        self._server = server
        self.rows: list[tuple[str, Trade]] = list(
            heapq.merge(
                *([(name, trade) for trade in tape.trades] for name, tape in tapes.items()),
                key=lambda row: row[1].time,
            )
        )
        self.speed = speed
        self.loop = loop
        self.position = 0
        self.paused = False
        self.began = speed is not None
        self._history = int(len(self.rows) * start)
        self._origin: tuple[float, int] | None = None
        self._wake = asyncio.Event()

    @property
    def ended(self) -> bool:
        return self.position >= len(self.rows) and not self.loop

    def begin(self) -> None:
        """The first order has come: a replay at ``max`` begins."""
        if not self.began:
            self.began = True
            self._wake.set()

    def serve_history(self, now_ms: int, now: float) -> None:
        """Let the earlier part happen at once, with its times mapped before now."""
        # One trade at least, so that there is a price.
        self.jump_to(max(1, self._history), now_ms)
        self._origin = (now, self._time_here())

    def _time_here(self) -> int:
        index = min(self.position, len(self.rows) - 1)
        return self.rows[index][1].time

    def jump_to(self, position: int, now_ms: int) -> None:
        """Let every trade up to a position happen now."""
        target = min(position, len(self.rows))
        end_time = self.rows[max(0, target - 1)][1].time
        factor = self.speed or 1.0
        while self.position < target:
            name, trade = self.rows[self.position]
            self.position += 1
            self._server.happen(name, trade, now_ms - int((end_time - trade.time) / factor))

    def restore(self, position: int, now_ms: int) -> None:
        """Take up a kept place: what happened before is seen again, and touches no order."""
        self.position = min(position, len(self.rows))
        end_time = self.rows[max(0, self.position - 1)][1].time
        factor = self.speed or 1.0
        for name, trade in self.rows[: self.position]:
            self._server.engine.see(name, trade, now_ms - int((end_time - trade.time) / factor))
        self._server.engine.resume_books()
        self.began = self.began or self.position > 1

    def pause(self) -> None:
        self.paused = True

    def resume(self, now: float) -> None:
        self.paused = False
        if self.rows:
            self._origin = (now, self._time_here())
        self._wake.set()

    async def run(self, clock: Callable[[], float]) -> None:
        """Replay until the server ends."""
        while True:
            if self.paused or not self.began or (self.position >= len(self.rows) and not self.loop):
                self._wake.clear()
                await self._wake.wait()
                continue
            if self.position >= len(self.rows):
                self.position = 0
                self._origin = (clock(), self._time_here())
            if self.speed is None:
                await self._run_at_max(clock)
            else:
                await self._run_in_time(clock)

    async def _run_in_time(self, clock: Callable[[], float]) -> None:
        assert self.speed is not None
        if self._origin is None:
            self._origin = (clock(), self._time_here())
        began, first = self._origin
        market_now = first + (clock() - began) * 1000 * self.speed
        done = 0
        while self.position < len(self.rows) and not self.paused:
            name, trade = self.rows[self.position]
            if trade.time > market_now:
                wait = (trade.time - market_now) / 1000 / self.speed
                await self._sleep(min(wait, 0.05))
                return
            self.position += 1
            self._server.happen(name, trade, self._server.now())
            done += 1
            if done >= BATCH:
                await asyncio.sleep(0)
                return

    async def _run_at_max(self, clock: Callable[[], float]) -> None:
        """Serve a batch: lockstep and at most 1,000 trades/s while an account is connected."""
        began = clock()
        done = 0
        while self.position < len(self.rows) and done < BATCH and not self.paused:
            name, trade = self.rows[self.position]
            self.position += 1
            done += 1
            seen = dict(self._server.arrivals) if self._server.hub.connected() else {}
            touched = self._server.happen(name, trade, self._server.now())
            waiting = [account for account in touched if self._server.hub.connected(account)]
            if waiting and self._server.commit() is not None:
                # The events leave once they are kept, and only then can they be answered.
                with suppress(BinanceError):
                    await self._server.durable()
                seen = dict(self._server.arrivals)
            if waiting:
                await self._await_requests(waiting, seen, clock)
        if self._server.hub.connected():
            await asyncio.sleep(max(0.0, done / TRADES_PER_SECOND - (clock() - began)))
        else:
            await asyncio.sleep(0)

    async def _await_requests(self, accounts: list[str], seen: dict[str, int], clock: Callable[[], float]) -> None:
        deadline = clock() + WAIT_FOR_REQUEST_S
        for account in accounts:
            while self._server.arrivals[account] <= seen.get(account, 0) and clock() < deadline:
                await self._server.await_arrival(deadline - clock())

    async def step(self, count: int) -> int:
        """Let so many trades happen now, paused or not; return how many did."""
        done = 0
        while done < count and self.position < len(self.rows):
            name, trade = self.rows[self.position]
            self.position += 1
            self._server.happen(name, trade, self._server.now())
            done += 1
            if done % BATCH == 0:
                await asyncio.sleep(0)
        return done

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
