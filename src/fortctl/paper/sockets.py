"""WebSockets as Binance speaks them: the WebSocket API and the market streams."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from fortctl.paper import calls, refusals, security
from fortctl.paper.accounts import ApiKey
from fortctl.paper.hub import Peer
from fortctl.paper.limits import Limited
from fortctl.paper.parameters import Call
from fortctl.paper.server import PaperServer

PING_EVERY_S = 20.0
MESSAGE_LIMIT = 256 * 1024
STREAM = re.compile(r"[a-z0-9]{1,20}@(trade|aggTrade|bookTicker)")
STREAMS_LIMIT = 1024
# What a logon or a subscription must show: a key, its signature, the right to read.
SIGNED_ONLY = Call(lambda context, values: {}, "USER_DATA")


class Sockets:
    """Serves ``/ws-api/v3``, ``/ws`` and ``/stream``."""

    def __init__(self, server: PaperServer) -> None:
        self._server = server

    def route(self, application: web.Application) -> None:
        application.router.add_get("/ws-api/v3", self._api)
        for path in ("/ws", "/ws/{names:.*}", "/stream", "/stream/{names:.*}"):
            application.router.add_get(path, self._streams)

    async def _serve(
        self, request: web.Request, opened: Callable[[Peer], None], said: Callable[[Peer, Any], Awaitable[None]]
    ) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=PING_EVERY_S, max_msg_size=MESSAGE_LIMIT)
        await socket.prepare(request)
        peer = Peer(socket, request.remote or "")
        hub = self._server.hub
        hub.join(peer)
        writing = asyncio.create_task(peer.write())
        try:
            opened(peer)
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                try:
                    document = orjson.loads(message.data)
                except ValueError:
                    document = None
                await said(peer, document)
        finally:
            hub.leave(peer)
            writing.cancel()
        return socket

    # -- the WebSocket API (web-socket-api.md) ---------------------------------------------------------------------

    async def _api(self, request: web.Request) -> web.WebSocketResponse:
        return await self._serve(request, lambda peer: None, self._asked)

    async def _asked(self, peer: Peer, document: Any) -> None:
        server = self._server
        entry: dict[str, Any] = {"method": "", "path": "", "via": "ws"}
        request_id = document.get("id") if isinstance(document, dict) else None
        try:
            if not isinstance(document, dict) or not isinstance(document.get("method"), str):
                raise refusals.Refusal(-1135, "Invalid JSON Request")
            method = document["method"].removeprefix("v3/")
            given = document.get("params") or {}
            if not isinstance(given, dict):
                raise refusals.Refusal(-1135, "Invalid JSON Request")
            entry["method"] = method
            entry["client_order_id"] = given.get("newClientOrderId") or given.get("origClientOrderId")
            answer = self._carry_out(peer, method, given, entry)
            status, reply = 200, {"id": request_id, "status": 200, "result": answer}
        except refusals.Refusal as refusal:
            status = 401 if refusal.code in (-2014, -2015) else refusal.status
            error: dict[str, Any] = refusal.body()
            if isinstance(refusal, Limited):
                now = server.now()
                error["data"] = {"serverTime": now, "retryAfter": now + refusal.retry_after * 1000}
            entry["code"] = refusal.code
            reply = {"id": request_id, "status": status, "error": error}
        peer.send({**reply, "rateLimits": self._rate_limits()})
        server.log_request({**entry, "status": status})

    def _rate_limits(self) -> list[dict[str, Any]]:
        return [{**row, "count": 1} for row in self._server.limits.info()[:1]]

    def _carry_out(self, peer: Peer, method: str, given: dict[str, Any], entry: dict[str, Any]) -> Any:
        server = self._server
        server.limits.spend(peer.address, 2 if method not in calls.METHODS else 1, server.clock.monotonic())
        special = {
            "session.logon": self._log_on,
            "session.status": self._session,
            "session.logout": self._log_out,
            "userDataStream.subscribe": self._subscribe,
            "userDataStream.subscribe.signature": self._subscribe_signed,
            "userDataStream.unsubscribe": self._unsubscribe,
        }.get(method)
        if special is not None:
            return special(peer, given)
        if method not in calls.METHODS:
            raise refusals.Refusal(-1130, f"Method '{method}' is unknown.")
        call = calls.CALLS[calls.METHODS[method]]
        values = _texts(given)
        key = self._who(peer, call, given, values)
        entry["account"] = key.account if key else None
        entry["key"] = key.api_key[-4:] if key else ""
        answer, _headers = server.answer(call, key, values)
        return answer

    def _who(self, peer: Peer, call: Call, given: dict[str, Any], values: dict[str, str]) -> ApiKey | None:
        server = self._server
        if call.security == "NONE":
            return None
        if peer.logged_on and "signature" not in given and "apiKey" not in given:
            key = server.engine.keys.get(peer.logged_on)
            if key is None or (key.ips and peer.address not in key.ips):
                peer.logged_on = None
                raise refusals.bad_key()
            server.arrived(key.account)
            security.check_time(values, server.now())
            server.permit(call, key, server.now())
            return key
        return self._signed(peer, call, given, values)

    def _signed(self, peer: Peer, call: Call, given: dict[str, Any], values: dict[str, str]) -> ApiKey:
        payload, signature = security.socket_payload(given), str(given.get("signature", ""))
        key = self._server.authenticate(
            *(call, values, str(given.get("apiKey", "")), peer.address, payload, signature), sapi=False, encoded=False
        )
        assert key is not None
        return key

    def _log_on(self, peer: Peer, given: dict[str, Any]) -> dict[str, Any]:
        """``session.logon``: Ed25519 keys only."""
        key = self._signed(peer, SIGNED_ONLY, given, _texts(given))
        if key.type != "ed25519":
            raise refusals.Refusal(-4056, "HMAC_SHA256 API key is not supported.")
        peer.logged_on, peer.logged_on_at = key.api_key, self._server.now()
        return self._session(peer, {})

    def _session(self, peer: Peer, given: dict[str, Any]) -> dict[str, Any]:
        now = self._server.now()
        return {
            "apiKey": peer.logged_on,
            "authorizedSince": peer.logged_on_at if peer.logged_on else None,
            "connectedSince": now,
            "returnRateLimits": True,
            "serverTime": now,
            "userDataStream": bool(peer.subscriptions),
        }

    def _log_out(self, peer: Peer, given: dict[str, Any]) -> dict[str, Any]:
        peer.logged_on = None
        return self._session(peer, {})

    def _subscribe(self, peer: Peer, given: dict[str, Any]) -> dict[str, Any]:
        key = self._server.engine.keys.get(peer.logged_on or "")
        if key is None:
            raise refusals.bad_key()
        return self._open_user_stream(peer, key)

    def _subscribe_signed(self, peer: Peer, given: dict[str, Any]) -> dict[str, Any]:
        return self._open_user_stream(peer, self._signed(peer, SIGNED_ONLY, given, _texts(given)))

    def _open_user_stream(self, peer: Peer, key: ApiKey) -> dict[str, Any]:
        if any(account == key.account for account, _key in peer.subscriptions.values()):
            raise refusals.Refusal(-2035, "User data stream is already active for this account.")
        return {"subscriptionId": self._server.hub.subscribe_user(peer, key.account, key.api_key)}

    def _unsubscribe(self, peer: Peer, given: dict[str, Any]) -> dict[str, Any]:
        wanted = given.get("subscriptionId")
        for number in [n for n in peer.subscriptions if wanted in (None, n)]:
            peer.send({"subscriptionId": number, "event": {"e": "eventStreamTerminated", "E": self._server.now()}})
            self._server.hub.unsubscribe_user(peer, number)
        return {}

    # -- market streams (web-socket-streams.md) --------------------------------------------------------------------

    async def _streams(self, request: web.Request) -> web.WebSocketResponse:
        combined = request.path.startswith("/stream")
        named = request.query.get("streams", "") if combined else request.match_info.get("names", "")

        def opened(peer: Peer) -> None:
            peer.combined = combined
            for name in filter(None, named.split("/")):
                if STREAM.fullmatch(name):
                    self._listen(peer, name)

        return await self._serve(request, opened, self._told)

    def _listen(self, peer: Peer, name: str) -> None:
        if len(peer.streams) < STREAMS_LIMIT:
            peer.streams.add(name)
            self._server.hub.markets[name].add(peer)

    async def _told(self, peer: Peer, document: Any) -> None:
        if not isinstance(document, dict) or "method" not in document:
            peer.send({"error": {"code": 3, "msg": "Invalid JSON: expected value"}})
            return
        method, names, request_id = document["method"], document.get("params") or [], document.get("id")
        result: Any = None
        if method == "SUBSCRIBE":
            for name in names:
                if not isinstance(name, str) or not STREAM.fullmatch(name):
                    error = {"code": 2, "msg": f"Invalid request: invalid stream {str(name)[:40]}"}
                    peer.send({"error": error, "id": request_id})
                    return
                self._listen(peer, name)
        elif method == "UNSUBSCRIBE":
            for name in names:
                peer.streams.discard(name)
                self._server.hub.markets[name].discard(peer)
        elif method == "LIST_SUBSCRIPTIONS":
            result = sorted(peer.streams)
        elif method == "SET_PROPERTY" and names[:1] == ["combined"]:
            peer.combined = bool(names[1])
        else:
            error = {"code": 2, "msg": "Invalid request: unknown variant"}
            peer.send({"error": error, "id": request_id})
            return
        peer.send({"result": result, "id": request_id})


def _texts(given: dict[str, Any]) -> dict[str, str]:
    """Return JSON parameters as the texts that REST would have."""
    shown = {}
    for name, value in given.items():
        if isinstance(value, bool):
            shown[name] = str(value).lower()
        elif isinstance(value, list):
            shown[name] = orjson.dumps(value).decode()
        else:
            shown[name] = str(value)
    return shown
