"""python-binance: synchronous, asynchronous, its sockets and its WebSocket API, in all three types of key."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from binance import AsyncClient, BinanceSocketManager, Client
from binance.exceptions import BinanceAPIException, BinanceRequestException

SYMBOL = "BTCUSDT"
KINDS = ["hmac", "ed25519", "rsa"]


def redirected(base: type, exchange: Any) -> Any:
    """Return the client's class with its base URLs changed, and nothing else."""
    urls = {
        "API_URL": f"{exchange.url}/api",
        "MARGIN_API_URL": f"{exchange.url}/sapi",
        "WS_API_URL": f"{exchange.ws_url}/ws-api/v3",
    }
    return type(base.__name__, (base,), urls)


def credentials(made: dict[str, Any]) -> dict[str, Any]:
    if "private_key" in made:
        return {"api_key": made["api_key"], "private_key": made["private_key"]}
    return {"api_key": made["api_key"], "api_secret": made["secret_key"]}


def test_the_market(exchange: Any) -> None:
    client = redirected(Client, exchange)()
    assert client.get_system_status()["msg"] == "normal"
    assert client.get_symbol_info(SYMBOL)["ocoAllowed"] is True
    assert len(client.get_order_book(symbol=SYMBOL, limit=5)["bids"]) == 5
    assert len(client.get_recent_trades(symbol=SYMBOL, limit=4)) == 4
    assert len(client.get_historical_trades(symbol=SYMBOL, limit=4)) == 4
    assert len(client.get_aggregate_trades(symbol=SYMBOL, limit=4)) == 4
    iterated = client.aggregate_trade_iter(symbol=SYMBOL, last_id=client.get_aggregate_trades(symbol=SYMBOL)[-20]["a"])
    assert len(list(iterated)) == 19
    assert len(client.get_klines(symbol=SYMBOL, interval="1m", limit=7)) == 7
    assert len(client.get_ui_klines(symbol=SYMBOL, interval="1h", limit=2)) == 2
    assert len(client.get_historical_klines(SYMBOL, "1m", "10 minutes ago UTC")) >= 10
    assert Decimal(client.get_avg_price(symbol=SYMBOL)["price"]) > 0
    for name in ("get_ticker", "get_symbol_ticker", "get_orderbook_ticker"):
        assert getattr(client, name)(symbol=SYMBOL)["symbol"] == SYMBOL
    assert client.get_all_tickers() and client.get_orderbook_tickers()


@pytest.mark.parametrize("kind", KINDS)
def test_a_scenario(exchange: Any, kind: str) -> None:
    made = exchange.key("bot", "reading,spot_trading", "--type", kind)
    client = redirected(Client, exchange)(**credentials(made))
    price = Decimal(client.get_symbol_ticker(symbol=SYMBOL)["price"])
    low, high = (str((price * Decimal(factor)).quantize(Decimal("0.01"))) for factor in ("0.97", "1.03"))
    client.create_test_order(symbol=SYMBOL, side="BUY", type="MARKET", quantity="0.01")
    placed = client.order_limit_buy(symbol=SYMBOL, quantity="0.01", price=low, newClientOrderId="mine")
    assert client.get_order(symbol=SYMBOL, origClientOrderId="mine")["orderId"] == placed["orderId"]
    replaced = client.cancel_replace_order(
        symbol=SYMBOL,
        side="BUY",
        type="LIMIT",
        timeInForce="GTC",
        quantity="0.02",
        price=low,
        cancelReplaceMode="STOP_ON_FAILURE",
        cancelOrderId=placed["orderId"],
    )
    assert client.cancel_order(symbol=SYMBOL, orderId=replaced["newOrderResponse"]["orderId"])["status"] == "CANCELED"
    listed = client.create_oco_order(
        symbol=SYMBOL,
        side="SELL",
        quantity="0.01",
        aboveType="LIMIT_MAKER",
        abovePrice=high,
        belowType="STOP_LOSS_LIMIT",
        belowStopPrice=low,
        belowPrice=low,
        belowTimeInForce="GTC",
    )
    assert client.v3_get_order_list(orderListId=listed["orderListId"])["listOrderStatus"] == "EXECUTING"
    assert len(client.get_open_orders(symbol=SYMBOL)) == 2
    assert client.v3_delete_order_list(symbol=SYMBOL, orderListId=listed["orderListId"])["listStatusType"] == "ALL_DONE"
    bought = client.order_market_buy(symbol=SYMBOL, quoteOrderQty="50")
    assert bought["status"] == "FILLED" and client.get_my_trades(symbol=SYMBOL)[-1]["orderId"] == bought["orderId"]
    assert client.get_asset_balance("BTC")["locked"] == "0.00000000"
    assert client.get_trade_fee(symbol=SYMBOL)[0]["makerCommission"] == "0.001"
    assert client.get_account_api_permissions()["enableSpotAndMarginTrading"] is True
    assert client.get_account_status()["data"] == "Normal" and client.get_account_api_trading_status()
    assert {row["asset"] for row in client.get_user_asset()} == {"BTC", "USDT"}
    assert {row["coin"] for row in client.get_all_coins_info()} == {"BTC", "USDT"}
    assert client.get_current_order_count()[0]["rateLimitType"] == "ORDERS"
    assert client.get_prevented_matches(symbol=SYMBOL, orderId=1) == []
    assert client.get_allocations(symbol=SYMBOL) == []


def refused(call: Any) -> tuple[int, int]:
    with pytest.raises(BinanceAPIException) as caught:
        call()
    return caught.value.status_code, caught.value.code


