"""A cycle's first sell is durable with its buy: it leaves without a write in between, and never twice (rule 1)."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fortctl.robot.core.book import Book
from fortctl.robot.core.cycle import CycleState
from fortctl.robot.core.events import AssetsNamed, Configured, FillRecorded, OrderIntended, OrderStatusReported
from fortctl.robot.storage.journal import read_events
from simulation.loop import play as play_scene
from simulation.loop import simulated
from support.robot_scenes import agree, walk
from support.robot_world import SETTINGS, SYMBOL, Robot, World

DEEP = "0.00139000"


class Trace:
    """Writes and orders in the order in which they happen; a dead process does neither."""

    def __init__(self, robot: Robot) -> None:
        self.seen: list[str] = []
        self.dead = False
        journal = robot.runner.robot.journal
        append = journal.append

        def writing(events: object) -> None:
            if self.dead:
                raise asyncio.CancelledError
            self.seen.append("write")
            append(events)  # type: ignore[arg-type]

        journal.append = writing  # type: ignore[method-assign]

    def call(self, name: str) -> None:
        if self.dead:
            raise asyncio.CancelledError
        self.seen.append(name)


async def _trading(world: World, folder: Path) -> tuple[Robot, Trace]:
    robot = Robot(world, folder, world.key("a"))
    trace = Trace(robot)
    await robot.up()
    await robot.runner.start(by_person=True)
    await robot.settle()
    world.before = trace.call
    trace.seen.clear()
    return robot, trace


@simulated
async def test_the_first_sell_leaves_before_anything_is_written(tmp_path: Path) -> None:
    world = World()
    before = world.balances()
    robot, trace = await _trading(world, tmp_path)
    world.trade(DEEP, "5000")
    await robot.settle()
    sells = trace.seen.index("POST /api/v3/order")
    assert "write" not in trace.seen[:sells]
    assert "write" in trace.seen[sells:], "what happened is written after it"
    agree(world, robot.runner.book, before)
    await robot.down()
    assert _replayed(tmp_path).moved == robot.runner.book.moved


def _replayed(folder: Path) -> Book:
    connection = sqlite3.connect(folder / "journal.sqlite")
    book = Book()
    book.replay(read_events(connection))
    connection.close()
    return book


@pytest.mark.parametrize("arrived", [True, False], ids=["executed", "never-arrived"])
@simulated
async def test_killed_before_the_sell_was_written_down_it_is_looked_up_not_sent_again(
    tmp_path: Path, arrived: bool
) -> None:
    world = World()
    before = world.balances()
    robot, trace = await _trading(world, tmp_path)

    def die(name: str) -> None:
        if name == "POST /api/v3/order":
            trace.dead = True
            raise asyncio.CancelledError

    if arrived:
        world.after = die
    else:
        world.before = die
    world.trade(DEEP, "5000")
    await robot.settle()
    assert trace.dead
    await robot.down()
    world.before = world.after = lambda name: None
    sold = [name for name in world.placed if "-s" in name]
    assert bool(sold) is arrived
    assert not [order for order in _replayed(tmp_path).orders.values() if order.leg == "sell"]
    again = Robot(world, tmp_path, world.key("b"))
    await again.up()
    await again.wait(10)
    assert again.runner.state == "running"
    lookups = world.calls.count("GET /api/v3/order")
    sells = [order for order in again.runner.book.orders.values() if order.leg == "sell"]
    if arrived:
        assert [order.attempt for order in sells] == [1] and sells[0].client_order_id in sold
    else:
        assert [order.attempt for order in sells] == [1, 2], "the number that may have left is spent"
        assert sells[0].absent and not sells[1].final
    assert lookups >= 2 - arrived
    assert not [name for name, count in Counter(world.placed).items() if count > 1]
    agree(world, again.runner.book, before)
    await again.down()


@simulated
async def test_open_buys_cost_no_look_up_at_a_restart(tmp_path: Path) -> None:
    world = World()
    robot, _trace = await _trading(world, tmp_path)
    await robot.down()
    world.calls.clear()
    again = Robot(world, tmp_path, world.key("b"))
    await again.up()
    assert again.runner.state == "running" and not again.runner.book.doubted
    assert "GET /api/v3/order" not in world.calls
    await again.down()


@simulated
async def test_a_buy_cut_short_sells_what_it_has_at_the_price_of_then(tmp_path: Path) -> None:
    world = World()
    before = world.balances()
    robot, _trace = await _trading(world, tmp_path)
    world.trade(DEEP, "20")
    await robot.settle()
    part = next(c for c in robot.runner.book.live_cycles() if c.bought)
    assert part.state is CycleState.BUYING and part.bought < 25
    await robot.runner.drain()
    await robot.settle(100)
    sell = next(order for order in robot.runner.book.orders.values() if order.leg == "sell")
    assert sell.attempt == 1 and sell.price == part.sell_price
    assert sell.quantity == part.bought.to_integral_value("ROUND_FLOOR")
    agree(world, robot.runner.book, before)
    await robot.down()


@simulated
async def test_a_journal_of_the_version_before_still_replays_and_goes_on(tmp_path: Path) -> None:
    world = World()
    before = world.balances()
    robot, _trace = await _trading(world, tmp_path)
    await walk(robot, world, seed=11, steps=40)
    await robot.down()
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        for seq, body in connection.execute("SELECT seq, body FROM event WHERE kind = 'intended'").fetchall():
            old = {name: value for name, value in json.loads(body).items() if name not in ("sell_price", "sell_step")}
            connection.execute("UPDATE event SET body = ? WHERE seq = ?", (json.dumps(old), seq))
    connection.close()
    again = Robot(world, tmp_path, world.key("b"))
    await again.up()
    assert not again.runner.book.doubted
    await walk(again, world, seed=12, steps=40)
    await again.settle(100)
    assert again.runner.state == "running" and again.runner.book.closed
    agree(world, again.runner.book, before)
    await again.down()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), at=st.integers(1, 40), after=st.booleans())
def test_a_process_that_dies_at_any_call_loses_and_repeats_nothing(seed: int, at: int, after: bool) -> None:
    """As SIGKILL: from the instant on, neither a call nor a write of the dead process happens."""

    async def play() -> None:
        with TemporaryDirectory() as folder:
            world = World()
            before = world.balances()
            robot, trace = await _trading(world, Path(folder))
            left = [at]

            def count(name: str) -> None:
                left[0] -= 1
                if left[0] <= 0 or trace.dead:
                    trace.dead = True
                    raise asyncio.CancelledError

            if after:
                world.after = count
            else:
                world.before = count
            try:
                await walk(robot, world, seed, 40)
            except asyncio.CancelledError:
                pass
            await robot.down()
            world.before = world.after = lambda name: None
            again = Robot(world, Path(folder), world.key("b"))
            await again.up()
            await walk(again, world, seed + 1, 40)
            await again.wait(10)
            assert again.runner.state == "running"
            agree(world, again.runner.book, before)
            ours = set(world.engine.state.books[SYMBOL].resting)
            assert ours == {order.order_id for order in again.runner.book.unsettled() if not order.final}
            await again.down()
            assert _replayed(Path(folder)).moved == again.runner.book.moved

    play_scene(play())


quantities = st.decimals("0.001", "1000", places=3)


@given(
    parts=st.lists(st.tuples(quantities, st.decimals("0", "0.01", places=4), st.sampled_from(["XRP", "ETH", "BNB"]))),
    step=st.sampled_from(["0.001", "0.1", "1"]),
)
def test_the_formula_is_what_was_executed_less_commission_in_base_rounded_down(
    parts: list[tuple[Decimal, Decimal, str]], step: str
) -> None:
    book = Book()
    price, total = Decimal("0.0014"), sum((quantity for quantity, _rate, _asset in parts), Decimal(0))
    book.apply(Configured(SETTINGS.as_json()))
    book.apply(AssetsNamed("XRP", "ETH"))
    promise = {"sell_price": Decimal("0.0015"), "sell_step": Decimal(step)}
    book.apply(OrderIntended(1, 1, "buy", 1, "b1", price, total + 1, Decimal(0), 0, **promise))
    got = Decimal(0)
    for number, (quantity, rate, asset) in enumerate(parts, 1):
        commission = quantity * rate
        got += quantity - (commission if asset == "XRP" else 0)
        book.apply(FillRecorded("b1", number, price, quantity, quantity * price, commission, asset, 1))
    assert book.cycles[1].state is CycleState.BUYING
    book.apply(OrderStatusReported("b1", 7, "CANCELED", total))
    cycle = book.cycles[1]
    if not parts:
        assert cycle.state is CycleState.CANCELLED
        return
    assert cycle.promised % Decimal(step) == 0 and got - Decimal(step) < cycle.promised <= got
    assert book.next_attempt(cycle, "sell", cycle.sell_price, cycle.promised) == 1
    assert book.next_attempt(cycle, "sell", cycle.sell_price, cycle.promised + 1) == 2
