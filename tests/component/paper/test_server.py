"""The served paper exchange: limits, headers, faults, sockets, streams, state, sub-accounts; over real sockets."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket as sockets
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fortctl.errors import BadInputError
from fortctl.paper.faults import DEEP_LEVELS, ENDLESS_BYTES
from fortctl.paper.testing import PaperExchange, in_process
from support.paper_client import SignedClient

SYMBOL = "BTCUSDT"
MARKET = {"symbol": SYMBOL, "side": "BUY", "type": "MARKET", "quantity": "0.001"}


@pytest.fixture(scope="module")
def shared() -> Iterator[PaperExchange]:
    """An exchange whose market stands still, for tests that leave it as it was."""
    with in_process(market=["synthetic:3"], start=0.5) as exchange:
        exchange.pause()
        yield exchange


def trader(exchange: PaperExchange, name: str = "bot", **more: Any) -> SignedClient:
    return SignedClient(exchange.url, exchange.create_key(name, **more))


def limit(exchange: PaperExchange, factor: str = "0.97", side: str = "BUY", **more: Any) -> dict[str, Any]:
    price = Decimal(exchange.market()["price"][SYMBOL]) * Decimal(factor)
    values = {"symbol": SYMBOL, "side": side, "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
    return {**values, "price": f"{price:.2f}", **more}


# -- protocol ----------------------------------------------------------------------------------------------------------


def test_headers_and_bodies_are_binances(shared: PaperExchange) -> None:
    client = trader(shared, "headers")
    answer = client.ask("GET", "account", signed=False)
    assert answer.headers["content-type"] == "application/json;charset=UTF-8"
    assert answer.status == 401 and answer.code == -2014
    placed = client.ask("POST", "order", **limit(shared))
    assert int(placed.headers["x-mbx-order-count-10s"]) == int(placed.headers["x-mbx-order-count-1d"]) == 1
    assert int(placed.headers["x-mbx-used-weight-1m"]) >= 0 and placed.headers["x-mbx-uuid"]
    before = int(client.ask("GET", "ping").headers["x-mbx-used-weight-1m"])
    again = client.ask("POST", "order", **limit(shared))
    assert int(again.headers["x-mbx-used-weight-1m"]) == before, "a successful order weighs nothing"
    failed = client.ask("POST", "order", **limit(shared, quantity="5000"))
    assert failed.status == 400 and int(failed.headers["x-mbx-used-weight-1m"]) == before + 1
    client.ok("DELETE", "openOrders", symbol=SYMBOL)


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "/api/v3/klines?symbol=BTCUSDT&interval=7m", 400, -1120),
        ("GET", "/api/v3/klines?symbol=BTCUSDT&symbol=BTCUSDT&interval=1m", 400, -1101),
        ("GET", "/api/v3/depth?symbol=BTCUSDT&colour=red", 400, -1104),
        ("GET", "/api/v3/depth?symbol=BTCUSDT&limit=0", 400, -1130),
        ("GET", "/api/v3/depth?symbol=BTCUSDT&limit=", 400, -1105),
        ("GET", "/api/v3/depth", 400, -1102),
        ("GET", "/api/v3/ticker/price?symbols=nonsense", 400, -1100),
        ("GET", '/api/v3/ticker/price?symbols=["BTCUSDT","BTCUSDT"]', 400, -1151),
        ("GET", "/api/v3/ticker/24hr?type=MAXI", 400, -1139),
        ("GET", "/api/v3/ticker?symbol=BTCUSDT&windowSize=61m", 400, -1130),
        ("GET", "/api/v3/ticker", 400, -1102),
        ("GET", "/api/v3/exchangeInfo?symbol=BTCUSDT&permissions=SPOT", 400, -1128),
        ("GET", "/api/v3/exchangeInfo?symbolStatus=ASLEEP", 400, -1122),
        ("GET", "/api/v3/aggTrades?symbol=BTCUSDT&fromId=1&startTime=1", 400, -1128),
        ("GET", "/api/v3/referencePrice?symbol=BTCUSDT", 400, -2043),
        ("PATCH", "/api/v3/order", 405, -1000),
    ],
)
def test_public_refusals(shared: PaperExchange, method: str, target: str, status: int, code: int) -> None:
    answer = SignedClient(shared.url).raw(method, target.replace('"', "%22"))
    assert (answer.status, answer.code) == (status, code)


def test_paths_that_are_not_there(shared: PaperExchange) -> None:
    client = SignedClient(shared.url)
    assert client.raw("GET", "/api/v3/nothing").status == 404
    gone = client.raw("POST", "/api/v3/userDataStream")
    assert gone.status == 410 and gone.headers["content-type"].startswith("text/html")
    assert client.raw("GET", "/api/v3/time", headers={"X-MBX-TIME-UNIT": "HOURS"}).code == -1194


def test_the_query_wins_over_the_body_and_both_are_signed(exchange: PaperExchange) -> None:
    client = trader(exchange)
    values = limit(exchange)
    body = f"quantity=9&timestamp={int(time.time() * 1000)}"
    query = "&".join(f"{name}={value}" for name, value in values.items())
    signature = client.sign(query + body)
    headers = {"X-MBX-APIKEY": client.made["api_key"], "Content-Type": "application/x-www-form-urlencoded"}  # type: ignore[index]
    answer = client.raw("POST", f"/api/v3/order?{query}&signature={signature}", body.encode(), headers)
    assert answer.status == 200 and answer.body["origQty"] == "0.01000000"
    forged = client.raw(
        "POST",
        f"/api/v3/order?{query}&signature={signature}",
        body.replace("quantity=9", "quantity=8").encode(),
        headers,
    )
    assert forged.code == -1022


def test_candles_agree_with_the_trades(shared: PaperExchange) -> None:
    client = SignedClient(shared.url)
    candles = client.ok("GET", "klines", symbol=SYMBOL, interval="1m", limit=5)
    hour = client.ok("GET", "klines", symbol=SYMBOL, interval="1h", limit=2)[0]
    minutes = client.ok("GET", "klines", symbol=SYMBOL, interval="1m", startTime=hour[0], endTime=hour[6], limit=1000)
    assert (hour[1], hour[4], hour[8]) == (minutes[0][1], minutes[-1][4], sum(row[8] for row in minutes))
    assert Decimal(hour[2]) == max(Decimal(row[2]) for row in minutes)
    assert Decimal(hour[5]) == sum(Decimal(row[5]) for row in minutes)
    first = candles[2]
    trades = client.ok("GET", "aggTrades", symbol=SYMBOL, startTime=first[0], endTime=first[6], limit=1000)
    assert sum(Decimal(row["q"]) for row in trades) == Decimal(first[5])
    assert (trades[0]["p"], trades[-1]["p"]) == (first[1], first[4])
    assert [row[0] for row in candles] == sorted(row[0] for row in candles)
    zoned = client.ok("GET", "klines", symbol=SYMBOL, interval="1d", timeZone="+05:30", limit=1)[0]
    assert zoned[0] % 86_400_000 == 86_400_000 - 19_800_000


# -- limits ------------------------------------------------------------------------------------------------------------


def test_too_much_weight_is_429_then_418(exchange: PaperExchange) -> None:
    """The windows are the clock's minutes: one may end in the middle. The lengths of bans are test_limits' matter."""
    client = SignedClient(exchange.url)
    answers = [client.ask("GET", "depth", symbol=SYMBOL, limit=5000)]
    while answers[-1].status != 418:
        answers.append(client.ask("GET", "depth", symbol=SYMBOL, limit=5000))
        assert len(answers) < 200
    assert {answer.status for answer in answers[:-1]} == {200, 429} and answers[23].status == 200
    over = next(answer for answer in answers if answer.status == 429)
    assert over.code == -1003 and 1 <= int(over.headers["retry-after"]) <= 61
    assert int(over.headers["x-mbx-used-weight-1m"]) > 6000
    last = client.ask("GET", "ping")
    assert last.status == 418 and int(last.headers["retry-after"]) > 60
    assert "IP banned until" in last.body["msg"]
    for target, headers in (
        ("/api/v3/depth?symbol=A&symbol=B", {}),
        ("/api/v3/time", {"X-MBX-TIME-UNIT": "X"}),
        ("/api/v3/nosuch", {}),
    ):
        assert client.raw("GET", target, headers=headers).status == 418, "a ban is for whatever is asked"


def test_what_cannot_be_read_weighs_too(exchange: PaperExchange) -> None:
    client = SignedClient(exchange.url)
    used = [
        int(client.raw("GET", "/api/v3/depth?symbol=A&symbol=B").headers["x-mbx-used-weight-1m"]) for _ in range(20)
    ]
    assert used[-1] > 1 and all(used)


def test_a_time_out_inside_is_504_whether_the_order_was_executed_or_not(exchange: PaperExchange) -> None:
    client = trader(exchange)
    for kind in ("code-1007", "executed-1007"):
        exchange.fault(kind, count=1)
        answer = client.ask("POST", "order", **MARKET)
        assert (answer.status, answer.code) == (504, -1007)
        assert len(answer.headers["x-mbx-uuid"]) == 32


@pytest.mark.parametrize("kind", ["code-1003", "code-1007", "code-1021", "code-2015", "http-418", "http-429"])
def test_what_the_exchange_refuses_on_demand_bears_its_headers(exchange: PaperExchange, kind: str) -> None:
    exchange.fault(kind, count=1)
    answer = SignedClient(exchange.url).ask("GET", "ping")
    assert int(answer.headers["x-mbx-used-weight-1m"]) >= 0 and len(answer.headers["x-mbx-uuid"]) == 32
    assert ("IP banned until" in answer.body["msg"]) is (kind == "http-418")


def test_a_receive_window_over_the_largest_is_1131_at_any_length(exchange: PaperExchange) -> None:
    client = trader(exchange)
    assert [client.ask("GET", "account", recvWindow=one).code for one in (60001, 100000, 10**9)] == [-1131] * 3


def test_too_many_orders_are_1015(exchange: PaperExchange) -> None:
    client = trader(exchange)
    answers = [client.ask("POST", "order", **limit(exchange, quantity="0.001"))]
    while answers[-1].status == 200:
        answers.append(client.ask("POST", "order", **limit(exchange, quantity="0.001")))
        assert len(answers) < 190
    assert (answers[-1].status, answers[-1].code) == (429, -1015) and len(answers) > 50
    tens, days = (row["count"] for row in client.ok("GET", "rateLimit/order"))
    assert tens <= 50 <= days


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "path", "status", "code"),
    [
        ("key-deleted", "account", 401, -2015),
        ("ip-changed", "account", 401, -2015),
        ("permission-taken", "order", 401, -2015),
        ("key-expired", "order", 401, -2015),
        ("trading-disabled", "order", 400, -2010),
    ],
)
def test_faults_of_the_key(exchange: PaperExchange, fault: str, path: str, status: int, code: int) -> None:
    client = trader(exchange)
    exchange.fault(fault, count=1)
    answer = client.ask("GET", path) if path == "account" else client.ask("POST", path, **MARKET)
    assert (answer.status, answer.code) == (status, code)
    hit = exchange.faults()[0]
    assert hit["hits"] == 1 and hit["last"].endswith(f"/api/v3/{path}")
    assert client.ask("POST", "order", **MARKET).status == 200


def test_a_fault_shows_in_the_keys_restrictions(exchange: PaperExchange) -> None:
    client = trader(exchange)
    exchange.fault("permission-taken")
    assert client.ok("GET", "/sapi/v1/account/apiRestrictions")["enableSpotAndMarginTrading"] is False
    exchange.clear_faults()
    exchange.fault("trading-disabled")
    assert client.ok("GET", "account")["canTrade"] is False


def fetched(exchange: PaperExchange, path: str) -> bytes:
    with urllib.request.urlopen(f"{exchange.url}{path}") as answer:
        data: bytes = answer.read()
        return data


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"merge": {"status": "PENDING_REVIEW"}}, {"status": "PENDING_REVIEW", "symbol": SYMBOL}),
        ({"drop": ["status", "price"]}, {"status": None, "price": None, "symbol": SYMBOL}),
        ({"merge": {"price": None}, "drop": ["status"]}, {"status": None, "price": None, "symbol": SYMBOL}),
    ],
)
def test_an_answer_is_changed_by_a_rule(
    exchange: PaperExchange, change: dict[str, Any], expected: dict[str, Any]
) -> None:
    exchange.pause()
    client = trader(exchange)
    exchange.fault("answer", method="POST", path="/api/v3/order", count=1, **change)
    placed = client.ok("POST", "order", **limit(exchange))
    assert {name: placed.get(name) for name in expected} == expected
    exchange.fault("answer", method="GET", path="/api/v3/openOrders", after=1, count=1, **change)
    rows = [client.ok("GET", "openOrders", symbol=SYMBOL) for _ in range(3)]
    assert {name: rows[1][0].get(name) for name in expected} == expected, "each row of a list"
    assert rows[0] == rows[2] and rows[0][0]["status"] == "NEW", "only the answer is changed"
    assert [fault["hits"] for fault in exchange.faults()] == [1, 1]


@pytest.mark.parametrize(("body", "read"), [("{}", {}), ("[]", []), ("null", None)])
def test_a_body_and_a_status_are_replaced(exchange: PaperExchange, body: str, read: Any) -> None:
    client = trader(exchange)
    exchange.fault("answer", method="POST", path="/api/v3/order", body=body, status=202, count=1)
    answer = client.ask("POST", "order", **MARKET)
    assert (answer.status, answer.body) == (202, read)
    assert len(client.ok("GET", "allOrders", symbol=SYMBOL)) == 1, "it was executed"
    assert [row["fault"] for row in exchange.requests() if "fault" in row] == ["answer"]


@pytest.mark.parametrize("body", ["", "<html>", '{"id":'])
def test_a_body_that_is_no_json_replaces_an_answer(exchange: PaperExchange, body: str) -> None:
    exchange.fault("answer", method="GET", path="/api/v3/time", body=body)
    assert fetched(exchange, "/api/v3/time") == body.encode()


@pytest.mark.parametrize(
    ("address", "location"),
    [
        ("http://127.0.0.1:9", "http://127.0.0.1:9/api/v3/order?symbol=X"),
        ("https://other.example/trap", "https://other.example/trap"),
    ],
)
def test_a_redirect_executes_nothing(exchange: PaperExchange, address: str, location: str) -> None:
    client = trader(exchange)
    exchange.fault(f"redirect:{address}", method="POST", path="/api/v3/order", count=1)
    answer = client.raw("POST", "/api/v3/order?symbol=X")
    assert (answer.status, answer.headers["location"]) == (307, location)
    assert client.ok("GET", "allOrders", symbol=SYMBOL) == []


def test_an_endless_body_is_cut_at_its_bound_and_a_deep_one_is_deep(exchange: PaperExchange) -> None:
    client = trader(exchange)
    exchange.fault("endless", method="GET", path="/api/v3/time", count=1)
    received = 0
    with sockets.create_connection(("127.0.0.1", int(exchange.url.rpartition(":")[2])), 10) as connection:
        connection.sendall(b"GET /api/v3/time HTTP/1.1\r\nHost: x\r\n\r\n")
        with suppress(ConnectionError):
            while data := connection.recv(1 << 20):
                received += len(data)
    assert ENDLESS_BYTES // 2 < received < ENDLESS_BYTES * 1.01
    exchange.fault("deep", method="GET", path="/api/v3/time", count=1)
    assert fetched(exchange, "/api/v3/time") == b"[" * DEEP_LEVELS + b"]" * DEEP_LEVELS
    assert client.ok("GET", "time", signed=False)["serverTime"]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "answer"},
        {"kind": "slow:1", "body": "{}"},
        {"kind": "redirect"},
        {"kind": "redirect:ftp://127.0.0.1"},
        {"kind": "redirect:http://a\r\nX: y"},
        {"kind": "answer", "status": 99},
        {"kind": "answer", "merge": json.loads('{"a":' * 250 + "1" + "}" * 250)},
    ],
)
def test_a_change_that_does_not_fit_is_refused(exchange: PaperExchange, fault: dict[str, Any]) -> None:
    with pytest.raises(BadInputError):
        exchange.fault(**fault)
    assert exchange.faults() == []


def test_a_drifting_clock(exchange: PaperExchange) -> None:
    client = trader(exchange)
    exchange.fault("clock-drift:100000")
    time.sleep(0.1)
    assert client.ok("GET", "time", signed=False)["serverTime"] > time.time() * 1000 + 5000
    assert client.ask("GET", "account").code == -1021
    exchange.clear_faults()
    assert client.ask("GET", "account").status == 200


def test_a_full_disk_is_an_unknown_outcome_and_nothing_is_lost(tmp_path: Path) -> None:
    state = tmp_path / "state.sqlite"
    with in_process(market=["synthetic:3"], state=state) as exchange:
        exchange.pause()
        client = trader(exchange)
        exchange.fault("disk-full", count=1)
        answer = client.ask("POST", "order", **limit(exchange, newClientOrderId="unknown"))
        assert (answer.status, answer.code) == (500, -1000)
        (fault,) = [one for one in exchange.faults() if one["kind"] == "disk-full"]
        assert fault["hits"] == 1
        client.ok("POST", "order", **limit(exchange, newClientOrderId="known"))
    with in_process(market=["synthetic:3"], state=state) as exchange:
        client.host = exchange.url.removeprefix("http://")
        open_ = client.ok("GET", "openOrders", symbol=SYMBOL)
        assert {one["clientOrderId"] for one in open_} == {"unknown", "known"}


# -- sockets -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def connected(url: str, **more: Any) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with aiohttp.ClientSession() as session, session.ws_connect(url, **more) as socket:
        yield socket


async def said(socket: aiohttp.ClientWebSocketResponse, document: Any) -> Any:
    await socket.send_json(document)
    async with asyncio.timeout(10):
        return await socket.receive_json()


async def follow(client: SignedClient, socket: aiohttp.ClientWebSocketResponse) -> None:
    answer = await said(socket, _subscribe(client))
    assert answer["status"] == 200, answer


def _subscribe(client: SignedClient) -> dict[str, Any]:
    return {"id": 1, "method": "userDataStream.subscribe.signature", "params": client.signed_params()}


async def events(socket: aiohttp.ClientWebSocketResponse, seconds: float = 0.6) -> list[dict[str, Any]]:
    found = []
    try:
        async with asyncio.timeout(seconds):
            while True:
                found.append((await socket.receive_json())["event"])
    except (TimeoutError, TypeError):
        return found


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("event-dropped", ["TRADE"]),
        ("event-doubled", ["NEW", "NEW", "TRADE"]),
        ("event-reordered", ["TRADE", "NEW"]),
        ("event-delayed:0.2", ["TRADE", "NEW"]),
    ],
)
async def test_faults_of_events(exchange: PaperExchange, fault: str, expected: list[str]) -> None:
    client = trader(exchange)
    async with connected(exchange.ws_api_url) as socket:
        await follow(client, socket)
        await asyncio.to_thread(exchange.fault, fault, method="EVENT", path="executionReport", count=1)
        await asyncio.to_thread(client.ok, "POST", "order", **MARKET)
        told = [event["x"] for event in await events(socket) if event["e"] == "executionReport"]
    assert told == expected


async def test_events_are_changed_by_a_rule(exchange: PaperExchange) -> None:
    client = trader(exchange)
    async with connected(exchange.ws_api_url) as socket:
        await follow(client, socket)
        change = {"merge": {"X": "PENDING_REVIEW"}, "drop": ["Y"]}
        await asyncio.to_thread(
            exchange.fault, "answer", method="EVENT", path="executionReport", after=1, count=1, **change
        )
        await asyncio.to_thread(client.ok, "POST", "order", **MARKET)
        told = [event for event in await events(socket) if event["e"] == "executionReport"]
    assert [(event["X"], "Y" in event) for event in told] == [("NEW", True), ("PENDING_REVIEW", False)]


async def test_a_stalled_socket_says_nothing_and_then_everything(exchange: PaperExchange) -> None:
    client = trader(exchange)
    async with connected(exchange.ws_api_url) as socket:
        await follow(client, socket)
        await asyncio.to_thread(exchange.fault, "ws-stalled")
        await asyncio.to_thread(client.ok, "POST", "order", **MARKET)
        assert await events(socket, 0.4) == []
        await asyncio.to_thread(exchange.clear_faults)
        assert [event["e"] for event in await events(socket)][-1] == "outboundAccountPosition"


@pytest.mark.parametrize(
    ("choice", "ended", "more"), [("at-once", True, False), ("0.2", True, True), ("silent", False, False)]
)
async def test_what_an_open_stream_does_when_its_key_is_deleted(
    exchange: PaperExchange, choice: str, ended: bool, more: bool
) -> None:
    client = trader(exchange)
    async with connected(exchange.ws_api_url) as socket:
        await follow(client, socket)
        await asyncio.to_thread(exchange.fault, f"revoked-stream:{choice}")
        await asyncio.to_thread(exchange.delete_key, "bot")
        await asyncio.to_thread(exchange.deposit, "USDT", "1")
        told = [event["e"] for event in await events(socket)]
    assert ("eventStreamTerminated" in told) is ended
    assert ("balanceUpdate" in told) is more
    again = await asyncio.to_thread(client.ask, "GET", "account")
    assert again.code == -2015


async def test_a_logged_on_session_is_revoked_at_its_next_request(exchange: PaperExchange) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    made = exchange.create_key("bot", type="ed25519")
    private = load_pem_private_key(made["private_key"].encode(), None)

    def signed() -> dict[str, Any]:
        import base64

        values = {"apiKey": made["api_key"], "timestamp": int(time.time() * 1000)}
        payload = "&".join(f"{name}={values[name]}" for name in sorted(values))
        return {**values, "signature": base64.b64encode(private.sign(payload.encode())).decode()}  # type: ignore[union-attr,call-arg,arg-type]

    async with connected(exchange.ws_api_url) as socket:
        on = await said(socket, {"id": "a", "method": "session.logon", "params": signed()})
        assert on["result"]["apiKey"] == made["api_key"]
        stamped = {"timestamp": int(time.time() * 1000)}
        assert (await said(socket, {"id": 1, "method": "account.status", "params": stamped}))["status"] == 200
        await asyncio.to_thread(exchange.delete_key, "bot")
        refused = await said(socket, {"id": 2, "method": "account.status", "params": stamped})
        assert (refused["id"], refused["status"], refused["error"]["code"]) == (None, 401, -2015)
        async with asyncio.timeout(5):
            assert (await socket.receive_json())["id"] == 2
        status = await said(socket, {"id": 3, "method": "session.status"})
        assert status["result"]["apiKey"] is None


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("not json", -1135),
        ({"id": 1}, -1135),
        ({"id": 1, "method": "nothing.here"}, -1130),
        ({"id": 1, "method": "order.place", "params": {"symbol": SYMBOL}}, -2014),
        ({"id": 1, "method": "depth", "params": {"symbol": SYMBOL, "odd": 1}}, -1104),
        ({"id": 1, "method": "depth", "params": [1]}, -1135),
        ({"id": 1, "method": "depth", "params": {"symbol": {"a": 1}}}, -1135),
        ({"id": 1, "method": "userDataStream.subscribe"}, -2015),
        ({"id": 1, "method": "userDataStream.unsubscribe", "params": {"subscriptionId": 7}}, -2036),
    ],
)
async def test_refusals_of_the_websocket_api(shared: PaperExchange, document: Any, code: int) -> None:
    async with connected(shared.ws_api_url) as socket:
        await socket.send_str(document if isinstance(document, str) else json.dumps(document))
        answer = await socket.receive_json()
    assert answer["error"]["code"] == code and answer["status"] in (400, 401)


async def test_rate_limits_can_be_left_out(shared: PaperExchange) -> None:
    async with connected(f"{shared.ws_api_url}?returnRateLimits=false") as socket:
        assert "rateLimits" not in await said(socket, {"id": 1, "method": "time"})
        shown = await said(socket, {"id": 2, "method": "v3/time", "params": {"returnRateLimits": True}})
        assert shown["rateLimits"][0]["rateLimitType"] == "REQUEST_WEIGHT"


async def test_faults_of_the_websocket_api(exchange: PaperExchange) -> None:
    client = trader(exchange)
    for fault, expected in (("code-1007", 504), ("http-503", 503), ("executed-1007", 504), ("maintenance", 503)):
        async with connected(exchange.ws_api_url) as socket:
            await asyncio.to_thread(exchange.fault, fault, method="WS", path="order.place", count=1)
            answer = await said(socket, {"id": 1, "method": "order.place", "params": client.signed_params(**MARKET)})
            assert answer["status"] == expected
    assert len(await asyncio.to_thread(client.ok, "GET", "allOrders", symbol=SYMBOL)) == 1
    async with connected(exchange.ws_api_url) as socket:
        await asyncio.to_thread(exchange.fault, "cut-after-execute", method="WS", count=1)
        await socket.send_json({"id": 1, "method": "order.place", "params": client.signed_params(**MARKET)})
        async with asyncio.timeout(5):
            assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    assert len(await asyncio.to_thread(client.ok, "GET", "allOrders", symbol=SYMBOL)) == 2


async def test_answers_of_the_websocket_api_are_changed_by_a_rule(exchange: PaperExchange) -> None:
    client = trader(exchange)
    async with connected(exchange.ws_api_url) as socket:
        match = {"method": "WS", "path": "order.place", "count": 1}
        await asyncio.to_thread(exchange.fault, "answer", **match, merge={"status": "ODD"}, status=202)
        answer = await said(socket, {"id": 1, "method": "order.place", "params": client.signed_params(**MARKET)})
        assert (answer["id"], answer["status"], answer["result"]["status"]) == (1, 202, "ODD")
        await asyncio.to_thread(exchange.fault, "answer", **match, body="null")
        answer = await said(socket, {"id": 2, "method": "order.place", "params": client.signed_params(**MARKET)})
        assert (answer["id"], answer["status"], answer["result"]) == (2, 200, None)
        await asyncio.to_thread(exchange.fault, "deep", method="WS", path="time", count=1)
        await socket.send_json({"id": 3, "method": "time"})
        async with asyncio.timeout(5):
            assert (await socket.receive()).data.startswith("[[[[")
    assert len(await asyncio.to_thread(client.ok, "GET", "allOrders", symbol=SYMBOL)) == 2


async def test_subscriptions_of_the_streams(shared: PaperExchange) -> None:
    async with connected(f"{shared.stream_url}/ws") as socket:
        assert await said(socket, {"method": "SUBSCRIBE", "params": ["btcusdt@trade", "nothing@x"], "id": "a1"}) == {
            "result": None,
            "id": "a1",
        }
        listed = await said(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 3})
        assert listed["result"] == ["btcusdt@trade", "nothing@x"]
        await said(socket, {"method": "UNSUBSCRIBE", "params": ["nothing@x"], "id": 4})
        assert (await said(socket, {"method": "SET_PROPERTY", "params": ["combined", True], "id": 5}))["result"] is None
    async with connected(f"{shared.stream_url}/stream") as socket:
        assert (await said(socket, {"method": "GET_PROPERTY", "params": ["combined"], "id": 6}))["result"] is True
        assert (await said(socket, {"method": "SUBSCRIBE", "params": [1], "id": 1}))["error"]["code"] == 2
        assert (await said(socket, {"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1}))["error"][
            "code"
        ] == 1
        assert (await said(socket, {"method": "SET_PROPERTY", "params": ["odd", True], "id": 1}))["error"]["code"] == 0
        assert (await said(socket, "x"))["error"]["code"] == 2


async def test_more_than_five_frames_a_second_end_a_stream(shared: PaperExchange) -> None:
    async with connected(f"{shared.stream_url}/ws") as socket:
        for number in range(8):
            await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
        async with asyncio.timeout(5):
            kinds = [(await socket.receive()).type for _ in range(7)]
    assert aiohttp.WSMsgType.CLOSE in kinds or aiohttp.WSMsgType.CLOSED in kinds


async def test_a_socket_ends_with_its_life() -> None:
    import tempfile
    from dataclasses import replace

    from fortctl.paper.engine.market_data import load
    from fortctl.paper.server.lifecycle import start
    from fortctl.paper.server.server import ServerOptions

    with tempfile.TemporaryDirectory() as folder:
        tape = load("synthetic:1")
        options = ServerOptions({tape.symbol.name: tape}, Path(folder), port=0)
        running = await start(replace(options, socket_life=0.3))
        try:
            async with connected(f"{running.ready['ws_url']}/ws/btcusdt@trade") as socket:
                async with asyncio.timeout(5):
                    while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                        pass
                assert message.type is aiohttp.WSMsgType.CLOSE
        finally:
            await running.stop()


async def test_a_local_book_can_be_kept_from_snapshot_and_differences(exchange: PaperExchange) -> None:
    """web-socket-streams.md, "How to manage a local order book correctly"."""
    client = trader(exchange)
    async with connected(f"{exchange.stream_url}/ws/btcusdt@depth@100ms") as socket:
        await asyncio.sleep(0.15)
        told: list[dict[str, Any]] = []
        await asyncio.to_thread(exchange.step, 5)
        snapshot = await asyncio.to_thread(client.ok, "GET", "depth", symbol=SYMBOL, limit=5000, signed=False)
        for _ in range(6):
            await asyncio.to_thread(exchange.step, 7)
            await asyncio.to_thread(client.ok, "POST", "order", **MARKET)
            async with asyncio.timeout(5):
                told.append(await socket.receive_json())
        end = await asyncio.to_thread(client.ok, "GET", "depth", symbol=SYMBOL, limit=5000, signed=False)
        while told[-1]["u"] < end["lastUpdateId"]:
            async with asyncio.timeout(5):
                told.append(await socket.receive_json())
    useful = [event for event in told if event["u"] > snapshot["lastUpdateId"]]
    assert useful[0]["U"] <= snapshot["lastUpdateId"] + 1 <= useful[0]["u"]
    assert all(later["U"] == earlier["u"] + 1 for earlier, later in itertools.pairwise(useful))
    for side, short in (("bids", "b"), ("asks", "a")):
        book = dict(map(tuple, snapshot[side]))
        for event in useful:
            for price, size in event[short]:
                book[price] = size
                if Decimal(size) == 0:
                    del book[price]
        assert book == dict(map(tuple, end[side]))


async def test_candles_are_told_until_they_close() -> None:
    with in_process(market=["synthetic:3"], speed=1, start=0.5) as exchange:
        async with connected(f"{exchange.stream_url}/stream?streams=btcusdt@kline_1s/btcusdt@aggTrade") as socket:
            seen: dict[str, list[Any]] = {"kline": [], "aggTrade": []}
            async with asyncio.timeout(20):
                while len([one for one in seen["kline"] if one["k"]["x"]]) < 2:
                    data = (await socket.receive_json())["data"]
                    seen[data["e"]].append(data)
        closed = [one["k"] for one in seen["kline"] if one["k"]["x"]]
        assert all(one["T"] - one["t"] == 999 for one in closed)
        client = SignedClient(exchange.url)
        row = client.ok("GET", "klines", symbol=SYMBOL, interval="1s", startTime=closed[0]["t"], limit=1)[0]
        assert [row[1], row[4], row[5], row[8]] == [closed[0][name] for name in "ocvn"]
        numbers = [one["a"] for one in seen["aggTrade"]]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


# -- state and repeatability -------------------------------------------------------------------------------------------


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state.sqlite"
    with in_process(market=["synthetic:3"], state=state) as exchange:
        exchange.pause()
        exchange.edit_symbol(SYMBOL, maker="0.0002")
        client = trader(exchange)
        low = limit(exchange, "0.97")
        client.ok("POST", "order", **{**low, "icebergQty": "0.002"})
        price, high = low["price"], limit(exchange, "1.03")["price"]
        client.ok("POST", "order", symbol=SYMBOL, side="SELL", type="STOP_LOSS", quantity="0.01", stopPrice=price)
        legs = {"aboveType": "LIMIT_MAKER", "abovePrice": high, "belowType": "STOP_LOSS", "belowStopPrice": price}
        listed = client.ok("POST", "orderList/oco", symbol=SYMBOL, side="SELL", quantity="0.01", **legs)
        client.ok("POST", "order", **MARKET)
        number = client.ok("GET", "openOrders", symbol=SYMBOL)[0]["orderId"]
        client.ok("PUT", "order/amend/keepPriority", symbol=SYMBOL, orderId=number, newQty="0.008")
        exchange.step(20)
        calls = [("openOrders", {"symbol": SYMBOL}), ("openOrderList", {}), ("account", {})]
        calls += [("order/amendments", {"symbol": SYMBOL, "orderId": number}), ("myTrades", {"symbol": SYMBOL})]
        before = [client.ok("GET", path, **values) for path, values in calls]
        position = exchange.market()["position"]
    with in_process(market=["synthetic:3"], state=state) as exchange:
        exchange.pause()
        client.host = exchange.url.removeprefix("http://")
        assert [client.ok("GET", path, **values) for path, values in calls] == before
        assert exchange.market()["position"] >= position
        assert client.ok("GET", "account/commission", symbol=SYMBOL)["standardCommission"]["maker"] == "0.00020000"
        client.ok("DELETE", "orderList", symbol=SYMBOL, orderListId=listed["orderListId"])
        client.ok("DELETE", "openOrders", symbol=SYMBOL)
        assert all(Decimal(one["locked"]) == 0 for one in client.ok("GET", "account")["balances"])


TIMES = frozenset(
    [
        *("E", "T", "O", "W", "u", "time", "updateTime", "workingTime", "transactTime", "transactionTime"),
        *("trailingTime", "D"),
    ]
)


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: timeless(one) for name, one in value.items() if not (name in TIMES and isinstance(one, int))}
    return [timeless(one) for one in value] if isinstance(value, list) else value


async def one_run() -> list[Any]:
    """The same commands at the same market positions; what came of them, without the times."""
    with in_process(market=["synthetic:5"], speed="max") as exchange:
        exchange.pause()
        client = trader(exchange)
        async with connected(exchange.ws_api_url) as socket:
            await follow(client, socket)
            for number in range(12):
                await asyncio.to_thread(exchange.step, 40)
                values = limit(exchange, "0.9995" if number % 2 else "1.0005", "BUY" if number % 2 else "SELL")
                await asyncio.to_thread(client.ask, "POST", "order", **values)
                if number % 3 == 0:
                    await asyncio.to_thread(client.ask, "POST", "order", **MARKET)
                if number % 5 == 4:
                    await asyncio.to_thread(client.ask, "DELETE", "openOrders", symbol=SYMBOL)
            await asyncio.to_thread(exchange.step, 400)
            told = await events(socket, 1.0)
        calls = [("allOrders", {"symbol": SYMBOL}), ("myTrades", {"symbol": SYMBOL}), ("account", {})]
        answers = [await asyncio.to_thread(client.ok, "GET", path, **values) for path, values in calls]
    assert len(answers[1]) > 8, "hardly anything was filled"
    return timeless([told, answers])  # type: ignore[no-any-return]


async def test_two_runs_of_a_server_are_the_same() -> None:
    assert await one_run() == await one_run()


# -- sub-accounts ------------------------------------------------------------------------------------------------------


def test_keys_of_a_sub_account_v2(exchange: PaperExchange) -> None:
    exchange.create_account("robot-7", {"USDT": "100"}, master="default")
    own = exchange.create_key("pattern", type="ed25519")
    from cryptography.hazmat.primitives import serialization

    private = serialization.load_pem_private_key(own["private_key"].encode(), None)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    master, path = trader(exchange, "master"), "/sapi/v2/sub-account/subAccountApi"
    named = {"email": "robot-7@paper.example", "apiName": "robot-1", "status": 2, "ipAddress": "127.0.0.1"}
    in_url = master.ask("POST", path, **named, publicKey=public.decode())
    assert in_url.status == 400, "the public key is refused in the URL"
    from urllib.parse import urlencode

    headers = {"X-MBX-APIKEY": master.made["api_key"], "Content-Type": "application/x-www-form-urlencoded"}  # type: ignore[index]

    def create(**more: Any) -> Any:
        body = urlencode({**named, "publicKey": public.decode(), **more, "timestamp": int(time.time() * 1000)})
        return master.raw("POST", path, f"{body}&signature={master.sign(body)}".encode(), headers)

    made = create(canTrade="true", canFixApiReading="true")
    assert made.status == 200 and made.body["secretKey"] == "" and made.body["ipList"] == ["127.0.0.1"]
    assert made.body["canTrade"] is True and made.body["canFixApiReading"] is True
    assert create().code == -1130, "the name is taken"
    assert create(apiName="other", email="nobody@paper.example").code == -1130
    listed = master.ok("GET", "/sapi/v1/sub-account/subAccountApi", email=named["email"])
    assert [row["apikey"] for row in listed["rows"]] == [made.body["apiKey"]]
    reader = trader(exchange, "reader", permissions=["reading"])
    refused = reader.ask(
        "DELETE",
        "/sapi/v1/sub-account/subAccountApi",
        email=named["email"],
        subAccountApiKey=made.body["apiKey"],
    )
    assert refused.code == -2015
    sub = trader(exchange, "sub", account="robot-7")
    assert sub.ask("GET", "/sapi/v1/sub-account/subAccountApi", email=named["email"]).code == -1002


# -- recordings --------------------------------------------------------------------------------------------------------

AGGREGATES = "a,p,q,f,l,T,m,M\n1,100.1,2.5,10,12,1700000000000,true,true\n2,100.2,1,13,13,1700000001000,false,true\n"
KLINES = (
    "1700000000000000,100,110,90,105,8,1700000059999999,800,40,4,400,0\n"
    "1700000060000000,105,106,95,96,4,1700000119999999,400,20,2,200,0\n"
)


@pytest.mark.parametrize("packing", ["csv", "gz", "zip"])
@pytest.mark.parametrize(("text", "prices"), [(AGGREGATES, "100.1 100.2"), (KLINES, "100 90 110 105 105 106 95 96")])
def test_layouts_of_the_archive(tmp_path: Path, text: str, prices: str, packing: str) -> None:
    import gzip
    import zipfile

    from fortctl.paper.engine.market_data import load

    path = tmp_path / f"BNBUSDT-some-2026.{'csv.gz' if packing == 'gz' else packing}"
    if packing == "gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif packing == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("BNBUSDT-some-2026.csv", text)
    else:
        path.write_text(text)
    tape = load(str(path))
    assert tape.symbol.base == "BNB" and [one.price for one in tape.trades] == [
        Decimal(price) for price in prices.split()
    ]
    assert sum(one.quantity for one in tape.trades) == (Decimal("3.5") if text is AGGREGATES else 12)
    assert tape.trades[0].time == 1_700_000_000_000


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("1,5,1,5,1,true,true\n1,x,1,5,1,true,true\n", "line 2"),
        ("1,5,1,5,1,true,true\n2,5,1,5,0,true,true\n", "line 2"),
        ("1,5,1,5,1,perhaps,true\n", "line 1"),
        ("1,NaN,1,5,1,true,true\n", "line 1"),
        ("1,5,1,5,1,true,true\n2,5,1,5,1,true\n", "line 2"),
        ("1700000000000,100,90,110,105,8,1700000059999,800,40,4,400,0\n", "line 1"),
        ("id,price\n", "empty"),
    ],
)
def test_malformed_recordings_are_refused(tmp_path: Path, lines: str, named: str) -> None:
    from fortctl.paper.engine.market_data import load

    path = tmp_path / "XRPETH-trades.csv"
    path.write_text(lines)
    with pytest.raises(BadInputError, match=named):
        load(str(path))


def test_two_symbols_are_merged_by_time(tmp_path: Path) -> None:
    (tmp_path / "AAABTC-trades.csv").write_text("1,5,1,5,1000,true,true\n2,6,1,6,3000,true,true\n")
    (tmp_path / "BBBBTC-trades.csv").write_text("1,7,1,7,2000,true,true\n2,8,1,8,4000,false,true\n")
    with in_process(market=[str(tmp_path / f"{name}BTC-trades.csv") for name in ("AAA", "BBB")], speed="max") as one:
        one.pause()
        seen = [one.market()["price"]] + [one.step(1)["price"] for _ in range(3)]
    assert [[row["AAABTC"], row["BBBBTC"]] for row in seen] == [
        ["5.00000000", None],
        ["5.00000000", "7.00000000"],
        ["6.00000000", "7.00000000"],
        ["6.00000000", "8.00000000"],
    ]
