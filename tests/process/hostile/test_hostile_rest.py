"""Hostile HTTP: no 5xx, no traceback, no hang, no memory without bounds."""

from __future__ import annotations

import gzip
import json
import re
import socket
import struct
import time
import zlib
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fortctl.paper.api.registry import CALLS
from support.hostile_client import (
    CAMPAIGN,
    CARRY,
    DEEP,
    MOST_MIB,
    SYMBOL,
    Exchange,
    Keys,
    _quoted,
    encoded,
    examples,
    fine,
    parameters,
    raw_values,
    request,
)

# -- REST --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", CALLS, ids=lambda route: f"{route[0]} {route[1]}")
@given(data=st.data())
@examples(8)
def test_every_call(exchange: Exchange, keys: Keys, route: tuple[str, str], data: st.DataObject) -> None:
    # A new connection: what was odd before has sent the old one the long way.
    exchange.hang_up()
    (method, path), call = route, CALLS[route]
    pairs = data.draw(parameters(call), "parameters")
    pairs = [(name, keys.sub["api_key"].encode() if value == b"SUB-KEY" else value) for name, value in pairs]
    how = data.draw(st.sampled_from(["signed", "signed", "signed", "unsigned", "wrong", "hostile time"]), "how")
    in_body = data.draw(st.booleans(), "in the body") or bool(call.body_only)
    headers = [b"Content-Type: application/x-www-form-urlencoded"]
    kind = data.draw(st.sampled_from(["hmac", "ed25519"]), "key")
    if call.security != "NONE" or data.draw(st.booleans(), "signed for nothing"):
        if how == "hostile time":
            pairs.append((data.draw(st.sampled_from(["timestamp", "recvWindow"])), data.draw(raw_values)))
        if how != "unsigned":
            pairs.append(("timestamp", str(time.time_ns() // 1_000_000).encode()))
            headers.append(b"X-MBX-APIKEY: " + getattr(keys, kind)["api_key"].encode())
    if data.draw(st.booleans(), "in microseconds"):
        headers.append(b"X-MBX-TIME-UNIT: microsecond")
    payload = encoded(pairs, raw=in_body)
    if how in ("signed", "hostile time"):
        payload += b"&signature=" + _quoted(keys.sign(kind, payload), b"")
    elif how == "wrong":
        payload += b"&signature=" + (_quoted(data.draw(raw_values), bytes(range(0x80, 0x100)) if in_body else b""))
    target = path.encode()
    sent = (
        request(method, target, payload, *headers)
        if in_body
        else request(method, target + b"?" + payload, b"", *headers)
    )
    if len(sent) > 8000 and not in_body:
        sent = request(method, target, payload, *headers)
    fine(exchange.ask(sent, body=method != "HEAD"), sent)


# Requests that once broke something, or look as if they could.
NAMED_CASES: dict[str, tuple[str, str, dict[str, str]]] = {
    "a carry beyond 28 digits": (
        *("POST", "/api/v3/order/test"),
        {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "40000", "quantity": CARRY},
    ),
    "the largest numbers": (
        *("POST", "/api/v3/order/test"),
        {"side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "price": "9" * 20, "quantity": "9" * 20 + ".99999999"},
    ),
    "the largest quote": (
        *("POST", "/api/v3/order/test"),
        {"side": "BUY", "type": "MARKET", "quoteOrderQty": "9" * 20},
    ),
    "tiny icebergs": (
        *("POST", "/api/v3/order/test"),
        {
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "price": "40000",
            "quantity": "9" * 20,
            "icebergQty": "0.00000001",
        },
    ),
    "a month far away": ("GET", "/api/v3/klines", {"interval": "1M", "startTime": str(2**63 - 1)}),
    "a month long ago": ("GET", "/api/v3/klines", {"interval": "1M", "endTime": "0", "timeZone": "14"}),
    "a day far away": ("GET", "/api/v3/uiKlines", {"interval": "3d", "startTime": str(10**14)}),
    "an id far away": ("GET", "/api/v3/aggTrades", {"fromId": str(2**63 - 1)}),
    "a trade far away": ("GET", "/api/v3/historicalTrades", {"fromId": str(2**63 - 1)}),
}


@pytest.mark.parametrize("name", NAMED_CASES)
def test_named_case(exchange: Exchange, keys: Keys, name: str) -> None:
    exchange.hang_up()
    method, path, values = NAMED_CASES[name]
    pairs = [("symbol", SYMBOL.encode()), *((key, value.encode()) for key, value in values.items())]
    if CALLS[method, path].security != "NONE":
        pairs.append(("timestamp", str(time.time_ns() // 1_000_000).encode()))
    query = encoded(pairs, raw=False)
    if CALLS[method, path].security != "NONE":
        query += b"&signature=" + keys.sign("hmac", query)
    sent = request(method, path.encode() + b"?" + query, b"", b"X-MBX-APIKEY: " + keys.hmac["api_key"].encode())
    answer = exchange.ask(sent)
    fine(answer, sent)
    assert answer.status in (200, 400)


def test_a_signature_that_is_no_text(exchange: Exchange, keys: Keys) -> None:
    for kind in (keys.hmac, keys.ed25519):
        body = b"timestamp=%d&signature=\xff\xfe" % (time.time_ns() // 1_000_000)
        sent = request("POST", b"/api/v3/order", body, b"X-MBX-APIKEY: " + kind["api_key"].encode())
        answer = exchange.ask(sent)
        assert (answer.status, json.loads(answer.body)["code"]) == (400, -1022)


targets = st.one_of(
    st.sampled_from([path.encode() for _method, path in CALLS]),
    st.lists(st.sampled_from([b"api", b"v3", b"..", b".", b"", b"ping", b"%2e%2e", b"%00", b"ws", b"stream"])).map(
        lambda parts: b"/" + b"/".join(parts)
    ),
    st.sampled_from(
        [
            *(b"*", b"/", b"//", b"/api/v3/ping/", b"/API/V3/PING", b"http://paper/api/v3/ping", b"http://[::1/x"),
            *(
                b"http://x:99999/x",
                b"x:1",
                b"",
                b"/" + b"a" * 9000,
                b"/?" + b"&" * 5000,
                b"/api/v3/ping?" + b"a=1&" * 900,
            ),
            *(b"/api/v3/ping?symbol", b"/api/v3/ping#x", b"/api/v3/ping?%", b"/\xff\xfe", b"/api/v3/ping?\xff=\x80"),
            *(
                b"/api/v3/ping\x00",
                b"/ws-api/v3",
                b"/ws/btcusdt@trade",
                b"/stream?streams=%ff/%00",
                b"/paper-admin/keys/list",
            ),
        ]
    ),
    st.binary(max_size=60).map(lambda value: b"/" + quote_from_bytes(value).encode()),
    st.binary(max_size=30).map(lambda value: b"/" + re.sub(rb"[\s]", b"", value)),
)
methods = st.one_of(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "get", "X" * 200, "BREW"]),
    st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", fullmatch=True),
)
header_lines = st.one_of(
    st.sampled_from(
        [
            *(
                b"X-MBX-APIKEY:",
                b"X-MBX-APIKEY: \xff\xfe",
                "X-MBX-APIKEY: ключ".encode(),
                b"X-MBX-APIKEY: " + b"k" * 7000,
            ),
            *(b"X-MBX-TIME-UNIT: \xff", b"X-Paper-Token: \xff\xfe", b"X-Paper-Token: wrong", b"Upgrade: websocket"),
            *(b"Connection: Upgrade", b"Sec-WebSocket-Key: x", b"Sec-WebSocket-Version: 13", b"Expect: 100-continue"),
            *(b"Expect: 200-ok", b"Content-Type: \xff", b"Content-Type: text/plain; charset=nope", b"Cookie: =;\xff"),
            *(
                b"Range: bytes=0-",
                b"Transfer-Encoding: identity",
                b"X: " + b"a" * 9000,
                b"No-Colon",
                b" folded: x",
                b":",
            ),
            *(b"Content-Length: -5", b"Content-Length: 1e9", b"Content-Length: 0\r\nContent-Length: 7", b"Host: \xff"),
        ]
    ),
    st.tuples(st.from_regex(r"[A-Za-z-]{1,12}", fullmatch=True), st.binary(max_size=20)).map(
        lambda pair: pair[0].encode() + b": " + re.sub(rb"[\r\n\x00]", b"", pair[1])
    ),
)


@given(method=methods, target=targets, headers=st.lists(header_lines, max_size=4))
@examples(250)
def test_any_request(exchange: Exchange, method: str, target: bytes, headers: list[bytes]) -> None:
    sent = request(method, target, b"", *headers)
    # The end is told, so that a length that promises more is no reason to wait.
    fine(exchange.ask(sent, end=True, body=method != "HEAD"), sent)


forms = st.sampled_from(
    [
        *(
            b"a=b",
            b"symbol=BTCUSDT&side=BUY",
            b"\x00\xff\xfe",
            b"&&&==",
            b"a=1&a=2",
            b'{"symbol": ["BTCUSDT"]}',
            b"[" * DEEP,
        ),
        *(b"%" * 1000, b"a=" + b"b" * 100_000, b"a=%ff%fe&b=%00", b"a=" * 1000, b"&" * 100_000, b"x=1&" * 100_000),
        *(b"c" * (1024 * 1024 + 1), b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x--\r\n"),
    ]
)
content_types = st.sampled_from(
    [
        *(
            b"application/x-www-form-urlencoded",
            b"application/json",
            b"text/plain; charset=utf-16",
            b"multipart/form-data",
        ),
        *(
            b"multipart/form-data; boundary=x",
            b"application/x-www-form-urlencoded; charset=nope",
            b"",
            b"\xff",
            b"/;=,",
        ),
    ]
)
POSTED = [b"/api/v3/order", b"/api/v3/ping", b"/nowhere", b"/paper-admin/keys/list", b"/sapi/v3/asset/getUserAsset"]


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@given(
    target=st.sampled_from(POSTED),
    method=st.sampled_from(["POST", "GET", "DELETE", "PUT"]),
    body=forms,
    kind=content_types,
    coding=st.sampled_from([b"", b"", b"gzip", b"deflate", b"br", b"zstd", b"nope", b"gzip, gzip"]),
    true=st.booleans(),
    way=st.sampled_from(["whole", "whole", "chunked", "bad chunks", "short", "twice"]),
)
@examples(200)
def test_any_body(
    exchange: Exchange, target: bytes, method: str, body: bytes, kind: bytes, coding: bytes, true: bool, way: str
) -> None:
    headers = [b"Content-Type: " + kind, b"X-Paper-Token: " + exchange.token.encode()]
    if coding:
        headers.append(b"Content-Encoding: " + coding)
        if true:
            body = {b"gzip": gzip.compress, b"deflate": zlib.compress}.get(coding, bytes)(body)  # type: ignore[operator]
    if way == "chunked":
        sent = request(method, target, chunked(body, 1 + len(body) // 7), b"Transfer-Encoding: chunked", *headers)
    elif way == "bad chunks":
        sent = request(method, target, b"ZZ\r\n" + body, b"Transfer-Encoding: chunked", *headers)
    elif way == "short":
        sent = request(method, target, body, b"Content-Length: %d" % (len(body) + 10), *headers)
    elif way == "twice":
        sent = request(method, target, body, b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked", *headers)
    else:
        sent = request(method, target, body, *headers)
    fine(exchange.ask(sent, end=True), sent[:2000])


def test_a_body_that_is_not_what_its_encoding_says(exchange: Exchange) -> None:
    for target in POSTED:
        for coding in (b"gzip", b"deflate"):
            token = b"X-Paper-Token: " + exchange.token.encode()
            sent = request("POST", target, b"this is no such thing", b"Content-Encoding: " + coding, token)
            fine(exchange.ask(sent), sent)


def test_bombs_stay_small(exchange: Exchange) -> None:
    bomb = gzip.compress(b"symbol=" + b"a" * 100_000_000)
    for target in POSTED:
        sent = request("POST", target, bomb, b"Content-Encoding: gzip", b"X-Paper-Token: " + exchange.token.encode())
        fine(exchange.ask(sent), target)
    assert exchange.mib() < MOST_MIB


def test_who_leaves_in_the_middle(exchange: Exchange) -> None:
    for part in (
        b"",
        b"GET",
        b"GET /api/v3/ping HTTP/1.1\r\nHost",
        request("POST", b"/api/v3/order", b"a" * 100)[:-50],
    ):
        for linger in (None, struct.pack("ii", 1, 0)):
            made = exchange.connect()
            made.sendall(part)
            if linger is not None:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            made.close()
    # Answers that nobody fetches.
    made = exchange.connect()
    made.sendall(request("GET", b"/api/v3/exchangeInfo") * 500)
    made.close()
    exchange.check()


def test_what_is_remembered_of_requests_is_bounded(exchange: Exchange) -> None:
    before = exchange.mib()
    for _ in range(200 if CAMPAIGN else 60):
        fine(exchange.ask(request("POST", b"/nowhere", b"symbol=" + b"a" * 1_000_000)), "a large form")
    assert exchange.mib() < before + (100 if CAMPAIGN else 30)
