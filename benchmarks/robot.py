"""The robot beside its peers: fill to opposite order, replay, restart, ten times the work. Writes docs/performance.md.

``FORTCTL_MARKET_DATA`` names the folder of the recordings; without it the replay's rows are left out.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _page import arguments, facts, write_section

if TYPE_CHECKING:
    from fortctl.model import UserEvent

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PAIRS, ROUNDS = 15, 20
CYCLES, QUICK_CYCLES = 10_000, 100
SETTINGS = {
    "symbol": "XRPETH",
    "levels": 8,
    "step": "0.3",
    "take_profit": "0.3",
    "order_quote": "0.05",
    "max_quote": "2",
}


def row(what: str, peer: str = "—", budget: str = "—", ours: str = "—", theirs: str = "—", ratio: str = "—") -> str:
    return f"| {what} | {peer} | {budget} | {ours} | {theirs} | {ratio} |"


# -- fill to opposite order ------------------------------------------------------------------------------------------


async def trade(url: str, folder: str) -> None:
    """Be the robot, until killed: runner, client and journal; its own share of each reaction to a file."""
    from fortctl.exchange.client import BinanceExchange
    from fortctl.exchange.targets import resolve
    from fortctl.model import KeyPair, KeyType, OrderUpdate
    from fortctl.robot.core.settings import parse_settings
    from fortctl.robot.storage.journal import SqliteJournal
    from fortctl.robot.storage.latch import LatchFile
    from fortctl.robot.trading.runner import Runner
    from fortctl.secret import Secret
    from fortctl.system.clock import SystemClock

    place, target, clock = Path(folder), resolve(url, Path(folder)), SystemClock()
    shares = (place / "shares").open("w", buffering=1)
    filled_at = [0.0]

    class Timed(BinanceExchange):
        async def user_events(self) -> AsyncIterator[UserEvent]:
            async for event in super().user_events():
                if isinstance(event, OrderUpdate):
                    filled_at[0] = time.perf_counter() if event.fill is not None else 0.0
                yield event

        async def place(self, *words: Any, **named: Any) -> Any:
            if filled_at[0]:
                print(time.perf_counter() - filled_at[0], words[0].side.value, file=shares)
                filled_at[0] = 0.0
            return await super().place(*words, **named)

    log = logging.getLogger("bench")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    runner = Runner(
        account="default",
        robot_id="0123456789abcdef",
        journal=SqliteJournal(place / "journal.sqlite", account="default", clock=clock),
        clock=clock,
        latch=LatchFile(place),
        connect=lambda pair: Timed(target, pair, clock),
        log=log,
    )
    await runner.configure(parse_settings(SETTINGS))
    await runner.keys.set(KeyPair("k", KeyType.HMAC, Secret("k" * 64), Secret("s" * 64)), uid=1)
    working = asyncio.ensure_future(runner.run())
    await runner.start(by_person=True)
    await working


class Side:
    """A stub exchange and the client that trades at it."""

    def __init__(self, *words: str) -> None:
        self._stub = subprocess.Popen(
            [sys.executable, str(HERE / "_stub_exchange.py")], stdout=subprocess.PIPE, text=True
        )
        assert self._stub.stdout is not None
        self._url = f"http://127.0.0.1:{int(self._stub.stdout.readline())}"
        self._client = subprocess.Popen([sys.executable, *(word.replace("URL", self._url) for word in words)])
        while not json.loads(self._ask("/open")):
            time.sleep(0.05)
        time.sleep(1)

    def _ask(self, path: str, data: bytes | None = None) -> bytes:
        with urllib.request.urlopen(urllib.request.Request(self._url + path, data=data)) as answer:
            return bytes(answer.read())

    def measure(self, rounds: int) -> tuple[list[float], list[float]]:
        sells, buys = json.loads(self._ask(f"/bench?rounds={rounds}", b""))
        return sells, buys

    def resident(self) -> float:
        """Return the client's resident memory (MiB)."""
        status = Path(f"/proc/{self._client.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

    def end(self) -> None:
        for process in (self._client, self._stub):
            process.kill()
            process.wait()


def reactions(count: int, rounds: int) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="fortctl-bench-", dir=os.environ.get("FORTCTL_BENCH_DIR")) as folder:
        ours, peer = (
            Side(str(HERE / "robot.py"), "trade", "URL", folder),
            Side(str(HERE / "peers" / "reactor.py"), "URL"),
        )
        try:
            for side in (ours, peer):
                side.measure(rounds)
            pairs = [(ours.measure(rounds), peer.measure(rounds)) for _ in range(count)]
            held = (ours.resident(), peer.resident())
        finally:
            ours.end()
            peer.end()
        shares: dict[str, list[float]] = {"SELL": [], "BUY": []}
        for line in (Path(folder) / "shares").read_text().splitlines():
            seconds, side_name = line.split()
            shares[side_name].append(float(seconds) * 1000)
    rows = [
        row(
            *("memory of the trading process, one account", "python-binance with its session and socket", "≤ + 40 MiB"),
            *(f"{held[0]:.0f} MiB", f"{held[1]:.0f} MiB", f"{held[0] - held[1]:+.0f} MiB"),
        )
    ]
    for index, (what, name) in enumerate((("sell (durable with its buy)", "SELL"), ("buy (journaled first)", "BUY"))):
        mine = [1000 * statistics.median(pair[0][index]) for pair in pairs]
        theirs = [1000 * statistics.median(pair[1][index]) for pair in pairs]
        ratio = statistics.median(one / other for one, other in zip(mine, theirs, strict=True))
        own = sorted(shares[name])
        rows += [
            row(
                f"fill event → opposite order received: {what}",
                "python-binance doing only that",
                "≤ 1.3 ×" if name == "SELL" else "—",
                f"{statistics.median(mine):.2f} ms",
                f"{statistics.median(theirs):.2f} ms",
                f"{ratio:.2f} ×",
            ),
            row(
                f"own share of that ({name.lower()}): event parsed → client called",
                budget="p50 < 0.5 ms, p99 < 3 ms" if name == "SELL" else "—",
                ours=f"p50 {own[len(own) // 2]:.2f} ms, p99 {own[len(own) * 99 // 100]:.2f} ms",
            ),
        ]
    return rows


