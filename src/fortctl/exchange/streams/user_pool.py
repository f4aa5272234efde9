"""User data streams of many accounts over few WebSocket-API connections (adapter).

A connection carries up to 1,000 subscriptions, one an account (web-socket-api.md). An Ed25519 key logs the connection's
session on where it is free; a second key of the same account then logs on over the same connection, and the stream
goes on without a break. Any other second key is heard on another connection until the first one leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp

from fortctl.exchange.streams.subscription import UserSubscription
from fortctl.exchange.streams.user_connection import UserStreamConnection
from fortctl.model import KeyPair, UserEvent

# A connection lives 24 h (web-socket-api.md); another one takes its place before that, with no break.
LIFE_S = 23 * 3600.0

Dial = Callable[[], AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]]


class UserStreamPool:
    """The connections to one WebSocket API and who is on which.

    Args:
        dial: opens a WebSocket.
        life_s: seconds after which a connection is replaced.
    """

    def __init__(self, dial: Dial, *, life_s: float = LIFE_S) -> None:
        self.dial = dial
        self.life_s = life_s
        self.lines: list[UserStreamConnection] = []
        self._work: set[asyncio.Task[None]] = set()

    async def events(self, pair: KeyPair, now_ms: Callable[[], int], account: str = "") -> AsyncGenerator[UserEvent]:
        """Yield an account's events for ever."""
        member = UserSubscription(pair, account, now_ms)
        self.place(member)
        try:
            while True:
                yield await member.next()
        finally:
            if member.line is not None:
                member.line.leave(member)

    def place(self, member: UserSubscription, *, besides: UserStreamConnection | None = None) -> None:
        """Put a member on a connection with room; not on the one named."""
        for line in self.lines:
            if line is not besides and line.welcomes(member):
                break
        else:
            line = UserStreamConnection(self)
            self.lines.append(line)
        line.join(member)

    def spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def dropped(self, line: UserStreamConnection) -> None:
        if line in self.lines:
            self.lines.remove(line)

    async def close(self) -> None:
        for line in list(self.lines):
            line.end()
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
