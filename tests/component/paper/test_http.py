"""Connections: answers in order, whole, looking like Binance's, and never before what they tell is durable."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE

from fortctl.paper.engine.market_data import Recording, load
from fortctl.paper.server.lifecycle import RunningServer, start
from fortctl.paper.server.server import ServerOptions
from fortctl.paper.server.state_file import Batch, StateFile
from support.paper_client import SignedClient

PING = b"GET /api/v3/ping HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with served(tmp_path) as one:
        yield one


@cache
def recorded() -> Recording:
    whole = load("synthetic:3")
    return Recording(whole.symbol, whole.trades[:100])


@asynccontextmanager
async def served(folder: Path, state: Path | None = None) -> AsyncIterator[RunningServer]:
    tape = recorded()
    running = await start(ServerOptions({tape.symbol.name: tape}, folder, port=0, start=0.5, state=state))
    running.server.replay.pause()
    try:
        yield running
    finally:
        await running.stop()


class Wire:
    """One HTTP connection, by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, running: RunningServer) -> Wire:
        port = int(running.ready["url"].rpartition(":")[2])
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def hear(self) -> tuple[int, dict[str, str], Any]:
        async with asyncio.timeout(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await self.reader.readexactly(int(headers["content-length"]))
        parsed = json.loads(body) if headers["content-type"].startswith("application/json") else body
        return int(head[0].split(" ")[1]), headers, parsed


def order(running: RunningServer, **more: Any) -> bytes:
    """Return a signed order far from the market, as a request with a body."""
    from fortctl.paper.engine.accounts import ApiKey

    key = ApiKey("bot", "default", "k" * 64, "hmac", ("reading", "spot_trading"), 0, secret="s" * 64)
    running.server.engine.state.keys[key.api_key] = key
    client = SignedClient("http://a", {"api_key": key.api_key, "secret_key": key.secret})
    values = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001"}
    values |= {"price": "20000", "timestamp": int(time.time() * 1000), **more}
    body = "&".join(f"{name}={value}" for name, value in values.items())
    body += f"&signature={client.sign(body)}"
    head = f"POST /api/v3/order HTTP/1.1\r\nHost: a\r\nX-MBX-APIKEY: {key.api_key}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}".encode()


async def test_what_no_call_answers_looks_like_binance_too(running: RunningServer) -> None:
    for target, status in (("/nowhere", 404), ("/api/v1/ping", 404), ("/api/v3/userDataStream", 410)):
        wire = await Wire.to(running)
        wire.say(f"POST {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        told = await wire.hear()
        assert (told[0], told[1]["server"]) == (status, "nginx") and b"aiohttp" not in told[2]


UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET /api/v3/ping HTTP/9.9\r\nHost: a\r\n\r\n", 400),
        (b"GET /api/v3/ping HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"POST /api/v3/order HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n", 400),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /ws/btcusdt@trade HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /stream?streams=btcusdt@trade HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /ws-api/v3 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /ws-api/v3?timeUnit=x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (f"GET /ws-api/v3 HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n".encode(), 400),
        (b"POST /ws/btcusdt@trade HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        (f"GET /ws HTTP/1.1\r\nHost: a\r\n{UPGRADE}Sec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode(), 101),
    ],
)
async def test_no_answer_names_the_web_server_beneath(running: RunningServer, said: bytes, status: int) -> None:
    wire = await Wire.to(running)
    wire.say(said)
    async with asyncio.timeout(20):
        head = (await wire.reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(one[16:]) for one in head.split("\r\n") if one.startswith("Content-Length: ")), 0)
        body = (await wire.reader.readexactly(length)).decode()
    assert int(head.split(" ")[1]) == status and "\r\nServer: nginx\r\n" in head
    assert not any(word in (head + body).lower() for word in ("aiohttp", "python", "upgrade expected", "bad status"))


async def test_answers_come_in_the_order_of_the_requests(running: RunningServer) -> None:
    wire = await Wire.to(running)
    wire.say(b"".join(order(running, newClientOrderId=f"n-{number}") + PING for number in range(40)))
    for number in range(40):
        assert (await wire.hear())[2]["clientOrderId"] == f"n-{number}"
        assert (await wire.hear())[2] == {}


