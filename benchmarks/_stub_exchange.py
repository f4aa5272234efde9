"""As little of Binance as an order robot needs, to measure from an event sent to the opposite order received.

``POST /bench?rounds=N`` fills the client's open orders one after another: the oldest open buy, then the sell that
answers it, and so on; it returns two lists of seconds (sell after a buy's fill, buy after a sell's fill), both from
just before the event is written to the socket until the order's request is parsed. Prints its port.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import sys
import time

import uvloop
from aiohttp import web

SYMBOL = "XRPETH"
PRICE = "0.00140000"
INFO = {
    "symbol": SYMBOL,
    "status": "TRADING",
    "baseAsset": "XRP",
    "quoteAsset": "ETH",
    "orderTypes": ["LIMIT"],
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "0.00000001", "maxPrice": "1000", "tickSize": "0.00000001"},
        {"filterType": "LOT_SIZE", "minQty": "1", "maxQty": "90000000", "stepSize": "1"},
        {"filterType": "NOTIONAL", "minNotional": "0.005", "maxNotional": "9000000"},
    ],
}
RATES = {"maker": "0.001", "taker": "0.001", "buyer": "0", "seller": "0"}


class Stub:
    def __init__(self) -> None:
        self.orders: dict[str, dict[str, str]] = {}
        self.socket: web.WebSocketResponse | None = None
        self.arrived: asyncio.Queue[tuple[float, str]] = asyncio.Queue()
        self.ids, self.trades = itertools.count(1), itertools.count(1)

    async def place(self, request: web.Request) -> web.Response:
        given = dict(await request.post()) | dict(request.query)
        at = time.perf_counter()
        name = str(given["newClientOrderId"])
        order = {
            "symbol": SYMBOL,
            "orderId": next(self.ids),
            "clientOrderId": name,
            "side": given["side"],
            "type": "LIMIT",
            "price": given["price"],
            "origQty": given["quantity"],
            "executedQty": "0",
            "cummulativeQuoteQty": "0",
            "status": "NEW",
            "transactTime": int(time.time() * 1000),
        }
        self.orders[name] = order
        self.arrived.put_nowait((at, name))
        return web.json_response(order)

    async def fill(self, name: str) -> float:
        order = self.orders.pop(name)
        now = int(time.time() * 1000)
        quantity, price = order["origQty"], order["price"]
        quote = f"{float(quantity) * float(price):.8f}"
        event = {
            "e": "executionReport",
            "E": now,
            "s": SYMBOL,
            "c": name,
            "S": order["side"],
            "o": "LIMIT",
            "f": "GTC",
            "q": quantity,
            "p": price,
            "P": "0",
            "F": "0",
            "g": -1,
            "C": "",
            "x": "TRADE",
            "X": "FILLED",
            "r": "NONE",
            "i": order["orderId"],
            "l": quantity,
            "z": quantity,
            "L": price,
            "n": "0",
            "N": "ETH",
            "T": now,
            "t": next(self.trades),
            "w": False,
            "m": True,
            "O": now,
            "Z": quote,
            "Y": quote,
            "Q": "0",
        }
        assert self.socket is not None
        text = json.dumps({"subscriptionId": 0, "event": event})
        began = time.perf_counter()
        await self.socket.send_str(text)
        return began

    async def bench(self, request: web.Request) -> web.Response:
        sells, buys = [], []
        while not self.arrived.empty():
            self.arrived.get_nowait()
        for _ in range(int(request.query["rounds"])):
            buy = next(name for name, order in self.orders.items() if order["side"] == "BUY")
            name = buy
            for found in (sells, buys):
                began = await self.fill(name)
                async with asyncio.timeout(5):
                    at, name = await self.arrived.get()
                found.append(at - began)
                await asyncio.sleep(0.02)
        return web.json_response([sells, buys])

    async def user(self, request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        async for message in answer:
            asked = json.loads(message.data)
            self.socket = answer
            await answer.send_str(json.dumps({"id": asked["id"], "status": 200, "result": {"subscriptionId": 0}}))
        return answer

    async def market(self, request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        async for _message in answer:
            pass
        return answer

    def app(self) -> web.Application:
        def says(body: object) -> object:
            async def answer(request: web.Request) -> web.Response:
                return web.json_response(body() if callable(body) else body)

            return answer

        def told() -> dict[str, int]:
            return {"serverTime": int(time.time() * 1000)}

        app = web.Application()
        balances = [{"asset": asset, "free": "100000", "locked": "0"} for asset in ("ETH", "XRP")]
        account = {"uid": 1, "canTrade": True, "commissionRates": RATES, "balances": balances}
        app.add_routes(
            [
                web.get("/api/v3/ping", says({})),
                web.get("/api/v3/time", says(told)),
                web.get("/api/v3/exchangeInfo", says(lambda: {**told(), "symbols": [INFO]})),
                web.get("/api/v3/ticker/price", says({"symbol": SYMBOL, "price": PRICE})),
                web.get("/api/v3/account", says(account)),
                web.get("/api/v3/openOrders", says(lambda: list(self.orders.values()))),
                web.get("/api/v3/myTrades", says([])),
                web.post("/api/v3/order", self.place),
                web.get("/ws-api/v3", self.user),
                web.get("/ws/{stream}", self.market),
                web.get("/open", says(lambda: len(self.orders) if self.socket is not None else 0)),
                web.post("/bench", self.bench),
            ]
        )
        return app


async def main() -> None:
    runner = web.AppRunner(Stub().app(), access_log=None)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening).start()
    print(listening.getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        sys.exit(loop.run(main()))
