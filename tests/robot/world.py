"""A little deterministic world: the real runner and journal over the paper exchange's real engine, in one process.

Faults are asked for by name; a kill is an exception that ends the runner where it stands.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any

from fortctl.exchange import parsing
from fortctl.exchange.codes import classify
from fortctl.model import (
    AccountState,
    Fill,
    KeyPair,
    KeyRestrictions,
    KeyType,
    MarketEvent,
    OrderRequest,
    OrderState,
    PublicTrade,
    StreamDown,
    StreamUp,
    SymbolRules,
    UserEvent,
)
from fortctl.paper import calls, refusals
from fortctl.paper.accounts import ApiKey
from fortctl.paper.engine import Engine
from fortctl.paper.market import Tape, Trade
from fortctl.paper.parameters import Context
from fortctl.paper.symbols import symbol_of
from fortctl.ports import ExchangeFault, Outcome
from fortctl.robot.journal import SqliteJournal
from fortctl.robot.runner import Runner
from fortctl.robot.settings import GridSettings
from fortctl.secret import Secret

SYMBOL = "XRPETH"
START_MS = 1_700_000_000_000


class Killed(BaseException):
    """SIGKILL, as far as one process can play it."""


class WorldClock:
    """Time that passes only when the world says so; sleeping is instant but counted."""

    def __init__(self) -> None:
        self.ms = START_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)
        await asyncio.sleep(0)


class OpenLatch:
    """A latch that can be put on."""

    def __init__(self) -> None:
        self.on = False

    def is_latched(self) -> bool:
        return self.on

    def placing(self) -> AbstractContextManager[bool]:
        return nullcontext(not self.on)


class World:
    """The exchange's side of the world."""

    def __init__(self, price: str = "0.00140000") -> None:
        symbol = symbol_of(SYMBOL, Decimal("0.00000001"), Decimal(1))
        first = Trade(1, Decimal(price), Decimal(1000), START_MS, True)
        self.engine = Engine({SYMBOL: Tape(symbol, (first,))}, "through")
        self.clock = WorldClock()
        self.engine.create_account("default", {"ETH": Decimal(30), "XRP": Decimal(1000)}, START_MS)
        self.engine.trade(SYMBOL, first, START_MS)
        self.listeners: list[asyncio.Queue[UserEvent]] = []
        self.watchers: list[asyncio.Queue[MarketEvent]] = []
        self.engine.emit = self._emit
        self.placed: list[str] = []
        self.calls: list[str] = []
        self.before: Callable[[str], None] = lambda name: None
        self.after: Callable[[str], None] = lambda name: None
        self.mangle: Callable[[UserEvent], list[UserEvent]] = lambda event: [event]
        self._trade_id = 1

    def key(self, name: str, permissions: tuple[str, ...] = ("reading", "spot_trading")) -> KeyPair:
        text = (name * 64)[:64].replace("-", "0")
        self.engine.add_key(ApiKey(name, "default", text, "hmac", permissions, START_MS, secret="s" * 64))
        return KeyPair(name, KeyType.HMAC, Secret(text), Secret("s" * 64))

    def delete_key(self, name: str) -> None:
        self.engine.delete_key(name)
        for queue in self.listeners:
            queue.put_nowait(StreamDown("eventStreamTerminated"))
            queue.put_nowait(StreamDown("refused", -2015))

    def trade(self, price: str | Decimal, quantity: str | Decimal = "1000") -> None:
        """Let somebody trade at a price."""
        self._trade_id += 1
        self.clock.ms += 1
        trade = Trade(self._trade_id, Decimal(price), Decimal(quantity), self.clock.ms, False)
        self.engine.trade(SYMBOL, trade, self.clock.ms)
        for queue in self.watchers:
            queue.put_nowait(PublicTrade(SYMBOL, trade.price, trade.quantity, self.clock.ms))

    def _emit(self, account: str, kind: str, event: dict[str, Any]) -> None:
        if kind == "balance":
            return
        parsed: UserEvent = parsing.order_update(event) if kind == "order" else parsing.balance_update(event)
        for queue in self.listeners:
            for one in self.mangle(parsed):
                queue.put_nowait(one)

    def connect(self, pair: KeyPair | None) -> EngineExchange:
        return EngineExchange(self, pair)

    def balances(self) -> dict[str, Decimal]:
        account = self.engine.accounts["default"]
        zero = Decimal(0)
        return {asset: account.free.get(asset, zero) + account.locked.get(asset, zero) for asset in account.assets()}


