"""WebSocket connections: upgrade, pings, lifetimes; and the requests of market streams (web-socket-streams.md)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import WSCloseCode, WSMsgType, web

from fortctl.paper.api.time_units import unit_of
from fortctl.paper.engine.rate_limits import RateLimitedError
from fortctl.paper.server.router import NAME, Router
from fortctl.paper.server.server import PaperServer
from fortctl.paper.server.subscriptions import WebSocketPeer
from fortctl.paper.server.websocket_api import WebSocketApi

PING_EVERY_S, PONG_WITHIN_S, CHECK_EVERY_S = 20.0, 60.0, 1.0
MESSAGE_LIMIT = 256 * 1024
FRAMES_PER_SECOND = 5
STREAMS_LIMIT = 1024
NAME_LIMIT = 100
WHOLE_IDS = range(-(2**63), 2**64)
ID_TEXT = re.compile(r"[A-Za-z0-9_-]{0,64}")
VARIANTS = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"
OnOpen = Callable[[WebSocketPeer], None]
OnMessage = Callable[[WebSocketPeer, Any], Awaitable[None]]


class WebSockets:
    """Serves ``/ws-api/v3``, ``/ws`` and ``/stream``."""

    def __init__(self, server: PaperServer) -> None:
        self._server = server
        self._api = WebSocketApi(server)

    def register(self, router: Router) -> None:
        for path in ("/ws-api/v3", "/ws-api/v3/"):
            router.serve("GET", path, self._serve_api)
        for path in ("/ws", "/stream"):
            router.serve_under(path, self._serve_streams)

    # -- connections -------------------------------------------------------------------------------------------------

    async def _serve(
        self, request: web.BaseRequest, on_open: OnOpen, on_message: OnMessage, *, frames_per_second: int | None = None
    ) -> web.StreamResponse:
        """Serve one connection until it ends.

        Args:
            on_open: called once the connection is upgraded.
            on_message: awaited with each message's JSON, None for what is not JSON.
            frames_per_second: more frames than that in a second end the connection.
        """
        micros = unit_of(request.query.get("timeUnit"))
        refused = self._refuse(request, micros)
        if refused is not None:
            return refused
        socket = web.WebSocketResponse(autoping=False, max_msg_size=MESSAGE_LIMIT, compress=False)
        if not _upgradable(socket, request):
            return web.Response(status=400)
        socket.headers["Server"] = NAME
        await socket.prepare(request)
        server = self._server
        peer = WebSocketPeer(socket, request.remote or "", server.clock.monotonic(), request.transport)
        peer.connected_at, peer.micros = server.now(), bool(micros)
        server.hub.join(peer)
        keepalive = asyncio.create_task(self._keep_alive(peer))
        try:
            on_open(peer)
            await self._read(peer, on_message, frames_per_second)
        except ConnectionError:
            pass
        finally:
            server.hub.leave(peer)
            keepalive.cancel()
        return socket

    def _refuse(self, request: web.BaseRequest, micros: bool | None) -> web.StreamResponse | None:
        """Return the refusal of a connection: too many of its address, or an unknown time unit."""
        try:
            self._server.limits.connect(request.remote or "", self._server.seconds())
        except RateLimitedError as refusal:
            headers = {"Retry-After": str(refusal.retry_after)}
            return web.json_response(refusal.body(), status=429, headers=headers)
        if micros is None:
            text = "Invalid value for time unit; expected either MICROSECOND or MILLISECOND."
            return web.json_response({"code": -1194, "msg": text}, status=400)
        return None

    async def _read(self, peer: WebSocketPeer, on_message: OnMessage, frames_per_second: int | None) -> None:
        """Read frames until the connection ends, or has to be cut because the client is too fast or does not read."""
        async for message in peer.socket:
            if frames_per_second is not None and self._too_fast(peer, frames_per_second):
                peer.cut()
                return
            if message.type is WSMsgType.PING:
                await peer.socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                peer.ponged_at = self._server.clock.monotonic()
            elif message.type is WSMsgType.TEXT:
                await on_message(peer, _parsed(message.data))
            else:
                return
            # A client that sends without pause must not starve the others, nor let its answers pile up.
            await asyncio.sleep(0)
            if not await peer.drain():
                peer.cut()
                return

    def _too_fast(self, peer: WebSocketPeer, most: int) -> bool:
        """Count a frame; return whether there were more than Binance accepts in a second."""
        if self._server.limits.mode == "off":
            return False
        now = self._server.clock.monotonic()
        peer.arrivals = [time for time in peer.arrivals if now - time < 1.0]
        peer.arrivals.append(now)
        return len(peer.arrivals) > most

    async def _keep_alive(self, peer: WebSocketPeer) -> None:
        """Ping every 20 s; close a connection without a pong for 60 s, or after its life (24 hours)."""
        clock, life = self._server.clock.monotonic, self._server.options.socket_life
        while True:
            await asyncio.sleep(min(CHECK_EVERY_S, life))
            now = clock()
            if now - peer.opened_at >= life:
                peer.cut(WSCloseCode.GOING_AWAY)
                return
            if now - peer.ponged_at > PONG_WITHIN_S and peer.pinged_at > peer.ponged_at:
                peer.cut()
                return
            if now - peer.pinged_at >= PING_EVERY_S:
                peer.pinged_at = now
                try:
                    await peer.socket.ping(str(self._server.now()).encode())
                except (ConnectionError, RuntimeError):
                    return

    async def _serve_api(self, request: web.BaseRequest) -> web.StreamResponse:
        def on_open(peer: WebSocketPeer) -> None:
            peer.rate_limits = request.query.get("returnRateLimits", "true").lower() != "false"
            self._api.on_open(peer)

        return await self._serve(request, on_open, self._api.handle)

    # -- market streams ----------------------------------------------------------------------------------------------

    async def _serve_streams(self, request: web.BaseRequest) -> web.StreamResponse:
        combined = request.path.startswith("/stream")
        named = request.query.get("streams", "") if combined else request.path.removeprefix("/ws").lstrip("/")

        def on_open(peer: WebSocketPeer) -> None:
            peer.combined = combined
            for name in list(filter(None, named.split("/")))[:STREAMS_LIMIT]:
                if len(name) <= NAME_LIMIT:
                    self._server.hub.subscribe(peer, name)

        return await self._serve(request, on_open, self._on_message, frames_per_second=FRAMES_PER_SECOND)

    async def _on_message(self, peer: WebSocketPeer, document: Any) -> None:
        """Answer SUBSCRIBE and its kin. As at Binance, a stream that does not exist is accepted and stays silent."""
        if document is None:
            peer.send({"error": {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}})
            return
        if not isinstance(document, dict):
            peer.send({"error": {"code": 2, "msg": "Invalid request: expected an object"}})
            return
        request_id, names = document.get("id"), document.get("params", [])
        problem = stream_problem(document, names)
        if problem is not None:
            peer.send(
                {"error": {"code": problem[0], "msg": problem[1]}, "id": request_id if _is_id(request_id) else None}
            )
            return
        method, hub = document["method"], self._server.hub
        result: Any = None
        if method == "SUBSCRIBE":
            if len({*peer.streams, *names}) > STREAMS_LIMIT:
                peer.send({"error": {"code": 2, "msg": "Invalid request: too many streams"}, "id": request_id})
                return
            for name in names:
                hub.subscribe(peer, name)
        elif method == "UNSUBSCRIBE":
            for name in names:
                hub.unsubscribe(peer, name)
        elif method == "LIST_SUBSCRIPTIONS":
            result = list(peer.streams)
        elif method == "SET_PROPERTY":
            peer.combined = names[1]
        else:
            result = peer.combined
        peer.send({"result": result, "id": request_id})


def _is_id(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return value in WHOLE_IDS
    return value is None or (isinstance(value, str) and ID_TEXT.fullmatch(value) is not None)


def stream_problem(document: dict[str, Any], names: Any) -> tuple[int, str] | None:
    """Return the error that Binance would give, or None."""
    method = document.get("method")
    if not isinstance(method, str):
        return 2, "Invalid request: missing field `method`"
    if not _is_id(document.get("id")):
        return 2, "Invalid request: request ID must be an integer, an alphanumeric string or null"
    if method not in ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY"):
        return 2, f"Invalid request: unknown variant `{method[:40]}`, expected one of {VARIANTS}"
    if not isinstance(names, list):
        return 2, "Invalid request: invalid type, expected a sequence"
    if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
        if not names or not all(isinstance(name, str) and 0 < len(name) <= NAME_LIMIT for name in names):
            return 2, "Invalid request: params must be names of streams"
    elif method in ("SET_PROPERTY", "GET_PROPERTY"):
        if not names or not isinstance(names[0], str):
            return 2, "Invalid request: property name must be a string"
        if names[0] != "combined":
            return 0, "Unknown property"
        if method == "SET_PROPERTY" and (len(names) != 2 or not isinstance(names[1], bool)):
            return 1, "Invalid value type: expected Boolean"
        if method == "GET_PROPERTY" and len(names) != 1:
            return 2, "Invalid request: too many parameters"
    return None


def _upgradable(socket: web.WebSocketResponse, request: web.BaseRequest) -> bool:
    try:
        return socket.can_prepare(request).ok
    except ValueError:
        # A header that is not text.
        return False


def _parsed(data: str) -> Any:
    try:
        return orjson.loads(data)
    except ValueError:
        return None
