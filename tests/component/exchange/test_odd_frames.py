"""User and market streams against frames that nobody expected, sent by a real WebSocket server.

No frame ends the task that reads a stream: it reconnects or reports a gap, and the events that follow are read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fortctl.exchange.connection_pool import ConnectionPool
from fortctl.exchange.streams.market import MarketStream
from fortctl.exchange.streams.user_pool import UserStreamPool
from fortctl.model import KeyPair, KeyType, OrderUpdate, PublicTrade, StreamDown, StreamUp
from fortctl.secret import Secret

PAIR = KeyPair("robot-1", KeyType.HMAC, Secret("K" * 64), Secret("S" * 64))
REPORT = {
    "e": "executionReport",
    "E": 1_764_547_200_000,
    "s": "BTCUSDT",
    "c": "fort-1",
    "S": "BUY",
    "o": "LIMIT",
    "f": "GTC",
    "q": "1",
    "p": "2",
    "C": "",
    "x": "NEW",
    "X": "NEW",
    "i": 7,
    "l": "0",
    "z": "0",
    "L": "0",
    "n": "0",
    "N": None,
    "T": 1_764_547_200_000,
    "t": -1,
    "m": False,
    "O": 1_764_547_200_000,
    "Z": "0",
    "Y": "0",
}
FILL = REPORT | {"x": "TRADE", "X": "FILLED", "l": "1", "z": "1", "L": "2", "t": 3, "Z": "2", "Y": "2"}
TRADE = {"e": "trade", "E": 1, "s": "BTCUSDT", "t": 1, "p": "2.5", "q": "1", "T": 1_764_547_200_000, "m": False}
ODD_FRAMES: dict[str, str | bytes] = {
    "empty": "",
    "null": "null",
    "list": "[]",
    "text": '"hello"',
    "not JSON": "{",
    "deep": '{"event":' * 100_000,
    "huge": '{"a":"' + "x" * (5 * 1024 * 1024) + '"}',
    "binary": b"\x00\x01",
    "id is a list": '{"id":[1],"status":200}',
    "id is an object": '{"id":{},"status":200}',
    "number is an object": '{"subscriptionId":{},"event":{"e":"executionReport"}}',
    "number is a list": '{"subscriptionId":[0],"event":{"e":"executionReport"}}',
    "event is a text": '{"subscriptionId":0,"event":"executionReport"}',
    "event without fields": '{"subscriptionId":0,"event":{"e":"executionReport"}}',
    "event kind is a list": '{"subscriptionId":0,"event":{"e":["executionReport"]}}',
    "status is a text": '{"id":null,"status":"no","error":"x"}',
    "error of another shape": '{"id":null,"status":429,"error":{"data":[],"code":"x"}}',
}
ODD_EVENTS = {
    "Z is null": {"Z": None},
    "without Y": {"Y": None},
    "unknown status": {"X": "PENDING_REVIEW"},
    "price is NaN": {"L": "NaN"},
    "endless number": {"Z": "1e999999999"},
    "no trade number": {"t": None},
    "side of another shape": {"S": ["BUY"]},
    "times in microseconds": {"T": 1_764_547_200_000_000},
}


class Server:
    """A WebSocket server that answers subscriptions, and then sends what the test tells it to."""

    def __init__(self) -> None:
        self.url = ""
        self.sockets: list[web.WebSocketResponse] = []
        self.connections = 0
        self.answer: Callable[[int], dict[str, Any]] = lambda number: {
            "id": number,
            "status": 200,
            "result": {"subscriptionId": 0},
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/redirect":
            return web.Response(status=307, headers={"Location": self.url})
        self.connections += 1
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                number = json.loads(message.data)["id"]
                await socket.send_json(self.answer(number))
        return socket

    async def send(self, frame: str | bytes | dict[str, Any]) -> None:
        socket = self.sockets[-1]
        # The client may cut the connection in the middle of a frame.
        with contextlib.suppress(ConnectionError):
            if isinstance(frame, bytes):
                await socket.send_bytes(frame)
            else:
                await socket.send_str(frame if isinstance(frame, str) else json.dumps(frame))

    async def event(self, event: dict[str, Any]) -> None:
        await self.send({"subscriptionId": 0, "event": event})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    scripted = Server()
    runner = web.ServerRunner(web.Server(scripted.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    scripted.url = f"ws://127.0.0.1:{runner.addresses[0][1]}/ws-api/v3"
    yield scripted
    await runner.cleanup()


class Heard:
    """A follower of a stream, with what it received."""

    def __init__(self, events: AsyncIterator[Any]) -> None:
        self.events: list[Any] = []
        self._source = events
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for event in self._source:
            self.events.append(event)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.01)

    def count(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def with_user_stream(server: Server, play: Callable[[Heard], Awaitable[None]]) -> None:
    pool = ConnectionPool()
    streams = UserStreamPool(lambda: pool.socket(server.url))
    heard = Heard(streams.events(PAIR, lambda: 1_764_547_200_000, ""))
    try:
        await heard.until(lambda: heard.count(StreamUp) == 1)
        await play(heard)
    finally:
        await heard.close()
        await streams.close()
        await pool.close()


@pytest.mark.parametrize("odd", ODD_FRAMES)
async def test_user_stream_survives_an_odd_frame(server: Server, odd: str) -> None:
    async def play(heard: Heard) -> None:
        await server.send(ODD_FRAMES[odd])
        # Either the frame was left out, or the stream reconnected: what follows is read in both cases.
        async with asyncio.timeout(20):
            while not heard.count(OrderUpdate):
                if heard.count(StreamUp) > heard.count(StreamDown):
                    await server.event(FILL)
                await asyncio.sleep(0.05)

    await with_user_stream(server, play)


@pytest.mark.parametrize("odd", ODD_EVENTS)
async def test_event_that_cannot_be_read_is_a_gap_and_the_stream_stays(server: Server, odd: str) -> None:
    async def play(heard: Heard) -> None:
        await server.event(FILL | ODD_EVENTS[odd])
        await server.event(FILL)
        await heard.until(lambda: heard.count(OrderUpdate) == 1)
        assert [type(event) for event in heard.events] == [StreamUp, StreamDown, StreamUp, OrderUpdate]
        assert "executionReport." in heard.events[1].reason and server.connections == 1

    await with_user_stream(server, play)


@pytest.mark.parametrize("result", [None, {}, {"subscriptionId": "x"}, {"subscriptionId": None}, [], 5])
async def test_subscription_whose_answer_cannot_be_read_is_tried_again(server: Server, result: Any) -> None:
    good, tries = server.answer, [0]

    def odd_first(number: int) -> dict[str, Any]:
        tries[0] += 1
        return {"id": number, "status": 200, "result": result} if tries[0] < 3 else good(number)

    server.answer = odd_first

    async def play(heard: Heard) -> None:
        assert tries[0] >= 3 and heard.count(StreamDown) >= 1

    await with_user_stream(server, play)


@pytest.mark.parametrize(
    "change", [{"p": "NaN"}, {"p": None}, {"p": "1e999999999"}, {"p": "0"}, {"q": []}, {"T": "now"}, {"s": 5}]
)
async def test_trade_that_cannot_be_read_is_left_out_and_the_next_one_is_read(
    server: Server, change: dict[str, Any]
) -> None:
    pool = ConnectionPool()
    market = MarketStream(lambda: pool.socket(server.url))
    heard = Heard(market.events())
    await heard.until(lambda: heard.count(StreamUp) == 1)
    await server.send(TRADE | change)
    await server.send(TRADE)
    await heard.until(lambda: heard.count(PublicTrade) == 1)
    assert server.connections == 1
    await heard.close()
    await pool.close()


async def test_handshake_is_not_redirected(server: Server) -> None:
    pool = ConnectionPool()
    target = server.url.replace("/ws-api/v3", "/redirect")
    with pytest.raises(aiohttp.ClientError, match="follows no redirect"):
        async with pool.socket(target):
            pass
    assert server.connections == 0
    await pool.close()
