"""Public trades of one symbol, over one connection for all listeners in this process (adapter).

Source: web-socket-streams.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from fortctl.exchange import parsing
from fortctl.exchange.streams.reconnect import CONNECTION_ERRORS, Backoff, Dial, RequestRejectedError, read_frame
from fortctl.model import MarketEvent, StreamDown, StreamUp

MAX_QUEUED_EVENTS = 10_000


class MarketStream:
    """One symbol's stream: connected while it has a listener, and again after each cut.

    Args:
        dial: opens the WebSocket.
    """

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._listeners: set[asyncio.Queue[MarketEvent]] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_up = False

    async def events(self) -> AsyncGenerator[MarketEvent]:
        """Yield trades for ever, with ``StreamUp`` and ``StreamDown`` between them."""
        queue: asyncio.Queue[MarketEvent] = asyncio.Queue(MAX_QUEUED_EVENTS)
        self._listeners.add(queue)
        if self._is_up:
            queue.put_nowait(StreamUp())
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="market stream")
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)
            if not self._listeners:
                self.close()

    def close(self) -> None:
        """Close the connection."""
        task, self._task, self._is_up = self._task, None, False
        if task is not None:
            task.cancel()

    def _publish(self, event: MarketEvent) -> None:
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()  # the newest prices count
            queue.put_nowait(event)

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            try:
                async with self._dial() as socket:
                    backoff.reset()
                    self._is_up = True
                    self._publish(StreamUp())
                    while True:
                        trade = read_frame(await socket.receive())
                        if trade.get("e") == "trade":
                            self._publish(parsing.public_trade(trade))
            except (RequestRejectedError, *CONNECTION_ERRORS) as error:
                self._is_up = False
                self._publish(
                    StreamDown(str(error) if isinstance(error, RequestRejectedError) else type(error).__name__)
                )
                pause = backoff.pause_after(error)
            await asyncio.sleep(pause)