def test_each_error_is_its_own_exception(exchange: Any) -> None:
    client = redirected(Client, exchange)(**credentials(exchange.key()))
    order = {"symbol": SYMBOL, "quantity": "0.01"}
    assert refused(lambda: client.order_market_buy(symbol=SYMBOL, quantity="900")) == (400, -2010)
    assert refused(lambda: client.order_limit_buy(**order, price="1")) == (400, -1013)
    assert refused(lambda: client.order_limit_buy(**order, price="1.001")) == (400, -1013)
    assert refused(lambda: client.get_order(symbol=SYMBOL, orderId=99)) == (400, -2013)
    assert refused(lambda: client.cancel_order(symbol=SYMBOL, orderId=99)) == (400, -2011)
    assert refused(client.stream_get_listen_key)[0] == 410
    for fault, status, code in (
        ("http-502", 502, 0),
        ("http-403", 403, 0),
        ("http-429", 429, -1003),
        ("http-418", 418, -1003),
        ("code-1021", 400, -1021),
        ("code-2015", 401, -2015),
        ("executed-1007", 504, -1007),
    ):
        exchange.paper("fault", "set", fault, "--match", "GET", "/api/v3/account", "--count", "1")
        assert refused(client.get_account) == (status, code)
    exchange.paper("fault", "set", "truncated", "--match", "GET", "/api/v3/account", "--count", "1")
    with pytest.raises(BinanceRequestException):
        client.get_account()
    reader = redirected(Client, exchange)(**credentials(exchange.key("reader", "reading")))
    assert refused(lambda: reader.order_market_buy(**order)) == (401, -2015)
    exchange.paper("keys", "delete", "bot")
    assert refused(client.get_account) == (401, -2015)
    assert refused(client.get_account_api_permissions) == (400, -2008)


@pytest.mark.parametrize("kind", KINDS)
def test_the_asynchronous_client_and_its_sockets(moving: Any, kind: str) -> None:
    made = moving.key("bot", "reading,spot_trading", "--type", kind)

    async def scenario() -> None:
        client = await redirected(AsyncClient, moving).create(**credentials(made))
        manager = type("Manager", (BinanceSocketManager,), {"STREAM_URL": f"{moving.ws_url}/"})(client)
        try:
            async with asyncio.timeout(60):
                for socket, event in (
                    (manager.trade_socket(SYMBOL), "trade"),
                    (manager.aggtrade_socket(SYMBOL), "aggTrade"),
                    (manager.kline_socket(SYMBOL, "1m"), "kline"),
                    (manager.symbol_miniticker_socket(SYMBOL), "24hrMiniTicker"),
                    (manager.symbol_ticker_socket(SYMBOL), "24hrTicker"),
                    (manager.depth_socket(SYMBOL, interval=100), "depthUpdate"),
                ):
                    async with socket as stream:
                        assert (await stream.recv())["e"] == event
                async with manager.symbol_book_ticker_socket(SYMBOL) as stream:
                    assert (await stream.recv())["s"] == SYMBOL
                async with manager.depth_socket(SYMBOL, depth="5") as stream:
                    assert len((await stream.recv())["bids"]) == 5
                names = [f"{SYMBOL.lower()}@trade", f"{SYMBOL.lower()}@miniTicker"]
                async with manager.multiplex_socket(names) as stream:
                    assert (await stream.recv())["stream"] in names
                async with manager.user_socket() as stream:
                    await asyncio.sleep(0.3)
                    await client.order_market_buy(symbol=SYMBOL, quantity="0.001")
                    kinds = [(await stream.recv())["e"] for _ in range(3)]
                assert kinds == ["executionReport", "executionReport", "outboundAccountPosition"]
                await by_socket(client)
        finally:
            await client.close_connection()

    asyncio.run(scenario())


async def by_socket(client: Any) -> None:
    """The same calls over the WebSocket API."""
    assert (await client.ws_get_time())["serverTime"] > 0
    assert (await client.ws_get_order_book(symbol=SYMBOL))["lastUpdateId"] > 0
    price = Decimal((await client.ws_get_symbol_ticker(symbol=SYMBOL))["price"])
    low = str((price * Decimal("0.97")).quantize(Decimal("0.01")))
    order = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": low}
    placed = await client.ws_create_order(**order)
    assert (await client.ws_get_order(symbol=SYMBOL, orderId=placed["orderId"]))["status"] == "NEW"
    assert len(await client.ws_get_open_orders(symbol=SYMBOL)) == 1
    assert (await client.ws_cancel_order(symbol=SYMBOL, orderId=placed["orderId"]))["status"] == "CANCELED"
    with pytest.raises(BinanceAPIException) as caught:
        await client.ws_cancel_order(symbol=SYMBOL, orderId=placed["orderId"])
    assert caught.value.code == -2011
    assert (await client.ws_get_account())["canTrade"] is True


def test_a_local_book_follows_the_exchange(moving: Any) -> None:
    """python-binance's own depth cache: snapshot, differences, in sequence."""
    from binance.ws.depthcache import DepthCacheManager

    async def scenario() -> None:
        client = await redirected(AsyncClient, moving).create()
        manager = type("Manager", (BinanceSocketManager,), {"STREAM_URL": f"{moving.ws_url}/"})(client)
        try:
            async with asyncio.timeout(30):
                async with DepthCacheManager(client, SYMBOL, bm=manager, ws_interval=100) as cache:
                    for _ in range(5):
                        book = await cache.recv()
                        assert book.get_bids()[0][0] < book.get_asks()[0][0]
        finally:
            await client.close_connection()

    asyncio.run(scenario())
