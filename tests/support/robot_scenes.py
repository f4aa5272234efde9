"""A robot that trades in a world, the same robot come up again, and a person at the exchange's own page."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from fortctl.ports import ExchangeError
from fortctl.robot.core.book import Book
from support.robot_world import SETTINGS, SYMBOL, Robot, World

PRICE = Decimal("0.0014")
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
    page = world.key(f"page{len(world.engine.state.keys)}")
    stamp = {"symbol": SYMBOL, "timestamp": world.now, "recvWindow": 5000}
    answer = world.network.arrive(page, method, path, {**stamp, **values}, None)
    assert not isinstance(answer, ExchangeError), answer
    return answer


def ours(world: World, side: str = "BUY") -> list[Any]:
    return sorted((o for o in world.ours().values() if o.open and o.side == side), key=lambda order: -order.price)


def codes(robot: Robot) -> list[str]:
    return [row["code"] for row in robot.runner.status().get("reasons", ())]


def agree(world: World, book: Book, before: dict[str, Decimal]) -> None:
    """Invariants 1 and 4: each id left once; the ledger is what the exchange's balances say."""
    counted = Counter(world.placed)
    assert not [name for name, count in counted.items() if count > 1]
    after = world.balances()
    moved = {asset: after[asset] - before[asset] for asset in after if after[asset] != before[asset]}
    booked = {asset: amount for asset, amount in book.moved.items() if amount}
    assert booked == moved
    assert book.committed_quote() <= SETTINGS.max_quote  # type: ignore[operator]
    assert book.inventory() >= 0
    known = {fill["id"] for fill in world.engine.state.fills.get(("default", SYMBOL), [])}
    assert book.trades == known


async def walk(robot: Robot, world: World, seed: int, steps: int, width: float = 0.012) -> None:
    chance = random.Random(seed)
    price = PRICE
    for _ in range(steps):
        price = PRICE * Decimal(str(1 + chance.uniform(-width, width)))
        world.trade(price.quantize(Decimal("0.00000001")), str(chance.randint(1, 60)))
        await robot.settle(12)
