"""Invariant 3's second half: where the market moves only while the robot is idle, kills change nothing in the books.

One seed is one market and one grid. It is played twice: once the robot is left alone, once it is killed at writes, at
calls, while it reacts and while it waits. After every trade of the market, once the robot is idle again, what both
have at the exchange and in their books must be equal: open orders, fills, commissions, profit, dust. Names are not:
an intent whose order may have left is never sent again under the same one.

``python -m simulation.undisturbed FIRST LAST`` (in ``tests/``) plays seeds; of a single one it prints what happened.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from fortctl.robot.core.reconciliation import ResumeLimits
from simulation import invariants
from simulation.campaign import PRICE, TICK, _quick_folder
from simulation.loop import Killed, play
from simulation.weather import Weather
from support.robot_world import SETTINGS, Robot, World
from support.standing import Stand, stand_of, unequal

STEPS = 40
LOOK_S, LOOKS = 0.25, 400


class Walk:
    """One seed's market with one robot in it.

    Args:
        seed: of the market and the grid.
        kills: kill the robot.
        folder: for its journal.
    """

    def __init__(self, seed: int, kills: bool, folder: Path) -> None:
        chance, self.market = random.Random(seed), random.Random(seed ^ 0xA11)
        self.fate = random.Random(seed ^ 0xDEAD) if kills else None
        self.folder = folder
        weather = Weather(random.Random(seed ^ 0x5EED), {}, (0.001, chance.choice([0.02, 0.2])), 0)
        self.world = World(weather=weather, model=chance.choice(["through", "touch", "queue"]))
        self.settings = replace(
            SETTINGS,
            levels=chance.randint(1, 6),
            step=Decimal(chance.choice(["0.3", "0.5", "1"])),
            take_profit=Decimal(chance.choice(["0.3", "0.6"])),
            order_quote=Decimal(chance.choice(["0.02", "0.05"])),
            # Whom a tight budget lets in depends on which of two events is heard first, undisturbed too.
            max_quote=Decimal(5),
            trail_up=chance.random() < 0.7,
            spacing=chance.choice(["geometric", "arithmetic"]),
        )
        self.key = self.world.key("key")
        self.price = PRICE
        self.kills = 0
        self._fuse: tuple[str, int] | None = None
        self.world.before = lambda name: self._burn("before a call")
        self.world.after = lambda name: self._burn("after a call")
        self.robot = self._new_robot()

    def _new_robot(self) -> Robot:
        # A move while it starts again is bridged: holding is what the other worlds are about.
        robot = Robot(self.world, self.folder, self.key, limits=ResumeLimits(max_drift=Decimal(1_000)))
        robot.journal.before_write = lambda events: self._burn("before a write")
        robot.journal.after_write = lambda events: self._burn("after a write")
        return robot

    def _burn(self, where: str) -> None:
        if self._fuse is None or self._fuse[0] != where:
            return
        if self._fuse[1] > 1:
            self._fuse = (where, self._fuse[1] - 1)
            return
        self._fuse = None
        self._kill(where)
        raise Killed

    def _kill(self, where: str) -> None:
        self.kills += 1
        self.world.note(f"killed {where}")
        self.robot.process.kill()

    async def play(self) -> list[Stand]:
        found = []
        await self.robot.does(self.robot._come_up(self.settings))
        await self.robot.does(self.robot.runner.start(by_person=True))
        for _ in range(STEPS):
            await self._idle()
            if self.fate is not None and self.fate.random() < 0.2:
                await self._interrupt()
            found.append(self._stand())
            self._light()
            self._trade()
        return found

    async def _interrupt(self) -> None:
        """Kill it while it waits: it goes on from the very same orders."""
        before = self._open_names()
        self._kill("while it was idle")
        await self._idle()
        if self._open_names() != before:
            self.world.breaks(f"3: killed while it was idle, it has {self._open_names()}, and had {before}")

    def _open_names(self) -> list[str]:
        return sorted(name for name, order in self.world.ours().items() if order.open)

    def _light(self) -> None:
        """Choose where the robot dies during what comes now, if at all."""
        self._fuse = None
        if self.fate is None or self.fate.random() < 0.4:
            return
        where = self.fate.choice(["before a call", "after a call", "before a write", "after a write", "now"])
        if where == "now":
            delay = self.fate.choice([0.0, 0.001, 0.01, 0.1, 0.3])
            asyncio.get_running_loop().call_later(delay, self._kill, "while it reacted")
        else:
            self._fuse = (where, self.fate.randint(1, 4))

    def _trade(self) -> None:
        pull = float((PRICE - self.price) / PRICE) * 0.05
        self.price = (self.price * Decimal(str(1 + self.market.gauss(pull, 0.006)))).quantize(TICK)
        self.world.trade(self.price, str(self.market.choice([3, 20, 100, 2000])))

    async def _idle(self) -> None:
        """Wait until nothing is left that the robot would do; start it again when it is dead."""
        for _ in range(LOOKS):
            # Long enough for what is on its way, and for a robot that is killed a moment from now.
            await asyncio.sleep(LOOK_S * 4)
            if self.robot.process.dead:
                await self.robot.down()
                self._fuse = None
                self.robot = self._new_robot()
                await self.robot.does(self.robot._come_up(self.settings))
                continue
            self.robot.check()
            if self._is_idle():
                return
        raise AssertionError(f"it does not come to rest: {invariants.at_work(self.robot)}")

    def _is_idle(self) -> bool:
        runner = self.robot.runner
        settled = not runner.lookup.unknown and not runner.book.doubted and runner.robot.books == "agreed"
        return (
            settled
            and runner.robot.price == self.price
            and not invariants.at_work(self.robot)
            and not invariants.differences(self.world, runner.book)
        )

    def _stand(self) -> Stand:
        world = self.world
        rows = [
            (order.side, order.price, order.quantity, order.executed) for order in world.ours().values() if order.open
        ]
        return stand_of(self.price, rows, world.fills_of_ours(), self.robot.runner.book)


@dataclass(frozen=True)
class Walked:
    """What stood after each trade, how often the robot was killed, which invariants broke, and all that happened."""

    stands: list[Stand]
    kills: int
    broken: list[str]
    trace: list[str]


def walk(seed: int, kills: bool) -> Walked:
    """Play a seed once."""
    with tempfile.TemporaryDirectory(prefix="fortctl-sim-", dir=_quick_folder()) as folder:
        found: list[Walk] = []

        async def scene() -> list[Stand]:
            found.append(Walk(seed, kills, Path(folder)))
            return await found[0].play()

        stands = play(scene())
        return Walked(stands, found[0].kills, found[0].world.broken, found[0].world.trace)


def compare(seed: int) -> tuple[list[str], int, int]:
    """Play a seed both ways; return how they differ, how often the one was killed, and how many fills there were."""
    alone, killed = walk(seed, False), walk(seed, True)
    broken = [
        *alone.broken,
        *killed.broken,
        *(f"seed {seed}, {one}" for one in unequal(alone.stands, killed.stands)),
    ]
    return broken, killed.kills, len(alone.stands[-1].fills)


def main(words: list[str]) -> int:
    first, last = int(words[0]), int(words[-1])
    total_kills = total_fills = unequal = 0
    for seed in range(first, last + 1):
        broken, kills, fills = compare(seed)
        total_kills, total_fills, unequal = total_kills + kills, total_fills + fills, unequal + bool(broken)
        print("\n".join(broken[:1]), end="\n" if broken else "", flush=True)
    if first == last:
        print("\n".join(walk(first, True).trace))
    print(f"{last - first + 1} seeds, {total_kills} kills, {total_fills} fills, {unequal} unequal")
    return 1 if unequal else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
