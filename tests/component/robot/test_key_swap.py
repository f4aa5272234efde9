"""A second key put in the first one's place between two orders, in the deterministic world."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from fortctl.model import StreamDown
from fortctl.ports import ExchangeError, Outcome
from fortctl.robot.core.lifecycle import Books
from simulation.loop import simulated
from support.robot_scenes import agree, walk
from support.robot_world import Robot, World


async def running(world: World, folder: Path) -> Robot:
    robot = Robot(world, folder, world.key("a"))
    await robot.up()
    await robot.runner.start(by_person=True)
    await robot.settle()
    assert robot.runner.status()["orders_open"] == 4
    return robot


@simulated
async def test_it_trades_on_through_three_swaps_and_the_old_keys_deletion(tmp_path: Path) -> None:
    world = World()
    before, uid = world.balances(), world.engine.state.accounts["default"].uid
    robot = await running(world, tmp_path)
    for number, (old, new) in enumerate((("a", "b"), ("b", "c"), ("c", "d"))):
        closed = robot.runner.book.closed
        walking = asyncio.create_task(walk(robot, world, seed=number, steps=120))
        await asyncio.sleep(0)
        pair = world.key(new)
        calls = len(world.calls)
        await robot.runner.keys.swap(pair, uid=uid)
        asked = world.calls[calls:]
        assert "GET /api/v3/openOrders" not in asked, "a swap reconciles nothing: somebody listened throughout"
        assert robot.runner.state == "running"
        world.delete_key(old)
        await walking
        await robot.settle()
        assert robot.runner.state == "running" and robot.runner.book.closed > closed
        swap = robot.runner.status()["key_swap"]
        assert Decimal(swap["gap_s"]) >= 0 and swap["at"].endswith("Z")
    agree(world, robot.runner.book, before)
    await robot.down()


@pytest.mark.parametrize("trouble", ["the stream is down", "the books are stale", "the new key's first call fails"])
@simulated
async def test_where_it_cannot_be_between_two_orders_the_books_are_made_to_agree(tmp_path: Path, trouble: str) -> None:
    world = World()
    before, uid = world.balances(), world.engine.state.accounts["default"].uid
    robot = await running(world, tmp_path)
    pair = world.key("b")
    if trouble == "the stream is down":
        world.listeners[0].put(StreamDown("cut"))
        await robot.settle()
    elif trouble == "the books are stale":
        robot.runner.robot.books = Books.STALE
    else:
        left = [1]

        def fail(name: str) -> None:
            if name == "GET /api/v3/account" and left and left.pop():
                raise ExchangeError(Outcome.UNKNOWN, "no answer")

        world.before = fail
    await robot.runner.keys.swap(pair, uid=uid)
    assert robot.runner.status()["state"] == "reconciling"
    await robot.settle()
    assert robot.runner.state == "running"
    assert Decimal(robot.runner.status()["key_swap"]["gap_s"]) >= 0
    world.delete_key("a")
    await walk(robot, world, seed=9, steps=120)
    agree(world, robot.runner.book, before)
    await robot.down()


@simulated
async def test_a_key_of_another_account_never_takes_part(tmp_path: Path) -> None:
    """The uid is checked when the key is verified; should the exchange say otherwise at the swap, nothing is placed."""
    world = World()
    robot = await running(world, tmp_path)
    placed = len(world.placed)
    await robot.runner.keys.swap(world.key("b"), uid=world.engine.state.accounts["default"].uid + 1)
    await robot.settle()
    assert robot.runner.state != "running" and robot.runner.book.hold and len(world.placed) == placed
    await robot.down()
