"""binance-sdk-spot, REST: every call that it has, each answer field for field against its model."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from binance_common.configuration import ConfigurationRestAPI
from binance_common.errors import (
    BadRequestError,
    RateLimitBanError,
    ServerError,
    TooManyRequestsError,
    UnauthorizedError,
)
from binance_sdk_spot.rest_api.models import DeleteOrderListResponse
from binance_sdk_spot.spot import Spot
from models import compare, watched

SYMBOL = "BTCUSDT"


def client(exchange: Any, made: dict[str, Any] | None = None, **more: Any) -> Any:
    credentials: dict[str, Any] = {}
    if made is not None:
        credentials = {"api_key": made["api_key"], "api_secret": made.get("secret_key")}
        if "private_key" in made:
            credentials["private_key"] = made["private_key"]
    settings = {"base_path": exchange.url, "timeout": 5000, "retries": 0, **credentials, **more}
    return Spot(config_rest_api=ConfigurationRestAPI(**settings)).rest_api


class Caller:
    """Calls the SDK, and compares each answer with its model."""

    def __init__(self, rest: Any) -> None:
        self.rest = rest
        self.called: set[str] = set()

    def __call__(self, name: str, *, short: bool = False, **values: Any) -> Any:
        with watched() as watch:
            answer = getattr(self.rest, name)(**values)
            model = answer.data()
        self.called.add(name)
        assert not watch.complaints, (name, watch.complaints, watch.raw)
        faults = compare(watch.raw, model, name, short=short)
        assert not faults, (faults, watch.raw)
        return watch.raw


def around(call: Caller, percent: str, digits: str = "0.01") -> float:
    price = Decimal(call("ticker_price", symbol=SYMBOL)["price"])
    return float((price * Decimal(percent) / 100).quantize(Decimal(digits)))


def test_every_market_call(exchange: Any) -> None:
    call = Caller(client(exchange))
    call("ping")
    call("time")
    call("exchange_info")
    call("exchange_info", symbol=SYMBOL, show_permission_sets=False)
    assert call("exchange_info", symbols=[SYMBOL])["symbols"][0]["symbol"] == SYMBOL
    call("execution_rules", symbol=SYMBOL)
    book = call("depth", symbol=SYMBOL, limit=5)
    assert len(book["bids"]) == len(book["asks"]) == 5
    assert len(call("get_trades", symbol=SYMBOL, limit=3)) == 3
    first = call("historical_trades", symbol=SYMBOL, limit=3, from_id=10)
    assert [row["id"] for row in first] == [10, 11, 12]
    assert call("historical_block_trades", symbol=SYMBOL, from_id=1) == []
    rows = call("agg_trades", symbol=SYMBOL, limit=4)
    assert call("agg_trades", symbol=SYMBOL, from_id=rows[0]["a"], limit=4) == rows
    for interval in ("1s", "1m", "3m", "1h", "1d", "3d", "1w", "1M"):
        for name in ("klines", "ui_klines"):
            candles = call(name, symbol=SYMBOL, interval=interval, limit=5)
            assert candles and all(len(row) == 12 for row in candles)
            assert all(Decimal(row[3]) <= Decimal(row[1]) <= Decimal(row[2]) for row in candles)
    call("avg_price", symbol=SYMBOL)
    for name, more in (
        ("ticker24hr", {}),
        ("ticker_trading_day", {"time_zone": "+03:00"}),
        ("ticker", {"window_size": "4h"}),
    ):
        call(name, symbol=SYMBOL, **more)
        call(name, symbols=[SYMBOL], **more)
        call(name, symbol=SYMBOL, type="MINI", short=True, **more)
    call("ticker_price")
    call("ticker_book_ticker", symbol=SYMBOL)
    call("ticker_book_ticker")
    for name in ("reference_price", "reference_price_calculation"):
        with pytest.raises(BadRequestError) as caught:
            getattr(client(exchange), name)(symbol=SYMBOL)
        assert caught.value.status_code == -2043


@pytest.mark.parametrize("kind", ["hmac", "ed25519", "rsa"])
def test_orders_with_each_type_of_key(exchange: Any, kind: str) -> None:
    call = Caller(client(exchange, exchange.key("bot", "reading,spot_trading", "--type", kind)))
    low, high = around(call, "97"), around(call, "103")
    limit = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "time_in_force": "GTC", "quantity": 0.01}
    placed = call("new_order", **limit, price=low)
    assert placed["status"] == "NEW" and placed["fills"] == []
    call("order_test", **limit, price=low)
    call("order_test", **limit, price=low, compute_commission_rates=True)
    call("get_order", symbol=SYMBOL, order_id=placed["orderId"])
    assert len(call("get_open_orders", symbol=SYMBOL)) == 1
    amended = call("order_amend_keep_priority", symbol=SYMBOL, order_id=placed["orderId"], new_qty=0.005)
    assert amended["amendedOrder"]["qty"] == "0.00500000"
    assert len(call("order_amendments", symbol=SYMBOL, order_id=placed["orderId"])) == 1
    replaced = call(
        "order_cancel_replace",
        **{**limit, "cancel_replace_mode": "STOP_ON_FAILURE", "cancel_order_id": placed["orderId"]},
        price=low,
    )
    gone = call("delete_order", symbol=SYMBOL, order_id=replaced["newOrderResponse"]["orderId"])
    assert gone["status"] == "CANCELED"
    bought = call("new_order", symbol=SYMBOL, side="BUY", type="MARKET", quantity=0.001)
    assert bought["status"] == "FILLED"
    call("new_order", symbol=SYMBOL, side="SELL", type="LIMIT_MAKER", quantity=0.01, price=high, short=True)
    stop = {"symbol": SYMBOL, "side": "SELL", "quantity": 0.01}
    call("new_order", **stop, type="STOP_LOSS", stop_price=low, new_order_resp_type="RESULT", strategy_id=7)
    call("new_order", **stop, type="TAKE_PROFIT", stop_price=high, new_order_resp_type="FULL")
    call("new_order", **stop, type="STOP_LOSS", trailing_delta=200, new_order_resp_type="RESULT")
    iceberg = {**limit, "iceberg_qty": 0.002, "strategy_type": 1_000_001}
    call("new_order", **iceberg, price=low)
    call("all_orders", symbol=SYMBOL)
    assert len(call("my_trades", symbol=SYMBOL)) >= 1
    assert len(call("delete_open_orders", symbol=SYMBOL)) == 5
    account = call("get_account", omit_zero_balances=True)
    assert all(Decimal(one["locked"]) == 0 for one in account["balances"])
    call("account_commission", symbol=SYMBOL)
    call("rate_limit_order")
    call("my_filters", symbol=SYMBOL)
    assert call("my_allocations", symbol=SYMBOL) == []
    exchange.paper("deposit", "BTC=100")
    prevented = call("new_order", **limit, price=low)
    taken = {**limit, "side": "SELL", "quantity": 5}
    call("new_order", **taken, price=low, self_trade_prevention_mode="EXPIRE_MAKER")
    assert call("my_prevented_matches", symbol=SYMBOL, order_id=prevented["orderId"])


def test_order_lists(exchange: Any) -> None:
    call = Caller(client(exchange, exchange.key()))
    low, high = around(call, "97"), around(call, "103")
    placed = call(
        *("order_list_oco",),
        symbol=SYMBOL,
        side="SELL",
        quantity=0.01,
        above_type="LIMIT_MAKER",
        above_price=high,
        below_type="STOP_LOSS_LIMIT",
        below_price=low,
        below_stop_price=low,
        below_time_in_force="GTC",
    )
    assert placed["contingencyType"] == "OCO"
    assert call("get_order_list", order_list_id=placed["orderListId"])["listOrderStatus"] == "EXECUTING"
    assert len(call("open_order_list")) == 1
    gone = call("delete_order_list", symbol=SYMBOL, order_list_id=placed["orderListId"])
    assert gone["listStatusType"] == "ALL_DONE"
    working = {
        "symbol": SYMBOL,
        "working_type": "LIMIT",
        "working_side": "BUY",
        "working_price": low,
        "working_quantity": 0.01,
        "working_time_in_force": "GTC",
        "pending_side": "SELL",
    }
    call("order_list_oto", **working, pending_type="LIMIT_MAKER", pending_price=high, pending_quantity=0.01)
    above = {"pending_above_type": "LIMIT_MAKER", "pending_above_price": high}
    below = {"pending_below_type": "STOP_LOSS", "pending_below_stop_price": around(call, "90")}
    call("order_list_otoco", **working, pending_quantity=0.01, **above, **below)
    call("order_oco", symbol=SYMBOL, side="SELL", quantity=0.01, price=high, stop_price=low)
    assert len(call("all_order_list")) == 4
    # Lists stand in the answer as lists (rest-api.md); the SDK's model knows single orders alone.
    with watched() as watch:
        call.rest.delete_open_orders(symbol=SYMBOL)
    ended = [DeleteOrderListResponse.from_dict(one) for one in watch.raw]
    assert len(ended) == 3 and not compare(watch.raw, ended, "delete_open_orders")
    for name, more in (
        ("order_list_opo", {"pending_type": "LIMIT_MAKER", "pending_price": high}),
        ("order_list_opoco", {**above, **below}),
    ):
        with pytest.raises(BadRequestError) as caught:
            getattr(call.rest, name)(**working, **more)
        assert caught.value.status_code == -1013
    routed = {"symbol": SYMBOL, "side": "BUY", "type": "MARKET", "quantity": 0.01}
    for name in ("sor_order", "sor_order_test"):
        with pytest.raises(BadRequestError) as caught:
            getattr(call.rest, name)(**routed)
        assert caught.value.status_code == -1013


def test_each_error_is_the_sdks_own(exchange: Any) -> None:
    reader = client(exchange, exchange.key("reader", "reading"))
    order = {"symbol": SYMBOL, "side": "BUY", "type": "MARKET", "quantity": 0.01}

    def code(error: type[Exception], call: Any) -> Any:
        with pytest.raises(error) as caught:
            call()
        return caught.value.status_code

    assert code(UnauthorizedError, lambda: reader.new_order(**order)) == -2015
    assert code(BadRequestError, lambda: reader.get_order(symbol=SYMBOL, order_id=9)) == -2013
    assert code(BadRequestError, lambda: reader.get_order(symbol="NOPE", order_id=9)) == -1121
    wrong = client(exchange, {"api_key": "U" * 64, "secret_key": "Z" * 64})
    assert code(UnauthorizedError, wrong.get_account) == -2015
    trader = client(exchange, exchange.key())
    assert code(BadRequestError, lambda: trader.new_order(**{**order, "quantity": 5000})) == -2010
    exchange.paper("fault", "set", "http-429", "--count", "1")
    assert code(TooManyRequestsError, trader.get_account) == -1003
    exchange.paper("fault", "set", "http-418", "--count", "1")
    assert code(RateLimitBanError, trader.get_account) == -1003
    exchange.paper("fault", "set", "http-502", "--count", "1")
    assert code(ServerError, trader.get_account) == 502
    exchange.paper("keys", "delete", "bot")
    assert code(UnauthorizedError, trader.get_account) == -2015


def test_times_in_microseconds(exchange: Any) -> None:
    made = exchange.key()
    rest = client(exchange, made, time_unit="MICROSECOND")
    with watched() as watch:
        rest.time()
        assert watch.raw["serverTime"] > 10**15
        rest.klines(symbol=SYMBOL, interval="1m", limit=1)
        assert watch.raw[0][0] > 10**15 and watch.raw[0][6] % 1000 == 999
        rest.new_order(symbol=SYMBOL, side="BUY", type="MARKET", quantity=0.001)
        assert watch.raw["transactTime"] > 10**15 and watch.raw["workingTime"] > 10**15
        rest.get_account()
        assert watch.raw["updateTime"] > 10**15
