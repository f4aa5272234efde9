"""REST requests: parsing, authentication, headers, errors (rest-api.md).

A request passes ``handle`` (the connection and the log), ``_with_fault``, ``answer`` (results and refusals),
``_answer`` (weights and parameters) and ``_execute`` (authentication, the call).
"""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlsplit

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from fortctl.paper.api import authentication
from fortctl.paper.api.parameters import Call
from fortctl.paper.api.registry import CALLS
from fortctl.paper.api.time_units import answer_in_micros, unit_of
from fortctl.paper.engine import errors
from fortctl.paper.engine.rate_limits import RateLimitedError, ban_text
from fortctl.paper.faults import CODES, ENDLESS_BYTES, Fault, deep_body
from fortctl.paper.server import router
from fortctl.paper.server.server import PaperServer

JSON = "application/json;charset=UTF-8"
LISTEN_KEYS = ("/api/v3/userDataStream", "/api/v1/userDataStream")
UID_WEIGHT = 3000
LOGGED = 200
ENDLESS_S = 60.0
PLAIN = re.compile(r"[A-Za-z0-9_.=&-]*")
# A body that does not match its headers, or that ends early.
UNREADABLE = (web.RequestPayloadError, HttpProcessingError)
MOST_PARAMETERS = 200
_KNOWN_PATHS = {path for _method, path in CALLS}


class ConnectionCutError(Exception):
    """The connection has to be cut now."""


@dataclass(slots=True)
class HttpRequest:
    """One HTTP request.

    Attributes:
        path, query: the target's parts, as sent.
        api_key, unit: the headers ``X-MBX-APIKEY`` and ``X-MBX-TIME-UNIT``.
        entry: its entry of the request log; without signature and API key.
    """

    method: str
    path: str
    query: str
    body: str
    api_key: str
    unit: str | None
    address: str
    entry: dict[str, Any]


@dataclass(slots=True)
class HttpResponse:
    """The response to an HTTP request."""

    status: int
    body: bytes
    headers: dict[str, str]