# -- replay ----------------------------------------------------------------------------------------------------------


def _replayed(path: Path, **changed: Any) -> tuple[float, int, int]:
    from _replay import Replay

    from fortctl.paper.engine.market_data import load
    from fortctl.robot.core.settings import parse_settings

    settings = replace(parse_settings(SETTINGS), **changed)  # type: ignore[type-var]
    tape = load(str(path))
    trades = list(tape.trades)
    one = Replay(tape, settings, {"ETH": Decimal(30)})
    began = time.perf_counter()
    one.run(trades)
    return len(trades) / (time.perf_counter() - began), one.placed, one.book.closed


def _nautilus(*, install: bool) -> Path | None:
    folder = ROOT / ".compat" / "nautilus"
    python = folder / "bin" / "python"
    if not python.exists() and not install:
        return None
    if not python.exists():
        venv.create(folder, with_pip=True)
        lock = str(HERE / "peers" / "nautilus" / "requirements.txt")
        words = ("install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", lock)
        subprocess.run([str(python), "-m", "pip", *words], check=True)
    return python


def replays(count: int, *, quick: bool) -> list[str]:
    data = os.environ.get("FORTCTL_MARKET_DATA")
    path = Path(data or "") / "XRPETH-trades-2019-10-11.csv"
    if not data or not path.exists():
        print("replay: skipped, FORTCTL_MARKET_DATA names no folder with the recording", flush=True)
        return []
    python = _nautilus(install=not quick)
    if python is None:
        print("replay beside nautilus_trader: skipped, it is not installed", flush=True)
        fixed, trailing = _replayed(path, trail_up=False), _replayed(path)
        return [
            row("replay of XRPETH, fixed and trailing grid", ours=f"{fixed[0]:,.0f} and {trailing[0]:,.0f} trades/s")
        ]
    words = [str(python), str(HERE / "peers" / "nautilus" / "replay.py"), str(path), "1"]
    ours, theirs, moving, facts_of = [], [], [], {}
    for _ in range(count):
        ours.append(_replayed(path, trail_up=False))
        told = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        theirs.append(told["trades"] / told["seconds"])
        moving.append(_replayed(path))
        facts_of = told
    ratio = statistics.median(one[0] / other for one, other in zip(ours, theirs, strict=True))
    moved = statistics.median(one[0] / other for one, other in zip(moving, theirs, strict=True))
    peer = f"nautilus_trader {facts_of['version']} backtest, a like grid ({facts_of['placed']} orders)"
    theirs_shown = f"{statistics.median(theirs):,.0f} trades/s"
    return [
        row(
            f"replay of XRPETH, core and paper matching, fixed grid ({ours[0][1]} orders)",
            *(
                peer,
                "≥ 1 ×",
                f"{statistics.median(one[0] for one in ours):,.0f} trades/s",
                theirs_shown,
                f"{ratio:.2f} ×",
            ),
        ),
        row(
            f"the same, trailing grid ({moving[0][1]} orders, {moving[0][2]} cycles closed)",
            *("the same", "—", f"{statistics.median(one[0] for one in moving):,.0f} trades/s", theirs_shown),
            f"{moved:.2f} ×",
        ),
    ]


