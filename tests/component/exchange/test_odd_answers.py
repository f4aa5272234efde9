"""Every call of the exchange port against answers that nobody expected: (call × odd answer × reading).

A real HTTP server sends the answers to the real adapter. What cannot be read is *unknown* where the call may have had
an
effect, and *unreachable* where it only reads; nothing else ever leaves the adapter.
"""

from __future__ import annotations

import asyncio
import copy
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fortctl.exchange.client import BinanceExchange
from fortctl.exchange.sub_account_issuer import SubAccountIssuer
from fortctl.exchange.targets import ExchangeTarget
from fortctl.model import KeyPair, KeyType, OrderRequest, OrderType, Side
from fortctl.ports import ExchangeError, Outcome
from fortctl.secret import Secret

PAIR = KeyPair("robot-1", KeyType.HMAC, Secret("K" * 64), Secret("S" * 64))
REQUEST = OrderRequest("BTCUSDT", Side.BUY, OrderType.LIMIT, Decimal(1), Decimal(2), "fort-1")
ORDER = {
    "symbol": "BTCUSDT",
    "orderId": 7,
    "clientOrderId": "fort-1",
    "transactTime": 1_764_547_200_000,
    "price": "2.00000000",
    "origQty": "1.00000000",
    "executedQty": "0.00000000",
    "cummulativeQuoteQty": "0.00000000",
    "status": "NEW",
    "type": "LIMIT",
    "side": "BUY",
}
TRADE = {
    "symbol": "BTCUSDT",
    "id": 3,
    "orderId": 7,
    "price": "2",
    "qty": "1",
    "quoteQty": "2",
    "commission": "0",
    "commissionAsset": "BNB",
    "time": 1_764_547_200_000,
    "isBuyer": True,
    "isMaker": True,
}
ACCOUNT = {
    "uid": 5,
    "canTrade": True,
    "commissionRates": {"maker": "0.001", "taker": "0.001"},
    "balances": [{"asset": "BTC", "free": "1", "locked": "0"}],
}
RIGHTS = {
    "ipRestrict": True,
    "enableReading": True,
    "enableSpotAndMarginTrading": True,
    "enableWithdrawals": False,
    "createTime": 1_764_547_200_000,
}
SYMBOL = {
    "serverTime": 1_764_547_200_000,
    "rateLimits": [],
    "symbols": [
        {
            "symbol": "BTCUSDT",
            "status": "TRADING",
            "baseAsset": "BTC",
            "quoteAsset": "USDT",
            "orderTypes": ["LIMIT"],
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000", "tickSize": "0.01"},
                {"filterType": "LOT_SIZE", "minQty": "0.1", "maxQty": "10", "stepSize": "0.1"},
                {"filterType": "NOTIONAL", "minNotional": "5", "maxNotional": "900"},
            ],
        }
    ],
}
CANDLE = [1_764_547_200_000, "1", "2", "0.5", "1", "9", 1_764_547_259_999, "9", 4, "1", "1", "0"]
KEY = {"apiName": "robot-1", "apikey": "A" * 64, "apiKey": "A" * 64, "canTrade": True, "timestamp": 1_764_547_200_000}