class Rest:
    """Answers HTTP requests."""

    def __init__(self, server: PaperServer) -> None:
        self._server = server

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, under the fault that applies to it if there is one."""
        server, method = self._server, http.method
        path, _, query = http.raw_path.partition("?")
        api_key, unit = http.headers.get("X-MBX-APIKEY", ""), http.headers.get("X-MBX-TIME-UNIT")
        entry: dict[str, Any] = {"method": method[:LOGGED], "path": _clean(path)[:LOGGED], "via": "rest"}
        request = HttpRequest(method, path, query, "", api_key, unit, http.remote or "", entry)
        fault = None
        if server.faults.entries:
            now = server.clock.monotonic()
            fault = server.faults.match("request", method, path, now) or server.faults.match("http", method, path, now)
        try:
            if fault is not None and fault.kind == "cut-before":
                entry["fault"] = fault.kind
                raise ConnectionCutError
            request.body = (await http.read()).decode("utf-8", "surrogateescape")
            response = await self._with_fault(http, request, fault)
        except web.HTTPException as refused:
            server.log.add({**entry, "status": refused.status})
            return _response(_html(refused.status))
        except UNREADABLE:
            server.log.add({**entry, "status": 400})
            return _response(_html(400))
        except ConnectionCutError:
            server.log.add({**entry, "status": 0})
            if http.transport is not None:
                http.transport.abort()
            return web.Response(status=500)
        server.log.add({**entry, "status": response.status})
        return response

    async def _with_fault(self, http: web.BaseRequest, request: HttpRequest, fault: Fault | None) -> web.StreamResponse:
        kind = fault.kind if fault is not None else ""
        if kind:
            request.entry["fault"] = kind
        if kind == "slow" and fault is not None:
            await asyncio.sleep(fault.value)
        if kind == "redirect" and fault is not None:
            with suppress(errors.BinanceError):
                _describe(request)
            return _redirect(request, fault.location)
        early = early_answer(kind, self._server.now())
        if early is not None:
            with suppress(errors.BinanceError):
                _describe(request)
            if kind.startswith("code-") or kind in ("http-404", "http-418", "http-429"):
                # The exchange's own refusals have its headers; those of a firewall or a gateway do not.
                early.headers["x-mbx-uuid"] = f"{random.getrandbits(128):032x}"
                limits, seconds = self._server.limits, self._server.seconds()
                self._weight_headers(early.headers, "", limits.used(request.address, seconds))
            return _response(early)
        response = self.answer(request)
        if kind == "order-twin" and response.status == 200:
            self._server.place_twin(orjson.loads(response.body))
        try:
            await self._server.durable()
        except errors.BinanceError as refusal:
            return _response(not_kept(request, refusal))
        if kind == "executed-1007":
            text, status = CODES[-1007]
            return _response(_json({"code": -1007, "msg": text}, status, response.headers))
        if kind == "cut-after-execute":
            raise ConnectionCutError
        if kind == "wrong-type":
            response.headers["Content-Type"] = "text/html"
        if kind == "truncated":
            response.body = response.body[: len(response.body) // 2]
        if kind == "cut-body":
            return await _send_half(http, response.body)
        changed = None
        if self._server.faults.entries:
            now = self._server.clock.monotonic()
            what = (request.method, request.path, now)
            changed = self._server.faults.match("answer", *what) or self._server.faults.match("list", *what)
        if changed is not None:
            request.entry["fault"] = changed.kind
            if changed.kind == "endless":
                await _send_endless(http)
            change_answer(response, changed)
        return _response(response)

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Execute a request, or refuse it; its effect is durable when the server's commit is."""
        headers = {"x-mbx-uuid": f"{random.getrandbits(128):032x}"}
        try:
            return self._answer(request, headers)
        except errors.BinanceError as refusal:
            request.entry["code"] = refusal.code
            if isinstance(refusal, RateLimitedError):
                headers["Retry-After"] = str(refusal.retry_after)
            return _json(refusal.body(), refusal.status, headers)

    def _answer(self, request: HttpRequest, headers: dict[str, str]) -> HttpResponse:
        server, call = self._server, CALLS.get((request.method, request.path))
        if call is None:
            with suppress(errors.BinanceError):
                _describe(request)
            self._spend(request, headers, 0)
            return _unknown(request.method, request.path)
        try:
            values = _describe(request)
            micros = unit_of(request.unit)
            if micros is None:
                text = "Invalid value for time unit; expected either MICROSECOND or MILLISECOND."
                raise errors.BinanceError(-1194, text)
            weight = call.weight_of(values)
        except errors.BinanceError:
            # A request that cannot be read weighs 1, and is refused if its address is banned.
            self._spend(request, headers, 1)
            raise
        sapi = request.path.startswith("/sapi/")
        pool = "" if not sapi else "uid:" if weight >= UID_WEIGHT else "sapi:"
        self._spend(request, headers, weight, pool)
        _check_places(call, request.query, values)
        answer = self._execute(request, call, values, sapi=sapi)
        seconds, account = server.seconds(), request.entry.get("account")
        if call.free:
            self._weight_headers(headers, pool, server.limits.refund(request.address, weight, seconds))
        if call.orders and account:
            tens, days = server.limits.order_counts(account, seconds)
            headers["X-MBX-ORDER-COUNT-10S"], headers["X-MBX-ORDER-COUNT-1D"] = str(tens), str(days)
        if micros:
            answer = answer_in_micros(answer, klines=request.path.lower().endswith("klines"))
        return _json(answer, 200, headers)

    def _spend(self, request: HttpRequest, headers: dict[str, str], weight: int, pool: str = "") -> None:
        """Count a request's weight, and put what is used into the headers. Raises :class:`RateLimitedError`."""
        limits, seconds = self._server.limits, self._server.seconds()
        try:
            self._weight_headers(headers, pool, limits.spend(request.address, weight, seconds, pool))
        except RateLimitedError:
            if not pool:
                self._weight_headers(headers, pool, limits.used(request.address, seconds))
            raise

    def _execute(self, request: HttpRequest, call: Call, values: dict[str, str], *, sapi: bool) -> Any:
        server = self._server
        key, fault = None, ""
        if call.security != "NONE":
            if server.faults.entries:
                matching = server.faults.match("key", request.method, request.path, server.clock.monotonic())
                fault = matching.kind if matching is not None else ""
            bare_query, signature = authentication.strip_signature(request.query) if request.query else ("", "")
            bare_body, in_body = authentication.strip_signature(request.body) if request.body else ("", "")
            payload = (bare_query + bare_body).encode("utf-8", "surrogateescape")
            key = server.authenticate(
                *(call, values, request.api_key, request.address, payload, signature or in_body),
                sapi=sapi,
                encoded=True,
                fault=fault,
            )
            request.entry["account"] = key.account if key else None
        return server.execute(call, key, values, request.address, fault)

    @staticmethod
    def _weight_headers(headers: dict[str, str], pool: str, used: int) -> None:
        if pool:
            headers["X-SAPI-USED-UID-WEIGHT-1M" if pool == "uid:" else "X-SAPI-USED-IP-WEIGHT-1M"] = str(used)
        else:
            headers["x-mbx-used-weight"] = headers["x-mbx-used-weight-1m"] = str(used)


def not_kept(request: HttpRequest, refusal: errors.BinanceError) -> HttpResponse:
    """Return the response to a request whose effect could not be made durable."""
    request.entry["code"] = refusal.code
    return _json(refusal.body(), refusal.status)


