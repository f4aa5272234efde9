"""REST as Binance speaks it: parsing, security, headers, errors (rest-api.md)."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from fortctl.paper import refusals, security
from fortctl.paper.calls import CALLS
from fortctl.paper.faults import CODES, Fault
from fortctl.paper.limits import Limited
from fortctl.paper.server import PaperServer

JSON = "application/json;charset=UTF-8"
GONE = (
    "<html>\r\n<head><title>410 Gone</title></head>\r\n<body>\r\n<center><h1>410 Gone</h1></center>\r\n</body>\r\n"
    "</html>\r\n"
)
HTML = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"
_KNOWN_PATHS = {path for _method, path in CALLS}


class Cut(Exception):
    """The connection is to be cut here."""


class Rest:
    """Answers HTTP requests."""

    def __init__(self, server: PaperServer) -> None:
        self._server = server

    def route(self, application: web.Application) -> None:
        application.router.add_route("*", "/{path:.*}", self.handle)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        server, method = self._server, request.method
        path, _, query = request.raw_path.partition("?")
        entry = {"method": method, "path": path, "via": "rest"}
        fault = server.faults.hit(method, path, server.clock.monotonic())
        try:
            if fault is not None and fault.kind == "cut-before":
                entry["fault"] = fault.kind
                raise Cut
            body = (await request.read()).decode("utf-8", "replace")
            answered = await self._with_fault(request, method, path, query, body, fault, entry)
        except Cut:
            server.log_request({**entry, "status": 0})
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        server.log_request({**entry, "status": answered.status})
        return answered

    async def _with_fault(
        self,
        request: web.Request,
        method: str,
        path: str,
        query: str,
        body: str,
        fault: Fault | None,
        entry: dict[str, Any],
    ) -> web.StreamResponse:
        kind = fault.kind if fault is not None else ""
        if kind:
            entry["fault"] = kind
        if kind == "slow" and fault is not None:
            await asyncio.sleep(fault.value)
        early = _early(kind)
        if early is not None:
            self._describe(request, query, body, entry)
            return early
        response = self._answer(request, method, path, query, body, entry)
        if kind == "executed-1007":
            return _json({"code": -1007, "msg": CODES[-1007][0]}, 504)
        if kind == "cut-after-execute":
            raise Cut
        if kind == "wrong-type":
            return web.Response(body=response.body, status=response.status, content_type="text/html")
        if kind == "truncated":
            whole = bytes(response.body)  # type: ignore[arg-type]
            return web.Response(body=whole[: len(whole) // 2], status=response.status, headers={"Content-Type": JSON})
        if kind == "cut-body":
            return await _half(request, bytes(response.body))  # type: ignore[arg-type]
        return response

    def _describe(self, request: web.Request, query: str, body: str, entry: dict[str, Any]) -> dict[str, str]:
        values = dict(parse_qsl(body, keep_blank_values=True)) | dict(parse_qsl(query, keep_blank_values=True))
        entry["key"] = request.headers.get("X-MBX-APIKEY", "")[-4:]
        entry["client_order_id"] = values.get("newClientOrderId") or values.get("origClientOrderId")
        entry["query"] = {name: value for name, value in values.items() if name not in ("signature", "apiKey")}
        return values

    def _answer(
        self, request: web.Request, method: str, path: str, query: str, body: str, entry: dict[str, Any]
    ) -> web.Response:
        server = self._server
        address = request.remote or ""
        headers = {"x-mbx-uuid": secrets.token_hex(16)}
        values = self._describe(request, query, body, entry)
        try:
            call = CALLS.get((method, path))
            if call is None:
                return _unknown(method, path)
            sapi = path.startswith("/sapi/")
            used = server.limits.spend(address, call.weight, server.clock.monotonic())
            name = "X-SAPI-USED-IP-WEIGHT-1M" if sapi else "x-mbx-used-weight-1m"
            headers[name] = str(used)
            if not sapi:
                headers["x-mbx-used-weight"] = str(used)
            bare_query, signature = security.strip_signature(query)
            bare_body, in_body = security.strip_signature(body)
            api_key = request.headers.get("X-MBX-APIKEY", "")
            payload = (bare_query + bare_body).encode()
            key = server.authenticate(
                *(call, values, api_key, address, payload, signature or in_body), sapi=sapi, encoded=True
            )
            entry["account"] = key.account if key else None
            answer, more = server.answer(call, key, values)
            return _json(answer, 200, {**headers, **more})
        except refusals.Refusal as refusal:
            entry["code"] = refusal.code
            if isinstance(refusal, Limited):
                headers["Retry-After"] = str(refusal.retry_after)
            return _json(refusal.body(), refusal.status, headers)


def _json(answer: Any, status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(answer), status=status, headers={"Content-Type": JSON, **(headers or {})})


def _unknown(method: str, path: str) -> web.Response:
    if path == "/api/v3/userDataStream":
        return web.Response(text=GONE, status=410, content_type="text/html")
    if path in _KNOWN_PATHS:
        return _json({"code": -1000, "msg": f"Request method '{method}' is not supported."}, 405)
    return web.Response(text=HTML.format("404 Not Found"), status=404, content_type="text/html")


def _early(kind: str) -> web.Response | None:
    """Return the answer of a fault that keeps the request from being processed."""
    if kind.startswith("http-"):
        status = int(kind[5:])
        if status in (418, 429):
            return _json({"code": -1003, "msg": CODES[-1003][0]}, status, {"Retry-After": "1"})
        return web.Response(text=HTML.format(status), status=status, content_type="text/html")
    if kind.startswith("code-"):
        code = int(kind[4:])
        text, status = CODES[code]
        return _json({"code": code, "msg": text}, status, {"Retry-After": "1"} if status == 429 else None)
    if kind == "maintenance":
        return _json({"code": -1016, "msg": "This service is under maintenance."}, 503)
    return None


async def _half(request: web.Request, whole: bytes) -> web.StreamResponse:
    """Send half of the body that the headers promise, then cut."""
    response = web.StreamResponse(headers={"Content-Type": JSON, "Content-Length": str(len(whole))})
    await response.prepare(request)
    await response.write(whole[: len(whole) // 2])
    raise Cut
