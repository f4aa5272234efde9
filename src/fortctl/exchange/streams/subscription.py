"""One account's place on a WebSocket-API connection: its key, and what waits to be read (adapter)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from fortctl.exchange.signing import sign, socket_payload
from fortctl.exchange.streams.reconnect import Backoff
from fortctl.model import KeyPair, KeyType, StreamDown, StreamUp, UserEvent

if TYPE_CHECKING:
    from fortctl.exchange.streams.user_connection import UserStreamConnection

RECV_WINDOW_MS = 5_000
MOST_WAITING = 10_000


class UserSubscription:
    """One account's stream, wherever it is carried.

    Attributes:
        pair: the key that subscribes.
        account: a name that two keys of one account share; empty: unknown.
        now_ms: the exchange's time.
    """

    def __init__(self, pair: KeyPair, account: str, now_ms: Callable[[], int]) -> None:
        self.pair = pair
        self.account = account
        self.now_ms = now_ms
        self.line: UserStreamConnection | None = None
        self.pauses = Backoff()
        self.is_up = False
        self._waiting: asyncio.Queue[UserEvent] = asyncio.Queue(MOST_WAITING)

    @property
    def logs_on(self) -> bool:
        return self.pair.type is KeyType.ED25519

    async def next(self) -> UserEvent:
        return await self._waiting.get()

    def tell(self, event: UserEvent) -> None:
        if self._waiting.full():
            # Whoever does not listen learns that something is missing, and asks.
            while not self._waiting.empty():
                self._waiting.get_nowait()
            self._waiting.put_nowait(StreamDown("too many events were waiting"))
            self._waiting.put_nowait(StreamUp())
        self._waiting.put_nowait(event)

    def up(self, *, again: bool = False) -> None:
        """The stream is heard; ``again``: something may have been missed although it never went down."""
        told, self.is_up = self.is_up and not again, True
        self.pauses.reset()
        if not told:
            self.tell(StreamUp())

    def down(self, reason: str, code: int | None = None) -> None:
        self.is_up = False
        self.tell(StreamDown(reason, code))

    def signed(self) -> dict[str, str | int]:
        """Return the parameters of a request that says who asks, and nothing else."""
        parameters: dict[str, str | int] = {
            "apiKey": self.pair.api_key.reveal(),
            "recvWindow": RECV_WINDOW_MS,
            "timestamp": self.now_ms(),
        }
        return {**parameters, "signature": sign(self.pair, socket_payload(parameters))}
