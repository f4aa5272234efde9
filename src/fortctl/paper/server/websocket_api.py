"""The WebSocket API: methods, sessions, user streams (web-socket-api.md)."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any

import orjson

from fortctl.paper.api import authentication, registry
from fortctl.paper.api.parameters import Call
from fortctl.paper.api.time_units import answer_in_micros
from fortctl.paper.engine import errors
from fortctl.paper.engine.accounts import ApiKey
from fortctl.paper.engine.rate_limits import RateLimitedError
from fortctl.paper.faults import CODES, Fault
from fortctl.paper.server.server import PaperServer
from fortctl.paper.server.subscriptions import (
    ALL_SUBSCRIPTIONS,
    MOST_SUBSCRIPTIONS,
    WebSocketPeer,
    framed,
    odd_data,
)

CONNECT_WEIGHT = SESSION_WEIGHT = 2
# A logon or a subscription needs a key, its signature, and the right to read.
SIGNED_ONLY = Call(lambda context, values: {}, "USER_DATA", SESSION_WEIGHT)
ID_TEXT = re.compile(r".{0,36}", re.DOTALL)
LOGGED = 200
_OTHERS = {"hmac": "HMAC_SHA256", "rsa": "RSA"}


@dataclass(slots=True)
class SocketRequest:
    """One request of the WebSocket API.

    Attributes:
        id: what the response echoes as its id.
        shows_limits: the response states the rate limits.
        fault: the kind of fault that applies to it, or "".
        entry: its entry of the request log; without signature and API key.
    """

    id: Any
    shows_limits: bool
    method: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    entry: dict[str, Any] = field(default_factory=lambda: {"method": "", "path": "", "via": "ws"})

    def read(self, document: Any) -> None:
        """Read method and parameters of a document. Raises :class:`errors.BinanceError`."""
        self.method, self.params = read_request(document)
        self.entry["method"] = self.method
        texts = {name[:LOGGED]: text[:LOGGED] for name, text in _texts(self.params).items()}
        self.entry["client_order_id"] = texts.get("newClientOrderId") or texts.get("origClientOrderId")
        self.entry["query"] = {name: texts[name] for name in texts if name not in ("signature", "apiKey")}
        if isinstance(self.params.get("returnRateLimits"), bool):
            self.shows_limits = self.params["returnRateLimits"]


class WebSocketApi:
    """Answers the requests of ``/ws-api/v3``.

    A request passes :meth:`handle` (the connection and the log), ``_answer`` (results and refusals), ``_with_fault``,
    and ``_execute`` (limits, authentication, the call), as it passes the methods of :class:`~.rest.Rest`.
    """

    def __init__(self, server: PaperServer) -> None:
        self._server = server
        self._session_calls = {
            "session.logon": self._log_on,
            "session.status": self._session,
            "session.logout": self._log_out,
            "session.subscriptions": self._subscriptions,
            "userDataStream.subscribe": self._subscribe,
            "userDataStream.subscribe.signature": self._subscribe_signed,
            "userDataStream.unsubscribe": self._unsubscribe,
        }

    def on_open(self, peer: WebSocketPeer) -> None:
        """Count a new connection's weight."""
        try:
            self._server.limits.spend(peer.address, CONNECT_WEIGHT, self._server.seconds())
        except RateLimitedError:
            peer.cut()

    async def handle(self, peer: WebSocketPeer, document: Any) -> None:
        """Answer one request, under the fault that applies to it if there is one."""
        request = SocketRequest(_echoed_id(document), peer.rate_limits)
        entry = request.entry
        try:
            response = await self._answer(peer, request, document)
        except _ConnectionCutError:
            self._server.log.add({**entry, "status": 0})
            peer.cut()
            return
        if request.shows_limits:
            account = entry.get("account") if entry.get("counted") else None
            response["rateLimits"] = self._rate_limits(peer, account)
        if request.fault == "cut-after-execute":
            self._server.log.add({**entry, "status": response["status"]})
            peer.cut()
            return
        data = self._changed(request, response)
        self._server.log.add({**entry, "status": response["status"]})
        half = request.fault in ("truncated", "cut-body")
        peer.send_frame(framed(data[: len(data) // 2] if half else data))
        if request.fault == "cut-body":
            peer.cut()

    def _changed(self, request: SocketRequest, response: dict[str, Any]) -> bytes:
        """Return the response as it is sent: changed if a fault of the family ``answer`` applies."""
        fault = None
        if self._server.faults.entries and not request.fault:
            what = ("WS", request.method, self._server.clock.monotonic())
            fault = self._server.faults.match("answer", *what) or self._server.faults.match("list", *what)
        if fault is None:
            return orjson.dumps(response)
        request.entry["fault"] = fault.kind
        if fault.kind == "empty":
            listed = isinstance(response.get("result"), list)
            return orjson.dumps({**response, "result": []} if listed else response)
        if fault.change is None:
            return odd_data(fault.kind)
        part = "result" if "result" in response else "error"
        document = fault.change.apply(response.pop(part))
        if isinstance(document, bytes):
            document = orjson.Fragment(document)
        status = fault.change.status or response["status"]
        return orjson.dumps({**response, "status": status, part: document})

    async def _answer(self, peer: WebSocketPeer, request: SocketRequest, document: Any) -> dict[str, Any]:
        """Return the response to a request, whether it is executed or refused."""
        try:
            request.read(document)
            result = await self._with_fault(peer, request)
        except errors.BinanceError as refusal:
            request.entry["code"] = refusal.code
            error: dict[str, Any] = refusal.body()
            if isinstance(refusal, RateLimitedError):
                now = self._server.now()
                error["data"] = {"serverTime": now, "retryAfter": now + refusal.retry_after * 1000}
            return {"id": request.id, "status": refusal.status, "error": error}
        return {"id": request.id, "status": 200, "result": result}

    async def _with_fault(self, peer: WebSocketPeer, request: SocketRequest) -> Any:
        """Execute a request under its fault; return the result once its effect is durable."""
        server, method = self._server, request.method
        if server.faults.entries:
            fault = server.faults.match("request", "WS", method, server.clock.monotonic())
            if fault is not None:
                request.entry["fault"] = fault.kind
                await _before_execution(fault)
                request.fault = fault.kind
        try:
            result = self._execute(peer, request)
            if request.fault == "order-twin":
                server.place_twin(result)
        finally:
            await server.durable()
        if request.fault == "executed-1007":
            raise errors.BinanceError(-1007, *CODES[-1007])
        if peer.micros:
            result = answer_in_micros(result, klines=method.lower().endswith("klines"))
        return result

    def _rate_limits(self, peer: WebSocketPeer, account: str | None) -> list[dict[str, Any]]:
        server = self._server
        rows = server.limits.order_rows(account, server.seconds()) if account is not None else []
        weight = server.limits.info()[0]
        return [*rows, {**weight, "count": server.limits.used(peer.address, server.seconds())}]

    def _execute(self, peer: WebSocketPeer, request: SocketRequest) -> Any:
        server, method, entry = self._server, request.method, request.entry
        session_call = self._session_calls.get(method)
        if session_call is not None:
            server.limits.spend(peer.address, SESSION_WEIGHT, server.seconds())
            return session_call(peer, request.params)
        if method not in registry.METHODS:
            raise errors.BinanceError(-1130, f"Method '{method[:60]}' is unknown.")
        call = registry.CALLS[registry.METHODS[method]]
        values = _texts(request.params)
        weight = call.weight_of(values)
        server.limits.spend(peer.address, weight, server.seconds())
        fault = ""
        if server.faults.entries and call.security != "NONE":
            matching = server.faults.match("key", "WS", method, server.clock.monotonic())
            fault = matching.kind if matching is not None else ""
        key = self._authenticate(peer, call, request.params, values, fault)
        entry["account"] = key.account if key else None
        entry["key"] = key.api_key[-4:] if key else ""
        entry["counted"] = bool(call.orders)
        result = server.execute(call, key, values, peer.address, fault)
        if call.free:
            server.limits.refund(peer.address, weight, server.seconds())
        return result

    # -- authentication ----------------------------------------------------------------------------------------------

    def _authenticate(
        self, peer: WebSocketPeer, call: Call, params: dict[str, Any], values: dict[str, str], fault: str
    ) -> ApiKey | None:
        server = self._server
        if call.security == "NONE":
            return None
        if peer.logged_on and "signature" not in params and "apiKey" not in params:
            key = self._session_key(peer, gone=fault in ("key-deleted", "ip-changed"))
            server.arrivals.add(key.account)
            authentication.check_time(values, server.now())
            server.authorize(call, key, server.now(), fault=fault)
            return key
        return self._signed(peer, call, params, values, fault)

    def _session_key(self, peer: WebSocketPeer, *, gone: bool = False) -> ApiKey:
        """Return the session's key. If it is no longer valid, send an error without id, log off, raise -2015."""
        keys = self._server.engine.state.keys
        if self._server.faults.entries and peer.logged_on in keys:
            self._server.delete_unrestricted([keys[peer.logged_on]])
        key = keys.get(peer.logged_on or "")
        if key is None or gone or (key.ips and peer.address not in key.ips):
            if peer.logged_on is not None:
                peer.logged_on = None
                peer.send({"id": None, "status": 401, "error": errors.bad_key().body()})
            raise errors.bad_key()
        return key

    def _signed(
        self, peer: WebSocketPeer, call: Call, params: dict[str, Any], values: dict[str, str], fault: str = ""
    ) -> ApiKey:
        payload, signature = authentication.socket_payload(params), str(params.get("signature", ""))
        key = self._server.authenticate(
            *(call, values, str(params.get("apiKey", "")), peer.address, payload, signature),
            sapi=False,
            encoded=False,
            fault=fault,
        )
        assert key is not None
        return key

    # -- sessions ----------------------------------------------------------------------------------------------------

    def _log_on(self, peer: WebSocketPeer, params: dict[str, Any]) -> dict[str, Any]:
        """``session.logon``: Ed25519 keys only. A session that is logged on already changes to the new key."""
        key = self._signed(peer, SIGNED_ONLY, params, _texts(params))
        if key.type != "ed25519":
            raise errors.BinanceError(-4056, f"{_OTHERS[key.type]} API key is not supported.")
        peer.logged_on, peer.logged_on_at = key.api_key, self._server.now()
        return self._session(peer, {})

    def _session(self, peer: WebSocketPeer, params: dict[str, Any]) -> dict[str, Any]:
        return {
            "apiKey": peer.logged_on,
            "authorizedSince": peer.logged_on_at if peer.logged_on else None,
            "connectedSince": peer.connected_at,
            "returnRateLimits": peer.rate_limits,
            "serverTime": self._server.now(),
            "userDataStream": any(by_logon for _account, _key, by_logon in peer.subscriptions.values()),
        }

    def _log_out(self, peer: WebSocketPeer, params: dict[str, Any]) -> dict[str, Any]:
        """``session.logout``: the connection stays open; the subscription made through the session ends."""
        for number, (_account, _key, by_logon) in list(peer.subscriptions.items()):
            if by_logon:
                self._server.hub.end_subscription(peer, number, self._server.now())
        peer.logged_on = None
        return self._session(peer, {})

    # -- user streams ------------------------------------------------------------------------------------------------

    def _subscribe(self, peer: WebSocketPeer, params: dict[str, Any]) -> dict[str, Any]:
        return self._open_user_stream(peer, self._session_key(peer), by_logon=True)

    def _subscribe_signed(self, peer: WebSocketPeer, params: dict[str, Any]) -> dict[str, Any]:
        key = self._signed(peer, SIGNED_ONLY, params, _texts(params))
        return self._open_user_stream(peer, key, by_logon=False)

    def _open_user_stream(self, peer: WebSocketPeer, key: ApiKey, *, by_logon: bool) -> dict[str, Any]:
        if any(account == key.account for account, _key, _by_logon in peer.subscriptions.values()):
            raise errors.BinanceError(-2035, "User Data Stream subscription already active.")
        if len(peer.subscriptions) >= MOST_SUBSCRIPTIONS or peer.next_subscription >= ALL_SUBSCRIPTIONS:
            raise errors.BinanceError(-2042, "Too many User Data Stream subscriptions on this connection.")
        number = self._server.hub.subscribe_user(peer, key.account, key.api_key, by_logon=by_logon)
        return {"subscriptionId": number}

    def _unsubscribe(self, peer: WebSocketPeer, params: dict[str, Any]) -> dict[str, Any]:
        subscription = params.get("subscriptionId")
        if subscription is not None and (isinstance(subscription, bool) or not isinstance(subscription, int)):
            raise errors.bad_value("subscriptionId")
        if subscription is not None and subscription not in peer.subscriptions:
            raise errors.BinanceError(-2036, "User Data Stream subscription not active.")
        for number in [n for n in peer.subscriptions if subscription in (None, n)]:
            self._server.hub.end_subscription(peer, number, self._server.now())
        return {}

    def _subscriptions(self, peer: WebSocketPeer, params: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"subscriptionId": number} for number in peer.subscriptions]


class _ConnectionCutError(Exception):
    """The connection has to be cut before the request is executed."""


async def _before_execution(fault: Fault) -> None:
    """Wait for, or raise, what a fault puts in place of the execution. Raises :class:`errors.BinanceError`."""
    kind = fault.kind
    if kind == "slow":
        await asyncio.sleep(fault.value)
    elif kind == "cut-before":
        raise _ConnectionCutError
    elif kind.startswith("code-"):
        text, status = CODES[int(kind[4:])]
        raise errors.BinanceError(int(kind[4:]), text, status)
    elif kind.startswith("http-"):
        status = int(kind[5:])
        code = -1003 if status in (418, 429) else -1000
        raise errors.BinanceError(code, CODES[code][0], status)
    elif kind == "maintenance":
        raise errors.BinanceError(-1016, "This service is under maintenance.", 503)


def read_request(document: Any) -> tuple[str, dict[str, Any]]:
    """Return a request's method and parameters. Raises :class:`errors.BinanceError`."""
    if not isinstance(document, dict) or not isinstance(document.get("method"), str):
        raise errors.BinanceError(-1135, "Invalid JSON Request")
    request_id, params = document.get("id"), document.get("params")
    plain = request_id is None or (isinstance(request_id, int) and not isinstance(request_id, bool))
    if not plain and not (isinstance(request_id, str) and ID_TEXT.fullmatch(request_id)):
        raise errors.BinanceError(-1135, "Invalid JSON Request")
    if params is None:
        params = {}
    if not isinstance(params, dict) or not all(_flat(value) for value in params.values()):
        raise errors.BinanceError(-1135, "Invalid JSON Request")
    return document["method"].removeprefix("v3/"), params


def _flat(value: Any) -> bool:
    """Return whether a parameter is a plain value, or a list of such (``symbols``)."""
    if isinstance(value, list):
        return all(not isinstance(one, list | dict) for one in value)
    return not isinstance(value, dict)


def _echoed_id(document: Any) -> Any:
    """Return the id that the response echoes: null for any form that Binance does not accept."""
    request_id = document.get("id") if isinstance(document, dict) else None
    if isinstance(request_id, str):
        return request_id if ID_TEXT.fullmatch(request_id) else None
    return request_id if isinstance(request_id, int) and not isinstance(request_id, bool) else None


def _texts(params: dict[str, Any]) -> dict[str, str]:
    """Return JSON parameters as the texts that REST would have."""
    texts = {}
    for name, value in params.items():
        if isinstance(value, bool):
            texts[name] = str(value).lower()
        elif isinstance(value, list):
            texts[name] = orjson.dumps(value).decode()
        elif value is None:
            texts[name] = ""
        elif isinstance(value, float):
            texts[name] = f"{value:.16f}".rstrip("0").rstrip(".")
        else:
            texts[name] = str(value)
    return texts
