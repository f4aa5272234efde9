"""User streams of many accounts over few connections, against the paper exchange and against a scripted server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict

from fortctl.exchange.client import BinanceExchange
from fortctl.exchange.connection_pool import ConnectionPool
from fortctl.exchange.streams.reconnect import LONGEST_PAUSE_S, Backoff, RequestRejectedError, rejection_in, retry_after
from fortctl.exchange.streams.user_pool import UserStreamPool
from fortctl.exchange.targets import _from_url
from fortctl.model import (
    BalanceUpdate,
    KeyPair,
    KeyType,
    OrderRequest,
    OrderType,
    OrderUpdate,
    Side,
    StreamDown,
    StreamUp,
    UserEvent,
)
from fortctl.paper.testing import PaperExchange, in_process
from fortctl.secret import Secret
from fortctl.system.clock import SystemClock

NOW = SystemClock().now_ms


def pair_of(key: dict[str, Any]) -> KeyPair:
    kind = KeyType(key["type"])
    return KeyPair("test", kind, Secret(key["api_key"]), Secret(key.get("secret_key") or key["private_key"]))


class World:
    """Shared connections to one paper exchange, with what each account heard."""

    def __init__(self, paper: PaperExchange, streams: UserStreamPool | None = None) -> None:
        self.paper = paper
        self.target = _from_url("paper", paper.url)
        self.connections = ConnectionPool()
        self.dialled = 0
        self.streams = streams or UserStreamPool(self._dial)
        self.heard: dict[str, list[UserEvent]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.pairs: dict[str, KeyPair] = {}

    def _dial(self) -> Any:
        self.dialled += 1
        return self.connections.socket(self.target.ws_api_url)

    def key(self, name: str, account: str, type: str = "hmac") -> KeyPair:
        if account != "default" and account not in {one.split("/")[0] for one in self.pairs}:
            self.paper.create_account(account, {"USDT": "10000"})
        made = pair_of(self.paper.create_key(name, type=type, account=account))
        self.pairs[f"{account}/{name}"] = made
        return made

    def listen(self, who: str, pair: KeyPair, account: str = "") -> None:
        self.heard[who] = []

        async def follow() -> None:
            async for event in self.streams.events(pair, NOW, account):
                self.heard[who].append(event)

        self._tasks[who] = asyncio.create_task(follow())

    async def leave(self, who: str) -> None:
        self._tasks[who].cancel()
        await asyncio.gather(self._tasks[who], return_exceptions=True)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.01)

    async def up(self, *who: str) -> None:
        await self.until(lambda: all(StreamUp() in self.heard[one] for one in who))

    async def place(self, pair: KeyPair, name: str) -> None:
        exchange = BinanceExchange(self.target, pair, connections=self.connections)
        price = Decimal(round(await exchange.last_price("BTCUSDT") * Decimal("0.8")))
        request = OrderRequest("BTCUSDT", Side.BUY, OrderType.LIMIT, Decimal("0.001"), price, name, None)
        await exchange.place(request, timestamp=NOW(), recv_window=5_000)
        await exchange.close()

    def orders(self, who: str) -> list[str]:
        return [event.order.client_order_id for event in self.heard[who] if isinstance(event, OrderUpdate)]

    def downs(self, who: str) -> list[StreamDown]:
        return [event for event in self.heard[who] if isinstance(event, StreamDown)]

    async def close(self) -> None:
        for who in list(self._tasks):
            await self.leave(who)
        await self.streams.close()
        await self.connections.close()


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    with in_process() as paper:
        one = World(paper)
        if options:
            one.streams = UserStreamPool(one._dial, **options)
        try:
            yield one
        finally:
            await one.close()


async def test_many_accounts_share_a_connection_and_hear_only_their_own_also_after_a_cut() -> None:
    async with world() as one:
        names = [f"a{number}" for number in range(6)]
        pairs = {name: one.key(name, name, "ed25519" if number % 2 else "hmac") for number, name in enumerate(names)}
        for name in names:
            one.listen(name, pairs[name], name)
        await one.up(*names)
        assert one.dialled == 1
        for name in names:
            await one.place(pairs[name], f"first-{name}")
        await one.until(lambda: all(one.orders(name) for name in names))
        assert all(one.orders(name) == [f"first-{name}"] for name in names)
        assert all(any(isinstance(event, BalanceUpdate) for event in one.heard[name]) for name in names)
        one.paper.fault("ws-cut")
        await one.until(lambda: all(one.heard[name].count(StreamUp()) == 2 for name in names))
        for name in names:
            await one.place(pairs[name], f"second-{name}")
        await one.until(lambda: all(len(one.orders(name)) == 2 for name in names))
        assert all(len(one.downs(name)) >= 1 for name in names)


async def test_a_key_that_dies_ends_its_own_stream_alone_and_says_why() -> None:
    async with world() as one:
        for name in ("good", "dead"):
            one.listen(name, one.key(name, name), name)
        await one.up("good", "dead")
        one.paper.delete_key("dead")
        await one.until(lambda: any(event.code == -2015 for event in one.downs("dead")))
        await one.place(one.pairs["good/good"], "still-here")
        await one.until(lambda: one.orders("good") == ["still-here"])
        assert one.downs("good") == [] and one.dialled == 1


async def test_a_second_ed25519_key_logs_on_over_the_same_connection_without_a_break() -> None:
    async with world() as one:
        old, new = one.key("old", "default", "ed25519"), one.key("new", "default", "ed25519")
        one.listen("old", old, "default")
        await one.up("old")
        one.listen("new", new, "default")
        await one.up("new")
        await one.place(old, "both-hear-it")
        await one.until(lambda: one.orders("old") == one.orders("new") == ["both-hear-it"])
        await one.leave("old")
        await one.until(lambda: one.heard["new"].count(StreamUp()) == 2)
        one.paper.delete_key("old")
        await one.place(new, "after-the-old-key")
        await one.until(lambda: "after-the-old-key" in one.orders("new"))
        assert one.dialled == 1 and one.downs("new") == [] and one.downs("old") == []


@pytest.mark.parametrize("account", ["default", ""], ids=["named", "unnamed"])
async def test_another_second_key_is_heard_on_another_connection_until_the_first_leaves(account: str) -> None:
    """One subscription an account and connection: the exchange's rejection_in (-2035) sends it to another one."""
    async with world() as one:
        old, new = one.key("old", "default"), one.key("new", "default")
        one.listen("old", old, account)
        await one.up("old")
        one.listen("new", new, account)
        await one.up("new")
        await one.place(old, "both-hear-it")
        await one.until(lambda: one.orders("old") == one.orders("new") == ["both-hear-it"])
        await one.leave("old")
        one.paper.delete_key("old")
        await one.place(new, "after-the-old-key")
        await one.until(lambda: "after-the-old-key" in one.orders("new"))
        assert one.dialled == 2 and one.downs("new") == [] and len(one.streams.connections) == 1


