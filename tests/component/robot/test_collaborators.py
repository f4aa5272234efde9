"""The runner's collaborators, each made from a RobotState and a port or two, without a Runner."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from pathlib import Path

from fortctl.model import StreamDown
from fortctl.ports import ExchangeError, Outcome
from fortctl.robot.core.cycle import CycleState
from fortctl.robot.core.events import Configured, ModeChanged, Place
from fortctl.robot.core.lifecycle import Books, Key, KeyEvent, TradingMode, TradingModeEvent
from fortctl.robot.core.order_ids import client_order_id
from fortctl.robot.storage.journal import SqliteJournal, read_events
from fortctl.robot.strategy.api import sell_price
from fortctl.robot.strategy.grid import builtin
from fortctl.robot.trading.drift_watch import DriftWatch
from fortctl.robot.trading.key_manager import KeyManager
from fortctl.robot.trading.key_monitor import KeyMonitor
from fortctl.robot.trading.order_executor import OrderExecutor
from fortctl.robot.trading.order_lookup import OrderLookup
from fortctl.robot.trading.reconciler import Reconciler
from fortctl.robot.trading.state import RobotState
from fortctl.robot.trading.strategy_runner import StrategyRunner
from fortctl.robot.trading.streams import StreamFollower
from fortctl.store.sqlite import open_readonly
from simulation.loop import simulated
from simulation.network import ROBOT_ID
from support.robot_world import SETTINGS, SYMBOL, OpenLatch, World

PRICE, QUANTITY = Decimal("0.00139000"), Decimal(36)
BUY, SELL = client_order_id(ROBOT_ID, 1, "buy", 1), client_order_id(ROBOT_ID, 1, "sell", 1)
LOG = logging.Logger("test.collaborators")


def state_of(world: World, folder: Path) -> RobotState:
    """Return the state of a robot that was just started, without a key."""
    return RobotState(
        account="default",
        robot_id=ROBOT_ID,
        journal=SqliteJournal(folder / "journal.sqlite", account="default", clock=world.clock),
        clock=world.clock,
        latch=OpenLatch(),
        connect=world.connect,
        log=LOG,
    )


async def trading_state(world: World, folder: Path) -> RobotState:
    """Return the state of a robot that may place orders."""
    robot = state_of(world, folder)
    robot.exchange = world.connect(world.key("a"))
    robot.record(Configured(SETTINGS.as_json()))
    robot.turn_key(KeyEvent.SET)
    robot.change_mode(TradingModeEvent.START, "started")
    robot.exchange_clock.set(await robot.exchange.server_time(), world.clock.monotonic())
    robot.update_market(await robot.exchange.symbol_rules(SYMBOL), await robot.exchange.last_price(SYMBOL))
    robot.update_account(await robot.exchange.account())
    robot.books = Books.AGREED
    assert robot.calm()
    return robot


def executor_of(robot: RobotState, lookup: OrderLookup | None = None) -> OrderExecutor:
    async def ignore(fault: ExchangeError) -> None: ...

    return OrderExecutor(robot, lookup or OrderLookup(robot), on_key_refused=ignore, on_rules_doubted=lambda: None)


def buy_of(robot: RobotState) -> Place:
    """Return a buy with its promised sell."""
    assert robot.rules is not None
    sell = sell_price(SETTINGS.take_profit, PRICE, robot.rate, robot.rules.tick_size)
    return Place(None, 1, "buy", PRICE, QUANTITY, sell_price=sell)


@simulated
async def test_state_event_journaled_with_the_next_write_is_read_again(tmp_path: Path) -> None:
    world = World()
    robot = state_of(world, tmp_path)
    robot.record_with_next(ModeChanged(TradingMode.DRAINING.value, "draining", 1))
    assert robot.book.mode is TradingMode.DRAINING
    assert state_of(world, tmp_path).book.mode is TradingMode.STOPPED, "it is in the book and not in the journal yet"
    robot = state_of(world, tmp_path)
    robot.record_with_next(ModeChanged(TradingMode.DRAINING.value, "draining", 1))
    robot.flush()
    assert state_of(world, tmp_path).book.mode is TradingMode.DRAINING


@simulated
async def test_stream_follower_reports_order_updates_and_the_refused_stream(tmp_path: Path) -> None:
    world = World()
    robot = await trading_state(world, tmp_path)
    updates: list[str] = []
    down: list[StreamDown] = []

    async def on_down(event: StreamDown) -> None:
        down.append(event)

    streams = StreamFollower(
        robot, lambda update: updates.append(update.order.client_order_id), lambda event: None, on_down
    )
    assert robot.exchange is not None
    streams.follow_user(robot.exchange)
    await asyncio.sleep(0.1)
    assert streams.up == {robot.exchange}
    robot.books = Books.AGREED
    await executor_of(robot).execute(robot.exchange, [buy_of(robot)])
    await asyncio.sleep(0.1)
    assert updates == [BUY]
    world.delete_key("a")
    await asyncio.sleep(0.1)
    assert [event.code for event in down] == [None, -2015] and not streams.up
    await streams.close()


@simulated
async def test_key_monitor_deleted_key_is_lost(tmp_path: Path) -> None:
    world = World()
    robot = await trading_state(world, tmp_path)
    ended: list[bool] = []

    async def end_user_stream() -> None:
        ended.append(True)

    world.delete_key("a")
    await KeyMonitor(robot, end_user_stream).on_stream_down(StreamDown("refused", -2015))
    assert robot.key is Key.LOST and robot.loss is not None and ended == [True]
    kept = state_of(world, tmp_path).book.key_status
    assert kept is not None and kept.what == "lost", "the loss is durable"


@simulated
async def test_key_monitor_accepted_key_stays(tmp_path: Path) -> None:
    world = World()
    robot = await trading_state(world, tmp_path)
    monitor = KeyMonitor(robot, lambda: asyncio.sleep(0))
    await monitor.on_stream_down(StreamDown("refused", -2015))
    assert robot.has_key and robot.books is Books.STALE, "one refusal proves nothing; the books are checked again"


@simulated
async def test_key_manager_sets_swaps_and_forgets_a_key(tmp_path: Path) -> None:
    world = World()
    robot = state_of(world, tmp_path)
    streams = StreamFollower(robot, lambda update: None, lambda event: None, lambda event: asyncio.sleep(0))
    monitor = KeyMonitor(robot, streams.end_user)
    keys = KeyManager(robot, streams, monitor, DriftWatch(robot, lambda why: None))
    uid = world.engine.state.accounts["default"].uid
    await keys.set(world.key("a"), uid=uid)
    await asyncio.sleep(0.1)
    first = robot.exchange
    assert robot.has_key and streams.up == {first}
    robot.books = Books.AGREED
    await keys.swap(world.key("b"), uid=uid)
    assert robot.exchange is not first and robot.books is Books.AGREED, "a stream was followed throughout"
    await keys.forget()
    assert robot.exchange is None and robot.key is Key.NONE
    await streams.close()


@simulated
async def test_order_executor_journals_an_order_before_it_leaves(tmp_path: Path) -> None:
    world = World()
    robot = await trading_state(world, tmp_path)
    durable: list[set[str]] = []

    def read_journal(name: str) -> None:
        with open_readonly(tmp_path / "journal.sqlite") as connection:
            durable.append({event.kind for event in read_events(connection)})

    world.before = read_journal
    await executor_of(robot).execute(robot.exchange, [buy_of(robot)])
    assert len(durable) == 1 and "intended" in durable[0] and world.placed == [BUY]


@simulated
async def test_order_executor_latched_places_nothing(tmp_path: Path) -> None:
    world = World()
    robot = await trading_state(world, tmp_path)
    executor = executor_of(robot)
    robot.latch.on = True  # type: ignore[attr-defined]
    await executor.execute(robot.exchange, [buy_of(robot)])
    assert not world.placed


@simulated
async def test_order_executor_fill_of_a_buy_sends_its_promised_sell(tmp_path: Path) -> None:
    world = World()
    robot = await trading_state(world, tmp_path)
    executor = executor_of(robot)
    streams = StreamFollower(robot, executor.on_order_update, lambda event: None, lambda event: asyncio.sleep(0))
    streams.follow_user(robot.exchange)
    await asyncio.sleep(0.1)
    robot.books = Books.AGREED
    await executor.execute(robot.exchange, [buy_of(robot)])
    world.trade("0.00138900", "100000")
    await executor.wait_for_in_flight()
    await asyncio.sleep(0.1)
    assert world.placed == [BUY, SELL] and robot.book.cycles[1].state is CycleState.SELLING
    await streams.close()


@simulated
async def test_order_lookup_order_of_unknown_outcome_is_found(tmp_path: Path) -> None:
    world = World()
    robot = await trading_state(world, tmp_path)
    lookup = OrderLookup(robot)

    def cut(name: str) -> None:
        world.after = lambda name: None
        raise ExchangeError(Outcome.UNKNOWN, "the connection broke")

    world.after = cut
    await executor_of(robot, lookup).execute(robot.exchange, [buy_of(robot)])
    assert lookup.unknown == [BUY] and robot.book.orders[BUY].status is None
    await lookup.resolve_unknown(robot.exchange)
    assert not lookup.unknown and robot.book.orders[BUY].status == "NEW"


@simulated
async def test_reconciler_books_a_fill_that_was_missed(tmp_path: Path) -> None:
    world = World()
    robot = await trading_state(world, tmp_path)
    lookup = OrderLookup(robot)
    await executor_of(robot, lookup).execute(robot.exchange, [buy_of(robot)])
    world.trade("0.00138900", "100000")
    assert await Reconciler(robot, lookup).reconcile(robot.exchange) == []
    assert robot.book.orders[BUY].booked == QUANTITY and robot.price == Decimal("0.00138900")


@simulated
async def test_strategy_runner_plans_and_holds_where_the_strategy_breaks(tmp_path: Path) -> None:
    world = World()
    robot = await trading_state(world, tmp_path)
    view = executor_of(robot).view(robot.price, robot.rules, robot.rate)
    plan = StrategyRunner(robot, builtin).plan(view)
    assert [event.kind for event in plan.events] == ["anchored"] and not robot.book.hold

    class Broken:
        name = "grid"

        def plan(self, book: object, view: object) -> None:
            raise ValueError

    assert not StrategyRunner(robot, lambda name: Broken()).plan(view).intents
    assert [reason.code for reason in robot.book.hold] == ["STRATEGY"]
