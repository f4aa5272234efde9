"""The exchange port straight over the paper exchange's engine, over a simulated network."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from fortctl.exchange import parsing
from fortctl.exchange.decoding import UnreadableAnswerError
from fortctl.exchange.error_codes import classify
from fortctl.exchange.parsing import read
from fortctl.exchange.price_range import price_range
from fortctl.model import (
    AccountState,
    Fill,
    KeyPair,
    KeyRestrictions,
    MarketEvent,
    OrderRequest,
    OrderState,
    PriceRange,
    StreamDown,
    StreamUp,
    SymbolRules,
    UnreadableOrder,
    UserEvent,
)
from fortctl.paper.api import authentication, registry
from fortctl.paper.api.parameters import Context
from fortctl.paper.engine import errors
from fortctl.paper.engine.accounts import ApiKey
from fortctl.ports import ExchangeError, Outcome
from fortctl.robot.core.order_ids import prefix_of
from simulation.loop import present_process
from simulation.weather import EXECUTED, NOT_EXECUTED, ODD, STREAM, fault_of

if TYPE_CHECKING:
    from support.robot_world import Robot, World, WorldClock

ROBOT_ID = "0123456789abcdef"
PREFIX = prefix_of(ROBOT_ID)
ADDRESS = "192.0.2.1"
ANSWER_WITHIN_S = 10.0
WINDOW_MS = 5_000
PAGE = 1_000
ORDER = ("POST", "/api/v3/order")


class Stream:
    """One subscription of one process."""

    def __init__(self, world: World, api_key: str) -> None:
        self.world = world
        self.api_key = api_key
        self.process = present_process()
        self.queue: asyncio.Queue[UserEvent] = asyncio.Queue()
        self.live = True
        self._ready_at = 0.0

    def put(self, event: UserEvent) -> None:
        self.queue.put_nowait(event)

    def deliver(self, event: UserEvent) -> None:
        weather = self.world.weather
        kind = weather.strikes(STREAM)
        if not self.live or kind == "event-dropped":
            return
        if kind in ("stream-cut", "stream-stalled"):
            self.live = False
            self.world.note(kind)
            if kind == "stream-cut":
                self.put(StreamDown("the connection was closed"))
            return
        if not weather.latency[1]:
            self.put(event)
            return
        now = asyncio.get_running_loop().time()
        # One connection keeps its order, but for what is late.
        self._ready_at = max(self._ready_at, now + weather.way())
        asyncio.get_running_loop().call_at(self._ready_at, self.put, event, context=contextvars.Context())
        if kind:
            later = self._ready_at + (weather.chance.uniform(1, 20) if kind == "event-late" else 0.01)
            asyncio.get_running_loop().call_at(later, self.put, event, context=contextvars.Context())


class EngineExchange:
    """The exchange port straight over the paper engine: Binance's parameters and answers over a simulated network."""

    def __init__(self, world: World, pair: KeyPair | None) -> None:
        self._world = world
        self._pair = pair
        self._offset = 0

    async def _ask(self, method: str, path: str, **values: Any) -> Any:
        """Make a call; a signed one that has no effect is stamped here, and asked again after -1021."""
        call = registry.CALLS[method, path]
        if call.security == "NONE" or "timestamp" in values:
            return await self._send(method, path, values)
        for last in (False, True):
            clock = self._clock()
            stamped = {**values, "timestamp": clock.now_ms() + self._offset, "recvWindow": WINDOW_MS}
            try:
                return await self._send(method, path, stamped)
            except ExchangeError as fault:
                if fault.code != -1021 or last:
                    raise
            self._offset = await self.server_time() - clock.now_ms()
        raise AssertionError

    def _clock(self) -> WorldClock:
        robot = self._robot()
        return robot.clock if robot is not None else self._world.clock

    def _robot(self) -> Robot | None:
        return next((one for one in self._world.robots if one.process is present_process()), None)

    async def _send(self, method: str, path: str, values: dict[str, Any]) -> Any:
        world, name, robot = self._world, f"{method} {path}", self._robot()
        world.calls.append(name)
        self._watch(method, path, values)
        world.before(name)
        weather = world.weather
        if weather.down:
            await asyncio.sleep(weather.way())
            raise fault_of("maintenance")
        kind = (
            weather.strikes(NOT_EXECUTED)
            or weather.strikes(EXECUTED)
            or (weather.strikes(ODD) if "odd-answer" in weather.rates else "")
        )
        if kind:
            world.note(f"{name} {values.get('newClientOrderId', '')} meets {kind}")
        if kind in NOT_EXECUTED:
            await asyncio.sleep(weather.way())
            raise fault_of(kind)
        delay = weather.way() + (weather.chance.uniform(0.5, 20) if kind == "delayed" else 0.0)
        if not weather.latency[1]:
            answer = self._arrive(method, path, values, robot)
        else:
            packet = world.spawn(self._travel(delay, method, path, values, robot))
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    answer = await asyncio.shield(packet)
            except TimeoutError:
                raise ExchangeError(Outcome.UNKNOWN, "the connection broke (TimeoutError)") from None
            await asyncio.sleep(weather.way())
        if isinstance(answer, ExchangeError):
            raise answer
        if kind in ("cut-after", "executed-1007", "truncated"):
            raise fault_of(kind)
        world.after(name)
        return weather.changed(answer) if kind == "odd-answer" else answer

    async def _travel(self, delay: float, *request: Any) -> Any:
        await asyncio.sleep(delay)
        return self._arrive(*request)

    def _watch(self, method: str, path: str, values: dict[str, Any]) -> None:
        """Look at what leaves the process (invariants 1, 6, 7)."""
        world = self._world
        if present_process() is None:
            return
        if (method, path) == ORDER:
            world.note(f"leaves {values['newClientOrderId']} {values['side']} {values['price']} {values['quantity']}")
            world.order_leaves(values["newClientOrderId"])
        named = str(values.get("origClientOrderId", "")).startswith(PREFIX)
        if method == "DELETE" and not named and values.get("orderId") not in world.numbers:
            world.breaks(f"7: {method} {path} {values} touches more than one order of ours")

    def _arrive(self, method: str, path: str, values: dict[str, Any], robot: Robot | None) -> Any:
        """What the exchange does with a request; its answer, or the fault that the adapter makes of it."""
        world, call = self._world, registry.CALLS[method, path]
        try:
            key = self._admitted(method, path, values) if call.security != "NONE" else None
            texts = {name: str(value) for name, value in values.items() if name not in ("timestamp", "recvWindow")}
            if (method, path) == ("GET", "/api/v3/order"):
                self._hide_fresh(texts)
            answer = call.handler(Context(world.engine, world.now, key, []), texts)
            if path in ("/api/v3/openOrders", "/api/v3/allOrders"):
                answer = [row for row in answer if world.now - row["time"] >= world.weather.invisible_ms]
        except errors.BinanceError as refusal:
            outcome = classify(refusal.status, refusal.code, refusal.message)
            return ExchangeError(outcome, refusal.message, code=refusal.code, http_status=refusal.status)
        if (method, path) == ORDER and robot is not None:
            world.order_accepted(str(values["newClientOrderId"]), int(answer["orderId"]), robot)
        elif (method, path) == ORDER:
            world.placed.append(str(values["newClientOrderId"]))
        return answer

    def _admitted(self, method: str, path: str, values: dict[str, Any]) -> ApiKey:
        assert self._pair is not None
        world, sapi = self._world, path.startswith("/sapi")
        key = authentication.find_key(world.engine.state.keys, self._pair.api_key.reveal(), ADDRESS, sapi=sapi)
        authentication.check_time(values, world.now)
        if self._pair.secret.reveal() != key.secret:
            raise errors.BAD_SIGNATURE
        trade = registry.CALLS[method, path].security == "TRADE"
        authentication.check_permission(key, "spot_trading" if trade else "reading", world.now, sapi=sapi)
        return key

    def _hide_fresh(self, values: dict[str, str]) -> None:
        """An order that was taken in a moment ago may be answered with -2013 (rest-api.md, "Query order")."""
        world = self._world
        order = world.ours().get(values.get("origClientOrderId", ""))
        if order is not None and world.now - order.time < world.weather.invisible_ms:
            raise errors.NO_SUCH_ORDER

    async def server_time(self) -> int:
        return read(parsing.server_time, await self._ask("GET", "/api/v3/time"))

    async def symbol_rules(self, symbol: str) -> SymbolRules:
        return read(parsing.symbol_rules, await self._ask("GET", "/api/v3/exchangeInfo", symbol=symbol))

    async def last_price(self, symbol: str) -> Decimal:
        return read(parsing.last_price, await self._ask("GET", "/api/v3/ticker/price", symbol=symbol))

    async def price_range(self, symbol: str, since: int) -> PriceRange | None:
        async def ask(interval: str, first: int, last: int | None) -> Any:
            until = {} if last is None else {"endTime": str(last)}
            wanted = {"symbol": symbol, "interval": interval, "startTime": str(first), "limit": "1000", **until}
            return await self._ask("GET", "/api/v3/klines", **wanted)

        try:
            return await price_range(ask, since)
        except UnreadableAnswerError as error:
            raise parsing.unreadable(error) from None

    async def account(self) -> AccountState:
        return read(parsing.account_state, await self._ask("GET", "/api/v3/account"))

    async def key_restrictions(self) -> KeyRestrictions:
        if not self._world.has_sapi:
            raise ExchangeError(Outcome.REFUSED, "this target has no /sapi: the key's rights cannot be asked for")
        return read(parsing.restrictions, await self._ask("GET", "/sapi/v1/account/apiRestrictions"))

    async def test_order(self, request: OrderRequest) -> None:
        await self._ask("POST", "/api/v3/order/test", **_fields(request))

    async def place(self, request: OrderRequest, *, timestamp: int, recv_window: int) -> OrderState:
        fields = {**_fields(request), "newOrderRespType": "RESULT", "timestamp": timestamp, "recvWindow": recv_window}
        return read(parsing.order_state, await self._ask("POST", "/api/v3/order", **fields), Outcome.UNKNOWN)

    async def cancel(self, symbol: str, client_order_id: str, *, order_id: int | None = None) -> OrderState:
        named = {"orderId": order_id} if order_id is not None else {"origClientOrderId": client_order_id}
        answer = await self._ask("DELETE", "/api/v3/order", symbol=symbol, **named)
        return read(parsing.order_state, answer, Outcome.UNKNOWN)

    async def order(self, symbol: str, client_order_id: str, *, order_id: int | None = None) -> OrderState:
        named = {"orderId": order_id} if order_id is not None else {"origClientOrderId": client_order_id}
        return read(parsing.order_state, await self._ask("GET", "/api/v3/order", symbol=symbol, **named))

    async def open_orders(self, symbol: str | None = None) -> tuple[OrderState, ...]:
        rows = await self._ask("GET", "/api/v3/openOrders", **({"symbol": symbol} if symbol else {}))
        return read(parsing.order_states, rows)[0]

    def unreadable_orders(self) -> tuple[UnreadableOrder, ...]:
        return ()

    async def all_orders(
        self, symbol: str, *, start_time: int | None = None, from_id: int | None = None
    ) -> tuple[OrderState, ...]:
        found: list[OrderState] = []
        first = from_id or 0
        while True:
            rows = await self._ask("GET", "/api/v3/allOrders", symbol=symbol, orderId=first, limit=PAGE)
            found += read(parsing.order_states, rows)[0]
            if len(rows) < PAGE:
                return tuple(found)
            first = found[-1].order_id + 1

    async def previous_client_order_ids(self, symbol: str, order_id: int) -> tuple[str, ...]:
        rows = await self._ask("GET", "/api/v3/order/amendments", symbol=symbol, orderId=order_id)
        return read(parsing.previous_client_order_ids, rows)

    async def trades(self, symbol: str, *, order_id: int | None = None, from_id: int | None = None) -> tuple[Fill, ...]:
        found: list[Fill] = []
        first = from_id or 0
        while True:
            values = {"symbol": symbol, "fromId": first, "limit": PAGE}
            if order_id is not None:
                values["orderId"] = order_id
            rows = await self._ask("GET", "/api/v3/myTrades", **values)
            found += read(parsing.fills, rows)
            if len(rows) < PAGE:
                return tuple(found)
            first = found[-1].trade_id + 1

    async def user_events(self) -> AsyncIterator[UserEvent]:
        assert self._pair is not None
        world = self._world
        while True:
            stream = Stream(world, self._pair.api_key.reveal())
            try:
                await asyncio.sleep(world.weather.way())
                if world.weather.down:
                    raise fault_of("maintenance")
                self._admitted("GET", "/api/v3/account", self._stamp())
            except ExchangeError as fault:
                yield StreamDown(fault.message, fault.code)
            except errors.BinanceError as refusal:
                yield StreamDown(refusal.message, refusal.code)
            else:
                world.listeners.append(stream)
                try:
                    yield StreamUp()
                    while True:
                        event = await stream.queue.get()
                        yield event
                        if isinstance(event, StreamDown) and not stream.live and stream.queue.empty():
                            break
                finally:
                    if stream in world.listeners:
                        world.listeners.remove(stream)
            if not world.weather.latency[1]:
                # A quiet world: a key that was deleted stays deleted, and nobody asks again.
                await asyncio.get_running_loop().create_future()
            await asyncio.sleep(world.weather.chance.uniform(0.1, 10))

    def _stamp(self) -> dict[str, Any]:
        return {"timestamp": self._clock().now_ms() + self._offset, "recvWindow": WINDOW_MS}

    async def market_events(self, symbol: str) -> AsyncIterator[MarketEvent]:
        queue: asyncio.Queue[MarketEvent] = asyncio.Queue()
        watcher = (present_process(), queue)
        self._world.watchers.append(watcher)
        try:
            yield StreamUp()
            while True:
                yield await queue.get()
        finally:
            if watcher in self._world.watchers:
                self._world.watchers.remove(watcher)

    async def close(self) -> None:
        return None


def _fields(request: OrderRequest) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "symbol": request.symbol,
        "side": request.side.value,
        "type": request.type.value,
        "quantity": f"{request.quantity:f}",
        "price": f"{request.price:f}",
        "newClientOrderId": request.client_order_id,
    }
    if request.type.value == "LIMIT":
        fields["timeInForce"] = "GTC"
    if request.self_trade_prevention:
        fields["selfTradePreventionMode"] = request.self_trade_prevention
    return fields