async def test_a_connection_is_replaced_before_its_life_ends_and_nobody_notices() -> None:
    async with world(life_s=0.3) as one:
        for name in ("a", "b"):
            one.listen(name, one.key(name, name, "ed25519"), name)
        await one.up("a", "b")
        await one.until(lambda: one.dialled >= 3)
        await one.place(one.pairs["a/a"], "later")
        await one.until(lambda: "later" in one.orders("a"))
        assert one.downs("a") == one.downs("b") == []
        assert one.heard["a"].count(StreamUp()) == one.heard["b"].count(StreamUp()) == 1


# -- a server that says what it is told to ---------------------------------------------------------------------------

Script = Callable[[web.WebSocketResponse, dict[str, Any], int], Coroutine[Any, Any, None]]


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[UserStreamPool]:
    count = 0

    async def handle(request: web.Request) -> web.WebSocketResponse:
        nonlocal count
        count += 1
        here = count
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await script(socket, json.loads(message.data), here)
        return socket

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    async with aiohttp.ClientSession() as session:
        streams = UserStreamPool(lambda: session.ws_connect(f"http://127.0.0.1:{port}/"))
        yield streams
        await streams.close()
    await runner.cleanup()


ED25519 = (
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIIJEYWtGBrhACmb9Dvy+qa8WEf0lQOl1s4CLIAB9m89u\n"
    "-----END PRIVATE KEY-----\n"
)
PAIR = KeyPair("test", KeyType.ED25519, Secret("k" * 64), Secret(ED25519))


async def first(streams: UserStreamPool, count: int) -> list[UserEvent]:
    found: list[UserEvent] = []
    async with asyncio.timeout(20):
        async for event in streams.events(PAIR, NOW, "a"):
            found.append(event)
            if len(found) == count:
                break
    return found


