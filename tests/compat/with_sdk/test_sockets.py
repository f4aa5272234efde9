"""binance-sdk-spot, WebSocket API and streams: every method and every stream that it has."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from binance_common.configuration import ConfigurationWebSocketAPI, ConfigurationWebSocketStreams
from binance_sdk_spot.spot import Spot
from models import compare, overheard

SYMBOL = "BTCUSDT"
STREAM_WAIT_S = 20


def api(exchange: Any, made: dict[str, Any]) -> Any:
    settings = {"api_key": made["api_key"], "stream_url": f"{exchange.ws_url}/ws-api/v3", "timeout": 5000}
    if "private_key" in made:
        settings["private_key"] = made["private_key"]
    else:
        settings["api_secret"] = made["secret_key"]
    return Spot(config_ws_api=ConfigurationWebSocketAPI(**settings)).websocket_api


class Caller:
    """Calls the SDK's methods, and compares each answer with its model."""

    def __init__(self, client: Any, heard: list[Any]) -> None:
        self.client = client
        self._heard = heard

    async def __call__(self, name: str, *, short: bool = False, **values: Any) -> Any:
        answer = await getattr(self.client, name)(**values)
        raw = next(one for one in reversed(self._heard) if "status" in one)
        assert raw["status"] == 200, (name, raw)
        model, fields = answer.data(), raw
        model = getattr(model, "actual_instance", model)
        if "result" not in getattr(type(model), "model_fields", {"result": None}):
            # Of some calls the SDK has the result's model alone, and parses the envelope with it.
            fields, model = raw["result"], type(model).from_dict(raw["result"])
        # Sessions and user streams have their limits beside the model.
        faults = [
            one for one in compare(fields, model, name, short=short) if not one.startswith(f"{name}.rateLimits: not")
        ]
        assert not faults, (faults, raw)
        return raw["result"]

    async def refused(self, name: str, **values: Any) -> int:
        try:
            answer = (await getattr(self.client, name)(**values)).data()
        except ValueError as error:
            answer = error.args[0]
        code: int = answer["error"]["code"]
        return code


async def _connected(client: Any) -> Any:
    await client.create_connection()
    return client


@pytest.mark.parametrize("kind", ["hmac", "ed25519", "rsa"])
def test_every_method(exchange: Any, kind: str) -> None:
    made = exchange.key("bot", "reading,spot_trading", "--type", kind)
    exchange.paper("deposit", "BTC=100")

    async def scenario(heard: list[Any]) -> None:
        client = await _connected(api(exchange, made))
        call = Caller(client, heard)
        if kind == "ed25519":
            on = await call("session_logon")
            assert on["apiKey"] == made["api_key"] and on["authorizedSince"] > 0
        else:
            assert await call.refused("session_logon") == -4056
        await _market(call)
        await _trade(call)
        assert (await call("session_status"))["connectedSince"] > 0
        subscribed = await _subscribe(client, kind)
        assert await call("session_subscriptions") == [{"subscriptionId": 0}]
        events: list[Any] = []
        subscribed.stream.on("message", events.append)
        await call("order_place", symbol=SYMBOL, side="BUY", type="MARKET", quantity=0.001)
        await _until(lambda: len(events) >= 3)
        kinds = [type(event.actual_instance).__name__ for event in events]
        assert kinds[:3] == ["ExecutionReport", "ExecutionReport", "OutboundAccountPosition"]
        await call("user_data_stream_unsubscribe")
        await _until(lambda: len(events) >= 4)
        assert type(events[3].actual_instance).__name__ == "EventStreamTerminated"
        if kind == "ed25519":
            assert (await call("session_logout"))["apiKey"] is None
        await client.close_connection(close_session=True)

    with overheard() as heard:
        asyncio.run(scenario(heard))


async def _subscribe(client: Any, kind: str) -> Any:
    if kind == "ed25519":
        return await client.user_data_stream_subscribe()
    return await client.user_data_stream_subscribe_signature()


