"""Public trades of one symbol, over one connection for all listeners in this process (adapter).

Source: web-socket-streams.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator

from fortctl.exchange import parsing
from fortctl.exchange.decoding import UnreadableAnswerError
from fortctl.exchange.streams.reconnect import CONNECTION_ERRORS, Backoff, Dial, RequestRejectedError, read_frame
from fortctl.model import MarketEvent, StreamDown, StreamUp

MAX_QUEUED_EVENTS = 10_000
_LOG = logging.getLogger("fortctl.exchange")


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
        self._has_warned = False

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

    def _on_frame(self, frame: dict[str, object]) -> None:
        """Publish a trade; one that cannot be read is left out, since the next one says more."""
        if frame.get("e") != "trade":
            return
        try:
            trade = parsing.public_trade(frame)
        except UnreadableAnswerError as error:
            if not self._has_warned:
                self._has_warned = True
                _LOG.warning("a trade of the market stream cannot be read and is left out: %s", error)
            return
        self._publish(trade)

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            try:
                async with self._dial() as socket:
                    backoff.reset()
                    self._is_up = True
                    self._publish(StreamUp())
                    while True:
                        self._on_frame(read_frame(await socket.receive()))
            except (RequestRejectedError, *CONNECTION_ERRORS) as error:
                reason = str(error) if isinstance(error, RequestRejectedError) else type(error).__name__
                pause = backoff.pause_after(error)
            except Exception as error:
                # A fault of our own: the stream must not end silently, so it reconnects as after any other.
                _LOG.exception("the market stream's connection failed")
                reason, pause = type(error).__name__, backoff.pause_after(error)
            self._is_up = False
            self._publish(StreamDown(reason))
            await asyncio.sleep(pause)
