"""What a robot makes of rules and settings that change while it trades: nothing is stranded, and nothing is silent."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from robot.world import SYMBOL, Robot, World
from simulation.loop import simulated


def sells(robot: Robot) -> list[dict[str, Any]]:
    return [order for order in robot.runner.open_orders() if order["side"] == "SELL"]


def buys(robot: Robot) -> list[dict[str, Any]]:
    return [order for order in robot.runner.open_orders() if order["side"] == "BUY"]


async def trading(folder: Path, world: World, **given: Any) -> Robot:
    robot = Robot(world, folder, world.key("a"))
    await robot.up(**given)
    await robot.runner.start(by_person=True)
    await robot.wait(2)
    return robot


async def see_rules(robot: Robot, **changes: str) -> None:
    """Let the symbol's rules change, and the robot hear of it."""
    robot.world.engine.edit_symbol(SYMBOL, {name.replace("__", "."): value for name, value in changes.items()})
    robot.runner.doubt_rules()
    robot.runner.look_again()
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
    price, quantity = Decimal(sell["price"]), Decimal(sell["quantity"])
    assert price % Decimal("0.000001") == 0 and 0 <= price - first.sell_price < Decimal("0.000001")
    assert quantity % 10 == 0 and 0 <= first.bought - quantity < 10
    assert sell["client_order_id"].endswith("2"), "another order than the promised one is another attempt"
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
