"""The WebSocket-API connections of one exchange, and which of them carries which user data stream (adapter)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from fortctl.exchange.streams.reconnect import Dial
from fortctl.exchange.streams.subscription import UserSubscription
from fortctl.exchange.streams.user_connection import UserStreamConnection
from fortctl.model import KeyPair, UserEvent

# Binance cuts a connection after 24 h (web-socket-api.md); another one takes its place before that, without a break.
LIFE_S = 23 * 3600.0
CONNECT_TIMEOUT_S = 30.0
# Events that left on the old connection before the new one was subscribed may still be under way for so long.
LINGER_S = 5.0


class UserStreamPool:
    """The connections to one WebSocket API.

    Args:
        dial: opens a WebSocket.
        life_s: seconds after which a connection is replaced.
        connect_timeout_s: seconds that a replacement may take to connect.

    Attributes:
        connections: those that are open or being opened.
    """

    def __init__(self, dial: Dial, *, life_s: float = LIFE_S, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        self._dial = dial
        self._life_s = life_s
        self._connect_timeout_s = connect_timeout_s
        self.connections: list[UserStreamConnection] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def events(self, pair: KeyPair, now_ms: Callable[[], int], account: str = "") -> AsyncGenerator[UserEvent]:
        """Yield an account's events for ever.

        Args:
            pair: the key that subscribes.
            now_ms: returns the exchange's time, in milliseconds since the epoch.
            account: a name that two keys of one account share; empty: unknown.
        """
        subscription = UserSubscription(pair, account, now_ms)
        self._place(subscription)
        try:
            while True:
                yield await subscription.next()
        finally:
            for connection in list(self.connections):
                if subscription in connection.subscriptions:
                    connection.remove(subscription)

    def _place(self, subscription: UserSubscription, *, other_than: UserStreamConnection | None = None) -> None:
        for connection in self.connections:
            if connection is not other_than and connection.accepts(subscription):
                break
        else:
            connection = self._open()
        connection.add(subscription)

    def _open(self) -> UserStreamConnection:
        connection = UserStreamConnection(
            self._dial,
            life_s=self._life_s,
            place=self._place,
            spawn=self._spawn,
            on_expiring=lambda expiring: self._spawn(self._replace(expiring)),
            on_closed=self._on_closed,
        )
        self.connections.append(connection)
        return connection

    async def _replace(self, expiring: UserStreamConnection) -> None:
        """Move every subscription to a new connection, one after another, while the old one still delivers."""
        replacement = self._open()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await replacement.connected.wait()
        except TimeoutError:
            if expiring in self.connections:
                expiring.postpone(self._connect_timeout_s)
            replacement.reassign_all("the connection could not be made")
            replacement.close()
            return
        await asyncio.gather(*(replacement.adopt(each, expiring) for each in list(expiring.subscriptions)))
        await asyncio.sleep(LINGER_S)
        expiring.reassign_all("the connection was replaced")
        expiring.close()
        if not replacement.subscriptions:
            replacement.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_closed(self, connection: UserStreamConnection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)

    async def close(self) -> None:
        """End every connection and what runs beside them."""
        for connection in list(self.connections):
            connection.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
