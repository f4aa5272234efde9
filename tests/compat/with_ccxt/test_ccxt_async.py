"""ccxt, asynchronous and its WebSocket client: fills as they are told, and streams of the market."""

from __future__ import annotations

import asyncio
from typing import Any

import ccxt
import ccxt.async_support
import ccxt.pro
import pytest
from redirect import SYMBOL, options


@pytest.mark.parametrize("kind", ["hmac", "ed25519", "rsa"])
def test_the_asynchronous_client(exchange: Any, kind: str) -> None:
    made = exchange.key("bot", "reading,spot_trading", "--type", kind)

    async def scenario() -> None:
        one = ccxt.async_support.binance(options(exchange.url, exchange.ws_url, made))
        try:
            await one.load_markets()
            last = (await one.fetch_ticker(SYMBOL))["last"]
            price = one.price_to_precision(SYMBOL, last * 0.97)
            orders = await asyncio.gather(*(one.create_order(SYMBOL, "limit", "buy", 0.01, price) for _ in range(5)))
            assert len({order["id"] for order in orders}) == 5
            await asyncio.gather(*(one.cancel_order(order["id"], SYMBOL) for order in orders))
            with pytest.raises(ccxt.InsufficientFunds):
                await one.create_order(SYMBOL, "market", "buy", 900)
            assert (await one.fetch_balance())["USDT"]["used"] == 0
        finally:
            await one.close()

    asyncio.run(scenario())


def test_market_streams(moving: Any) -> None:
    async def scenario() -> None:
        one = ccxt.pro.binance(options(moving.url, moving.ws_url))
        try:
            async with asyncio.timeout(30):
                trades = await one.watch_trades(SYMBOL)
                assert trades[-1]["price"] > 0
                book = await one.watch_order_book(SYMBOL)
                assert book["bids"][0][0] < book["asks"][0][0]
                assert (await one.watch_ticker(SYMBOL))["last"] > 0
                assert (await one.watch_ohlcv(SYMBOL, "1m"))[-1][4] > 0
                best = await one.watch_bids_asks([SYMBOL])
                assert best[SYMBOL]["bid"] < best[SYMBOL]["ask"]
        finally:
            await one.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["hmac", "ed25519", "rsa"])
def test_the_users_own_stream(exchange: Any, kind: str) -> None:
    made = exchange.key("bot", "reading,spot_trading", "--type", kind)

    async def scenario() -> None:
        one = ccxt.pro.binance(options(exchange.url, exchange.ws_url, made))
        try:
            async with asyncio.timeout(30):
                await one.load_markets()
                watching = asyncio.create_task(one.watch_orders(SYMBOL))
                await asyncio.sleep(0.5)
                placed = await one.create_order(SYMBOL, "market", "buy", 0.01)
                told = await watching
                assert told[-1]["id"] == placed["id"]
                fills = asyncio.create_task(one.watch_my_trades(SYMBOL))
                await asyncio.sleep(0.2)
                sold = await one.create_order(SYMBOL, "market", "sell", 0.01)
                assert (await fills)[-1]["order"] in (placed["id"], sold["id"])
                by_socket = await one.create_order_ws(SYMBOL, "market", "buy", 0.01)
                assert by_socket["status"] == "closed"
                # ccxt does not parse what it gets here (it asks for no type); what it got is what counts.
                told_balances = (await one.fetch_balance_ws())["info"]["balances"]
                assert {row["asset"] for row in told_balances} == {"BTC", "USDT"}
        finally:
            await one.close()

    asyncio.run(scenario())