def _describe(request: HttpRequest) -> dict[str, str]:
    """Return the parameters (the query's take precedence) and complete the log's entry, without the signature."""
    entry, query, body = request.entry, request.query, request.body
    entry["key"] = _clean(request.api_key)[-4:]
    try:
        in_body, in_query = _pairs(body), _pairs(query)
    except ValueError:
        raise errors.BinanceError(-1101, "Too many parameters sent for this endpoint.") from None
    values = dict(in_body)
    values.update(in_query)
    entry["client_order_id"] = (values.get("newClientOrderId") or values.get("origClientOrderId") or "")[:64] or None
    logged = dict(values)
    logged.pop("signature", None)
    logged.pop("apiKey", None)
    if len(query) + len(body) > LOGGED * 10:
        logged = {name[:LOGGED]: value[:LOGGED] for name, value in logged.items()}
    entry["query"] = logged
    if len(in_body) + len(in_query) > len(values) and _twice(in_body, in_query):
        raise errors.DUPLICATE_PARAMETER
    return values


def _twice(*parts: list[tuple[str, str]]) -> bool:
    """Return whether the query, or the body, has a name twice."""
    return any(len(dict(part)) < len(part) for part in parts)


def _pairs(text: str) -> list[tuple[str, str]]:
    if not text:
        return []
    if PLAIN.fullmatch(text) and text.count("&") < MOST_PARAMETERS:
        # Most orders need no decoding, and parse_qsl takes ten times as long as this.
        parts = [part.partition("=") for part in text.split("&") if part]
        return [(name, value) for name, _equals, value in parts]
    return parse_qsl(_clean(text), keep_blank_values=True, max_num_fields=MOST_PARAMETERS)


def _clean(text: str) -> str:
    """Return a text with bytes that are not UTF-8 replaced."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _check_places(call: Call, query: str, values: dict[str, str]) -> None:
    if call.body_only:
        named = {part.partition("=")[0] for part in query.split("&")}
        for name in call.body_only:
            if name in named:
                raise errors.BinanceError(-1104, f"Parameter '{name}' must be sent in the request body.")


def _json(answer: Any, status: int, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(status, orjson.dumps(answer), {"Content-Type": JSON, "Server": router.NAME, **(headers or {})})


def _html(status: int) -> HttpResponse:
    return HttpResponse(status, router.page(status), {"Content-Type": "text/html", "Server": router.NAME})


def _response(response: HttpResponse) -> web.Response:
    return web.Response(body=response.body, status=response.status, headers=response.headers)


def _unknown(method: str, path: str) -> HttpResponse:
    if path in LISTEN_KEYS:
        return _html(410)
    if path in _KNOWN_PATHS:
        return _json({"code": -1000, "msg": f"Request method '{method}' is not supported."}, 405)
    return _html(404)


def early_answer(kind: str, now: int) -> HttpResponse | None:
    """Return the response of a fault that replaces the execution, or None; ``now`` in ms."""
    if kind.startswith("http-"):
        status = int(kind[5:])
        if status == 418:
            return _json({"code": -1003, "msg": ban_text(now + 1000)}, status, {"Retry-After": "1"})
        if status == 429:
            return _json({"code": -1003, "msg": CODES[-1003][0]}, status, {"Retry-After": "1"})
        return _html(status)
    if kind.startswith("code-"):
        code = int(kind[4:])
        text, status = CODES[code]
        return _json({"code": code, "msg": text}, status, {"Retry-After": "1"} if status == 429 else None)
    if kind == "maintenance":
        return _json({"code": -1016, "msg": "This service is under maintenance."}, 503)
    return None


def change_answer(response: HttpResponse, fault: Fault) -> None:
    """Change a response as a fault of the family ``answer`` says."""
    if fault.kind == "deep":
        response.body = deep_body()
    if fault.kind == "empty" and response.body.startswith(b"["):
        response.body = b"[]"
    if fault.change is not None:
        document = fault.change.apply(orjson.loads(response.body))
        response.body = document if isinstance(document, bytes) else orjson.dumps(document)
        response.status = fault.change.status or response.status


def _redirect(request: HttpRequest, address: str) -> web.Response:
    """Return a 307 to the same path and query of another host, or to an address with a path of its own."""
    parts = urlsplit(address)
    if not parts.path and not parts.query:
        query = f"?{request.query}" if request.query else ""
        address = f"{parts.scheme}://{parts.netloc}{request.path}{query}"
    return web.Response(status=307, headers={"Location": address, "Server": router.NAME})


async def _send_endless(http: web.BaseRequest) -> NoReturn:
    """Send a list that does not end, until the client leaves or the bound is reached; then cut."""
    response = web.StreamResponse(headers={"Content-Type": JSON, "Server": router.NAME})
    response.enable_chunked_encoding()
    chunk = b"0," * 32_768
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(ENDLESS_S):
            await response.prepare(http)
            await response.write(b"[")
            for _ in range(ENDLESS_BYTES // len(chunk)):
                await response.write(chunk)
    raise ConnectionCutError


async def _send_half(http: web.BaseRequest, whole: bytes) -> web.StreamResponse:
    """Send half of the body that the headers promise, then cut."""
    headers = {"Content-Type": JSON, "Content-Length": str(len(whole)), "Server": router.NAME}
    response = web.StreamResponse(headers=headers)
    await response.prepare(http)
    await response.write(whole[: len(whole) // 2])
    raise ConnectionCutError
