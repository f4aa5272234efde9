"""A robot that trades in a world, the same robot come up again, and a person at the exchange's own page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fortctl.ports import ExchangeError
from robot.world import SYMBOL, Robot, World

DEEP = "0.00138600"


async def trading(tmp_path: Path, world: World, key: str = "a") -> Robot:
    robot = Robot(world, tmp_path, world.key(key))
    await robot.up()
    await robot.does(robot.runner.start(by_person=True))
    await robot.wait(5)
    assert robot.runner.state == "running"
    return robot


async def again(tmp_path: Path, world: World, old: Robot, **more: Any) -> Robot:
    robot = Robot(world, tmp_path, old._pair, **more)
    await robot.up()
    await robot.wait(10)
    return robot


def person(world: World, method: str, path: str = "/api/v3/order", **values: Any) -> Any:
    page = world.key(f"page{len(world.engine.keys)}")
    stamp = {"symbol": SYMBOL, "timestamp": world.now, "recvWindow": 5000}
    answer = world.connect(page)._arrive(method, path, {**stamp, **values}, None)
    assert not isinstance(answer, ExchangeError), answer
    return answer


def ours(world: World, side: str = "BUY") -> list[Any]:
    return sorted((o for o in world.ours().values() if o.open and o.side == side), key=lambda order: -order.price)


def codes(robot: Robot) -> list[str]:
    return [row["code"] for row in robot.runner.status().get("reasons", ())]
