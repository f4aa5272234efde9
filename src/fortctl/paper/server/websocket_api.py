"""The WebSocket API: methods, sessions, user streams (web-socket-api.md)."""

from __future__ import annotations

import asyncio
import re
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
from fortctl.paper.server.subscriptions import ALL_SUBSCRIPTIONS, MOST_SUBSCRIPTIONS, WebSocketPeer, framed

CONNECT_WEIGHT = SESSION_WEIGHT = 2
# What a logon or a subscription must show: a key, its signature, the right to read.
SIGNED_ONLY = Call(lambda context, values: {}, "USER_DATA", SESSION_WEIGHT)
ID_TEXT = re.compile(r".{0,36}", re.DOTALL)
LOGGED = 200
_OTHERS = {"hmac": "HMAC_SHA256", "rsa": "RSA"}


class WebSocketApi:
    """Answers the requests of ``/ws-api/v3``."""

    def __init__(self, server: PaperServer) -> None:
        self._server = server
        self._specials = {
            "session.logon": self._log_on,
            "session.status": self._session,
            "session.logout": self._log_out,
            "session.subscriptions": self._subscriptions,
            "userDataStream.subscribe": self._subscribe,
            "userDataStream.subscribe.signature": self._subscribe_signed,
            "userDataStream.unsubscribe": self._unsubscribe,
        }

    def connected(self, peer: WebSocketPeer) -> None:
        """Count a connection's weight."""
        try:
            self._server.limits.spend(peer.address, CONNECT_WEIGHT, self._server.seconds())
        except RateLimitedError:
            peer.cut()

    async def asked(self, peer: WebSocketPeer, document: Any) -> None:
        """Answer one request."""
        server = self._server
        entry: dict[str, Any] = {"method": "", "path": "", "via": "ws"}
        request_id = _shown_id(document)
        fault, shown_limits, account = None, peer.rate_limits, None
        try:
            method, given = _read(document)
            entry["method"] = method
            shown = {name[:LOGGED]: text[:LOGGED] for name, text in _texts(given).items()}
            entry["client_order_id"] = shown.get("newClientOrderId") or shown.get("origClientOrderId")
            entry["query"] = {name: shown[name] for name in shown if name not in ("signature", "apiKey")}
            if isinstance(given.get("returnRateLimits"), bool):
                shown_limits = given["returnRateLimits"]
            fault = await self._meet(peer, method, entry)
            try:
                answer = self._carry_out(peer, method, given, entry)
            finally:
                await server.durable()
            if fault is not None and fault.kind == "executed-1007":
                raise errors.BinanceError(-1007, *CODES[-1007])
            if peer.micros:
                answer = answer_in_micros(answer, klines=method.lower().endswith("klines"))
            status, reply = 200, {"id": request_id, "status": 200, "result": answer}
        except errors.BinanceError as refusal:
            status = refusal.status
            error: dict[str, Any] = refusal.body()
            if isinstance(refusal, RateLimitedError):
                now = server.now()
                error["data"] = {"serverTime": now, "retryAfter": now + refusal.retry_after * 1000}
            entry["code"] = refusal.code
            reply = {"id": request_id, "status": status, "error": error}
        except _ConnectionCutError:
            server.log.add({**entry, "status": 0})
            peer.cut()
            return
        account = entry.get("account")
        if shown_limits:
            reply["rateLimits"] = self._rate_limits(peer, account if entry.get("counted") else None)
        server.log.add({**entry, "status": status})
        if fault is not None and fault.kind == "cut-after-execute":
            peer.cut()
            return
        data = orjson.dumps(reply)
        half = fault is not None and fault.kind in ("truncated", "cut-body")
        peer.send_frame(framed(data[: len(data) // 2] if half else data))
        if fault is not None and fault.kind == "cut-body":
            peer.cut()

    async def _meet(self, peer: WebSocketPeer, method: str, entry: dict[str, Any]) -> Fault | None:
        """Return the fault of the family ``request`` that a request meets; raises what it answers."""
        server = self._server
        if not server.faults.set_faults:
            return None
        fault = server.faults.hit("request", "WS", method, server.clock.monotonic())
        if fault is None:
            return None
        kind = entry["fault"] = fault.kind
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
        return fault

    def _rate_limits(self, peer: WebSocketPeer, account: str | None) -> list[dict[str, Any]]:
        server = self._server
        rows = server.limits.order_rows(account, server.seconds()) if account is not None else []
        weight = server.limits.info()[0]
        return [*rows, {**weight, "count": server.limits.used(peer.address, server.seconds())}]

    def _carry_out(self, peer: WebSocketPeer, method: str, given: dict[str, Any], entry: dict[str, Any]) -> Any:
        server = self._server
        special = self._specials.get(method)
        if special is not None:
            server.limits.spend(peer.address, SESSION_WEIGHT, server.seconds())
            return special(peer, given)
        if method not in registry.METHODS:
            raise errors.BinanceError(-1130, f"Method '{method[:60]}' is unknown.")
        route = registry.METHODS[method]
        call = registry.CALLS[route]
        values = _texts(given)
        weight = call.weighs(values)
        server.limits.spend(peer.address, weight, server.seconds())
        met = None
        if server.faults.set_faults and call.security != "NONE":
            met = server.faults.hit("key", "WS", method, server.clock.monotonic())
        fault = met.kind if met is not None else ""
        key = self._who(peer, call, given, values, fault)
        entry["account"] = key.account if key else None
        entry["key"] = key.api_key[-4:] if key else ""
        entry["counted"] = bool(call.orders)
        answer = server.execute(call, key, values, peer.address, fault)
        if call.free:
            server.limits.refund(peer.address, weight, server.seconds())
        return answer

    # -- who asks --------------------------------------------------------------------------------------------------

    def _who(
        self, peer: WebSocketPeer, call: Call, given: dict[str, Any], values: dict[str, str], fault: str
    ) -> ApiKey | None:
        server = self._server
        if call.security == "NONE":
            return None
        if peer.logged_on and "signature" not in given and "apiKey" not in given:
            key = self._session_key(peer, gone=fault in ("key-deleted", "ip-changed"))
            server.arrivals.add(key.account)
            authentication.check_time(values, server.now())
            server.authorize(call, key, server.now(), fault=fault)
            return key
        return self._signed(peer, call, given, values, fault)

    def _session_key(self, peer: WebSocketPeer, *, gone: bool = False) -> ApiKey:
        """Return the key of the session; when it is not valid any more, say so without an id and revoke the session."""
        key = self._server.engine.state.keys.get(peer.logged_on or "")
        if key is None or gone or (key.ips and peer.address not in key.ips):
            if peer.logged_on is not None:
                peer.logged_on = None
                peer.send({"id": None, "status": 401, "error": errors.bad_key().body()})
            raise errors.bad_key()
        return key

    def _signed(
        self, peer: WebSocketPeer, call: Call, given: dict[str, Any], values: dict[str, str], fault: str = ""
    ) -> ApiKey:
        payload, signature = authentication.socket_payload(given), str(given.get("signature", ""))
        key = self._server.authenticate(
            *(call, values, str(given.get("apiKey", "")), peer.address, payload, signature),
            sapi=False,
            encoded=False,
            fault=fault,
        )
        assert key is not None
        return key

    # -- sessions --------------------------------------------------------------------------------------------------

    def _log_on(self, peer: WebSocketPeer, given: dict[str, Any]) -> dict[str, Any]:
        """``session.logon``: Ed25519 keys only. A session that is logged on changes to the new key."""
        key = self._signed(peer, SIGNED_ONLY, given, _texts(given))
        if key.type != "ed25519":
            raise errors.BinanceError(-4056, f"{_OTHERS[key.type]} API key is not supported.")
        peer.logged_on, peer.logged_on_at = key.api_key, self._server.now()
        return self._session(peer, {})

    def _session(self, peer: WebSocketPeer, given: dict[str, Any]) -> dict[str, Any]:
        return {
            "apiKey": peer.logged_on,
            "authorizedSince": peer.logged_on_at if peer.logged_on else None,
            "connectedSince": peer.connected_at,
            "returnRateLimits": peer.rate_limits,
            "serverTime": self._server.now(),
            "userDataStream": any(by_logon for _account, _key, by_logon in peer.subscriptions.values()),
        }

    def _log_out(self, peer: WebSocketPeer, given: dict[str, Any]) -> dict[str, Any]:
        """``session.logout``: the socket stays; the subscription that came by the logon ends."""
        for number, (_account, _key, by_logon) in list(peer.subscriptions.items()):
            if by_logon:
                self._server.hub.end_subscription(peer, number, self._server.now())
        peer.logged_on = None
        return self._session(peer, {})

    # -- user streams ----------------------------------------------------------------------------------------------

    def _subscribe(self, peer: WebSocketPeer, given: dict[str, Any]) -> dict[str, Any]:
        return self._open_user_stream(peer, self._session_key(peer), by_logon=True)

    def _subscribe_signed(self, peer: WebSocketPeer, given: dict[str, Any]) -> dict[str, Any]:
        key = self._signed(peer, SIGNED_ONLY, given, _texts(given))
        return self._open_user_stream(peer, key, by_logon=False)

    def _open_user_stream(self, peer: WebSocketPeer, key: ApiKey, *, by_logon: bool) -> dict[str, Any]:
        if any(account == key.account for account, _key, _by_logon in peer.subscriptions.values()):
            raise errors.BinanceError(-2035, "User Data Stream subscription already active.")
        if len(peer.subscriptions) >= MOST_SUBSCRIPTIONS or peer.next_subscription >= ALL_SUBSCRIPTIONS:
            raise errors.BinanceError(-2042, "Too many User Data Stream subscriptions on this connection.")
        number = self._server.hub.subscribe_user(peer, key.account, key.api_key, by_logon=by_logon)
        return {"subscriptionId": number}

    def _unsubscribe(self, peer: WebSocketPeer, given: dict[str, Any]) -> dict[str, Any]:
        wanted = given.get("subscriptionId")
        if wanted is not None and (isinstance(wanted, bool) or not isinstance(wanted, int)):
            raise errors.bad_value("subscriptionId")
        if wanted is not None and wanted not in peer.subscriptions:
            raise errors.BinanceError(-2036, "User Data Stream subscription not active.")
        for number in [n for n in peer.subscriptions if wanted in (None, n)]:
            self._server.hub.end_subscription(peer, number, self._server.now())
        return {}

    def _subscriptions(self, peer: WebSocketPeer, given: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"subscriptionId": number} for number in peer.subscriptions]


class _ConnectionCutError(Exception):
    """The connection is to be cut here."""


def _read(document: Any) -> tuple[str, dict[str, Any]]:
    """Return a request's method and parameters. Raises :class:`errors.BinanceError`."""
    if not isinstance(document, dict) or not isinstance(document.get("method"), str):
        raise errors.BinanceError(-1135, "Invalid JSON Request")
    request_id, given = document.get("id"), document.get("params")
    plain = request_id is None or (isinstance(request_id, int) and not isinstance(request_id, bool))
    if not plain and not (isinstance(request_id, str) and ID_TEXT.fullmatch(request_id)):
        raise errors.BinanceError(-1135, "Invalid JSON Request")
    if given is None:
        given = {}
    if not isinstance(given, dict) or not all(_flat(value) for value in given.values()):
        raise errors.BinanceError(-1135, "Invalid JSON Request")
    return document["method"].removeprefix("v3/"), given


def _flat(value: Any) -> bool:
    """Return whether a parameter is a plain value, or a list of such (``symbols``)."""
    if isinstance(value, list):
        return all(not isinstance(one, list | dict) for one in value)
    return not isinstance(value, dict)


def _shown_id(document: Any) -> Any:
    """Return the id that an answer echoes: of any other form than Binance takes, null."""
    found = document.get("id") if isinstance(document, dict) else None
    if isinstance(found, str):
        return found if ID_TEXT.fullmatch(found) else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _texts(given: dict[str, Any]) -> dict[str, str]:
    """Return JSON parameters as the texts that REST would have."""
    shown = {}
    for name, value in given.items():
        if isinstance(value, bool):
            shown[name] = str(value).lower()
        elif isinstance(value, list):
            shown[name] = orjson.dumps(value).decode()
        elif value is None:
            shown[name] = ""
        elif isinstance(value, float):
            shown[name] = f"{value:.16f}".rstrip("0").rstrip(".")
        else:
            shown[name] = str(value)
    return shown
