"""python-binance, unchanged but for base URLs, against a real paper exchange; and our own adapter under faults."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from binance import AsyncClient, BinanceSocketManager, Client
from binance.exceptions import BinanceAPIException

from fortctl.exchange.client import BinanceExchange
from fortctl.exchange.targets import resolve
from fortctl.model import KeyPair, KeyType, OrderRequest, OrderType, OrderUpdate, Side, StreamDown, StreamUp
from fortctl.paper.admin_client import ask
from fortctl.ports import ExchangeError, Outcome
from fortctl.secret import Secret
from support.harness import Paper, Shell, serve_paper

SYMBOL = "BTCUSDT"
ACCOUNTS = itertools.count()


@contextlib.contextmanager
def serving(home: Path) -> Iterator[tuple[Shell, Paper]]:
    shell = Shell(home)
    paper = serve_paper(shell, "--market", "synthetic:3", "--speed", "1", "--limits", "real")
    page(shell, "market", action="pause")
    yield shell, paper
    paper.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shell, Paper]]:
    with serving(tmp_path_factory.mktemp("shared") / "home") as one:
        yield one


@pytest.fixture
def served(shared: tuple[Shell, Paper]) -> Iterator[tuple[Shell, Paper]]:
    """One exchange for all tests here; each has keys of its own, of accounts of their own."""
    shell, _paper = shared
    yield shared
    page(shell, "fault/clear")
    for one in page(shell, "keys/list")["keys"]:
        page(shell, "keys/delete", name=one["name"])


def page(shell: Shell, what: str, **body: Any) -> dict[str, Any]:
    return ask(shell.home / "paper", what, body)


def key(shell: Shell, name: str, permissions: str, kind: str = "hmac", **more: Any) -> dict[str, Any]:
    account = f"account-{next(ACCOUNTS)}"
    page(shell, "accounts/create", name=account, deposits={"BTC": "1", "USDT": "10000"})
    rights = permissions.split(",")
    return page(shell, "keys/create", name=name, permissions=rights, type=kind, account=account, **more)


def redirected(base: type, url: str) -> Any:
    return type(
        base.__name__,
        (base,),
        {
            "API_URL": f"{url}/api",
            "MARGIN_API_URL": f"{url}/sapi",
            "WS_API_URL": "ws" + url.removeprefix("http") + "/ws-api/v3",
        },
    )


def credentials(made: dict[str, Any]) -> dict[str, Any]:
    if "private_key" in made:
        return {"api_key": made["api_key"], "private_key": made["private_key"]}
    return {"api_key": made["api_key"], "api_secret": made["secret_key"]}


@pytest.mark.parametrize("kind", ["hmac", "ed25519", "rsa"])
def test_sync_client(served: tuple[Shell, Paper], kind: str) -> None:
    shell, paper = served
    client = redirected(Client, paper.ready["url"])(**credentials(key(shell, "r", "reading,spot_trading", kind)))
    info = client.get_symbol_info(SYMBOL)
    assert {one["filterType"] for one in info["filters"]} >= {"PRICE_FILTER", "LOT_SIZE", "NOTIONAL"}
    price = Decimal(client.get_symbol_ticker(symbol=SYMBOL)["price"])
    low = str((price * Decimal("0.98")).quantize(Decimal("0.01")))
    order = client.order_limit_buy(symbol=SYMBOL, quantity="0.01", price=low, newClientOrderId="mine-1")
    assert (order["status"], order["clientOrderId"], order["fills"]) == ("NEW", "mine-1", [])
    assert [one["clientOrderId"] for one in client.get_open_orders(symbol=SYMBOL)] == ["mine-1"]
    assert client.get_order(symbol=SYMBOL, origClientOrderId="mine-1")["orderId"] == order["orderId"]
    locked = next(one for one in client.get_account()["balances"] if one["asset"] == "USDT")["locked"]
    assert Decimal(locked) == Decimal(low) * Decimal("0.01")
    cancelled = client.cancel_order(symbol=SYMBOL, origClientOrderId="mine-1")
    assert (cancelled["status"], cancelled["origClientOrderId"]) == ("CANCELED", "mine-1")
    bought = client.order_market_buy(symbol=SYMBOL, quantity="0.001")
    assert bought["status"] == "FILLED" and sum(Decimal(fill["qty"]) for fill in bought["fills"]) == Decimal("0.001")
    assert client.get_my_trades(symbol=SYMBOL)[0]["orderId"] == bought["orderId"]
    assert client.get_account_api_permissions()["enableSpotAndMarginTrading"] is True


def refused(call: Any) -> tuple[int, int]:
    with pytest.raises(BinanceAPIException) as caught:
        call()
    return caught.value.status_code, caught.value.code


def test_each_refusal_is_binances(served: tuple[Shell, Paper]) -> None:
    shell, paper = served
    made = redirected(Client, paper.ready["url"])
    reader = key(shell, "reader", "reading")
    client = made(reader["api_key"], reader["secret_key"])
    order = {"symbol": SYMBOL, "quantity": "0.01", "price": "30000"}
    assert refused(lambda: client.order_limit_buy(**order)) == (401, -2015)
    assert refused(lambda: client.get_order(symbol=SYMBOL, orderId=99)) == (400, -2013)
    assert refused(lambda: client.get_order(symbol="NOPE", orderId=1)) == (400, -1121)
    wrong = made(reader["api_key"], "Z" * 64)
    assert refused(wrong.get_account) == (400, -1022)
    assert refused(wrong.get_account_api_permissions) == (400, -1022)
    unknown = made("U" * 64, "Z" * 64)
    assert refused(unknown.get_account) == (401, -2015)
    assert refused(unknown.get_account_api_permissions) == (400, -2008)
    assert refused(made("short", "Z" * 64).get_account) == (401, -2014)
    elsewhere = key(shell, "elsewhere", "reading", ips=["203.0.113.7"])
    away = made(elsewhere["api_key"], elsewhere["secret_key"])
    assert refused(away.get_account) == (401, -2015)
    assert refused(away.get_account_api_permissions) == (400, -2015)
    shell.ok("paper", "keys", "delete", "reader")
    assert refused(client.get_account) == (401, -2015)
    assert refused(client.get_account_api_permissions) == (400, -2008)


def test_a_lapsed_trading_right(served: tuple[Shell, Paper]) -> None:
    shell, paper = served
    made = key(shell, "short", "reading,spot_trading", expires_in=0)
    client = redirected(Client, paper.ready["url"])(made["api_key"], made["secret_key"])
    assert client.get_account()["canTrade"] is True
    assert refused(lambda: client.order_limit_buy(symbol=SYMBOL, quantity="0.01", price="39000")) == (401, -2015)
    assert client.get_account_api_permissions()["enableSpotAndMarginTrading"] is False


async def test_async_client_and_its_user_socket(served: tuple[Shell, Paper]) -> None:
    shell, paper = served
    made = key(shell, "r", "reading,spot_trading")
    client = await redirected(AsyncClient, paper.ready["url"]).create(made["api_key"], made["secret_key"])
    try:
        async with BinanceSocketManager(client).user_socket() as socket:
            # How long its read loop waits before it looks whether it shall end.
            client.ws_api.TIMEOUT = 0.1
            await client.order_market_buy(symbol=SYMBOL, quantity="0.001")
            seen = [await asyncio.wait_for(socket.recv(), 5) for _ in range(3)]
        kinds = [event["e"] for event in seen]
        assert kinds == ["executionReport", "executionReport", "outboundAccountPosition"]
        assert [event.get("x") for event in seen[:2]] == ["NEW", "TRADE"]
    finally:
        await client.close_connection()


# -- our own adapter ---------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def adapter(shell: Shell, made: dict[str, Any] | None) -> AsyncIterator[BinanceExchange]:
    pair = None
    if made is not None:
        secret = made.get("secret_key") or made["private_key"]
        pair = KeyPair(made["name"], KeyType(made["type"]), Secret(made["api_key"]), Secret(secret))
    exchange = BinanceExchange(resolve("paper", shell.home), pair)
    try:
        yield exchange
    finally:
        await exchange.close()


def request(name: str, price: str = "39000.00") -> OrderRequest:
    return OrderRequest(SYMBOL, Side.BUY, OrderType.LIMIT, Decimal("0.01"), Decimal(price), name)


async def place(exchange: BinanceExchange, name: str, **more: Any) -> Any:
    stamp = {"timestamp": int(time.time() * 1000), "recv_window": 1000, **more}
    return await exchange.place(request(name), **stamp)


@pytest.mark.parametrize("kind", ["hmac", "ed25519", "rsa"])
async def test_every_method_of_the_port(served: tuple[Shell, Paper], kind: str) -> None:
    shell, _paper = served
    async with adapter(shell, key(shell, "r", "reading,spot_trading", kind)) as exchange:
        assert abs(await exchange.server_time() - time.time() * 1000) < 1000
        rules = await exchange.symbol_rules(SYMBOL)
        assert (rules.base, rules.quote, rules.tick_size) == ("BTC", "USDT", Decimal("0.01"))
        assert (await exchange.account()).balance("BTC").free > 0
        assert (await exchange.key_restrictions()).permissions() == ("reading", "spot_trading")
        await exchange.test_order(request("t-1"))
        placed = await place(exchange, "o-1")
        assert await exchange.order(SYMBOL, "o-1") == (await exchange.open_orders(SYMBOL))[0]
        assert (await exchange.cancel(SYMBOL, "o-1")).status == "CANCELED"
        assert [one.order_id for one in await exchange.all_orders(SYMBOL)] == [placed.order_id]
        assert await exchange.trades(SYMBOL) == ()


async def test_an_order_keeps_the_callers_timestamp(served: tuple[Shell, Paper]) -> None:
    shell, _paper = served
    async with adapter(shell, key(shell, "r", "reading,spot_trading")) as exchange:
        with pytest.raises(ExchangeError) as caught:
            await place(exchange, "late", timestamp=int(time.time() * 1000) - 1500)
        assert (caught.value.outcome, caught.value.code) == (Outcome.CLOCK, -1021)
        assert await exchange.open_orders(SYMBOL) == ()


async def test_a_clock_that_is_off_is_measured_and_corrected(served: tuple[Shell, Paper]) -> None:
    shell, _paper = served
    shell.ok("paper", "fault", "set", "clock-offset:60000")
    async with adapter(shell, key(shell, "r", "reading")) as exchange:
        assert (await exchange.account()).uid > 0


@pytest.mark.parametrize(
    ("fault", "outcome", "there"),
    [
        ("cut-before", Outcome.UNKNOWN, False),
        ("cut-after-execute", Outcome.UNKNOWN, True),
        ("cut-body", Outcome.UNKNOWN, True),
        ("wrong-type", Outcome.UNKNOWN, True),
        ("truncated", Outcome.UNKNOWN, True),
        ("executed-1007", Outcome.UNKNOWN, True),
        ("code-1006", Outcome.UNKNOWN, False),
        ("http-502", Outcome.UNKNOWN, False),
        ("maintenance", Outcome.UNKNOWN, False),
        ("http-403", Outcome.BUSY, False),
        ("http-418", Outcome.BUSY, False),
        ("code-1015", Outcome.BUSY, False),
        ("code-2015", Outcome.KEY_REFUSED, False),
    ],
)
async def test_each_fault_of_an_order_is_read_rightly(
    served: tuple[Shell, Paper], fault: str, outcome: Outcome, there: bool
) -> None:
    shell, _paper = served
    async with adapter(shell, key(shell, "r", "reading,spot_trading")) as exchange:
        await exchange.account()
        page(shell, "fault/set", kind=fault, method="POST", path="/api/v3/order", count=1)
        with pytest.raises(ExchangeError) as caught:
            await place(exchange, "o-1")
        assert caught.value.outcome is outcome
        assert bool(await exchange.open_orders(SYMBOL)) is there
    faults = page(shell, "fault/list")["faults"]
    assert [one["hits"] for one in faults] == [1]


async def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    with serving(tmp_path / "home") as (shell, paper):
        async with adapter(shell, key(shell, "r", "reading")) as exchange:
            paper.process.kill()
            paper.process.wait()
            with pytest.raises(ExchangeError) as caught:
                await exchange.account()
            assert caught.value.outcome is Outcome.UNREACHABLE


async def test_the_user_stream_comes_back_by_itself_until_the_key_is_gone(served: tuple[Shell, Paper]) -> None:
    shell, _paper = served
    async with adapter(shell, key(shell, "r", "reading,spot_trading")) as exchange:
        events = exchange.user_events()

        async def following() -> Any:
            return await asyncio.wait_for(anext(events), 10)

        assert isinstance(await following(), StreamUp)
        await place(exchange, "o-1")
        assert isinstance(await following(), OrderUpdate)
        await following()
        shell.ok("paper", "fault", "set", "ws-cut")
        assert isinstance(await following(), StreamDown)
        assert isinstance(await following(), StreamUp)
        shell.ok("paper", "keys", "delete", "r")
        downs = [await following(), await following()]
        assert all(isinstance(event, StreamDown) for event in downs) and downs[1].code == -2015
        await events.aclose()  # type: ignore[attr-defined]


def test_state_survives_sigkill_with_every_accepted_order(tmp_path: Path) -> None:
    shell, state = Shell(tmp_path / "home"), str(tmp_path / "paper.sqlite")
    words = ("--market", "synthetic:3", "--speed", "1", "--state", state)
    paper = serve_paper(shell, *words)
    made = json.loads(shell.paper_key("r", "reading,spot_trading"))
    client = redirected(Client, paper.ready["url"])(made["api_key"], made["secret_key"])
    names = [f"o-{number}" for number in range(10)]
    for name in names:
        client.order_limit_buy(symbol=SYMBOL, quantity="0.001", price="38000", newClientOrderId=name)
    before = client.get_account()["balances"]
    paper.process.kill()
    paper.process.wait()
    again = serve_paper(shell, *words)
    try:
        client = redirected(Client, again.ready["url"])(made["api_key"], made["secret_key"])
        assert [one["clientOrderId"] for one in client.get_open_orders(symbol=SYMBOL)] == names
        assert client.get_account()["balances"] == before
        client.cancel_order(symbol=SYMBOL, origClientOrderId="o-3")
    finally:
        again.stop()
        for stream in (paper.process.stdout, paper.process.stderr):
            if stream is not None:
                stream.close()


def test_a_malformed_recording_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "AAABTC-trades.csv"
    path.write_text("1,0.1,1.0,0.1,1,True,True\n2,zero,1.0,0.1,2,True,True\n")
    ran = Shell(tmp_path / "home").run("paper", "serve", "--market", str(path), "--port", "0")
    assert (ran.code, ran.error["code"]) == (2, "BAD_INPUT") and "line 2" in ran.error["message"]


def test_a_stale_server_file_is_unreachable(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "home")
    paper = serve_paper(shell, "--market", "synthetic:3")
    paper.process.kill()
    paper.process.wait()
    assert (shell.home / "paper" / "server.json").exists()
    ran = shell.run("paper", "keys", "list")
    assert (ran.code, ran.error["code"]) == (10, "EXCHANGE_UNREACHABLE")
    if paper.process.stdout is not None:
        paper.process.stdout.close()
