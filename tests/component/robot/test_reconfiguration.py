"""What a robot makes of rules and settings that change while it trades: nothing is stranded, and nothing is silent."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fortctl.errors import BadInputError
from fortctl.model import RobotOrder
from fortctl.ports import ExchangeError, Outcome
from fortctl.robot.core.book import Book
from fortctl.robot.core.order_ids import prefix_of
from fortctl.robot.strategy.api import Plan, View
from fortctl.robot.strategy.grid import Grid
from simulation.loop import simulated
from simulation.network import ROBOT_ID
from simulation.weather import Weather
from support.robot_world import SETTINGS, SYMBOL, Robot, World

PREFIX = prefix_of(ROBOT_ID)


def sells(robot: Robot) -> list[RobotOrder]:
    return [order for order in robot.runner.open_orders() if order.side == "SELL"]


def buys(robot: Robot) -> list[RobotOrder]:
    return [order for order in robot.runner.open_orders() if order.side == "BUY"]


async def trading(folder: Path, world: World, **given: Any) -> Robot:
    robot = Robot(world, folder, world.key("a"))
    await robot.up(**given)
    await robot.runner.start(by_person=True)
    await robot.wait(2)
    return robot


async def see_rules(robot: Robot, **changes: str) -> None:
    """Let the symbol's rules change, and the robot hear of it."""
    robot.world.engine.edit_symbol(SYMBOL, {name.replace("__", "."): value for name, value in changes.items()})
    robot.runner.strategy.doubt_rules()
    robot.runner.robot.wake()
    await robot.wait(1)


