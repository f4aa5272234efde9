"""What somebody else does on the robot's account while it trades: what is reported, once, and what is expected."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from fortctl.robot.core.foreign_activity import ForeignAction, ForeignSettings
from fortctl.robot.storage.offline_status import offline_status
from simulation.loop import simulated
from support.robot_world import SYMBOL, Robot, World


async def trading(tmp_path: Path, world: World, settings: ForeignSettings | None = None) -> Robot:
    robot = Robot(world, tmp_path, world.key("a"), foreign=settings)
    await robot.up()
    await robot.does(robot.runner.start(by_person=True))
    await robot.settle()
    assert robot.runner.status()["orders_open"] == 4 and reported(robot) == []
    return robot


def reported(robot: Robot) -> list[tuple[str, str]]:
    return [(one["kind"], one["subject"]) for one in robot.runner.status()["foreign_activity"]]


def hooks(robot: Robot) -> list[dict[str, Any]]:
    return [facts for name, facts in robot.announced if name == "on-foreign-activity"]


async def by_hand(world: World, name: str, price: str = "0.00130000", side: str = "BUY") -> None:
    """Place an order as the account's owner, or a thief, does."""
    values = {"side": side, "type": "LIMIT", "timeInForce": "GTC", "price": price, "quantity": "30"}
    person = world.connect(world.key(f"p{len(world.engine.state.keys)}"))
    await person.ask("POST", "/api/v3/order", symbol=SYMBOL, newClientOrderId=name, **values)


@simulated
async def test_the_robots_own_work_is_not_foreign(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    for price in ("0.00138000", "0.00141000", "0.00139000", "0.00143000"):
        world.trade(price, "100000")
        await robot.wait(5)
    assert world.fills_of_ours()
    await robot.does(robot.runner.stop_now(cancel_orders=True))
    await robot.wait(5)
    assert reported(robot) == [] and hooks(robot) == []


@simulated
async def test_an_order_and_its_trade_are_reported_once_each(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    await by_hand(world, "web_1", "0.00139990")
    await robot.wait(1)
    assert reported(robot) == [("order", "web_1")] and robot.panics == []
    world.trade("0.00139980", "5")
    world.trade("0.00139980", "5")
    await robot.wait(5)
    assert reported(robot) == [("order", "web_1"), ("trade", "web_1")]
    (first, second) = hooks(robot)
    assert "BUY 30.00000000 XRPETH (web_1)" in first["activity"]["detail"] and first["action"] == "warn"
    assert second["activity"]["kind"] == "trade" and robot.runner.state == "running"
    await robot.down()
    kept = offline_status(tmp_path / "journal.sqlite", world.now)["foreign_activity"]
    assert [one["kind"] for one in kept] == ["order", "trade"], "a restart remembers it"


@simulated
async def test_what_the_owner_trades_by_hand_is_expected(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world, ForeignSettings(prefixes=("web_",)))
    await by_hand(world, "web_1")
    await by_hand(world, "ios_1")
    await robot.wait(1)
    assert reported(robot) == [("order", "ios_1")]
    robot.runner.robot.foreign_settings = ForeignSettings(symbols=(SYMBOL,))
    await by_hand(world, "ios_2")
    await robot.wait(1)
    assert reported(robot) == [("order", "ios_1")]


@simulated
async def test_an_order_of_the_robot_that_somebody_cancelled_is_reported(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    name = world.placed[0]
    person = world.connect(world.key("p"))
    await person.cancel(SYMBOL, name)
    await robot.wait(2)
    assert reported(robot) == [("own_cancelled", name)]


@simulated
async def test_an_order_of_the_robot_that_somebody_amended_is_reported(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    name = world.placed[0]
    quantity = robot.runner.book.orders[name].quantity - 1
    person = world.connect(world.key("p"))
    await person.ask(
        "PUT", "/api/v3/order/amend/keepPriority", symbol=SYMBOL, origClientOrderId=name, newQty=f"{quantity:f}"
    )
    await robot.wait(2)
    assert reported(robot) == [("own_amended", name)]


@simulated
async def test_funds_that_leave_are_reported_and_may_panic(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world, ForeignSettings(action=ForeignAction.PANIC))
    world.engine.deposit("default", "XRP", Decimal(-100), world.now)
    await robot.wait(1)
    assert reported(robot) == [("funds", "XRP")]
    assert robot.panics == ["100.00000000 XRP moved out of the account"]
    assert hooks(robot)[0]["action"] == "panic"
