"""The invariants of robot.md, over the real runner, the real journal and the paper exchange's real engine."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fortctl.model import OrderUpdate
from fortctl.ports import ExchangeError, Outcome
from simulation.loop import Killed, simulated
from simulation.loop import play as play_scene
from support.robot_scenes import agree, walk
from support.robot_world import SETTINGS, SYMBOL, Robot, World


@simulated
async def test_cycles_close_with_the_profit_that_was_asked_for(tmp_path: Path) -> None:
    world = World()
    before = world.balances()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    await robot.runner.start(by_person=True)
    await robot.settle()
    assert robot.runner.status()["orders_open"] == 4
    await walk(robot, world, seed=3, steps=300)
    await robot.settle()
    book = robot.runner.book
    assert book.closed > 5
    for cycle in book.cycles.values():
        if cycle.state == "closed":
            paid = cycle.sold * cycle.unit_cost
            assert cycle.profit >= paid * SETTINGS.take_profit / 100 * Decimal("0.999")
    agree(world, book, before)
    await robot.down()


@simulated
async def test_a_drain_finishes_every_cycle_and_says_stopped(tmp_path: Path) -> None:
    world = World()
    before = world.balances()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    await robot.runner.start(by_person=True)
    await walk(robot, world, seed=5, steps=40)
    await robot.runner.drain()
    await robot.settle()
    assert not [order for order in robot.runner.open_orders() if order.side == "BUY"]
    world.trade("0.00160000", "100000")
    await robot.settle(200)
    assert robot.runner.state == "stopped"
    assert robot.runner.book.reason == "drained"
    assert not robot.runner.book.live
    agree(world, robot.runner.book, before)
    await robot.down()


@simulated
async def test_a_lost_key_stops_every_order_call_and_a_new_one_goes_on_from_the_same_orders(tmp_path: Path) -> None:
    world = World()
    before = world.balances()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    await robot.runner.start(by_person=True)
    await walk(robot, world, seed=7, steps=30)
    orders = {order.client_order_id for order in robot.runner.open_orders()}
    world.delete_key("a")
    await robot.settle(200)
    assert robot.runner.state == "key_lost"
    placed, calls_made = len(world.placed), len(world.calls)
    for price in ("0.00139000", "0.00138600", "0.00141200", "0.00137000"):
        world.trade(price, "5000")
        await robot.settle(30)
    status = robot.runner.status()
    assert len(world.placed) == placed
    assert not [name for name in world.calls[calls_made:] if name.startswith(("POST", "DELETE"))]
    assert status["key_loss"]["reason"] == "unknown_key" and status["key_loss"]["probably_filled"]
    await robot.runner.keys.set(world.key("b"), uid=world.engine.state.accounts["default"].uid)
    await robot.settle(300)
    assert robot.runner.state == "running"
    still = {order.client_order_id for order in robot.runner.open_orders()}
    for name in orders - still:
        assert robot.runner.book.orders[name].settled, "neither open nor settled: forgotten"
    agree(world, robot.runner.book, before)
    await robot.down()


@simulated
async def test_one_refusal_alone_is_not_a_lost_key(tmp_path: Path) -> None:
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    left = [1]

    def once(name: str) -> None:
        if name == "POST /api/v3/order" and left:
            left.pop()
            raise ExchangeError(Outcome.KEY_REFUSED, "Invalid API-key, IP, or permissions for action.", code=-2015)

    world.before = once
    await robot.runner.start(by_person=True)
    await robot.settle(100)
    await robot.wait(6)
    assert robot.runner.state == "running"
    assert robot.runner.status()["orders_open"] == 4
    await robot.down()


@simulated
async def test_a_removed_trading_right_is_a_lost_key(tmp_path: Path) -> None:
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    await robot.runner.start(by_person=True)
    await robot.settle()
    world.engine.state.key_named("a").permissions = ("reading",)
    world.trade("0.00139200", "5000")
    await robot.settle(200)
    assert robot.runner.state == "key_lost"
    assert robot.runner.status()["key_loss"]["reason"] == "trading_right_removed"
    await robot.down()


@pytest.mark.parametrize("executed", [True, False], ids=["executed", "never-arrived"])
@simulated
async def test_an_unknown_outcome_is_looked_up_never_assumed(tmp_path: Path, executed: bool) -> None:
    world = World()
    before = world.balances()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    left = [1]

    def cut(name: str) -> None:
        if name == "POST /api/v3/order" and left:
            left.pop()
            raise ExchangeError(Outcome.UNKNOWN, "the connection broke")

    if executed:
        world.after = cut
    else:
        world.before = cut
    await robot.runner.start(by_person=True)
    await robot.wait(6)
    names = [order.client_order_id for order in robot.runner.open_orders()]
    assert len(names) == 4 and len(set(names)) == 4
    open_there = [order.client_order_id for order in world.engine.state.books[SYMBOL].resting.values()]
    assert sorted(open_there) == sorted(names)
    agree(world, robot.runner.book, before)
    await robot.down()


@simulated
async def test_after_the_latch_nothing_leaves(tmp_path: Path) -> None:
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    robot.latch.on = True
    with pytest.raises(Exception, match="latched"):
        await robot.runner.start(by_person=True)
    robot.latch.on = False
    await robot.runner.start(by_person=True)
    await robot.settle()
    placed = len(world.placed)
    robot.latch.on = True
    world.trade("0.00138000", "5000")
    await robot.settle(100)
    assert len(world.placed) == placed
    done = await robot.runner.halt(cancel_orders=True)
    assert not world.engine.state.books[SYMBOL].resting and not done.left
    await robot.down()


@simulated
async def test_an_older_owner_writes_and_places_nothing_more(tmp_path: Path) -> None:
    world = World()
    first = Robot(world, tmp_path, world.key("a"))
    await first.up()
    await first.runner.start(by_person=True)
    await first.settle()
    placed = len(world.placed)
    second = Robot(world, tmp_path, world.key("b"))
    assert not first.runner.robot.may_place()
    world.trade("0.00138000", "5000")
    with pytest.raises(Exception, match="taken over this account"):
        await first.settle(100)
    assert len(world.placed) == placed
    await first.down()
    await second.down()


@simulated
async def test_held_after_a_long_break_until_a_person_looked(tmp_path: Path) -> None:
    world = World()
    pair = world.key("a")
    robot = Robot(world, tmp_path, pair)
    await robot.up()
    await robot.runner.start(by_person=True)
    await walk(robot, world, seed=1, steps=10, width=0.002)
    await robot.down()
    await asyncio.sleep(7 * 3600)
    again = Robot(world, tmp_path, pair)
    await again.up()
    assert again.runner.state == "held" and "GAP" in again.runner.status()["reason"]
    placed = len(world.placed)
    world.trade("0.00138000", "5000")
    await again.settle(100)
    assert len(world.placed) == placed
    await again.runner.resume()
    await again.settle(200)
    assert again.runner.state == "running"
    await again.down()


@simulated
async def test_started_by_a_person_after_a_long_break_with_cycles_open_it_is_held(tmp_path: Path) -> None:
    world = World()
    pair = world.key("a")
    robot = Robot(world, tmp_path, pair)
    await robot.up()
    await robot.runner.start(by_person=True)
    await walk(robot, world, seed=1, steps=10)
    assert robot.runner.book.live
    await robot.down()
    await asyncio.sleep(7 * 3600)
    again = Robot(world, tmp_path, pair, resume=False)
    await again.up()
    assert again.runner.book.mode == "stopped" and again.runner.state == "held"
    await again.runner.start(by_person=True)
    await again.settle(100)
    assert again.runner.state == "held"
    await again.runner.resume()
    await again.settle(100)
    assert again.runner.state == "running"
    await again.down()


@simulated
async def test_an_unknown_order_with_our_prefix_is_held_until_a_person_looked(tmp_path: Path) -> None:
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    foreign = world.connect(robot._pair)
    values = {
        "symbol": SYMBOL,
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "price": "0.0013",
        "quantity": "50",
    }
    await foreign.ask("POST", "/api/v3/order", **values, newClientOrderId="fc01234567-999-b1")
    await foreign.ask("POST", "/api/v3/order", **values, newClientOrderId="a-persons-own")
    await robot.up()
    await robot.runner.start(by_person=True)
    robot.runner.robot.resync()
    await robot.settle(100)
    assert robot.runner.state == "held" and "fc01234567-999-b1" in robot.runner.status()["reason"]
    await robot.runner.resume()
    await robot.settle(100)
    assert robot.runner.state == "running"
    await robot.runner.halt(cancel_orders=True)
    left = {order.client_order_id for order in world.engine.state.books[SYMBOL].resting.values()}
    assert left == {"fc01234567-999-b1", "a-persons-own"}, "only orders of the journal are touched"
    await robot.down()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), at=st.integers(1, 60), after=st.booleans())
def test_killed_anywhere_the_books_equal_the_exchange(seed: int, at: int, after: bool) -> None:
    """Invariant 3: killed between any two calls, the restarted robot's books equal the exchange's trades."""

    async def play() -> None:
        with TemporaryDirectory() as folder:
            world = World()
            before = world.balances()
            pair = world.key("a")
            countdown = [at]
            robot = Robot(world, Path(folder), pair)

            def kill(name: str) -> None:
                countdown[0] -= 1
                if countdown[0] == 0:
                    robot.process.kill()
                    raise Killed

            await robot.up()
            await robot.does(robot.runner.start(by_person=True))
            if after:
                world.after = kill
            else:
                world.before = kill
            await walk(robot, world, seed, 40)
            await robot.down()
            world.before = world.after = lambda name: None
            await asyncio.sleep(10)
            again = Robot(world, Path(folder), pair)
            await again.up()
            await again.wait(5)
            await walk(again, world, seed + 1, 60)
            await again.wait(5)
            assert again.runner.state == "running"
            agree(world, again.runner.book, before)
            ours = set(world.engine.state.books[SYMBOL].resting)
            booked = {order.order_id for order in again.runner.book.unsettled() if not order.final}
            assert ours == booked, "an order was forgotten or invented"
            await again.down()

    play_scene(play())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_events_doubled_dropped_and_late_change_nothing(seed: int) -> None:
    async def play() -> None:
        with TemporaryDirectory() as folder:
            world = World()
            before = world.balances()
            chance = random.Random(seed)
            kept: list[OrderUpdate] = []

            def mangle(event):  # type: ignore[no-untyped-def]
                if not isinstance(event, OrderUpdate):
                    return [event]
                roll = chance.random()
                if roll < 0.2:
                    return [event, event]
                if roll < 0.35:
                    kept.append(event)
                    return []
                if kept and roll < 0.5:
                    return [event, kept.pop()]
                return [event]

            world.mangle = mangle
            robot = Robot(world, Path(folder), world.key("a"))
            await robot.up()
            await robot.runner.start(by_person=True)
            await walk(robot, world, seed, 60)
            world.mangle = lambda event: [event]
            # The second source: a reconnected stream makes the robot look everything up.
            robot.runner.robot.resync()
            await robot.settle(300)
            await robot.wait(1)
            agree(world, robot.runner.book, before)
            await robot.down()

    play_scene(play())
