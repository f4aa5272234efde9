"""One account's user data stream, wherever it is carried: its key, its state, its queue of events (adapter)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fortctl.exchange.signing import sign, socket_payload
from fortctl.exchange.streams.reconnect import Backoff
from fortctl.model import KeyPair, KeyType, StreamDown, StreamUp, UserEvent

RECV_WINDOW_MS = 5_000
MAX_QUEUED_EVENTS = 10_000


class UserSubscription:
    """One account's stream.

    Attributes:
        pair: the key that subscribes.
        account: a name that two keys of one account share; empty: unknown.
        now_ms: returns the exchange's time, in milliseconds since the epoch.
        backoff: the pauses between attempts to subscribe.
        is_up: events arrive.
    """

    def __init__(self, pair: KeyPair, account: str, now_ms: Callable[[], int]) -> None:
        self.pair = pair
        self.account = account
        self.now_ms = now_ms
        self.backoff = Backoff()
        self.is_up = False
        self._queue: asyncio.Queue[UserEvent] = asyncio.Queue(MAX_QUEUED_EVENTS)

    @property
    def can_log_on(self) -> bool:
        """Whether the key may log a session on: only Ed25519 keys may (web-socket-api.md, "session.logon")."""
        return self.pair.type is KeyType.ED25519

    async def next(self) -> UserEvent:
        """Wait for the next event."""
        return await self._queue.get()

    def publish(self, event: UserEvent) -> None:
        """Queue an event; a consumer that does not read finds ``StreamDown`` and ``StreamUp`` instead of old events."""
        if self._queue.full():
            while not self._queue.empty():
                self._queue.get_nowait()
            self._queue.put_nowait(StreamDown("too many events were waiting"))
            self._queue.put_nowait(StreamUp())
        self._queue.put_nowait(event)

    def mark_up(self, *, may_have_missed: bool = False) -> None:
        """Publish ``StreamUp`` unless the stream is up already.

        Args:
            may_have_missed: publish it even so, since events may have been lost although the stream never went down.
        """
        was_up, self.is_up = self.is_up, True
        self.backoff.reset()
        if not was_up or may_have_missed:
            self.publish(StreamUp())

    def mark_down(self, reason: str, code: int | None = None) -> None:
        """Publish ``StreamDown``, with Binance's error code where it sent one."""
        self.is_up = False
        self.publish(StreamDown(reason, code))

    def mark_gap(self, reason: str) -> None:
        """Publish that events may be missing, although the stream is up."""
        self.publish(StreamDown(reason))
        self.publish(StreamUp())

    def signed_parameters(self) -> dict[str, str | int]:
        """Return the parameters of a request that is signed with the key and carries nothing else."""
        parameters: dict[str, str | int] = {
            "apiKey": self.pair.api_key.reveal(),
            "recvWindow": RECV_WINDOW_MS,
            "timestamp": self.now_ms(),
        }
        return {**parameters, "signature": sign(self.pair, socket_payload(parameters))}
