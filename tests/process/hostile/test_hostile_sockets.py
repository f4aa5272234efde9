"""Hostile WebSocket frames and requests: no traceback, no hang, no memory without bounds."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fortctl.paper.api.parameters import Call
from fortctl.paper.api.registry import CALLS, METHODS
from support.hostile_client import (
    BINARY,
    CLOSE,
    MOST_MIB,
    NESTED,
    PING,
    Exchange,
    Keys,
    Raw,
    anything,
    examples,
    fine,
    frame,
    nested,
    plausible,
    request,
    texts,
)

# -- WebSockets

SESSION = [
    *("session.logon", "session.status", "session.logout", "session.subscriptions", "userDataStream.subscribe"),
    *("userDataStream.subscribe.signature", "userDataStream.unsubscribe"),
]
some_methods = st.one_of(
    st.sampled_from([*METHODS, *SESSION]), st.sampled_from(["v3/ping", "PING", "", "__init__"]), texts
)


def same(got: Any, sent: Any) -> bool:
    return type(got) is type(sent) and bool(got == sent)


@pytest.fixture(scope="module")
def api(exchange: Exchange) -> Iterator[list[Raw]]:
    """One connection to the WebSocket API, in a list so that a test can put another there."""
    holder = [Raw(exchange)]
    yield holder
    holder[0].socket.close()


def asked(exchange: Exchange, api: list[Raw], document: Any) -> Any:
    """Send a document to the WebSocket API; return its answer, which must come and must not be an internal error."""
    text = document if isinstance(document, str) else json.dumps(document)
    if len(text.encode("utf-8", "surrogatepass")) > 200_000:
        return {}
    api[0].send(text)
    while True:
        answer = api[0].answer()
        if answer is None:
            api[0].socket.close()
            api[0] = Raw(exchange)
            pytest.fail(f"cut without an answer to {text[:2000]}")
        # Events of a user stream come unasked, and so does the word that a session is revoked (401, without an id).
        if "event" not in answer and (answer["id"] is not None or answer["status"] != 401 or not has_id(document)):
            assert 200 <= answer["status"] < 500, f"{answer} to {text[:2000]}"
            return answer


def has_id(document: Any) -> bool:
    """Whether a document has an id by which its answer can be told from what comes unasked."""
    found = document.get("id") if isinstance(document, dict) else None
    return isinstance(found, int | str) and not isinstance(found, bool)


@given(data=st.data())
@examples(200)
def test_any_fields(exchange: Exchange, keys: Keys, api: list[Raw], data: st.DataObject) -> None:
    """Anything in each field of {id, method, params}."""
    document: dict[str, Any] = {}
    for name, good in (("id", st.just(7)), ("method", some_methods), ("params", st.just({}))):
        kind = data.draw(st.integers(0, 5))
        if kind:
            document[name] = data.draw(good if kind > 2 else anything, name)
    if not isinstance(document.get("id"), int) or isinstance(document.get("id"), bool):
        # So that the end of the answers is known whatever the id was.
        api[0].send(json.dumps(document))
        while (answer := api[0].answer()) is not None and "event" in answer:
            pass
        assert answer is not None and 200 <= answer["status"] < 500, f"{answer} to {document}"
        return
    asked(exchange, api, document)


@pytest.mark.parametrize("method", [*METHODS, *SESSION])
@given(data=st.data())
@examples(8)
def test_every_method(exchange: Exchange, keys: Keys, api: list[Raw], method: str, data: st.DataObject) -> None:
    call = (
        CALLS[METHODS[method]]
        if method in METHODS
        else Call(lambda context, values: None, optional=("subscriptionId",))
    )
    given_: dict[str, Any] = {}
    for name in (
        *call.required,
        *data.draw(st.lists(st.sampled_from(call.optional or ("x",)), max_size=5, unique=True)),
    ):
        kind = data.draw(st.integers(0, 9))
        if kind < 6:
            given_[name] = data.draw(st.sampled_from(plausible(name)))
        elif kind < 9:
            given_[name] = data.draw(anything, name)
    how = data.draw(st.sampled_from(["signed", "signed", "unsigned", "hostile"]), "how")
    kind = data.draw(st.sampled_from(["hmac", "ed25519"]), "key")
    if how == "signed":
        given_ |= {"apiKey": getattr(keys, kind)["api_key"], "timestamp": time.time_ns() // 1_000_000}
        payload = "&".join(f"{name}={_plain(given_[name])}" for name in sorted(given_)).encode("utf-8", "replace")
        given_["signature"] = keys.sign(kind, payload).decode()
    elif how == "hostile":
        given_ |= {name: data.draw(anything, name) for name in ("apiKey", "timestamp", "signature", "recvWindow")}
    asked(exchange, api, {"id": 1, "method": method, "params": given_})


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


ODD_IDS = [
    *(
        "1",
        "-1",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "1e400",
        "1.5",
        "true",
        "null",
    ),
    *(
        '""',
        '"a"',
        json.dumps("a" * 36),
        json.dumps("a" * 37),
        json.dumps("a" * 100_000),
        '"\\u0000"',
        '"é"',
        "{}",
        "[]",
    ),
    *('{"a":[1]}', *(nested(depth) for depth in (1, 150, 253, 254, 300, 1000))),
]


@pytest.mark.parametrize("request_id", ODD_IDS, ids=lambda text: text[:20])
def test_ids_of_every_type(exchange: Exchange, request_id: str) -> None:
    """Each gets an answer; a valid id comes back as it was."""
    with Raw(exchange) as one:
        one.send(f'{{"id":{request_id},"method":"ping"}}')
        answer = one.answer()
        assert answer is not None, "cut without an answer"
        assert answer["status"] in (200, 400)
        if answer["status"] == 200:
            assert same(answer["id"], json.loads(request_id))


@pytest.mark.parametrize("depth", NESTED)
@pytest.mark.parametrize("shape", ["id", "params", "value", "object", "apiKey", "document", "open"])
def test_deep_nesting(exchange: Exchange, shape: str, depth: int) -> None:
    began = time.time_ns() // 1_000_000
    deep = nested(depth)
    text = {
        "id": f'{{"method":"ping","id":{deep}}}',
        "params": f'{{"method":"ping","id":1,"params":{deep}}}',
        "value": f'{{"method":"ping","id":1,"params":{{"symbol":{deep}}}}}',
        "object": '{"method":"ping","id":1,"params":' + '{"a":' * depth + "1" + "}" * depth + "}",
        "apiKey": f'{{"method":"account.status","id":1,"params":{{"apiKey":{deep},"signature":{deep}}}}}',
        "document": deep,
        "open": "[" * depth,
    }[shape]
    with Raw(exchange) as one:
        one.send(text)
        answer = one.answer()
        assert answer is not None and answer["status"] in (200, 400, 401), answer
    with Raw(exchange, "/ws") as one:
        one.send(text)
        assert one.answer() is not None
    # What was noted of it can be shown.
    assert exchange.admin("requests", {"since": began}).status == 200


FRAMES: dict[str, tuple[bytes, ...]] = {
    "binary": (frame(b"\x00\xff", BINARY),),
    "binary JSON": (frame(b'{"id":1,"method":"ping"}', BINARY),),
    "not UTF-8": (frame(b'{"id":"\xff"}'),),
    "1 MiB": (frame(b"a" * (1 << 20)),),
    "1 MiB of JSON": (frame(json.dumps({"id": 1, "method": "ping", "params": {"a": "b" * (1 << 20)}}).encode()),),
    "a length of 2**63": (b"\x81\xff" + struct.pack(">Q", 1 << 63) + b"\0\0\0\0",),
    "a length of 2**40": (b"\x81\xff" + struct.pack(">Q", 1 << 40) + b"\0\0\0\0",),
    "reserved kind": (frame(b"{}", 3),),
    "reserved bits": (frame(b"{}", bits=0x70),),
    "compressed without asking": (frame(b"\xff\xff\xff", bits=0x40),),
    "a long ping": (frame(b"a" * 126, PING),),
    "a ping in pieces": (frame(b"a", PING, final=False),),
    "a continuation of nothing": (frame(b"a", 0),),
    "two texts begun": (frame(b"a", final=False), frame(b"b", final=False)),
    "never ending pieces": (frame(b"a", final=False), *(frame(b"b" * 10_000, 0, final=False) for _ in range(60))),
    "close with one byte": (frame(b"\x03", CLOSE),),
    "close with a wrong code": (frame(b"\x00\x01", CLOSE),),
    "close with no text": (frame(b"\x03\xe8\xff\xff", CLOSE),),
    "frames after close": (frame(b"\x03\xe8", CLOSE), *(frame(b'{"id":1,"method":"ping"}') for _ in range(50))),
}


@pytest.mark.parametrize("path", ["/ws-api/v3", "/ws", "/stream?streams=btcusdt@trade"])
@pytest.mark.parametrize("name", FRAMES)
def test_frames_that_end_a_connection(exchange: Exchange, name: str, path: str) -> None:
    """Whoever sends such a thing is let go, promptly."""
    with Raw(exchange, path) as one:
        for part in FRAMES[name]:
            with contextlib.suppress(ConnectionError):
                one.socket.sendall(part)
        one.closes()


def test_compressed_bombs(exchange: Exchange) -> None:
    key = base64.b64encode(b"0123456789abcdef")
    upgrade = (
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: " + key,
    )
    packer = zlib.compressobj(wbits=-15)
    bomb = packer.compress(b"[" * 50_000_000) + packer.flush(zlib.Z_SYNC_FLUSH)
    with exchange.connect() as made:
        made.sendall(request("GET", b"/ws", b"", *upgrade, b"Sec-WebSocket-Extensions: permessage-deflate"))
        made.sendall(frame(bomb[:-4], bits=0x40))
        with contextlib.suppress(ConnectionError):
            while made.recv(1 << 20):
                pass
    assert exchange.mib() < MOST_MIB


@pytest.mark.parametrize("header", ["x", "", "\xff", "A" * 500, base64.b64encode(b"short").decode()])
def test_odd_handshakes(exchange: Exchange, header: str) -> None:
    for version in (b"13", b"99", b"\xff", b""):
        for path in (b"/ws", b"/ws-api/v3", b"/stream?streams=a", b"/ws/%ff%00"):
            lines = [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: " + version]
            sent = request("GET", path, b"", *lines, b"Sec-WebSocket-Key: " + header.encode("latin-1"))
            fine(exchange.ask(sent), sent)
            exchange.hang_up()