@dataclass
class Scripted:
    """An HTTP server whose next answers are set by the test."""

    url: str = ""
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    chunks: int = 1
    requests: list[str] = field(default_factory=list)

    def answers(self, document: object, *, status: int = 200) -> None:
        self.status, self.chunks = status, 1
        self.body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.headers = {"Content-Type": "application/json"}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        answer = web.StreamResponse(status=self.status, headers=self.headers)
        await answer.prepare(request)
        try:
            for _ in range(self.chunks):
                await answer.write(self.body)
        except (ConnectionError, asyncio.CancelledError):
            pass
        return answer


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    scripted = Scripted()
    runner = web.ServerRunner(web.Server(scripted.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield scripted
    await runner.cleanup()


Port = Any
Call = Callable[[Port], Awaitable[Any]]
READS: dict[str, tuple[Call, Any]] = {
    "server_time": (lambda port: port.server_time(), {"serverTime": 1_764_547_200_000}),
    "symbol_rules": (lambda port: port.symbol_rules("BTCUSDT"), SYMBOL),
    "last_price": (lambda port: port.last_price("BTCUSDT"), {"symbol": "BTCUSDT", "price": "2"}),
    "price_range": (lambda port: port.price_range("BTCUSDT", 1_764_547_200_000), [CANDLE]),
    "account": (lambda port: port.account(), ACCOUNT),
    "key_restrictions": (lambda port: port.key_restrictions(), RIGHTS),
    "order": (lambda port: port.order("BTCUSDT", "fort-1"), ORDER),
    "open_orders": (lambda port: port.open_orders("BTCUSDT"), [ORDER]),
    "all_orders": (lambda port: port.all_orders("BTCUSDT"), [ORDER]),
    "trades": (lambda port: port.trades("BTCUSDT"), [TRADE]),
    "previous_client_order_ids": (
        lambda port: port.previous_client_order_ids("BTCUSDT", 7),
        [{"origClientOrderId": "fort-0"}],
    ),
}
EFFECTS: dict[str, tuple[Call, Any]] = {
    "place": (lambda port: port.place(REQUEST, timestamp=1_764_547_200_000, recv_window=1_000), ORDER),
    "cancel": (lambda port: port.cancel("BTCUSDT", "fort-1"), ORDER | {"origClientOrderId": "fort-1"}),
}
ISSUER: dict[str, tuple[Call, Any]] = {
    "create": (lambda port: port.create("robot-1", "PEM", ("reading",), ("10.0.0.1",)), KEY),
    "listed": (lambda port: port.list_keys(), {"total": 1, "rows": [KEY]}),
    "addresses": (lambda port: port.addresses(Secret("A" * 64)), {"ipRestrict": "true", "ipList": ["10.0.0.1"]}),
}
LISTS = {"open_orders", "all_orders", "trades", "previous_client_order_ids", "price_range"}
WITH_EFFECT = {*EFFECTS, "create"}
ODD: dict[str, bytes] = {
    "empty": b"",
    "null": b"null",
    "object": b"{}",
    "list": b"[]",
    "list of null": b"[null]",
    "text": b'"NEW"',
    "number": b"5",
    "cut": b'{"symbol":"BTC',
    "code": b'{"code":-1001,"msg":"Internal error; unable to process your request. Please try again."}',
    "deep": b'{"a":' * 100_000,
    "not utf-8": b"\xff\xfe\x00",
    "web page": b"<html><body>maintenance</body></html>",
}


def exchange(server: Scripted) -> BinanceExchange:
    return BinanceExchange(ExchangeTarget("test", server.url, "ws://127.0.0.1:1", "ws://127.0.0.1:1"), PAIR)


def issuer(server: Scripted) -> SubAccountIssuer:
    target = ExchangeTarget("test", server.url, "ws://127.0.0.1:1", "ws://127.0.0.1:1")
    return SubAccountIssuer(target, PAIR, "robot@example.com")


def port_of(name: str, server: Scripted) -> Any:
    return issuer(server) if name in ISSUER else exchange(server)


ALL = READS | EFFECTS | ISSUER


def expected(name: str) -> set[Outcome]:
    # The issuer's list is asked for after a call whose effect is unknown: there, unknown stays unknown.
    unread = {Outcome.UNKNOWN} if name in WITH_EFFECT or name == "listed" else {Outcome.UNREACHABLE}
    return unread | ({Outcome.UNREACHABLE} if name == "listed" else set())


@pytest.mark.parametrize("name", ALL)
async def test_answer_that_is_expected_is_read(server: Scripted, name: str) -> None:
    call, document = ALL[name]
    server.answers(document)
    port = port_of(name, server)
    assert await call(port) is not None
    await port.close()


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ALL)
async def test_answer_that_cannot_be_read_is_unknown_or_unreachable(server: Scripted, name: str, odd: str) -> None:
    if odd == "list" and name in LISTS:
        pytest.skip("an empty list is an answer of this call")
    call, _document = ALL[name]
    server.answers(ODD[odd])
    port = port_of(name, server)
    if odd == "list of null" and name in ("open_orders", "all_orders"):
        assert await call(port) == (), "a row that cannot be read is left out"
    else:
        with pytest.raises(ExchangeError) as caught:
            await call(port)
        assert caught.value.outcome in expected(name), caught.value
    await port.close()


@pytest.mark.parametrize("name", ALL)
async def test_redirect_is_never_followed(server: Scripted, name: str) -> None:
    call, document = ALL[name]
    for status in (301, 302, 303, 307, 308):
        server.answers(document, status=status)
        server.headers["Location"] = f"{server.url}/elsewhere"
        server.requests.clear()
        port = port_of(name, server)
        with pytest.raises(ExchangeError, match="follows no redirect") as caught:
            await call(port)
        assert caught.value.outcome in expected(name)
        assert not [path for path in server.requests if "elsewhere" in path]
        await port.close()


@pytest.mark.parametrize("packing", ["", "gzip", "deflate", "gzip of gzip", "br"])
async def test_endless_or_packed_body_is_bounded(server: Scripted, packing: str) -> None:
    block = b" " * (8 * 1024 * 1024)
    server.answers(b"")
    if packing in ("gzip", "deflate"):
        server.body = gzip.compress(block * 8) if packing == "gzip" else zlib.compress(block * 8)
        server.headers["Content-Encoding"] = packing
    elif packing:
        server.body = gzip.compress(gzip.compress(block * 8))
        server.headers["Content-Encoding"] = "gzip, gzip" if packing != "br" else "br"
    else:
        server.body, server.chunks = block, 1_000
    port = exchange(server)
    with pytest.raises(ExchangeError) as caught:
        await port.account()
    assert caught.value.outcome is Outcome.UNREACHABLE
    await port.close()


async def test_packed_answer_of_ordinary_size_is_read(server: Scripted) -> None:
    for packing, pack in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        server.answers(pack(json.dumps(ACCOUNT).encode()))
        server.headers["Content-Encoding"] = packing
        port = exchange(server)
        assert (await port.account()).uid == 5
        await port.close()


@pytest.mark.parametrize(
    ("status", "body", "words", "outcome"),
    [
        (
            451,
            b'{"code": 0,"msg": "Service unavailable from a restricted location"}',
            "does not serve this country or this address (Service unavailable from a restricted location)",
            Outcome.UNREACHABLE,
        ),
        (403, b"<html><h1>403 Forbidden</h1>WAF</html>", "firewall", Outcome.BUSY),
        (400, b'{"code":-71012,"msg":"IP is not allowed."}', "IP is not allowed.", Outcome.REFUSED),
        (
            400,
            b'{"code":-1002,"msg":"You are not authorized to execute this request."}',
            "not authorized",
            Outcome.KEY_REFUSED,
        ),
        (503, b"upstream", "did not come from Binance", Outcome.UNKNOWN),
        (200, b'{"uid":5}', "account.commissionRates is missing", Outcome.UNREACHABLE),
        (200, json.dumps(ACCOUNT | {"canTrade": "yes"}).encode(), "account.canTrade is neither", Outcome.UNREACHABLE),
    ],
)
async def test_refusal_keeps_its_reason(
    server: Scripted, status: int, body: bytes, words: str, outcome: Outcome
) -> None:
    server.answers(body, status=status)
    port = exchange(server)
    with pytest.raises(ExchangeError) as caught:
        await port.account()
    assert words in caught.value.message and caught.value.outcome is outcome
    await port.close()


@pytest.mark.parametrize(
    "change",
    [
        {"price": None},
        {"price": "NaN"},
        {"price": "1e999999999"},
        {"status": "PENDING_REVIEW"},
        {"side": "BOTH"},
        {"orderId": "7"},
        {"orderId": True},
        {"clientOrderId": "fort-2"},
        {"symbol": "ETHUSDT"},
        {"transactTime": 1_764_547_200_000_000},
    ],
)
async def test_order_answer_with_one_odd_field_leaves_the_order_unknown(
    server: Scripted, change: dict[str, Any]
) -> None:
    server.answers(ORDER | change)
    port = exchange(server)
    with pytest.raises(ExchangeError) as caught:
        await port.place(REQUEST, timestamp=1, recv_window=1_000)
    assert caught.value.outcome is Outcome.UNKNOWN
    await port.close()


async def test_order_of_somebody_else_that_cannot_be_read_is_left_out_and_named(
    server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers([ORDER | {"orderId": 9, "status": "PENDING_REVIEW"}, ORDER])
    port = exchange(server)
    for _ in range(3):
        assert [order.order_id for order in await port.open_orders("BTCUSDT")] == [7]
    assert (
        len([record for record in caplog.records if "order 9 (fort-1) of BTCUSDT: order.status" in record.getMessage()])
        == 1
    )
    await port.close()


@pytest.mark.parametrize(
    "filters",
    [
        [{"minPrice": "1"}],
        [{"filterType": "NOTIONAL", "maxNotional": None}],
        [{"filterType": "A_FILTER_OF_2027", "limit": {"deep": [1]}}],
    ],
)
async def test_filters_that_nobody_knows_are_tolerated(server: Scripted, filters: list[Any]) -> None:
    info = copy.deepcopy(SYMBOL)
    info["symbols"][0]["filters"] += filters  # type: ignore[index]
    info["symbols"][0]["status"] = "CANCEL_ONLY"  # type: ignore[index]
    server.answers(info)
    port = exchange(server)
    rules = await port.symbol_rules("BTCUSDT")
    assert rules.tick_size == Decimal("0.01") and rules.status == "CANCEL_ONLY"
    await port.close()


async def test_right_that_nobody_knows_and_is_switched_on_is_named(server: Scripted) -> None:
    server.answers(RIGHTS | {"enableLunarTransfer": True, "enableNothing": False})
    port = exchange(server)
    rights = await port.key_restrictions()
    assert rights.unknown == ("enableLunarTransfer",) and "enableLunarTransfer" in rights.permissions()
    await port.close()


@pytest.mark.parametrize("name", ["ipRestrict", "enableReading", "enableSpotAndMarginTrading", "enableWithdrawals"])
async def test_right_that_is_not_named_makes_the_answer_unreadable(server: Scripted, name: str) -> None:
    server.answers({flag: value for flag, value in RIGHTS.items() if flag != name})
    port = exchange(server)
    with pytest.raises(ExchangeError, match=f"apiRestrictions.{name} is missing"):
        await port.key_restrictions()
    await port.close()


async def test_list_that_never_ends_is_given_up(server: Scripted) -> None:
    server.answers([TRADE] * 1_000)
    port = exchange(server)
    with pytest.raises(ExchangeError, match="the same page of a list twice"):
        await asyncio.wait_for(port.trades("BTCUSDT"), 20)
    await port.close()


@st.composite
def changed(draw: st.DrawFn) -> tuple[str, bytes]:
    """A real answer in which one place was dropped, retyped, nested or enlarged."""
    name = draw(st.sampled_from(sorted(ALL)))
    document = copy.deepcopy(ALL[name][1])
    odd = draw(
        st.sampled_from([None, {}, [], "", "x", "NaN", -1, 1.5, True, 2**70, "9" * 200, [[[]]], {"a": {"b": []}}])
    )
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
            place = place[key]
            continue
        if draw(st.booleans()) and isinstance(place, dict):
            del place[key]
        else:
            place[key] = odd
        break
    return name, json.dumps(document).encode()


@given(st.lists(changed(), min_size=1, max_size=30))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changed_answer_is_read_or_refused_and_never_anything_else(cases: list[tuple[str, bytes]]) -> None:
    async def play() -> None:
        scripted = Scripted()
        runner = web.ServerRunner(web.Server(scripted.handle))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ports = {kind: port_of(kind, scripted) for kind in ("place", "create")}
        for name, body in cases:
            scripted.answers(body)
            try:
                await ALL[name][0](ports["create" if name in ISSUER else "place"])
            except ExchangeError as error:
                assert error.outcome in (Outcome.UNKNOWN, Outcome.UNREACHABLE), (name, body, error)
        for port in ports.values():
            await port.close()
        await runner.cleanup()

    asyncio.run(play())
