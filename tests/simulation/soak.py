"""``make soak``: a simulated month of one robot that trades; its memory must not grow with what it has done.

The real runner and the real journal (SQLite) over the paper exchange's engine, on simulated time, in good weather: what
is looked for is what piles up, not what breaks. Once a simulated day everything that the *world* remembers is thrown
away, so that what is left to grow is the robot's. At the end the books must equal the exchange's balances, and a robot
that comes up from the journal must know the same.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from fortctl.paper.engine.trades.history import TradeHistory
from fortctl.robot.core.book import Book
from simulation.loop import SimLoop, play
from simulation.weather import Weather
from support.robot_world import SETTINGS, Robot, World

DAYS = 30
MOVE_EVERY_S = 20.0
PRICE, TICK = Decimal("0.0014"), Decimal("0.00000001")
SHOWN = (1, 2, 5, 10, 15, 20, 25, 30)
# The allocator keeps what it has once had; anything that grows with each cycle is far beyond this within a month.
ALLOWANCE_MIB = 1.0


@dataclass(frozen=True)
class Day:
    """What was true at the end of a day."""

    number: int
    events: int
    orders: int
    closed: int
    remembered: int
    resident_mib: float
    journal_mib: float


class QuietWorld(World):
    """A world that keeps no history of its own."""

    def note(self, text: str) -> None:
        return None

    def order_leaves(self, name: str) -> None:
        self.left[name] += 1

    def order_accepted(self, name: str, number: int, robot: Robot | None) -> None:
        self.placed.append(name)

    def forget(self) -> None:
        """Throw away what is over: the exchange's closed orders, trades and candles, and this world's lists."""
        engine = self.engine
        for number in [number for number, order in engine.state.orders.items() if not order.open]:
            del engine.state.orders[number]
        for key, orders in engine.state.orders_by_symbol.items():
            engine.state.orders_by_symbol[key] = [order for order in orders if order.open]
        engine.state.by_client_id = {
            name: number for name, number in engine.state.by_client_id.items() if number in engine.state.orders
        }
        for rows in engine.state.fills.values():
            rows.clear()
        engine.state.history = {name: TradeHistory() for name in engine.state.history}
        engine.state.changed.clear()
        self.calls.clear()
        self.journaled.clear()
        self.left.clear()
        loop: Any = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        loop._kept[:] = [task for task in loop._kept if not task.done()]


def resident_mib() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


async def month(folder: Path, days: int, seed: int) -> tuple[list[Day], list[str], float]:
    chance = random.Random(seed)
    world = QuietWorld(weather=Weather(random.Random(seed), {}, (0.0, 0.0), 0))
    robot = Robot(world, folder, world.key("month"))
    settings = replace(SETTINGS, levels=30, step=Decimal("0.3"), take_profit=Decimal("0.3"), max_quote=Decimal(3))
    start = world.balances()
    await robot.does(robot._come_up(settings))
    await robot.does(robot.runner.start(by_person=True))
    book, price, found = robot.runner.book, PRICE, []
    for number in range(1, days + 1):
        for _ in range(int(86_400 / MOVE_EVERY_S)):
            pull = float((PRICE - price) / PRICE) * 0.01
            price = (price * Decimal(str(1 + chance.gauss(pull, 0.0014)))).quantize(TICK)
            world.trade(price, "2000")
            await asyncio.sleep(MOVE_EVERY_S)
        robot.check()
        world.forget()
        world.trade(price, "2000")
        remembered = len(book.orders) + len(book.cycles) + len(book.trades)
        journal = sum(path.stat().st_size for path in folder.glob("journal.sqlite*")) / 1024**2
        events = robot.journal._connection.execute("SELECT count(*) FROM event").fetchone()[0]
        found.append(Day(number, events, len(world.placed), book.closed, remembered, resident_mib(), journal))
        print(f"day {number}: {found[-1]}", flush=True)
    broken = []
    moved = {asset: amount - start.get(asset, Decimal(0)) for asset, amount in world.balances().items()}
    for asset, amount in moved.items():
        if book.moved.get(asset, Decimal(0)) != amount:
            broken.append(f"{asset}: the exchange moved {amount}, the book says {book.moved.get(asset)}")
    began = time.perf_counter()
    again = Book()
    again.replay(robot.journal.events())
    replayed_s = time.perf_counter() - began
    if (again.profit, again.closed, again.moved) != (book.profit, book.closed, book.moved):
        broken.append("a robot that comes up from the journal knows something else")
    await robot.down()
    return found, broken, replayed_s


def grown(days: list[Day]) -> float:
    """Return by how many MiB the last third of the days exceeds the first third, day against day."""
    third = max(1, len(days) // 3)
    early = [day.resident_mib for day in days[third - 1 : 2 * third - 1]] or [days[0].resident_mib]
    late = [day.resident_mib for day in days[-third:]]
    return sum(late) / len(late) - sum(early) / len(early)


def main(words: list[str]) -> int:
    days, seed = int(words[0]) if words else DAYS, int(words[1]) if words[1:] else 1
    folder_of = "/dev/shm" if Path("/dev/shm").is_dir() else None
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fortctl-soak-", dir=folder_of) as folder:
        found, broken, replayed_s = play(month(Path(folder), days, seed))
    took, more = time.perf_counter() - began, grown(found)
    if more > ALLOWANCE_MIB:
        broken.append(f"memory grew by {more:.1f} MiB from the second ten days to the last")
    if days == DAYS and not broken:
        _write(found, took, replayed_s, more)
    print("\n".join(broken) or f"nothing piled up: {more:+.1f} MiB in {took:.0f} s")
    return 1 if broken else 0


def _write(found: list[Day], took: float, replayed_s: float, more: float) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
    from _page import facts, write_section

    rows = [
        f"| {day.number} | {day.events:,} | {day.orders:,} | {day.closed:,} | {day.remembered} |"
        f" {day.resident_mib:.1f} MiB | {day.journal_mib:.1f} MiB |"
        for day in found
        if day.number in SHOWN
    ]
    write_section(
        "soak",
        [
            "## A simulated month",
            "",
            f"{facts()}; one robot (runner, journal, book) over the paper exchange's engine on simulated time, a price"
            f" every {MOVE_EVERY_S:.0f} s, {took:.0f} s in all; what the world itself remembers is thrown away daily."
            f" `make soak` fails when memory grows by more than {ALLOWANCE_MIB:.0f} MiB from the second third of the"
            f" month to the last ({more:+.1f} MiB here). The journal is read again in {replayed_s:.1f} s.",
            "",
            "| day | events | orders | cycles closed | orders, cycles and trades in memory | resident | journal |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *rows,
        ],
        quick=False,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
