"""A deterministic world: the real runner and journal over the paper exchange's real engine, on simulated time.

Without weather it is a quiet place for one scene at a time; :mod:`simulation.campaign` lets everything go wrong in it.
What the world sees (each order that leaves, arrives or is journaled) it checks at once against robot.md's invariants.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from fortctl.errors import JournalUnwritableError
from fortctl.exchange import parsing
from fortctl.model import (
    KeyCard,
    KeyPair,
    KeyType,
    MarketEvent,
    PublicTrade,
    StreamDown,
    UserEvent,
)
from fortctl.paper.engine.accounts import ApiKey
from fortctl.paper.engine.exchange import Engine
from fortctl.paper.engine.market_data import Recording
from fortctl.paper.engine.symbols import symbol_of
from fortctl.paper.engine.trades.table import Trade
from fortctl.robot.core.book import Book
from fortctl.robot.core.book_snapshot import Row, Snapshot, dump
from fortctl.robot.core.drift_settings import DriftSettings
from fortctl.robot.core.events import Event, OrderIntended
from fortctl.robot.core.foreign_activity import ForeignSettings
from fortctl.robot.core.order_ids import client_order_id
from fortctl.robot.core.reconciliation import ResumeLimits
from fortctl.robot.core.settings import GridSettings
from fortctl.robot.storage.journal import SqliteJournal
from fortctl.robot.storage.journal_checkpoint import JournalCheckpoint
from fortctl.robot.trading.runner import Runner
from fortctl.secret import Secret
from simulation.loop import Killed, SimProcess, present_process
from simulation.network import ROBOT_ID, SimulatedNetwork, Stream
from simulation.weather import Weather
from support.clock import START_MS, FakeClock
from support.engine_exchange import ADDRESS, EngineExchange

SYMBOL = "XRPETH"
# A robot makes a snapshot every 2,000 events; here so few that most restarts go through one.
SNAPSHOT_EVERY = 10
BNB, BNB_PRICE = "BNBETH", Decimal("0.08")
SETTINGS = GridSettings(SYMBOL, 4, Decimal("0.5"), Decimal("0.5"), Decimal("0.05"), max_quote=Decimal(2))


class ViolationError(AssertionError):
    """An invariant of robot.md does not hold."""


class OpenLatch:
    """A latch that can be put on; :meth:`halted` is panic's halt step."""

    def __init__(self) -> None:
        self.on = False
        self.halt_done = False
        self._placing = 0
        self._panics = False

    def is_latched(self) -> bool:
        return self.on

    @contextmanager
    def placing(self) -> Iterator[bool]:
        if self._panics:
            yield False
            return
        self._placing += 1
        try:
            yield not self.on
        finally:
            self._placing -= 1

    async def halted(self, robot: Robot, within_s: float = 0.2) -> None:
        """Latch, wait for whoever is placing, and kill the robot if that takes too long (robot.md, "Panic")."""
        self.on = True
        deadline = asyncio.get_running_loop().time() + within_s
        while self._placing and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.005)
        if self._placing:
            robot.process.kill()
        self.halt_done = True


