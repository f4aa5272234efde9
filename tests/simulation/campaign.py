"""One seed, one world: the real robot over the paper exchange while everything goes wrong, then the invariants.

``python -m simulation.campaign SEED`` (in ``tests/``) plays one world again and prints all that happened in it.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from fortctl.errors import FortctlError
from fortctl.ports import ExchangeError
from simulation import invariants
from simulation.loop import Killed, play
from simulation.weather import EXECUTED, NOT_EXECUTED, STREAM, Weather
from support.engine_exchange import ADDRESS
from support.robot_world import LOST_COMMIT, SETTINGS, SYMBOL, Robot, World

PRICE = Decimal("0.0014")
TICK = Decimal("0.00000001")
HOUR_S = 3600.0


@dataclass
class Outcome:
    """What became of a world.

    Attributes:
        broken: the invariants that did not hold; empty when all did.
        trace: all that happened.
        counts: what happened how often.
    """

    seed: int
    broken: list[str]
    trace: list[str]
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()[:16]

    def explain(self) -> str:
        replay = f"replay it: cd tests && python -m simulation.campaign {self.seed}"
        return "\n".join([f"world {self.seed}: {len(self.broken)} violations", *self.broken[:8], replay])


class Campaign:
    """One world, from its first order to its check."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.folder = folder
        self.world = World(weather=self._weather(), model=self.chance.choice(["through", "touch", "queue"]))
        self.settings = self._settings()
        fees = random.Random(seed ^ 0xB4B)
        if fees.random() < 0.3:
            # For some orders only, or for all.
            self.world.pay_in_bnb(Decimal(fees.choice(["0.002", "0.01", "1"])))
        self.price = PRICE
        self.counts: dict[str, int] = {}
        self.persons: set[str] = set()
        self._keys = 0
        self.vault = self._new_key()
        self.robot = self._new_robot()
        acts: dict[str, Callable[[], Awaitable[None]]] = {
            name.removeprefix("_act_"): getattr(self, name) for name in dir(self) if name.startswith("_act_")
        }
        # Each world knows some of the mischief only: what always comes together hides what comes alone.
        self.acts = {name: act for name, act in acts.items() if self.chance.random() < 0.4}

    def _weather(self) -> Weather:
        chance = self.chance
        rates = {}
        for kind in (*NOT_EXECUTED, *EXECUTED, *STREAM):
            if chance.random() < 0.35:
                rates[kind] = chance.choice([0.005, 0.02, 0.08]) / (5 if kind in STREAM else 1)
        # A draw of its own: worlds of before keep all their other weather.
        odd = random.Random(self.seed ^ 0x0DD)
        if odd.random() < 0.35:
            rates["odd-answer"] = odd.choice([0.005, 0.02, 0.08])
        invisible = chance.choice([0, 300, 900])
        return Weather(random.Random(self.seed ^ 0x5EED), rates, (0.001, chance.choice([0.02, 0.2, 0.6])), invisible)

    def _settings(self) -> Any:
        chance = self.chance
        return replace(
            SETTINGS,
            levels=chance.randint(1, 6),
            step=Decimal(chance.choice(["0.3", "0.5", "1"])),
            take_profit=Decimal(chance.choice(["0.3", "0.6"])),
            order_quote=Decimal(chance.choice(["0.02", "0.05"])),
            max_quote=Decimal(chance.choice(["0.1", "0.2", "2"])),
            trail_up=chance.random() < 0.7,
            maker_only=chance.random() < 0.3,
            spacing=chance.choice(["geometric", "arithmetic"]),
        )

    # -- keys, processes, the person -------------------------------------------------------------------------------

    def _new_key(self) -> Any:
        self._keys += 1
        return self.world.key(f"key-{self._keys}-")

    def _new_robot(self, *, resume: bool = True) -> Robot:
        robot = Robot(self.world, self.folder, self.vault, resume=resume)
        robot.journal.before_write = lambda events: self._write(robot, "before")
        robot.journal.after_write = lambda events: self._write(robot, "after")
        return robot

    def _write(self, robot: Robot, when: str) -> None:
        if self._armed("write", when):
            robot.process.kill()
            raise Killed

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1
        self.world.note(f"act {name}")

    _fuse: tuple[str, str, int] | None = None

    def _armed(self, where: str, when: str) -> bool:
        if self._fuse is None or self._fuse[:2] != (where, when):
            return False
        left = self._fuse[2] - 1
        self._fuse = (where, when, left) if left > 0 else None
        return left <= 0

    def _call(self, when: str) -> None:
        robot = self.robot
        if self._armed("call", when) and not robot.process.dead:
            robot.process.kill()
            raise Killed

    async def _does(self, work: Any) -> None:
        """Let a person ask something of the robot; a refusal is an answer."""
        try:
            await self.robot.does(work)
        except (FortctlError, ExchangeError) as refused:
            self.world.note(f"refused: {refused}")

    async def _restart(self, *, resume: bool = True) -> None:
        await self.robot.down()
        self._fuse = None
        await asyncio.sleep(self.chance.uniform(0.5, 12))
        self.robot = self._new_robot(resume=resume)
        await self._does(self.robot._come_up(self.settings))
        if not resume:
            await self._does(self.robot.runner.start(by_person=True))

    async def _tend(self) -> None:
        """Do what a service manager and a person do: restart it, bring a new key, look and resume."""
        robot = self.robot
        over = robot.task is None or robot.task.done()
        if robot.process.dead or (over and not robot.process.frozen):
            if over and robot.task is not None and not robot.process.dead:
                error = None if robot.task.cancelled() else robot.task.exception()
                self.world.note(f"the robot ended: {error!r}")
            if robot.latch.on:
                robot.latch.on = False
            await self._restart(resume=self.chance.random() < 0.8)
        elif robot.process.frozen:
            return
        elif robot.runner.state in ("key_lost", "awaiting_key") and self.chance.random() < 0.5:
            await self._bring_key()
        elif robot.runner.state == "held" and self.chance.random() < 0.5:
            self._count("resume")
            await self._does(robot.runner.resume())
        elif robot.runner.state == "stopped" and self.chance.random() < 0.5:
            await self._does(robot.runner.start(by_person=True))

    async def _bring_key(self) -> None:
        self._count("new key")
        pair, robot = self._new_key(), self.robot
        uid = self.world.engine.state.accounts["default"].uid

        async def deliver() -> None:
            verdict = await robot.runner.keys.verify_candidate(pair, pinned_uid=uid)
            if verdict.accepted:
                self.vault = pair
                await robot.runner.keys.set(pair, uid=uid)

        await self._does(deliver())

    # -- mischief --------------------------------------------------------------------------------------------------

    async def _act_kill_at_a_write(self) -> None:
        self._fuse = ("write", self.chance.choice(["before", "after"]), self.chance.randint(1, 12))

    async def _act_kill_at_a_call(self) -> None:
        self._fuse = ("call", self.chance.choice(["before", "after"]), self.chance.randint(1, 12))

    async def _act_kill_now(self) -> None:
        self.robot.process.kill()

    async def _act_freeze(self) -> None:
        robot = self.robot
        robot.process.stop()
        await asyncio.sleep(self.chance.choice([0.5, 3, 30, 600, 7 * HOUR_S]))
        await self._move(self.chance.randint(0, 6))
        robot.process.go_on()

    async def _act_suspend_machine(self) -> None:
        robot, seconds = self.robot, self.chance.choice([30, 600, 24 * HOUR_S])
        robot.process.stop()
        for stream in [one for one in self.world.listeners if one.process is robot.process]:
            stream.live = False
        await asyncio.sleep(seconds)
        await self._move(self.chance.randint(0, 6))
        robot.clock.asleep_s += seconds
        robot.process.go_on()

    async def _act_clock_jumps(self) -> None:
        self.world.clock.offset_ms += self.chance.choice([-3_600_000, 3_600_000, 700, -1500])

    async def _act_exchange_clock(self) -> None:
        self.world.clock_ahead_ms += self.chance.choice([0, 50, 400, 1500])

    def _key(self) -> Any:
        return self.world.engine.state.keys.get(self.vault.api_key.reveal())

    async def _act_delete_key(self) -> None:
        if (key := self._key()) is not None:
            self.world.delete_key(key.name, streams=self.chance.choice(["at-once", "silent"]))

    async def _act_ip_list_changed(self) -> None:
        if (key := self._key()) is not None:
            key.ips = ("198.51.100.7",)

    async def _act_trading_right_removed(self) -> None:
        if (key := self._key()) is not None:
            key.permissions = ("reading",)

    async def _act_key_expires(self) -> None:
        if (key := self._key()) is not None:
            key.trading_expires_at = self.world.now + self.chance.randint(0, 60_000)

    async def _act_trading_disabled(self) -> None:
        account = self.world.engine.state.accounts["default"]
        account.can_trade = False
        await self._pass(self.chance.uniform(5, 120))
        account.can_trade = True

    async def _act_maintenance(self) -> None:
        self.world.weather.down = True
        await self._pass(self.chance.uniform(2, 400))
        self.world.weather.down = False

    async def _act_disk_full(self) -> None:
        journal = self.robot.journal
        journal.disk = self.chance.choice(["database or disk is full", "database is locked", LOST_COMMIT])
        await self._pass(self.chance.uniform(1, 120))
        journal.disk = ""

    async def _act_disk_runs_full(self) -> None:
        journal, placed = self.robot.journal, len(self.world.placed)
        journal.low_space = True
        await self._pass(self.chance.uniform(20, 120))
        late = len(self.world.placed) - placed
        if late > 25:
            self.world.breaks(f"disk: {late} orders were placed while there was no room")
        journal.low_space = False

    async def _act_person_cancels_ours(self) -> None:
        mine = [order for order in self.world.ours().values() if order.open]
        if mine:
            await self._person("DELETE", orderId=self.chance.choice(mine).id)

    async def _act_person_trades(self) -> None:
        name = f"person-{len(self.persons)}"
        self.persons.add(name)
        side = self.chance.choice(["BUY", "SELL"])
        price = (self.price * (Decimal("0.97") if side == "BUY" else Decimal("1.03"))).quantize(TICK)
        fields = {"side": side, "type": "LIMIT", "timeInForce": "GTC", "price": price, "quantity": 30}
        await self._person("POST", **fields, newClientOrderId=name)

    async def _act_person_amends_ours(self) -> None:
        mine = [order for order in self.world.ours().values() if order.open and order.left > 5]
        if mine:
            order = self.chance.choice(mine)
            await self._person("PUT", orderId=order.id, newQty=order.quantity - 1)

    async def _person(self, method: str, **values: Any) -> None:
        page = self.world.key(f"page-{len(self.counts)}-{self.world.now}")
        try:
            stamp = {"symbol": SYMBOL, "timestamp": self.world.now, "recvWindow": 5000}
            path = "/api/v3/order/amend/keepPriority" if method == "PUT" else "/api/v3/order"
            answer = self.world.network.arrive(page, method, path, {**stamp, **values}, None)
            if isinstance(answer, Exception):
                self.world.note(f"the person is refused: {answer}")
        finally:
            self.world.engine.remove_key(self.world.engine.state.keys[page.api_key.reveal()])

    async def _act_symbol_halted(self) -> None:
        self.world.engine.edit_symbol(SYMBOL, {"status": "HALT"})
        await self._pass(self.chance.uniform(5, 300))
        self.world.engine.edit_symbol(SYMBOL, {"status": "TRADING"})

    async def _act_filters_change(self) -> None:
        self.world.engine.edit_symbol(
            SYMBOL, {"PRICE_FILTER.tickSize": self.chance.choice(["0.00000001", "0.00000010"])}
        )

    async def _act_fees_change(self) -> None:
        symbol = self.world.engine.state.symbols[SYMBOL]
        symbol.maker = symbol.taker = Decimal(self.chance.choice(["0.001", "0.00075", "0.002"]))

    async def _act_drain(self) -> None:
        await self._does(self.robot.runner.drain())

    async def _act_stop_now(self) -> None:
        await self._does(self.robot.runner.stop_now(cancel_orders=self.chance.random() < 0.5))

    async def _act_start(self) -> None:
        await self._does(self.robot.runner.start(by_person=True))

    async def _act_configure(self) -> None:
        self.settings = self._settings()
        await self._does(self.robot.runner.configure(self.settings))

    async def _act_forget_key(self) -> None:
        await self._does(self.robot.runner.keys.forget())

    async def _act_overlap(self) -> None:
        await self._bring_key()

    async def _act_second_owner(self) -> None:
        older = self.robot
        self.robot = self._new_robot()
        self._fuse = None
        await self._does(self.robot._come_up(self.settings))
        await self._pass(self.chance.uniform(1, 30))
        await older.down()

    async def _act_panic(self) -> None:
        robot = self.robot
        if robot.process.dead or robot.process.frozen:
            return
        halting = self.world.spawn(robot.latch.halted(robot))
        if self.chance.random() < 0.7:
            await self._does(robot.runner.halt(cancel_orders=True))
        await halting
        await self._pass(self.chance.uniform(1, 60))
        robot.process.kill()

    # -- the run ---------------------------------------------------------------------------------------------------

    async def _move(self, trades: int) -> None:
        for _ in range(trades):
            pull = float((PRICE - self.price) / PRICE) * 0.05
            self.price = (self.price * Decimal(str(1 + self.chance.gauss(pull, 0.004)))).quantize(TICK)
            self.world.trade(self.price, str(self.chance.choice([3, 20, 100, 2000])))
            await asyncio.sleep(self.chance.choice([0.0, 0.01, 0.4]))

    async def _pass(self, seconds: float) -> None:
        """Let time pass, with the market moving."""
        parts = self.chance.randint(1, 3)
        for _ in range(parts):
            await self._move(self.chance.randint(0, 4))
            await asyncio.sleep(seconds / parts)

    async def run(self, steps: int = 60) -> Outcome:
        world = self.world
        world.before = lambda name: self._call("before")
        world.after = lambda name: self._call("after")
        await self._does(self.robot._come_up(self.settings))
        await self._does(self.robot.runner.start(by_person=True))
        names = sorted(self.acts)
        for _ in range(steps):
            await self._pass(self.chance.choice([0.3, 3, 20, 60]))
            if names and self.chance.random() < 0.3:
                name = self.chance.choice(names)
                self._count(name)
                await self.acts[name]()
            await self._tend()
        await self._heal()
        return Outcome(self.seed, await self._check(), world.trace, self.counts)

    async def _heal(self) -> None:
        """Let nothing more go wrong, and give robot and person time."""
        world = self.world
        world.note("healed")
        world.weather.clear()
        self._fuse = None
        world.engine.edit_symbol(SYMBOL, {"status": "TRADING"})
        world.engine.state.accounts["default"].can_trade = True
        if (key := self._key()) is not None:
            # A right that is missing shows only when it is needed.
            key.permissions, key.ips, key.trading_expires_at = ("reading", "spot_trading"), (ADDRESS,), None
        self.robot.process.go_on()
        # A key may be dead on a stream that says nothing: it is noticed within a silence.
        await asyncio.sleep(120)
        for _ in range(60):
            await asyncio.sleep(30)
            await self._tend()
            runner = self.robot.runner
            if runner.state == "draining":
                await self._does(runner.start(by_person=True))
            elif runner.state == "running" and not invariants.at_work(self.robot):
                break
        await asyncio.sleep(120)

    async def _check(self) -> list[str]:
        world, robot = self.world, self.robot
        robot.check()
        book = robot.runner.book
        found = [*world.broken, *invariants.differences(world, book), *invariants.names_are_pure(book)]
        found += invariants.persons_orders_untouched(world, self.persons)
        found += invariants.secrets_stay_inside(world, self.folder)
        found += invariants.at_work(robot)
        if robot.runner.state != "running":
            found.append(f"live: after everything was mended it is {robot.runner.state}")
        self.counts["closed cycles"] = book.closed
        self.counts["orders"] = len(world.placed)
        return found


def run_world(seed: int) -> Outcome:
    """Play one world in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="fortctl-sim-", dir=_quick_folder()) as folder:
        campaign: list[Campaign] = []

        async def scene() -> Outcome:
            campaign.append(Campaign(seed, Path(folder)))
            return await campaign[0].run()

        try:
            return play(scene())
        except Exception as error:
            import traceback

            trace = campaign[0].world.trace if campaign else []
            broken = campaign[0].world.broken if campaign else []
            return Outcome(seed, [*broken, f"ended: {error!r}"], [*trace, traceback.format_exc()])


def _quick_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def main(words: list[str]) -> int:
    outcome = run_world(int(words[0]))
    print("\n".join(outcome.trace))
    print(outcome.explain(), outcome.fingerprint, outcome.counts)
    return 1 if outcome.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
