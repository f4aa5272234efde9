"""python-binance, told by its user socket of a fill, places the opposite order: nothing else. Given the stub's URL."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from binance import AsyncClient, BinanceSocketManager


async def main(url: str) -> None:
    class Client(AsyncClient):
        API_URL = f"{url}/api"
        WS_API_URL = f"ws{url.removeprefix('http')}/ws-api/v3"

    client = await Client.create("k" * 64, "s" * 64)
    number = 0

    async def place(side: str, price: str, quantity: str) -> None:
        nonlocal number
        number += 1
        await client.create_order(
            symbol="XRPETH",
            side=side,
            type="LIMIT",
            timeInForce="GTC",
            price=price,
            quantity=quantity,
            newClientOrderId=f"peer-{number}",
            newOrderRespType="RESULT",
        )

    async with BinanceSocketManager(client).user_socket() as events:
        await place("BUY", "0.00139000", "35")
        while True:
            event = await events.recv()
            if event.get("e") == "executionReport" and event["X"] == "FILLED":
                selling = event["S"] == "BUY"
                await place("SELL" if selling else "BUY", "0.00141000" if selling else "0.00139000", event["q"])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        sys.exit(loop.run(main(sys.argv[1])))