class World:
    """The exchange's side of the world, and what is true in it.

    Attributes:
        placed: client order ids that the exchange accepted, in order.
        calls: what was asked of the exchange.
        before, after: hear of each call before it leaves and after its answer came; may raise.
        mangle: what becomes of a user event.
        weather: what goes wrong by chance.
        journaled: the client order ids whose intents are durable.
        broken: the invariants that did not hold.
    """

    def __init__(self, price: str = "0.00140000", weather: Weather | None = None, model: str = "through") -> None:
        symbol = symbol_of(SYMBOL, Decimal("0.00000001"), Decimal(1))
        first = Trade(1, Decimal(price), Decimal(1000), START_MS, True)
        bnb = Trade(1, BNB_PRICE, Decimal(1), START_MS, True)
        tapes = {
            SYMBOL: Recording(symbol, (first,)),
            BNB: Recording(symbol_of(BNB, Decimal("0.000001"), Decimal("0.01")), (bnb,)),
        }
        self.engine = Engine(tapes, model)
        self.clock = FakeClock(follows_loop=True)
        self.weather = weather or Weather()
        self.engine.create_account("default", {"ETH": Decimal(30), "XRP": Decimal(1000)}, START_MS)
        self.engine.apply_trade(SYMBOL, first, START_MS)
        self.engine.apply_trade(BNB, bnb, START_MS)
        self.listeners: list[Stream] = []
        self.watchers: list[tuple[SimProcess | None, asyncio.Queue[MarketEvent]]] = []
        self.engine.listeners.on_user_event = self._emit
        self.placed: list[str] = []
        self.numbers: dict[int, str] = {}
        self.calls: list[str] = []
        self.before: Callable[[str], None] = lambda name: None
        self.after: Callable[[str], None] = lambda name: None
        self.mangle: Callable[[UserEvent], list[UserEvent]] = lambda event: [event]
        self.journaled: set[str] = set()
        self.left: Counter[str] = Counter()
        self.broken: list[str] = []
        self.trace: list[str] = []
        self.robots: list[Robot] = []
        self.network = SimulatedNetwork(self)
        self.has_sapi = True
        self.clock_ahead_ms = 0
        self._trade_id = 1

    # -- time ------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """The exchange's clock."""
        return START_MS + round(asyncio.get_running_loop().time() * 1000) + self.clock_ahead_ms

    def note(self, text: str) -> None:
        self.trace.append(f"{asyncio.get_running_loop().time():12.3f} {text}")

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start something that no process's death ends: a packet on its way, another person."""
        return asyncio.get_running_loop().create_task(work, context=contextvars.Context())

    def breaks(self, invariant: str) -> None:
        self.note(f"VIOLATION {invariant}")
        self.broken.append(invariant)

    # -- keys ------------------------------------------------------------------------------------------------------

    def key(self, name: str, permissions: tuple[str, ...] = ("reading", "spot_trading")) -> KeyPair:
        text = (name * 64)[:64].replace("-", "0")
        secret = f"secret{name}" + "s" * 58
        made = ApiKey(name, "default", text, "hmac", permissions, self._at(), secret=secret, ips=(ADDRESS,))
        self.engine.add_key(made)
        return KeyPair(name, KeyType.HMAC, Secret(text), Secret(secret))

    def _at(self) -> int:
        try:
            return self.now
        except RuntimeError:
            return START_MS

    def delete_key(self, name: str, *, streams: str = "at-once") -> None:
        """Delete a key; its streams end at once, or go on without a word (``silent``)."""
        key = self.engine.delete_key(name)
        for stream in [one for one in self.listeners if one.api_key == key.api_key]:
            if streams == "at-once":
                stream.put(StreamDown("eventStreamTerminated"))
                stream.put(StreamDown("refused", -2015))
            stream.live = False

    def pay_in_bnb(self, amount: Decimal) -> None:
        """Let commissions be charged in BNB while this much lasts."""
        self.engine.deposit("default", "BNB", amount, self._at())
        self.engine.state.accounts["default"].pays_in_bnb = True

    # -- the market ------------------------------------------------------------------------------------------------

    def trade(self, price: str | Decimal, quantity: str | Decimal = "1000") -> None:
        """Let somebody trade at a price."""
        self._trade_id += 1
        trade = Trade(self._trade_id, Decimal(price), Decimal(quantity), self.now, False)
        self.engine.apply_trade(SYMBOL, trade, self.now)
        for _process, queue in self.watchers:
            queue.put_nowait(PublicTrade(SYMBOL, trade.price, trade.quantity, self.now))

    def _emit(self, account: str, kind: str, event: dict[str, Any]) -> None:
        readers: dict[str, Callable[[object], UserEvent]] = {
            "order": parsing.order_update,
            "balance": parsing.funds_moved,
        }
        parsed = readers.get(kind, parsing.balance_update)(event)
        for stream in list(self.listeners):
            for one in self.mangle(parsed):
                stream.deliver(one)

    def connect(self, pair: KeyPair | None) -> EngineExchange:
        return EngineExchange(self.network, pair)

    # -- what is true ----------------------------------------------------------------------------------------------

    def balances(self) -> dict[str, Decimal]:
        account = self.engine.state.accounts["default"]
        zero = Decimal(0)
        return {asset: account.free.get(asset, zero) + account.locked.get(asset, zero) for asset in account.assets()}

    def ours(self) -> dict[str, Any]:
        """Return the exchange's orders by the id that the robot gave them (a person may have amended it)."""
        return {name: self.engine.state.orders[number] for number, name in self.numbers.items()}

    def fills_of_ours(self) -> list[dict[str, Any]]:
        return [row for row in self.engine.state.fills.get(("default", SYMBOL), []) if row["orderId"] in self.numbers]

    def order_leaves(self, name: str) -> None:
        """Check what must be true of an order that leaves a robot (invariants 1, 5, 6)."""
        robot = next((one for one in self.robots if one.process is present_process()), None)
        self.left[name] += 1
        if self.left[name] > 1:
            self.breaks(f"1: {name} left twice")
        if name not in self.journaled:
            self.breaks(f"1: {name} left before its intent was durable")
        if robot is None:
            return
        if robot.latch.halt_done:
            self.breaks(f"6: {name} left after the halt")
        if robot.runner.state == "key_lost":
            self.breaks(f"key: {name} left after the key was lost")
        limit, order = robot.runner.book.settings, robot.runner.book.orders[name]
        budget = limit.max_quote if limit is not None and order.leg == "buy" else None
        if budget is not None and robot.runner.book.committed_quote() > budget:
            self.breaks(f"4: {name} exceeds the budget")

    def order_accepted(self, name: str, number: int, robot: Robot | None) -> None:
        """Check what must be true of an order that the exchange took in (invariants 1, 4, 5)."""
        self.placed.append(name)
        self.numbers[number] = name
        if self.placed.count(name) > 1:
            self.breaks(f"1: {name} was accepted twice")
        if robot is not None and robot.replaced_at is not None and self.now > robot.replaced_at + 2_000:
            self.breaks(f"5: {name} of an older owner was accepted {self.now - robot.replaced_at} ms after the new one")
        ours = self.ours().values()
        base = Decimal(0)
        for row in self.fills_of_ours():
            base += Decimal(row["qty"]) * (1 if row["isBuyer"] else -1)
            base -= Decimal(row["commission"]) if row["commissionAsset"] == "XRP" else 0
        offered = sum((order.left for order in ours if order.open and order.side == "SELL"), Decimal(0))
        if offered > base:
            self.breaks(f"4: {name} offers {offered} of {base} that our cycles have bought")