async def test_a_request_may_come_in_pieces(running: RunningServer) -> None:
    whole = order(running, newClientOrderId="pieces")
    head = whole.index(b"\r\n\r\n") + 4
    for cut in (head, head + 1, len(whole) - 1):
        wire = await Wire.to(running)
        wire.say(whole[:cut])
        await wire.writer.drain()
        await asyncio.sleep(0.01)
        wire.say(whole[cut:])
        status, _headers, body = await wire.hear()
        assert (status, body.get("clientOrderId") or body["msg"]) in ((200, "pieces"), (400, "Duplicate order sent."))


async def test_who_does_not_read_is_not_read(running: RunningServer) -> None:
    """Requests without end from one who takes no answer: what the server keeps of them is bounded."""
    wire = await Wire.to(running)
    ask, asked = b"GET /api/v3/exchangeInfo HTTP/1.1\r\nHost: a\r\n\r\n", 0
    transport = wire.writer.transport
    wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
    wire.reader._paused = True  # type: ignore[attr-defined]
    while transport.get_write_buffer_size() < 1_000_000 and asked < 200_000:
        wire.say(ask * 100)
        asked += 100
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    (connection,) = running.http.connections
    assert len(connection._messages) <= MAX_MSG_QUEUE_SIZE
    assert asked > MAX_MSG_QUEUE_SIZE
    wire.reader._paused = False  # type: ignore[attr-defined]
    wire.reader._transport.resume_reading()  # type: ignore[attr-defined]
    for _ in range(50):
        assert (await wire.hear())[0] == 200


class Gate:
    """Holds the writing of the state until it is let go, or lets it fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.entered = threading.Event(), threading.Event()
        self.error: Exception | None = None
        self.open.set()
        write = StateFile.write

        def gated(state: StateFile, batch: Batch) -> None:
            self.entered.set()
            assert self.open.wait(20)
            if self.error is not None:
                raise self.error
            write(state, batch)

        monkeypatch.setattr(StateFile, "write", gated)

    async def has_begun(self) -> None:
        async with asyncio.timeout(20):
            while not self.entered.is_set():
                await asyncio.sleep(0.001)


async def test_no_answer_tells_what_a_crash_could_undo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    async with served(tmp_path, tmp_path / "state.db") as running:
        await running.server.durable()
        gate.open.clear()
        gate.entered.clear()
        places, looks = await Wire.to(running), await Wire.to(running)
        places.say(order(running, newClientOrderId="kept"))
        await gate.has_begun()
        # The order is being written: who asks for it now must wait as well.
        looks.say(PING)
        heard = asyncio.create_task(looks.hear())
        await asyncio.sleep(0.05)
        assert not heard.done() and running.server.engine.state.orders
        gate.open.set()
        assert (await heard)[0] == 200 and (await places.hear())[2]["clientOrderId"] == "kept"


async def test_what_cannot_be_kept_is_told_as_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    async with served(tmp_path, tmp_path / "state.db") as running:
        await running.server.durable()
        gate.error = sqlite3.OperationalError("disk full")
        wire = await Wire.to(running)
        wire.say(order(running, newClientOrderId="unknown"))
        status, _headers, body = await wire.hear()
        assert (status, body["code"]) == (500, -1000)
        gate.error = None
        wire.say(order(running, newClientOrderId="next"))
        assert (await wire.hear())[2]["clientOrderId"] == "next"
    kept = sqlite3.connect(tmp_path / "state.db").execute("SELECT body FROM item WHERE kind = 'order'").fetchall()
    assert {"unknown", "next"} == {json.loads(body)[3] for (body,) in kept}


async def test_an_end_gives_the_answer_that_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    async with served(tmp_path, tmp_path / "state.db") as running:
        await running.server.durable()
        gate.open.clear()
        gate.entered.clear()
        wire = await Wire.to(running)
        wire.say(order(running, newClientOrderId="last"))
        await gate.has_begun()
        asyncio.get_running_loop().call_later(0.05, gate.open.set)
    assert (await wire.hear())[2]["clientOrderId"] == "last"
    assert await wire.reader.read() == b""