async def _until(done: Any, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not done():
            await asyncio.sleep(0.02)


async def _market(call: Caller) -> None:
    await call("ping")
    await call("time")
    await call("exchange_info", symbol=SYMBOL)
    await call("execution_rules", symbol=SYMBOL)
    await call("depth", symbol=SYMBOL, limit=5)
    assert len(await call("trades_recent", symbol=SYMBOL, limit=2)) == 2
    await call("trades_historical", symbol=SYMBOL, from_id=1, limit=2)
    await call("trades_aggregate", symbol=SYMBOL, limit=2)
    await call("block_trades_historical", symbol=SYMBOL, from_id=1)
    for name in ("klines", "ui_klines"):
        assert len((await call(name, symbol=SYMBOL, interval="1m", limit=2))[0]) == 12
    await call("avg_price", symbol=SYMBOL)
    for name in ("ticker24hr", "ticker_trading_day", "ticker", "ticker_price", "ticker_book"):
        await call(name, symbol=SYMBOL)
        await call(name, symbols=[SYMBOL])
    for name in ("reference_price", "reference_price_calculation"):
        assert await call.refused(name, symbol=SYMBOL) == -2043


async def _trade(call: Caller) -> None:
    price = Decimal((await call("ticker_price", symbol=SYMBOL))["price"])
    low, high = (float((price * factor).quantize(Decimal("0.01"))) for factor in (Decimal("0.97"), Decimal("1.03")))
    limit = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "time_in_force": "GTC", "quantity": 0.01}
    placed = await call("order_place", **limit, price=low)
    await call("order_test", **limit, price=low)
    order_id = placed["orderId"]
    assert (await call("order_status", symbol=SYMBOL, order_id=order_id))["status"] == "NEW"
    await call("open_orders_status", symbol=SYMBOL)
    await call("order_amend_keep_priority", symbol=SYMBOL, order_id=order_id, new_qty=0.005)
    await call("order_amendments", symbol=SYMBOL, order_id=order_id)
    both = await call(
        "order_cancel_replace", **limit, price=low, cancel_replace_mode="STOP_ON_FAILURE", cancel_order_id=order_id
    )
    # Its model is of an order and of a list in one.
    await call("order_cancel", symbol=SYMBOL, order_id=both["newOrderResponse"]["orderId"], short=True)
    oco = {"symbol": SYMBOL, "side": "SELL", "quantity": 0.01}
    legs = {"above_type": "LIMIT_MAKER", "above_price": high, "below_type": "STOP_LOSS", "below_stop_price": low}
    listed = await call("order_list_place_oco", **oco, **legs)
    await call("order_list_status", order_list_id=listed["orderListId"])
    assert len(await call("open_order_lists_status")) == 1
    await call("order_list_cancel", symbol=SYMBOL, order_list_id=listed["orderListId"])
    await call("order_list_place", **oco, price=high, stop_price=low)
    working = {
        "symbol": SYMBOL,
        "working_type": "LIMIT",
        "working_side": "BUY",
        "working_price": low,
        "working_quantity": 0.01,
        "working_time_in_force": "GTC",
        "pending_side": "SELL",
    }
    single = {"pending_type": "LIMIT_MAKER", "pending_price": high}
    pair = {"pending_above_type": "LIMIT_MAKER", "pending_above_price": high}
    pair |= {"pending_below_type": "STOP_LOSS", "pending_below_stop_price": low - 100}
    await call("order_list_place_oto", **working, **single, pending_quantity=0.01)
    await call("order_list_place_otoco", **working, **pair, pending_quantity=0.01)
    assert await call.refused("order_list_place_opo", **working, **single) == -1013
    assert await call.refused("order_list_place_opoco", **working, **pair) == -1013
    routed = {"symbol": SYMBOL, "side": "BUY", "type": "MARKET", "quantity": 0.01}
    assert await call.refused("sor_order_place", **routed) == -1013
    assert await call.refused("sor_order_test", **routed) == -1013
    await call("all_order_lists")
    await call("open_orders_cancel_all", symbol=SYMBOL, short=True)
    await call("all_orders", symbol=SYMBOL)
    await call("order_place", symbol=SYMBOL, side="BUY", type="MARKET", quantity=0.001)
    assert await call("my_trades", symbol=SYMBOL)
    assert await call("my_allocations", symbol=SYMBOL) == []
    await call("my_filters", symbol=SYMBOL)
    await call("my_prevented_matches", symbol=SYMBOL, order_id=order_id)
    await call("account_status", omit_zero_balances=True)
    await call("account_commission", symbol=SYMBOL)
    await call("account_rate_limits_orders")
    assert await call.refused("order_place", **{**routed, "quantity": 5000}) == -2010


def test_every_stream(moving: Any) -> None:
    settings = ConfigurationWebSocketStreams(stream_url=moving.ws_url)

    async def scenario() -> None:
        client = Spot(config_ws_streams=settings).websocket_streams
        await client.create_connection()
        low = SYMBOL.lower()
        seen: dict[str, list[Any]] = {}
        wanted: list[tuple[str, dict[str, Any]]] = [
            ("agg_trade", {"symbol": low}),
            ("trade", {"symbol": low}),
            ("kline", {"symbol": low, "interval": "1s"}),
            ("kline_offset", {"symbol": low, "interval": "1h"}),
            ("mini_ticker", {"symbol": low}),
            ("ticker", {"symbol": low}),
            ("rolling_window_ticker", {"symbol": low, "window_size": "1h"}),
            ("all_mini_ticker", {}),
            ("all_market_rolling_window_ticker", {"window_size": "4h"}),
            ("book_ticker", {"symbol": low}),
            ("avg_price", {"symbol": low}),
            ("partial_book_depth", {"symbol": low, "levels": "10", "update_speed": "100ms"}),
            ("diff_book_depth", {"symbol": low, "update_speed": "100ms"}),
        ]
        for name, values in wanted:
            stream = await getattr(client, name)(**values)
            stream.on("message", seen.setdefault(name, []).append)
            # Five frames a second are what Binance takes.
            await asyncio.sleep(0.25)
        silent = [await client.block_trade(symbol=low)]
        await asyncio.sleep(0.25)
        silent.append(await client.reference_price(symbol=low))
        names = (await client.list_subscribe())["result"]
        assert len(names) == len(wanted) + 2
        await _until(lambda: all(seen.values()), STREAM_WAIT_S)
        for name, models in seen.items():
            first = models[0][0] if isinstance(models[0], list) else models[0]
            assert not first.additional_properties, (name, first)
            gone = [field for field in type(first).model_fields if getattr(first, field) is None]
            assert not gone, (name, gone)
        await silent[0].unsubscribe()
        await client.close_connection(close_session=True)

    asyncio.run(scenario())
