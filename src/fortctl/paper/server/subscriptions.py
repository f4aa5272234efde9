"""Subscriptions: user streams by account, market streams by name; and the queue of each connection.

An event is encoded once for all connections that want it in the same form, and queued for each. A connection writes its
queue at the end of the event loop's turn; one that does not read is cut, so that memory stays bounded.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import WSCloseCode, web

from fortctl.paper.api.time_units import event_in_micros
from fortctl.paper.faults import AT_ONCE, ENDLESS_FRAME_BYTES, SILENT, Fault, Faults, deep_body

QUEUE_LIMIT = 20_000
MOST_SUBSCRIPTIONS = 1000
ALL_SUBSCRIPTIONS = 65_535
RETRY_S = 0.05
# Queued bytes beyond which a peer's next request is not read; how often that is checked; the most that is queued.
HIGH_WATER_BYTES, DRAIN_CHECKS, MAX_QUEUED_BYTES = 1024 * 1024, 100, 16 * 1024 * 1024


class WebSocketPeer:
    """One WebSocket connection.

    What is sent leaves at the end of the event loop's turn, in one write.

    Attributes:
        queued: bytes that the transport has not received yet.
        subscriptions: subscription id → (account, API key, whether session.logon carries it).
        micros: the client requested times in µs.
        stalled: returns whether nothing may be sent now (a fault).
        held_back: a frame that leaves after the next one (a fault), or None.
        opened_at, ponged_at, pinged_at: monotonic seconds.
    """

    def __init__(
        self, socket: web.WebSocketResponse, address: str, now: float, transport: asyncio.Transport | None = None
    ) -> None:
        self.socket = socket
        self._transport = transport
        self.address = address
        self.queued = 0
        self._frames: list[bytes] = []
        self._flushing: asyncio.Handle | None = None
        self.stalled: Callable[[], bool] = lambda: False
        self.subscriptions: dict[int, tuple[str, str, bool]] = {}
        self.next_subscription = 0
        self.streams: dict[str, None] = {}
        self.combined = False
        self.micros = False
        self.rate_limits = True
        self.logged_on: str | None = None
        self.logged_on_at = 0
        self.connected_at = 0
        self.opened_at = self.ponged_at = self.pinged_at = now
        self.arrivals: list[float] = []
        self.held_back: bytes | None = None
        self._closing: asyncio.Task[bool] | None = None

    def send(self, document: Any) -> None:
        self.send_frame(framed(orjson.dumps(document)))

    def send_frame(self, frame: bytes) -> None:
        """Queue what :func:`framed` made; a peer that does not read is cut, as Binance does."""
        if self.queued > MAX_QUEUED_BYTES or len(self._frames) >= QUEUE_LIMIT:
            self._drop()
            self.cut()
            return
        self.queued += len(frame)
        self._frames.append(frame)
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = None
        transport = self._transport
        if transport is None or transport.is_closing() or self.socket.closed:
            self._drop()
        elif self.stalled() or transport.get_write_buffer_size() > HIGH_WATER_BYTES:
            self._flushing = asyncio.get_running_loop().call_later(RETRY_S, self._flush)
        elif self._frames:
            transport.write(self._frames[0] if len(self._frames) == 1 else b"".join(self._frames))
            self._drop()

    def _drop(self) -> None:
        self._frames.clear()
        self.queued = 0

    def on_closed(self) -> None:
        """Drop what is queued: the connection has ended."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        self._drop()

    async def drain(self) -> bool:
        """Wait while too much is queued; return False if the peer does not read it in time."""
        for _ in range(DRAIN_CHECKS):
            if self.queued <= HIGH_WATER_BYTES:
                return True
            await asyncio.sleep(RETRY_S)
        return False

    def cut(self, code: int = WSCloseCode.POLICY_VIOLATION) -> None:
        """Close the connection, within a second even if the peer does not answer."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(code))

    async def _close(self, code: int) -> bool:
        if self._flushing is not None:
            # What was sent before the close frame leaves before it.
            self._flushing.cancel()
            self._flush()
        try:
            async with asyncio.timeout(1.0):
                return await self.socket.close(code=code)
        except TimeoutError:
            return False
        finally:
            # The peer may not read the close frame.
            if self._transport is not None:
                self._transport.abort()


def framed(data: bytes) -> bytes:
    """Return a text message as a frame of the WebSocket protocol (RFC 6455 section 5.2: a server does not mask)."""
    size = len(data)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + data
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + data
    return b"\x81\x7f" + size.to_bytes(8, "big") + data


def odd_data(kind: str) -> bytes:
    """Return the message that ``endless`` or ``deep`` sends on a WebSocket."""
    return deep_body() if kind == "deep" else b"[" + b"0," * (ENDLESS_FRAME_BYTES // 2)


def _event_data(fault: Fault | None, envelope: dict[str, Any] | None, field: str, event: Any) -> bytes:
    """Return an event as it is sent, in a field of its envelope if it has one, and changed by a fault."""
    if fault is not None:
        if fault.change is None:
            return odd_data(fault.kind)
        event = fault.change.apply(event)
        if isinstance(event, bytes):
            event = orjson.Fragment(event)
    return orjson.dumps({**envelope, field: event} if envelope is not None else event)


class SubscriptionHub:
    """Every connection of one server.

    Args:
        faults: the faults of events.
        clock: returns monotonic seconds.

    Attributes:
        users: account → its connections, each with the number of the subscription.
        markets: stream name → its connections.
        on_unsubscribed: called with a stream's name when its last subscription has ended.
    """

    def __init__(self, faults: Faults, clock: Callable[[], float]) -> None:
        self.peers: set[WebSocketPeer] = set()
        self.users: dict[str, set[tuple[WebSocketPeer, int]]] = defaultdict(set)
        self.markets: dict[str, set[WebSocketPeer]] = {}
        self.on_unsubscribed: Callable[[str], None] = lambda name: None
        self._faults = faults
        self._clock = clock

    def join(self, peer: WebSocketPeer) -> None:
        peer.stalled = self.stalled
        self.peers.add(peer)

    def leave(self, peer: WebSocketPeer) -> None:
        self.peers.discard(peer)
        peer.on_closed()
        for subscription in list(peer.subscriptions):
            self.unsubscribe_user(peer, subscription)
        for name in list(peer.streams):
            self.unsubscribe(peer, name)

    # -- user streams ------------------------------------------------------------------------------------------------

    def subscribe_user(self, peer: WebSocketPeer, account: str, api_key: str, *, by_logon: bool = False) -> int:
        number, peer.next_subscription = peer.next_subscription, peer.next_subscription + 1
        peer.subscriptions[number] = (account, api_key, by_logon)
        self.users[account].add((peer, number))
        return number

    def unsubscribe_user(self, peer: WebSocketPeer, number: int) -> None:
        account = peer.subscriptions.pop(number)[0]
        self.users[account].discard((peer, number))

    def end_subscription(self, peer: WebSocketPeer, number: int, now: int) -> None:
        """End a subscription with an ``eventStreamTerminated``."""
        peer.send({"subscriptionId": number, "event": {"e": "eventStreamTerminated", "E": now}})
        self.unsubscribe_user(peer, number)

    def connected(self, account: str | None = None) -> bool:
        """Return whether an account (or any) has a user stream open."""
        return bool(self.users.get(account)) if account is not None else any(self.users.values())

    def send_to_user(self, account: str, event: dict[str, Any]) -> None:
        fault = self._answer_fault(event["e"]) if self.connected(account) else None
        for peer, number in list(self.users.get(account, ())):
            converted = event_in_micros(event) if peer.micros else event
            data = _event_data(fault, {"subscriptionId": number}, "event", converted)
            self._deliver(peer, framed(data), event["e"])

    # -- market streams ----------------------------------------------------------------------------------------------

    def subscribe(self, peer: WebSocketPeer, name: str) -> None:
        peer.streams[name] = None
        self.markets.setdefault(name, set()).add(peer)

    def unsubscribe(self, peer: WebSocketPeer, name: str) -> None:
        peer.streams.pop(name, None)
        peers = self.markets.get(name)
        if peers is not None:
            peers.discard(peer)
            if not peers:
                del self.markets[name]
                self.on_unsubscribed(name)

    def publish(self, name: str, event: Any) -> None:
        peers = self.markets.get(name)
        if not peers:
            return
        fault = self._answer_fault(name)
        # (combined, micros) → frame
        frames: dict[tuple[bool, bool], bytes] = {}
        for peer in list(peers):
            kind = (peer.combined, peer.micros)
            if kind not in frames:
                converted = event_in_micros(event) if peer.micros else event
                envelope = {"stream": name} if peer.combined else None
                frames[kind] = framed(_event_data(fault, envelope, "data", converted))
            self._deliver(peer, frames[kind], name)

    def _answer_fault(self, what: str) -> Fault | None:
        return self._faults.match("answer", "EVENT", what, self._clock()) if self._faults.entries else None

    # -- delivery ----------------------------------------------------------------------------------------------------

    def _deliver(self, peer: WebSocketPeer, frame: bytes, what: str) -> None:
        fault = self._faults.match("event", "EVENT", what, self._clock()) if self._faults.entries else None
        if fault is None:
            peer.send_frame(frame)
            if peer.held_back is not None:
                held_back, peer.held_back = peer.held_back, None
                peer.send_frame(held_back)
        elif fault.kind == "event-doubled":
            peer.send_frame(frame)
            peer.send_frame(frame)
        elif fault.kind == "event-delayed":
            asyncio.get_running_loop().call_later(fault.value, peer.send_frame, frame)
        elif fault.kind == "event-reordered":
            if peer.held_back is not None:
                peer.send_frame(peer.held_back)
            peer.held_back = frame

    def stalled(self) -> bool:
        return bool(self._faults.entries) and self._faults.active("ws-stalled", self._clock()) is not None

    # -- ends --------------------------------------------------------------------------------------------------------

    def on_key_deleted(self, api_key: str, now: Callable[[], int]) -> None:
        """End the streams of a deleted key as the fault ``revoked-stream`` says; by default at once.

        A session that is logged on with it is revoked at its next request, as Binance documents.
        """
        choice = self._faults.active("revoked-stream", self._clock())
        when = choice.value if choice is not None else AT_ONCE
        if choice is not None:
            choice.hits += 1
        if when == SILENT:
            # The stream stays open and receives nothing more.
            for peer in self.peers:
                for number, (account, key, _by_logon) in peer.subscriptions.items():
                    if key == api_key:
                        self.users[account].discard((peer, number))
        elif when == AT_ONCE:
            self._end_streams(api_key, now)
        else:
            asyncio.get_running_loop().call_later(when, self._end_streams, api_key, now)

    def _end_streams(self, api_key: str, now: Callable[[], int]) -> None:
        for peer in list(self.peers):
            for number, (_account, key, _by_logon) in list(peer.subscriptions.items()):
                if key == api_key:
                    self.end_subscription(peer, number, now())

    def cut_all(self, code: int = WSCloseCode.POLICY_VIOLATION) -> int:
        for peer in list(self.peers):
            peer.cut(code)
        return len(self.peers)

    def announce_shutdown(self, now: int) -> None:
        """Send ``serverShutdown`` on every connection."""
        event = {"e": "serverShutdown", "E": now}
        for peer in self.peers:
            converted = event_in_micros(event) if peer.micros else event
            if peer.streams or peer.combined:
                peer.send({"stream": "!serverShutdown", "data": converted} if peer.combined else converted)
            else:
                peer.send({"event": converted})
