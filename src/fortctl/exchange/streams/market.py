"""Public trades of one symbol, over one connection for everybody of this process who watches it (adapter).

Source: web-socket-streams.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager

import aiohttp

from fortctl.exchange import parsing
from fortctl.exchange.streams.reconnect import CONNECTION_ERRORS, Backoff, RequestRejectedError, read_frame
from fortctl.model import MarketEvent, StreamDown, StreamUp

MOST_WAITING = 10_000


class MarketStream:
    """One symbol's stream: connected while somebody listens, and again after each cut.

    Args:
        dial: opens the WebSocket.
    """

    def __init__(self, dial: Callable[[], AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]]) -> None:
        self._dial = dial
        self._listeners: set[asyncio.Queue[MarketEvent]] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_up = False

    async def events(self) -> AsyncGenerator[MarketEvent]:
        """Yield trades for ever, and ``StreamUp`` and ``StreamDown`` between them."""
        waiting: asyncio.Queue[MarketEvent] = asyncio.Queue(MOST_WAITING)
        self._listeners.add(waiting)
        if self._is_up:
            waiting.put_nowait(StreamUp())
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="market stream")
        try:
            while True:
                yield await waiting.get()
        finally:
            self._listeners.discard(waiting)
            if not self._listeners:
                self.end()

    def end(self) -> None:
        """Close the connection."""
        task, self._task, self._is_up = self._task, None, False
        if task is not None:
            task.cancel()

    def _tell(self, event: MarketEvent) -> None:
        for waiting in self._listeners:
            if waiting.full():
                waiting.get_nowait()  # the newest prices count
            waiting.put_nowait(event)

    async def _run(self) -> None:
        pauses = Backoff()
        while True:
            try:
                async with self._dial() as socket:
                    pauses.reset()
                    self._is_up = True
                    self._tell(StreamUp())
                    while True:
                        trade = read_frame(await socket.receive())
                        if trade.get("e") == "trade":
                            self._tell(parsing.public_trade(trade))
            except (RequestRejectedError, *CONNECTION_ERRORS) as error:
                self._is_up = False
                self._tell(StreamDown(str(error) if isinstance(error, RequestRejectedError) else type(error).__name__))
                pause = pauses.after(error)
            await asyncio.sleep(pause)