# Written, but the writer is told that it failed.
LOST_COMMIT = "disk I/O error at the commit"


class WatchedJournal(SqliteJournal):
    """The real journal; the world hears of each write, may kill before or after it, and may fill the disk."""

    def __init__(self, world: World, process: SimProcess, path: Path, clock: FakeClock) -> None:
        self._world = world
        self._process = process
        self.disk = ""
        self.low_space = False
        self.before_write: Callable[[Sequence[Event]], None] = lambda events: None
        self.after_write: Callable[[Sequence[Event]], None] = lambda events: None
        super().__init__(path, account="default", clock=clock)
        # SIGKILL takes nothing from the kernel's cache: waiting for the disk would only cost time here.
        self._connection.execute("PRAGMA synchronous=OFF")

    def _check_token(self) -> None:
        if self.disk and self.disk != LOST_COMMIT:
            raise sqlite3.OperationalError(self.disk)
        super()._check_token()

    def _write_checkpoint(self, anchor: JournalCheckpoint) -> None:
        if self._process.dead:
            raise Killed
        self._checkpoint_path.write_text(json.dumps(asdict(anchor)))

    def free_bytes(self) -> int:
        return 0 if self.low_space else super().free_bytes()

    def rows(self, after: int, upto: int, limit: int) -> list[Row]:
        if self._process.dead:
            raise Killed
        return super().rows(after, upto, limit)

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        if self._process.dead:
            raise Killed
        self.before_write(())
        super().keep_snapshot(snapshot)
        if self.disk == LOST_COMMIT:
            raise JournalUnwritableError(self.disk)
        self._world.note(f"journal snapshot after {snapshot.seq}")
        self.after_write(())

    def append(self, events: Sequence[Event]) -> None:
        if self._process.dead:
            raise Killed
        self.before_write(events)
        super().append(events)
        if self.disk == LOST_COMMIT:
            raise JournalUnwritableError(self.disk)
        for event in events:
            self._world.note(f"journal {event}")
            if isinstance(event, OrderIntended):
                self._world.journaled.add(event.client_order_id)
                if event.sell_price:
                    # Its cycle's first sell is durable with it (rule 1).
                    self._world.journaled.add(client_order_id(ROBOT_ID, event.cycle, "sell", 1))
        self.after_write(events)