# -- restart ---------------------------------------------------------------------------------------------------------


def restarts(orders: int) -> list[str]:
    """Count the requests of a restart with open orders, none or a tenth of them filled meanwhile."""
    # This file's own name is that of the tests' folder.
    sys.path[:] = [str(ROOT / "tests"), *(place for place in sys.path if Path(place) != HERE)]
    from simulation.loop import play

    shown = []
    for filled in (0, orders // 10):
        with tempfile.TemporaryDirectory(prefix="fortctl-bench-") as folder:
            calls, left = play(_restart(Path(folder), orders, filled))
        shown.append(
            row(
                f"restart with {orders:,} open orders, {filled} of them filled meanwhile: requests",
                *(
                    "—",
                    f"≤ 5 (one is a listing, one the key's rights) + {2 * left + 1}, one per order not open",
                    str(len(calls)),
                ),
            )
        )
    return shown


async def _restart(folder: Path, orders: int, filled: int) -> tuple[list[str], int]:
    from fortctl.robot.core.events import OrderIntended, OrderStatusReported
    from fortctl.robot.core.order_ids import client_order_id
    from support.engine_exchange import EngineExchange
    from support.robot_world import SYMBOL, Robot, World

    world = World()
    world.engine.edit_symbol(SYMBOL, {"MAX_NUM_ORDERS.maxNumOrders": "2000"})
    robot = Robot(world, folder, world.key("a"))
    await robot.up()
    exchange = robot.runner.robot.exchange
    assert isinstance(exchange, EngineExchange)
    price, nothing = Decimal("0.00139000"), Decimal(0)
    for number in range(1, orders + 1):
        name = client_order_id(robot.runner.robot.robot_id, number, "buy", 1)
        at, level = robot.runner.robot.exchange_now(), price - number * Decimal("1e-8")
        promise = (level * 2, Decimal(1))
        robot.runner.robot.record(
            OrderIntended(number, number, "buy", 1, name, level, Decimal(10), nothing, at, *promise)
        )
        values = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": f"{level:f}", "quantity": "10"}
        told = await exchange.ask(
            "POST", "/api/v3/order", symbol=SYMBOL, newClientOrderId=name, newOrderRespType="RESULT", **values
        )
        robot.runner.robot.record(OrderStatusReported(name, told["orderId"], told["status"], nothing))
    # One fill that is booked: what is missing later is what came after it.
    world.trade(price - 2 * Decimal("1e-8"), "1000000")
    await robot.wait(1)
    await robot.down()
    if filled:
        world.trade(price - (filled + 2) * Decimal("1e-8"), "1000000")
    world.calls.clear()
    # Somebody trades while it comes up, over a network that takes its time.
    world.before = lambda call: world.trade(price) if call == "GET /api/v3/account" else None
    world.weather.latency = (0.01, 0.02)
    again = Robot(world, folder, world.key("b"))
    await again.up()
    while again.runner.robot.books != "agreed":
        await again.wait(0.1)
    return list(world.calls), orders - 1 - len(world.engine.state.books[SYMBOL].resting)


# -- a month ---------------------------------------------------------------------------------------------------------


def months(count: int) -> list[str]:
    """Cycles by the thousand through the book: time and memory for ten times as many, and a restart's replay."""
    small, large = _cycles(count), _cycles(10 * count, again=True)
    times = row(
        *(f"ten times the work: {10 * count:,} cycles through the book", f"{count:,} cycles", "≤ 11 ×"),
        *(f"{large[0]:.2f} s", f"{small[0]:.2f} s", f"{large[0] / small[0]:.1f} ×"),
    )
    held = row(
        *(f"memory that the book holds after {10 * count:,} cycles", f"after {count:,} cycles", "1 ×"),
        *(f"{large[1] / 1024:,.0f} KiB", f"{small[1] / 1024:,.0f} KiB", f"{large[1] / small[1]:.2f} ×"),
    )
    replay = row(
        f"replay of the journal at a restart: {large[3]:,} events of {10 * count:,} cycles", ours=f"{large[2]:.1f} s"
    )
    return [times, held, replay, *journals(10 * count)]


def journals(count: int) -> list[str]:
    """Open a robot's journal and have its book: of all events, and of a snapshot with 2,000 events after it."""
    from fortctl.robot.core.book_snapshot import Fold
    from fortctl.robot.core.events import Configured, StrategyNote
    from fortctl.robot.storage.journal import SqliteJournal
    from fortctl.robot.trading.journaled_book import SNAPSHOT_EVERY, JournaledBook
    from fortctl.system.clock import SystemClock

    log = logging.getLogger("bench")
    with tempfile.TemporaryDirectory(prefix="fortctl-bench-") as folder:

        def opened() -> tuple[SqliteJournal, JournaledBook]:
            journal = SqliteJournal(Path(folder) / "journal.sqlite", account="default", clock=SystemClock())
            return journal, JournaledBook(journal, log)

        journal = opened()[0]
        notes = (StrategyNote(f"name-{number % 1_000}", str(number)) for number in range(1, 8 * count))
        journal.append([Configured({**SETTINGS}), *notes])
        last = journal.last_seq()
        journal.close()
        seconds = []
        for _ in range(2):
            began = time.perf_counter()
            journal, book = opened()
            seconds.append(time.perf_counter() - began)
            if book.began_with is None:
                fold = Fold(journal.event_of)
                while rows := journal.rows(fold.seq, max(1, last - SNAPSHOT_EVERY), 1_000):
                    fold.take(rows)
                journal.keep_snapshot(fold.snapshot())
            journal.close()
        assert book.began_with is not None
    what = f"start with a journal of {last:,} events (notes), from its snapshot: opened, and the book made"
    return [row(what, "all events replayed", "< 0.5 s", f"{seconds[1]:.2f} s", f"{seconds[0]:.2f} s")]


def _cycles(count: int, *, again: bool = False) -> tuple[float, int, float, int]:
    import tracemalloc

    from fortctl.robot.core.book import Book
    from fortctl.robot.core.events import (
        AssetsNamed,
        Configured,
        FillRecorded,
        OrderIntended,
        OrderStatusReported,
        event_from_json,
    )

    price, amount, nothing = Decimal("0.0014"), Decimal(35), Decimal(0)

    def history() -> Any:
        yield Configured({**SETTINGS})
        yield AssetsNamed("XRP", "ETH")
        for number in range(1, count + 1):
            buy, sell = f"fc01234567-{number}-b1", f"fc01234567-{number}-s1"
            yield OrderIntended(number, 1, "buy", 1, buy, price, amount, nothing, number, price * 2, Decimal(1))
            yield OrderStatusReported(buy, number, "NEW", nothing)
            yield FillRecorded(buy, number * 2, price, amount, price * amount, Decimal("0.035"), "XRP", number)
            yield OrderStatusReported(buy, number, "FILLED", amount)
            yield OrderIntended(number, 1, "sell", 1, sell, price * 2, Decimal(34), nothing, number)
            yield OrderStatusReported(sell, number, "NEW", nothing)
            yield FillRecorded(
                sell, number * 2 + 1, price * 2, Decimal(34), price * 68, Decimal("0.00005"), "ETH", number
            )
            yield OrderStatusReported(sell, number, "FILLED", Decimal(34))

    book = Book()
    began = time.perf_counter()
    book.replay(history())
    seconds = time.perf_counter() - began
    tracemalloc.start()
    second = Book()
    second.replay(history())
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    rows = [(event.kind, json.dumps(event.as_json())) for event in history()] if again else []
    began = time.perf_counter()
    Book().replay(event_from_json(kind, json.loads(body)) for kind, body in rows)
    return seconds, held, time.perf_counter() - began, len(rows)


def main() -> int:
    quick, load = arguments(__doc__).parse_args().quick, os.getloadavg()[0]
    count, rounds = (1, 2) if quick else (PAIRS, ROUNDS)
    rows = [
        *reactions(count, rounds),
        *replays(count, quick=quick),
        *restarts(20 if quick else 1_000),
        *months(QUICK_CYCLES if quick else CYCLES),
    ]
    heading = f"{facts('aiohttp', 'uvloop', 'python-binance')}, load {load:.1f} when it began"
    write_section(
        "robot",
        [
            "## Robot",
            "",
            f"{heading}; {count} pairs of {rounds} reactions after one warm-up, medians. `benchmarks/robot.py`.",
            "",
            "| what | peer in the same run | budget | ours | peer | ratio |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
        ],
        quick=quick,
    )
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["trade"]:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            loop.run(trade(sys.argv[2], sys.argv[3]))
    sys.exit(main())