@simulated
async def test_what_was_bought_before_the_tick_and_the_step_changed_is_sold_on_the_new_ones(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    first = max(robot.runner.book.live_cycles(), key=lambda cycle: cycle.buy_price)
    assert first.sell_price % Decimal("0.000001"), "promised on the old tick alone"
    await see_rules(robot, PRICE_FILTER__tickSize="0.00000100", LOT_SIZE__stepSize="10")
    world.trade("0.00139000", "50000")
    await robot.wait(5)
    (sell,) = sells(robot)
    price, quantity = Decimal(sell.price), Decimal(sell.quantity)
    assert price % Decimal("0.000001") == 0 and 0 <= price - first.sell_price < Decimal("0.000001")
    assert quantity % 10 == 0 and 0 <= first.bought - quantity < 10
    assert sell.client_order_id.endswith("2"), "another order than the promised one is another attempt"
    await robot.down()


@simulated
async def test_a_sell_that_a_filter_keeps_back_is_told(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    await see_rules(robot, PERCENT_PRICE_BY_SIDE__askMultiplierUp="1.002")
    world.trade("0.00139000", "50000")
    await robot.wait(2)
    status = robot.runner.status()
    assert not sells(robot) and status["state"] == "running"
    assert "SELL_WAITS: cycle 1 " in status["reason"] and "PERCENT_PRICE" in status["reason"]
    assert status["waits"] == [status["reason"]]
    assert any("SELL_WAITS" in line and "log warning" in line for line in world.trace)
    await see_rules(robot, PERCENT_PRICE_BY_SIDE__askMultiplierUp="5")
    await robot.wait(31)
    assert sells(robot) and robot.runner.status()["reason"] == "started" and not robot.runner.status()["waits"]
    await robot.down()


@simulated
async def test_a_symbol_that_halts_is_the_reason_why_nothing_is_placed(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    await see_rules(robot, status="HALT")
    assert robot.runner.status()["reason"] == f"HALTED: {SYMBOL} does not trade now (HALT): nothing is placed"
    await robot.down()


@simulated
async def test_a_smaller_budget_takes_back_the_lowest_buys_and_nothing_that_has_filled(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    world.trade("0.00139000", "10")
    await robot.wait(1)
    (partial,) = [order for order in buys(robot) if Decimal(order.filled)]
    await robot.runner.configure(replace(SETTINGS, max_quote=Decimal("0.11")))
    await robot.wait(2)
    assert [order.client_order_id for order in buys(robot)] == [partial.client_order_id, f"{PREFIX}2-b1"]
    assert robot.runner.book.committed_quote() <= Decimal("0.11")
    await robot.runner.configure(replace(SETTINGS, max_quote=Decimal("0.05")))
    await robot.wait(2)
    assert [order.client_order_id for order in buys(robot)] == [partial.client_order_id]
    await robot.runner.configure(replace(SETTINGS, max_quote=Decimal("2")))
    await robot.wait(2)
    assert len(buys(robot)) == 4
    await robot.down()


@simulated
async def test_buys_outside_a_new_floor_or_ceiling_are_taken_back_filled_in_part_or_not(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    world.trade("0.00139000", "10")
    await robot.wait(1)
    await robot.runner.configure(replace(SETTINGS, price_floor=Decimal("0.00138"), price_ceiling=Decimal("0.00139")))
    await robot.wait(2)
    assert [order.price for order in buys(robot)] == ["0.00138610"]
    (sell,) = sells(robot)
    assert Decimal(sell.quantity) == 9, "what it had bought, less commission, is sold"
    await robot.down()


@simulated
async def test_more_and_fewer_levels_are_honoured_while_it_runs(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    await robot.runner.configure(replace(SETTINGS, levels=8))
    await robot.wait(2)
    assert len(buys(robot)) == 8
    lowest = min(Decimal(order.price) for order in buys(robot))
    world.trade("0.00142000", "1")
    await robot.wait(2)
    assert len(buys(robot)) == 8 and lowest not in {Decimal(order.price) for order in buys(robot)}, "it trails"
    highest = sorted((Decimal(order.price) for order in buys(robot)), reverse=True)[:3]
    await robot.runner.configure(replace(SETTINGS, levels=3))
    await robot.wait(2)
    assert sorted((Decimal(order.price) for order in buys(robot)), reverse=True) == highest
    await robot.down()


@simulated
async def test_no_buy_leaves_under_settings_that_are_gone(tmp_path: Path) -> None:
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    wide = replace(SETTINGS, levels=30, step=Decimal("0.2"))
    await robot.up(wide)
    world.weather.latency = (0.2, 0.2)
    await robot.runner.start(by_person=True)
    while not world.left:
        await robot.wait(0.01)
    world.weather.latency = (0.001, 0.001)
    await robot.runner.configure(replace(wide, levels=2))
    before = len(world.left)
    await robot.wait(5)
    assert 10 < before < 30 and len(world.left) == before and len(buys(robot)) == 2
    await robot.down()


@simulated
async def test_trailing_stops_at_the_ceiling_and_trading_goes_on_below_it(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world, settings=replace(SETTINGS, price_ceiling=Decimal("0.00141000")))
    for price in ("0.00141000", "0.00144000", "0.00150000", "0.00144000"):
        world.trade(price, "1")
        await robot.wait(1)
    prices = sorted(Decimal(order.price) for order in buys(robot))
    assert len(prices) == 4 and Decimal("0.00140000") < prices[-1] <= Decimal("0.00141000")
    world.trade(prices[-1] - Decimal("0.00000001"), "100")
    await robot.wait(2)
    assert sells(robot), "back below the ceiling it trades"
    await robot.down()


@simulated
async def test_a_grid_that_begins_above_its_ceiling_waits_below_it(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world, settings=replace(SETTINGS, price_ceiling=Decimal("0.00130000")))
    prices = [Decimal(order.price) for order in buys(robot)]
    assert len(prices) == 4 and Decimal("0.00129") < max(prices) <= Decimal("0.0013")
    await robot.down()


@simulated
async def test_levels_that_all_lie_out_of_bounds_are_the_reason_why_nothing_is_bought(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    await robot.runner.configure(replace(SETTINGS, price_ceiling=Decimal("0.00130000")))
    await robot.wait(2)
    status = robot.runner.status()
    assert not buys(robot) and status["state"] == "running" and status["reason"].startswith("BOUNDS: ")
    await robot.runner.configure(SETTINGS)
    await robot.wait(2)
    assert len(buys(robot)) == 4 and robot.runner.status()["reason"] == "started"
    await robot.down()


@simulated
async def test_levels_closer_than_a_tick_are_refused(tmp_path: Path) -> None:
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    with pytest.raises(BadInputError, match="is less than a tick of XRPETH"):
        await robot.runner.configure(replace(SETTINGS, levels=50, step=Decimal("0.00001")))
    await robot.runner.configure(replace(SETTINGS, levels=50, step=Decimal("0.001")))
    await robot.down()


@simulated
async def test_configure_says_what_keeps_it_from_buying_and_whether_anything_changed(tmp_path: Path) -> None:
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    assert await robot.runner.configure(SETTINGS) == []
    assert await robot.runner.configure(SETTINGS) is None, "the same again is no change"
    told = await robot.runner.configure(replace(SETTINGS, price_ceiling=Decimal("0.0013")))
    assert told is not None and [code for code, _text in told] == ["CEILING_BELOW_MARKET"]
    told = await robot.runner.configure(replace(SETTINGS, price_floor=Decimal("0.0015")))
    assert told is not None and [code for code, _text in told] == ["FLOOR_ABOVE_MARKET"]
    with pytest.raises(BadInputError) as refused:
        await robot.runner.configure(replace(SETTINGS, symbol="NOPEUSDT"))
    assert "NOPEUSDT" in refused.value.message and "key" not in (refused.value.hint or "")
    await robot.down()


@simulated
async def test_an_exchange_that_does_not_answer_for_minutes_is_the_reason(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    world.weather.down = True
    await robot.wait(400)
    assert robot.runner.status()["reason"].startswith("EXCHANGE: it has not answered for ")
    world.weather.down = False
    await robot.wait(60)
    assert robot.runner.status()["reason"] == "started"
    await robot.down()


@simulated
async def test_a_dearer_fee_tier_counts_from_its_first_commission_on(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    world.engine.state.symbols[SYMBOL].maker = world.engine.state.symbols[SYMBOL].taker = Decimal("0.005")
    before = robot.runner.robot.rate
    world.trade("0.00139000", "50000")
    await robot.wait(2)
    assert before < robot.runner.robot.rate == Decimal("0.005")
    await robot.down()


@simulated
async def test_a_worker_that_rests_is_not_stuck(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    for _ in range(20):
        await robot.wait(7)
        assert robot.runner.robot.stuck_for() == 0
    await robot.down()


@simulated
async def test_a_strategy_is_asked_at_the_time_that_it_named_in_a_quiet_market_too(tmp_path: Path) -> None:
    asked: list[int] = []

    class EveryTenSeconds(Grid):
        def plan(self, book: Book, view: View) -> Plan:
            asked.append(view.now)
            return Plan(wake_at=(view.now // 10_000 + 1) * 10_000)

    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    robot.runner.strategy._strategies = lambda name: EveryTenSeconds()
    await robot.up()
    await robot.runner.start(by_person=True)
    await robot.wait(2)
    asked.clear()
    await robot.wait(60)
    due = [at for at in asked if at % 10_000 < 20]
    assert [at // 10_000 for at in due] == list(range(due[0] // 10_000, due[0] // 10_000 + 6))
    await robot.down()


@simulated
async def test_what_waits_for_a_busy_exchange_is_thought_over_under_new_settings(tmp_path: Path) -> None:
    world = World()
    refused: list[str] = []

    def busy(name: str) -> None:
        if name == "POST /api/v3/order" and len(refused) < 4:
            refused.append(name)
            raise ExchangeError(Outcome.BUSY, "Too many requests queued.", code=-1003, http_status=418, retry_after=5)

    world.before = busy
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    await robot.does(robot.runner.start(by_person=True))
    await robot.wait(2)
    assert len(refused) == 4 and not buys(robot), "it waits to try again"
    world.trade("0.00144000", "1")
    await robot.wait(1)
    smaller = replace(SETTINGS, order_quote=SETTINGS.order_quote / 2, max_quote=SETTINGS.order_quote)
    await robot.does(robot.runner.configure(smaller))
    await robot.wait(30)
    assert buys(robot) and all(
        Decimal(order.price) * Decimal(order.quantity) <= smaller.order_quote for order in buys(robot)
    )
    assert not world.broken
    await robot.down()


@simulated
async def test_settings_that_come_while_the_books_are_made_to_agree_hold_nothing(tmp_path: Path) -> None:
    """A robot that just came up asks for the time; it is configured before the answer arrives."""
    world = World(weather=Weather(latency=(0.05, 0.1)))
    robot = Robot(world, tmp_path, world.key("a"))
    world.before = lambda name: name == "GET /api/v3/time" and robot.process.spawn(configure())
    configured = False

    async def configure() -> None:
        nonlocal configured
        if not configured:
            configured = True
            await robot.runner.configure(SETTINGS)

    await robot.up(settings=None)
    await robot.wait(5)
    assert configured and not robot.runner.status().get("reasons")
    await robot.does(robot.runner.start(by_person=True))
    await robot.wait(5)
    assert robot.runner.state == "running" and len(buys(robot)) == SETTINGS.levels
