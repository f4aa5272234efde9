"""ccxt, synchronous: markets, candles, orders, errors as its own exceptions, in all three types of key."""

from __future__ import annotations

from typing import Any

import ccxt
import pytest
from redirect import SYMBOL, options


def client(exchange: Any, made: dict[str, Any] | None = None, **more: Any) -> Any:
    return ccxt.binance(options(exchange.url, exchange.ws_url, made, **more))


def test_markets_and_prices(exchange: Any) -> None:
    one = client(exchange)
    market = one.load_markets()[SYMBOL]
    assert market["spot"] and market["active"] and market["precision"]["price"] == 0.01
    ticker = one.fetch_ticker(SYMBOL)
    assert ticker["last"] > 0 and ticker["bid"] < ticker["ask"]
    assert one.fetch_tickers([SYMBOL])[SYMBOL]["last"] == ticker["last"]
    book = one.fetch_order_book(SYMBOL, 5)
    assert book["bids"][0][0] < book["asks"][0][0] and book["nonce"] > 0
    assert len(one.fetch_trades(SYMBOL, limit=5)) == 5
    candles = one.fetch_ohlcv(SYMBOL, "1m", limit=10)
    assert len(candles) == 10 and all(row[3] <= row[1] <= row[2] for row in candles)
    assert abs(one.fetch_time() - one.milliseconds()) < 2000
    assert one.fetch_status()["status"] == "ok"


def test_it_loads_markets_as_it_comes(exchange: Any) -> None:
    """With keys and no options of ours: currencies, margin pairs, futures are asked for too."""
    made = exchange.key()
    settings = options(exchange.url, exchange.ws_url, made)
    settings["options"] = {}
    one = ccxt.binance(settings)
    assert SYMBOL in one.load_markets()
    assert {"BTC", "USDT"} <= set(one.currencies)


@pytest.mark.parametrize("kind", ["hmac", "ed25519", "rsa"])
def test_a_scenario(exchange: Any, kind: str) -> None:
    one = client(exchange, exchange.key("bot", "reading,spot_trading", "--type", kind))
    one.load_markets()
    before = one.fetch_balance()
    low = one.price_to_precision(SYMBOL, one.fetch_ticker(SYMBOL)["last"] * 0.97)
    placed = one.create_order(SYMBOL, "limit", "buy", 0.01, low)
    assert placed["status"] == "open" and placed["filled"] == 0
    assert [order["id"] for order in one.fetch_open_orders(SYMBOL)] == [placed["id"]]
    assert one.fetch_balance()["USDT"]["used"] > 0
    assert one.fetch_order(placed["id"], SYMBOL)["price"] == float(low)
    edited = one.edit_order(placed["id"], SYMBOL, "limit", "buy", 0.02, low)
    assert edited["amount"] == 0.02
    assert one.cancel_order(edited["id"], SYMBOL)["status"] == "canceled"
    bought = one.create_order(SYMBOL, "market", "buy", 0.01)
    assert bought["status"] == "closed" and bought["fee"]["currency"] == "BTC"
    assert one.fetch_my_trades(SYMBOL)[-1]["order"] == bought["id"]
    sold = one.create_market_sell_order(SYMBOL, 0.005)
    assert sold["filled"] == 0.005
    high = one.price_to_precision(SYMBOL, one.fetch_ticker(SYMBOL)["last"] * 1.03)
    maker = one.create_order(SYMBOL, "limit", "sell", 0.005, high, {"postOnly": True})
    stop = one.create_order(SYMBOL, "limit", "sell", 0.005, low, {"stopLossPrice": low})
    assert stop["type"] in ("stop_loss_limit", "limit") and stop["triggerPrice"] == float(low)
    assert {order["id"] for order in one.fetch_open_orders(SYMBOL)} == {maker["id"], stop["id"]}
    one.cancel_all_orders(SYMBOL)
    assert one.fetch_open_orders(SYMBOL) == []
    assert len(one.fetch_orders(SYMBOL)) == 6
    fee = one.fetch_trading_fee(SYMBOL)
    assert (fee["maker"], fee["taker"]) == (0.001, 0.001)
    after = one.fetch_balance()
    assert after["USDT"]["used"] == 0 and after["BTC"]["total"] > before["BTC"]["total"]


def raised(error: type[Exception], call: Any) -> None:
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error, type(caught.value)


def test_each_error_is_ccxts_own(exchange: Any) -> None:
    one = client(exchange, exchange.key())
    one.load_markets()
    raised(ccxt.InsufficientFunds, lambda: one.create_order(SYMBOL, "market", "buy", 900))
    raised(ccxt.OrderNotFound, lambda: one.fetch_order("99999", SYMBOL))
    raised(ccxt.OrderNotFound, lambda: one.cancel_order("99999", SYMBOL))
    last = one.fetch_ticker(SYMBOL)["last"]
    over = one.price_to_precision(SYMBOL, last * 1.01)
    raised(
        ccxt.OrderImmediatelyFillable,
        lambda: one.create_order(SYMBOL, "limit", "buy", 0.01, over, {"postOnly": True}),
    )
    raised(ccxt.InvalidOrder, lambda: one.create_order(SYMBOL, "limit", "buy", 0.01, 1))
    exchange.paper("market", "set", "BTCUSDT", "status=HALT")
    raised(ccxt.MarketClosed, lambda: one.create_order(SYMBOL, "market", "buy", 0.01))
    exchange.paper("market", "set", "BTCUSDT", "status=TRADING")
    stranger = client(exchange, {"api_key": "U" * 64, "secret_key": "Z" * 64})
    raised(ccxt.AuthenticationError, stranger.fetch_balance)
    for fault, error in (
        ("http-429", ccxt.DDoSProtection),
        ("http-418", ccxt.DDoSProtection),
        ("code-1021", ccxt.InvalidNonce),
        ("code-1015", ccxt.DDoSProtection),
        ("http-503", ccxt.ExchangeNotAvailable),
        ("http-403", ccxt.ExchangeNotAvailable),
        ("cut-before", ccxt.NetworkError),
    ):
        exchange.paper("fault", "set", fault, "--match", "GET", "/api/v3/account", "--count", "1")
        with pytest.raises(error):
            one.fetch_balance()
    exchange.paper("keys", "delete", "bot")
    raised(ccxt.AuthenticationError, one.fetch_balance)