async def test_a_logged_on_session_whose_key_turned_invalid_is_told_with_a_null_id() -> None:
    refused = {"id": None, "status": 401, "error": {"code": -2015, "msg": "Invalid API-key, IP, or permissions."}}

    async def script(socket: web.WebSocketResponse, asked: dict[str, Any], connection: int) -> None:
        result = {"subscriptionId": 7} if asked["method"] == "userDataStream.subscribe" else {}
        await socket.send_json({"id": asked["id"], "status": 200, "result": result})
        if result:
            await socket.send_json(refused)

    async with scripted(script) as streams:
        up, down = await first(streams, 2)
    assert up == StreamUp() and isinstance(down, StreamDown) and down.code == -2015


async def test_a_server_that_shuts_down_is_left_for_another_connection_without_a_break() -> None:
    async def script(socket: web.WebSocketResponse, asked: dict[str, Any], connection: int) -> None:
        if asked["method"] == "session.logon":
            await socket.send_json({"id": asked["id"], "status": 200, "result": {}})
            return
        await socket.send_json({"id": asked["id"], "status": 200, "result": {"subscriptionId": connection}})
        if connection == 1:
            await socket.send_json({"event": {"e": "serverShutdown", "E": 1}})
        else:
            position = {"e": "outboundAccountPosition", "E": 1, "u": 1, "B": [{"a": "BTC", "f": "1", "l": "0"}]}
            await socket.send_json({"subscriptionId": connection, "event": position})

    async with scripted(script) as streams:
        up, position = await first(streams, 2)
    assert up == StreamUp() and isinstance(position, BalanceUpdate)


async def test_frames_that_are_no_answer_cut_the_connection_and_nothing_else() -> None:
    async def script(socket: web.WebSocketResponse, asked: dict[str, Any], connection: int) -> None:
        if connection == 1:
            await socket.send_str("[1, 2")
        elif asked["method"] == "session.logon":
            await socket.send_json({"id": asked["id"], "status": 200, "result": {}})
        else:
            await socket.send_json({"id": asked["id"], "status": 200, "result": {"subscriptionId": 0}})

    async with scripted(script) as streams:
        down, up = await first(streams, 2)
    assert isinstance(down, StreamDown) and up == StreamUp()


def test_what_the_exchange_asks_to_wait_goes_before_our_own_pauses() -> None:
    answer = {"id": 1, "status": 429, "error": {"code": -1003, "msg": "x", "data": {"retryAfter": 61_000}}}
    refused = rejection_in(answer, 1_000)
    assert refused is not None and (refused.code, retry_after(refused)) == (-1003, 60.0)
    assert Backoff().pause_after(refused) == 60.0
    assert rejection_in({"id": 1, "status": 200, "result": {}}, 0) is None
    silent = rejection_in({"id": 1, "status": 418, "error": {"code": -1003, "msg": "x"}}, 0)
    assert silent is not None and silent.wait_s == LONGEST_PAUSE_S
    info: Any = None
    handshake = aiohttp.WSServerHandshakeError(info, (), status=429, headers=CIMultiDict({"Retry-After": "17"}))
    assert retry_after(handshake) == 17.0
    assert retry_after(aiohttp.WSServerHandshakeError(info, (), status=503, headers=CIMultiDict())) is None
    pauses = Backoff()
    taken = [pauses.pause_after(RequestRejectedError(None, "cut")) for _ in range(20)]
    assert taken[0] <= 0.1 and max(taken) <= LONGEST_PAUSE_S and taken[-1] >= LONGEST_PAUSE_S / 2
    pauses.reset()
    assert pauses.pause_after(RequestRejectedError(None, "cut")) <= 0.1


async def test_streams_that_joined_a_replacement_which_never_connects_move_back() -> None:
    """A new account's stream may be placed on the connection that is to replace an old one, and is still being made."""
    with in_process() as paper:
        one = World(paper)
        gate, dialled = asyncio.Event(), 0

        @asynccontextmanager
        async def dial() -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
            nonlocal dialled
            dialled += 1
            if dialled == 2:
                await gate.wait()
            async with one._dial() as socket:
                yield socket

        one.streams = UserStreamPool(dial, life_s=0.5, connect_timeout_s=0.5)
        try:
            one.listen("old", one.key("old", "old"), "old")
            await one.up("old")
            await one.until(lambda: dialled == 2)
            one.listen("new", one.key("new", "new"), "new")
            await one.up("new")
        finally:
            gate.set()
            await one.close()
