"""A simulated network between a world's robots and the paper exchange's engine."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from fortctl.model import KeyPair, MarketEvent, StreamDown, StreamUp, UserEvent
from fortctl.paper.engine import errors
from fortctl.ports import ExchangeError, Outcome
from fortctl.robot.core.order_ids import prefix_of
from simulation.loop import present_process
from simulation.weather import EXECUTED, NOT_EXECUTED, ODD, STREAM, fault_of
from support.clock import FakeClock
from support.engine_exchange import EngineExchange, admitted, answer, fault

if TYPE_CHECKING:
    from support.robot_world import Robot, World

ROBOT_ID = "0123456789abcdef"
PREFIX = prefix_of(ROBOT_ID)
ANSWER_WITHIN_S = 10.0
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


class SimulatedNetwork:
    """Implements ``engine_exchange.Network``: the world's weather meets each request, answer and event."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def has_sapi(self) -> bool:
        return self._world.has_sapi

    def client_clock(self) -> FakeClock:
        robot = self._robot()
        return robot.clock if robot is not None else self._world.clock

    def _robot(self) -> Robot | None:
        return next((one for one in self._world.robots if one.process is present_process()), None)

    async def send(self, pair: KeyPair | None, method: str, path: str, values: dict[str, Any]) -> Any:
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
            answered = self.arrive(pair, method, path, values, robot)
        else:
            packet = world.spawn(self._travel(delay, pair, method, path, values, robot))
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    answered = await asyncio.shield(packet)
            except TimeoutError:
                raise ExchangeError(Outcome.UNKNOWN, "the connection broke (TimeoutError)") from None
            await asyncio.sleep(weather.way())
        if isinstance(answered, ExchangeError):
            raise answered
        if kind in ("cut-after", "executed-1007", "truncated"):
            raise fault_of(kind)
        world.after(name)
        return weather.changed(answered) if kind == "odd-answer" else answered

    async def _travel(self, delay: float, *request: Any) -> Any:
        await asyncio.sleep(delay)
        return self.arrive(*request)

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

    def arrive(self, pair: KeyPair | None, method: str, path: str, values: dict[str, Any], robot: Robot | None) -> Any:
        """What the exchange does with a request; its answer, or the fault that the adapter makes of it."""
        world = self._world
        try:
            key = admitted(world.engine, pair, method, path, values, world.now)
            if (method, path) == ("GET", "/api/v3/order"):
                self._hide_fresh(values)
            answered = answer(world.engine, key, method, path, values, world.now)
            if path in ("/api/v3/openOrders", "/api/v3/allOrders"):
                answered = [row for row in answered if world.now - row["time"] >= world.weather.invisible_ms]
        except errors.BinanceError as refusal:
            return fault(refusal)
        if (method, path) == ORDER and robot is not None:
            world.order_accepted(str(values["newClientOrderId"]), int(answered["orderId"]), robot)
        elif (method, path) == ORDER:
            world.placed.append(str(values["newClientOrderId"]))
        return answered

    def _hide_fresh(self, values: dict[str, Any]) -> None:
        """An order that was taken in a moment ago may be answered with -2013 (rest-api.md, "Query order")."""
        world = self._world
        order = world.ours().get(values.get("origClientOrderId", ""))
        if order is not None and world.now - order.time < world.weather.invisible_ms:
            raise errors.NO_SUCH_ORDER

    async def user_events(self, exchange: EngineExchange, pair: KeyPair) -> AsyncIterator[UserEvent]:
        world = self._world
        while True:
            stream = Stream(world, pair.api_key.reveal())
            try:
                await asyncio.sleep(world.weather.way())
                if world.weather.down:
                    raise fault_of("maintenance")
                admitted(world.engine, pair, "GET", "/api/v3/account", exchange.stamp(), world.now)
            except ExchangeError as lost:
                yield StreamDown(lost.message, lost.code)
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
