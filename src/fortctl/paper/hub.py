"""Who listens: user streams by account, market streams by name. Every socket has a queue and a writer of its own."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import orjson
from aiohttp import WSCloseCode, web

QUEUE_LIMIT = 20_000


class Peer:
    """One WebSocket connection."""

    def __init__(self, socket: web.WebSocketResponse, address: str) -> None:
        self.socket = socket
        self.address = address
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_LIMIT)
        # subscription id → (account, API key)
        self.subscriptions: dict[int, tuple[str, str]] = {}
        self.next_subscription = 0
        self.streams: set[str] = set()
        self.combined = False
        self.logged_on: str | None = None
        self.logged_on_at = 0
        self._closing: asyncio.Task[bool] | None = None

    def send(self, document: Any) -> None:
        self.send_bytes(orjson.dumps(document))

    def send_bytes(self, data: bytes) -> None:
        try:
            self.queue.put_nowait(data)
        except asyncio.QueueFull:
            # A peer that does not read is cut, as Binance does; memory stays bounded.
            self.cut()

    def cut(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self.socket.close(code=WSCloseCode.POLICY_VIOLATION))

    async def write(self) -> None:
        """Send what is queued until the connection ends."""
        while True:
            data = await self.queue.get()
            if data is None:
                return
            try:
                await self.socket.send_str(data.decode())
            except (ConnectionError, RuntimeError):
                return


class Hub:
    """Every connection of one server."""

    def __init__(self) -> None:
        self.peers: set[Peer] = set()
        self.users: dict[str, set[tuple[Peer, int]]] = defaultdict(set)
        self.markets: dict[str, set[Peer]] = defaultdict(set)

    def join(self, peer: Peer) -> None:
        self.peers.add(peer)

    def leave(self, peer: Peer) -> None:
        self.peers.discard(peer)
        for subscription in list(peer.subscriptions):
            self.unsubscribe_user(peer, subscription)
        for name in peer.streams:
            self.markets[name].discard(peer)

    def subscribe_user(self, peer: Peer, account: str, api_key: str) -> int:
        number, peer.next_subscription = peer.next_subscription, peer.next_subscription + 1
        peer.subscriptions[number] = (account, api_key)
        self.users[account].add((peer, number))
        return number

    def unsubscribe_user(self, peer: Peer, number: int) -> None:
        account, _key = peer.subscriptions.pop(number)
        self.users[account].discard((peer, number))

    def connected(self, account: str | None = None) -> bool:
        """Return whether an account (or any) has a user stream open."""
        return bool(self.users.get(account)) if account is not None else any(self.users.values())

    def tell_user(self, account: str, event: dict[str, Any]) -> None:
        for peer, number in self.users.get(account, ()):
            peer.send({"subscriptionId": number, "event": event})

    def tell_market(self, name: str, event: dict[str, Any]) -> None:
        listeners = self.markets.get(name)
        if not listeners:
            return
        bare, wrapped = orjson.dumps(event), orjson.dumps({"stream": name, "data": event})
        for peer in listeners:
            peer.send_bytes(wrapped if peer.combined else bare)

    def revoke(self, api_key: str, now: int) -> None:
        """End what a key that is gone had opened: its subscriptions, its logged-on sessions."""
        refusal = {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}
        for peer in list(self.peers):
            for number, (_account, key) in list(peer.subscriptions.items()):
                if key == api_key:
                    peer.send({"subscriptionId": number, "event": {"e": "eventStreamTerminated", "E": now}})
                    self.unsubscribe_user(peer, number)
            if peer.logged_on == api_key:
                peer.logged_on = None
                peer.send({"id": None, "status": 401, "error": refusal})

    def cut_all(self) -> int:
        for peer in list(self.peers):
            peer.cut()
        return len(self.peers)

    def shut_down(self, now: int) -> None:
        for peer in self.peers:
            peer.send({"event": {"e": "serverShutdown", "E": now}})
