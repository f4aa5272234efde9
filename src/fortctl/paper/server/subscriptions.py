"""Who listens: user streams by account, market streams by name. Every socket has a queue and a writer of its own."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import WSCloseCode, web

from fortctl.paper.api.time_units import event_in_micros
from fortctl.paper.faults import AT_ONCE, SILENT, Faults

QUEUE_LIMIT = 20_000
MOST_SUBSCRIPTIONS = 1000
ALL_SUBSCRIPTIONS = 65_535
STALL_LOOK_S = 0.05
# What may wait for a peer before its next request is read; how long; and what may wait at all.
PILE_BYTES, CATCH_UP_LOOKS, QUEUED_BYTES = 1024 * 1024, 100, 16 * 1024 * 1024


class WebSocketPeer:
    """One WebSocket connection.

    What is sent goes out at the end of the turn of the loop, in one write.

    Attributes:
        queued: bytes that wait to be handed to the transport.
        subscriptions: subscription id → (account, API key, whether session.logon carries it).
        micros: it asked for times in µs.
        stalled: whether nothing may be sent now.
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
        self.held: bytes | None = None
        self._closing: asyncio.Task[bool] | None = None

    def send(self, document: Any) -> None:
        self.send_frame(framed(orjson.dumps(document)))

    def send_frame(self, frame: bytes) -> None:
        """Queue what :func:`framed` made; a peer that does not read is cut, as Binance does: memory stays bounded."""
        if self.queued > QUEUED_BYTES or len(self._frames) >= QUEUE_LIMIT:
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
        elif self.stalled() or transport.get_write_buffer_size() > PILE_BYTES:
            self._flushing = asyncio.get_running_loop().call_later(STALL_LOOK_S, self._flush)
        elif self._frames:
            transport.write(self._frames[0] if len(self._frames) == 1 else b"".join(self._frames))
            self._drop()

    def _drop(self) -> None:
        self._frames.clear()
        self.queued = 0

    def gone(self) -> None:
        """The connection has ended."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        self._drop()

    async def catches_up(self) -> bool:
        """Wait while too much is queued for the peer; return False when it does not read it in time."""
        for _ in range(CATCH_UP_LOOKS):
            if self.queued <= PILE_BYTES:
                return True
            await asyncio.sleep(STALL_LOOK_S)
        return False

    def cut(self, code: int = WSCloseCode.POLICY_VIOLATION) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(code))

    async def _close(self, code: int) -> bool:
        if self._flushing is not None:
            # What was said before the farewell goes out before it.
            self._flushing.cancel()
            self._flush()
        try:
            async with asyncio.timeout(1.0):
                return await self.socket.close(code=code)
        except TimeoutError:
            return False
        finally:
            # Who does not take the close frame is let go all the same.
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


class SubscriptionHub:
    """Every connection of one server.

    Args:
        faults: those that events meet.
        clock: monotonic seconds.

    Attributes:
        unheard: hears of each stream that nobody listens to any more.
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
        peer.gone()
        for subscription in list(peer.subscriptions):
            self.unsubscribe_user(peer, subscription)
        for name in list(peer.streams):
            self.unlisten(peer, name)

    # -- user streams ----------------------------------------------------------------------------------------------

    def subscribe_user(self, peer: WebSocketPeer, account: str, api_key: str, *, by_logon: bool = False) -> int:
        number, peer.next_subscription = peer.next_subscription, peer.next_subscription + 1
        peer.subscriptions[number] = (account, api_key, by_logon)
        self.users[account].add((peer, number))
        return number

    def unsubscribe_user(self, peer: WebSocketPeer, number: int) -> None:
        account = peer.subscriptions.pop(number)[0]
        self.users[account].discard((peer, number))

    def end_subscription(self, peer: WebSocketPeer, number: int, now: int) -> None:
        """End a subscription, saying so."""
        peer.send({"subscriptionId": number, "event": {"e": "eventStreamTerminated", "E": now}})
        self.unsubscribe_user(peer, number)

    def connected(self, account: str | None = None) -> bool:
        """Return whether an account (or any) has a user stream open."""
        return bool(self.users.get(account)) if account is not None else any(self.users.values())

    def tell_user(self, account: str, event: dict[str, Any]) -> None:
        for peer, number in list(self.users.get(account, ())):
            shown = event_in_micros(event) if peer.micros else event
            self._deliver(peer, framed(orjson.dumps({"subscriptionId": number, "event": shown})), event["e"])

    # -- market streams --------------------------------------------------------------------------------------------

    def listen(self, peer: WebSocketPeer, name: str) -> None:
        peer.streams[name] = None
        self.markets.setdefault(name, set()).add(peer)

    def unlisten(self, peer: WebSocketPeer, name: str) -> None:
        peer.streams.pop(name, None)
        listeners = self.markets.get(name)
        if listeners is not None:
            listeners.discard(peer)
            if not listeners:
                del self.markets[name]
                self.on_unsubscribed(name)

    def tell_market(self, name: str, event: Any) -> None:
        listeners = self.markets.get(name)
        if not listeners:
            return
        made: dict[tuple[bool, bool], bytes] = {}
        for peer in list(listeners):
            kind = (peer.combined, peer.micros)
            if kind not in made:
                shown = event_in_micros(event) if peer.micros else event
                made[kind] = framed(orjson.dumps({"stream": name, "data": shown} if peer.combined else shown))
            self._deliver(peer, made[kind], name)

    # -- delivery --------------------------------------------------------------------------------------------------

    def _deliver(self, peer: WebSocketPeer, frame: bytes, what: str) -> None:
        fault = self._faults.hit("event", "EVENT", what, self._clock()) if self._faults.set_faults else None
        if fault is None:
            peer.send_frame(frame)
            if peer.held is not None:
                held, peer.held = peer.held, None
                peer.send_frame(held)
        elif fault.kind == "event-doubled":
            peer.send_frame(frame)
            peer.send_frame(frame)
        elif fault.kind == "event-delayed":
            asyncio.get_running_loop().call_later(fault.value, peer.send_frame, frame)
        elif fault.kind == "event-reordered":
            if peer.held is not None:
                peer.send_frame(peer.held)
            peer.held = frame

    def stalled(self) -> bool:
        return bool(self._faults.set_faults) and self._faults.in_force("ws-stalled", self._clock()) is not None

    # -- ends ------------------------------------------------------------------------------------------------------

    def revoke(self, api_key: str, now: Callable[[], int]) -> None:
        """End what a key that is gone had opened, when and as the fault ``revoked-stream`` says (default: at once).

        A session that was logged on with it is revoked at its next request, as documented.
        """
        choice = self._faults.in_force("revoked-stream", self._clock())
        when = choice.value if choice is not None else AT_ONCE
        if choice is not None:
            choice.hits += 1
        if when == SILENT:
            # The stream stays open, and nothing comes any more.
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

    def shut_down(self, now: int) -> None:
        event = {"e": "serverShutdown", "E": now}
        for peer in self.peers:
            shown = event_in_micros(event) if peer.micros else event
            if peer.streams or peer.combined:
                peer.send({"stream": "!serverShutdown", "data": shown} if peer.combined else shown)
            else:
                peer.send({"event": shown})