class _Trace(logging.Handler):
    """The robot's log goes into the world's trace."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.note(f"log {record.levelname.lower()} {record.getMessage()}")


class Robot:
    """One robot process in the world, over a journal that outlives it."""

    def __init__(
        self,
        world: World,
        folder: Path,
        pair: KeyPair | None,
        *,
        resume: bool = True,
        limits: ResumeLimits | None = None,
        drift: DriftSettings | None = None,
        foreign: ForeignSettings | None = None,
    ) -> None:
        self.world = world
        self.announced: list[tuple[str, dict[str, Any]]] = []
        self.panics: list[str] = []
        self.card: KeyCard | None = None
        self.clock = world.clock
        self.latch = OpenLatch()
        self.process = SimProcess()
        self.replaced_at: int | None = None
        for other in world.robots:
            if other.replaced_at is None and not other.process.dead:
                other.replaced_at = world.now
        self.journal = WatchedJournal(world, self.process, folder / "journal.sqlite", self.clock)
        log = logging.Logger("test.robot")
        log.addHandler(_Trace(world))
        self.runner = Runner(
            account="default",
            robot_id=ROBOT_ID,
            journal=self.journal,
            clock=self.clock,
            latch=self.latch,
            connect=world.connect,
            log=log,
            limits=limits,
            resume_running=resume,
            announce=lambda event, facts: self.announced.append((event, dict(facts))),
            drift_settings=drift,
            foreign_settings=foreign,
            panic=self.panics.append,
            snapshot_every=SNAPSHOT_EVERY,
        )
        self._pair = pair
        self.task: asyncio.Task[None] | None = None
        world.robots.append(self)
        self._compare_with_replay()

    def _compare_with_replay(self) -> None:
        """Break the world where the book that it starts with is another than the replay of all events."""
        began, full = self.runner.robot.journaled.began_with, Book()
        full.replay(self.journal.events())
        if dump(full) != dump(self.runner.book):
            self.world.breaks(f"snapshot: the book after event {began and began.seq} is not the replay of all")
        if began is not None:
            self.world.note(f"started from the snapshot after {began.seq}")

    async def up(self, settings: GridSettings | None = SETTINGS) -> None:
        await self.does(self._come_up(settings))
        await self.settle()

    async def _come_up(self, settings: GridSettings | None) -> None:
        if settings is not None:
            await self.runner.configure(settings)
        if self._pair is not None:
            uid = self.world.engine.state.accounts["default"].uid
            await self.runner.keys.load(self._pair, uid=uid, card=self.card)
        self.task = self.process.spawn(self.runner.run())

    async def does(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something as this process; None when it is killed meanwhile."""
        task = self.process.spawn(work)
        while not task.done() and not self.process.dead:
            await asyncio.wait({task}, timeout=0.05)
        return task.result() if task.done() and not self.process.dead else None

    async def settle(self, turns: int = 60) -> None:
        """Let everything that can happen now, happen. Raises what ended the robot."""
        for _ in range(turns):
            await asyncio.sleep(0)
        self.check()

    async def wait(self, seconds: float) -> None:
        """Let time pass. Raises what ended the robot."""
        await asyncio.sleep(seconds)
        self.check()

    def check(self) -> None:
        if self.task is not None and self.task.done() and not self.process.dead:
            self.task.result()

    async def down(self) -> None:
        """Kill it."""
        self.process.kill()
        self.journal.close()
        world = self.world
        world.listeners = [stream for stream in world.listeners if stream.process is not self.process]
        world.watchers = [watcher for watcher in world.watchers if watcher[0] is not self.process]
