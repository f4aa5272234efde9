"""A key that was lost and is good again: it is looked at, and trades on by the same path as a new one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from simulation.loop import simulated
from support.robot_scenes import DEEP, again, ours, trading
from support.robot_world import Robot, World


def allow(world: World, *permissions: str) -> None:
    next(iter(world.engine.state.keys.values())).permissions = permissions


async def lost(tmp_path: Path, world: World) -> Robot:
    robot = await trading(tmp_path, world)
    allow(world, "reading")
    world.trade(DEEP, "5000")
    await robot.wait(5)
    assert robot.runner.state == "key_lost"
    return robot


@simulated
async def test_a_lost_key_is_looked_at_again_now_and_then(tmp_path: Path) -> None:
    world = World()
    robot = await lost(tmp_path, world)
    world.calls.clear()
    await robot.wait(1800)
    asked = Counter(world.calls)
    assert robot.runner.state == "key_lost" and 3 <= asked["GET /api/v3/account"] <= 8
    assert not asked["POST /api/v3/order"] and not asked["DELETE /api/v3/order"]
    allow(world, "reading", "spot_trading")
    await robot.wait(400)
    assert robot.runner.state == "running" and ours(world, "SELL")
    await robot.down()


@simulated
async def test_a_key_that_comes_back_after_long_is_held(tmp_path: Path) -> None:
    world = World()
    robot = await lost(tmp_path, world)
    placed = len(world.placed)
    await robot.wait(7 * 3600)
    allow(world, "reading", "spot_trading")
    await robot.wait(400)
    assert robot.runner.state == "held" and "GAP" in robot.runner.status()["reason"]
    assert len(world.placed) == placed
    await robot.down()


@simulated
async def test_a_key_that_may_do_too_much_by_now_stays_lost(tmp_path: Path) -> None:
    world = World()
    robot = await lost(tmp_path, world)
    allow(world, "reading", "spot_trading", "withdrawals")
    await robot.wait(700)
    assert robot.runner.state == "key_lost" and robot.runner.status()["reason"] == "policy"
    await robot.down()


@pytest.mark.parametrize("has_sapi", [True, False], ids=["", "no-sapi"])
@simulated
async def test_a_restart_does_not_forget_that_the_key_was_lost(tmp_path: Path, has_sapi: bool) -> None:
    world = World()
    world.has_sapi = has_sapi
    robot = await lost(tmp_path, world)
    since = robot.runner.status()["key_loss"]["since"]
    await robot.wait(100)
    await robot.down()
    world.calls.clear()
    robot = await again(tmp_path, world, robot)
    await robot.wait(60)
    assert robot.runner.state == "key_lost" and robot.runner.status()["key_loss"]["since"] == since
    assert not Counter(world.calls)["POST /api/v3/order"]
    allow(world, "reading", "spot_trading")
    await robot.down()
    robot = await again(tmp_path, world, robot)
    assert robot.runner.state == "running" and ours(world, "SELL")
    await robot.down()


@simulated
async def test_a_look_that_tells_nothing_is_taken_again(tmp_path: Path) -> None:
    world = World()
    robot = await lost(tmp_path, world)
    await robot.down()
    allow(world, "reading", "spot_trading")
    world.weather.down = True
    robot = await again(tmp_path, world, robot)
    assert robot.runner.state == "key_lost"
    await robot.runner.start(by_person=True)
    assert robot.runner.state == "key_lost", "nobody can tell"
    world.weather.down = False
    await robot.wait(90)
    assert robot.runner.state == "running"
    await robot.down()