class EngineExchange:
    """The exchange port straight over the paper engine: Binance's parameters and answers, no network."""

    def __init__(self, world: World, pair: KeyPair | None) -> None:
        self._world = world
        self._pair = pair

    async def _ask(self, method: str, path: str, **values: Any) -> Any:
        name = f"{method} {path}"
        world, call = self._world, calls.CALLS[method, path]
        world.calls.append(name)
        await asyncio.sleep(0)
        world.before(name)
        try:
            key = None
            if call.security != "NONE":
                assert self._pair is not None
                key = world.engine.keys.get(self._pair.api_key.reveal())
                if key is None:
                    raise refusals.UNKNOWN_KEY_SAPI if path.startswith("/sapi") else refusals.bad_key()
                if call.security == "TRADE" and not key.may("spot_trading", world.clock.ms):
                    raise refusals.bad_key()
            texts = {name: str(value) for name, value in values.items()}
            context = Context(world.engine, world.clock.ms, key, [])
            answer = call.handler(context, texts)
        except refusals.Refusal as refusal:
            outcome = classify(refusal.status, refusal.code, refusal.message)
            raise ExchangeFault(outcome, refusal.message, code=refusal.code, http_status=refusal.status) from None
        if method == "POST" and path == "/api/v3/order":
            world.placed.append(str(values["newClientOrderId"]))
        world.after(name)
        return answer

    async def server_time(self) -> int:
        return int((await self._ask("GET", "/api/v3/time"))["serverTime"])

    async def symbol_rules(self, symbol: str) -> SymbolRules:
        return parsing.symbol_rules((await self._ask("GET", "/api/v3/exchangeInfo", symbol=symbol))["symbols"][0])

    async def last_price(self, symbol: str) -> Decimal:
        return Decimal((await self._ask("GET", "/api/v3/ticker/price", symbol=symbol))["price"])

    async def account(self) -> AccountState:
        return parsing.account_state(await self._ask("GET", "/api/v3/account"))

    async def key_restrictions(self) -> KeyRestrictions:
        return parsing.restrictions(await self._ask("GET", "/sapi/v1/account/apiRestrictions"))

    async def test_order(self, request: OrderRequest) -> None:
        raise ExchangeFault(Outcome.REFUSED, "not played here")

    async def place(self, request: OrderRequest, *, timestamp: int, recv_window: int) -> OrderState:
        answer = await self._ask(
            "POST",
            "/api/v3/order",
            symbol=request.symbol,
            side=request.side.value,
            type=request.type.value,
            timeInForce="GTC",
            quantity=f"{request.quantity:f}",
            price=f"{request.price:f}",
            newClientOrderId=request.client_order_id,
            newOrderRespType="RESULT",
        )
        return parsing.order_state(answer)

    async def cancel(self, symbol: str, client_order_id: str) -> OrderState:
        answer = await self._ask("DELETE", "/api/v3/order", symbol=symbol, origClientOrderId=client_order_id)
        return parsing.order_state(answer)

    async def order(self, symbol: str, client_order_id: str) -> OrderState:
        answer = await self._ask("GET", "/api/v3/order", symbol=symbol, origClientOrderId=client_order_id)
        return parsing.order_state(answer)

    async def open_orders(self, symbol: str | None = None) -> tuple[OrderState, ...]:
        rows = await self._ask("GET", "/api/v3/openOrders", **({"symbol": symbol} if symbol else {}))
        return tuple(parsing.order_state(row) for row in rows)

    async def all_orders(self, symbol: str, *, start_time: int | None = None) -> tuple[OrderState, ...]:
        rows = await self._ask("GET", "/api/v3/allOrders", symbol=symbol, orderId=0)
        return tuple(parsing.order_state(row) for row in rows)

    async def trades(self, symbol: str, *, order_id: int | None = None, from_id: int | None = None) -> tuple[Fill, ...]:
        values = {"symbol": symbol, "fromId": from_id or 0, "limit": 1000}
        if order_id is not None:
            values["orderId"] = order_id
        return tuple(parsing.fill(row) for row in await self._ask("GET", "/api/v3/myTrades", **values))

    async def user_events(self) -> AsyncIterator[UserEvent]:
        queue: asyncio.Queue[UserEvent] = asyncio.Queue()
        self._world.listeners.append(queue)
        try:
            yield StreamUp()
            while True:
                yield await queue.get()
        finally:
            self._world.listeners.remove(queue)

    async def market_events(self, symbol: str) -> AsyncIterator[MarketEvent]:
        queue: asyncio.Queue[MarketEvent] = asyncio.Queue()
        self._world.watchers.append(queue)
        try:
            yield StreamUp()
            while True:
                yield await queue.get()
        finally:
            self._world.watchers.remove(queue)

    async def close(self) -> None:
        return None


SETTINGS = GridSettings(SYMBOL, 4, Decimal("0.5"), Decimal("0.5"), Decimal("0.05"), max_quote=Decimal(2))


class Robot:
    """One robot process in the world, over a journal that outlives it."""

    def __init__(self, world: World, folder: Path, pair: KeyPair, *, resume: bool = True) -> None:
        self.world = world
        self.latch = OpenLatch()
        self._journal = SqliteJournal(folder / "journal.sqlite", account="default", clock=world.clock)
        log = logging.getLogger("test.robot")
        log.addHandler(logging.NullHandler())
        log.propagate = False
        self.runner = Runner(
            account="default",
            robot_id="0123456789abcdef",
            journal=self._journal,
            clock=world.clock,
            latch=self.latch,
            connect=world.connect,
            log=log,
            resume_running=resume,
        )
        self._pair = pair
        self._task: asyncio.Task[None] | None = None

    async def up(self) -> None:
        await self.runner.configure(SETTINGS)
        await self.runner.set_key(self._pair, uid=self.world.engine.accounts["default"].uid)
        self._task = asyncio.create_task(self.runner.run())
        await self.settle()

    async def settle(self, turns: int = 60) -> None:
        """Let everything that can happen now, happen. Raises what ended the robot."""
        for _ in range(turns):
            await asyncio.sleep(0)
            if self._task is not None and self._task.done():
                self._task.result()

    async def down(self) -> None:
        """End it, however it stands."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for task in (self.runner._user_task, self.runner._market_task):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._journal.close()
