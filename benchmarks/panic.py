"""How long a panic takes, seen from outside: from the command's start to the latch on disk and the robot's end.

Real processes: the paper exchange, a trading robot, ``fortctl panic-disconnect``. Peer in the same run: a bare Python
process that imports what no command can do without (click), since a command's start is most of what there is.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _page import arguments, facts, write_section

# The tests' folder in this one's place: 'panic' is there a package of the same name.
sys.path[0] = str(Path(__file__).resolve().parent.parent / "tests")

from support.panic_world import Template, World, a_world, make_template  # noqa: E402

ROUNDS, QUICK_ROUNDS = 15, 1
MANY, QUICK_MANY = 200, 10
BUDGET_S, STRETCH_S, CANCEL_S = 1.0, 0.3, 5.0


def bare_start() -> float:
    """Return the seconds that the peer takes."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import click"], check=True)
    return time.perf_counter() - begun


def one_panic(world: World) -> tuple[float, float, float]:
    """Panic; return the seconds to the latch, to the robot's end, and to the command's."""
    latch, stat = world.place / "latch", Path(f"/proc/{world.robot_pid}/stat")
    begun = time.perf_counter()
    command = world.panicking()
    latched = halted = 0.0
    while not halted:
        now = time.perf_counter() - begun
        latched = latched or (now if os.path.lexists(latch) else 0.0)
        halted = now if _ended(stat) else 0.0
        time.sleep(0.0005)
    command.communicate(timeout=60)
    return latched, halted, time.perf_counter() - begun


def _ended(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def nothing(world: World) -> None:
    """The robot answers."""


def hang(world: World) -> None:
    os.kill(world.robot_pid, signal.SIGSTOP)


def rounds(template: Template, folder: Path, arrange: Callable[[World], None], count: int) -> list[tuple[float, ...]]:
    """Panic again and again, each time in a fresh copy; the peer's time is the last of each row."""
    found: list[tuple[float, ...]] = []
    for number in range(count + 1):
        with a_world(template, folder / f"{arrange.__name__}-{number}") as world:
            world.start()
            arrange(world)
            row = one_panic(world)
            found.append((*row, bare_start()))
    return found[1:]


def cancelling(template: Template, folder: Path, arrange: Callable[[World], None], many: int) -> tuple[int, float]:
    """Return how many open orders a panic found, and the seconds until the command ended with none of them left."""
    with a_world(template, folder / f"many-{arrange.__name__}") as world:
        # On a market that stands still, so that as many are open as were asked for.
        template.page.ok("paper", "market", "pause")
        words = ("--symbol", "BTCUSDT", "--levels", str(many), "--step", "0.02", "--take-profit", "1")
        world.shell.ok("robot", "configure", *words, "--order-quote", "20")
        world.shell.ok("robot", "start")
        status = world.shell.await_status(lambda one: one["orders_open"] >= many, timeout=60)
        world.robot_pid = status["pid"]
        before = _all_open(world, many)
        arrange(world)
        _latched, _halted, ended = one_panic(world)
        left = len(world.open_orders())
        template.page.ok("paper", "market", "resume")
        if left:
            raise SystemExit(f"{left} orders are left")
        return before, ended


def _all_open(world: World, many: int) -> int:
    """Wait until the exchange itself has all of them; an intent in the journal is no order yet."""
    deadline = time.monotonic() + 120
    while (count := len(world.open_orders())) < many and time.monotonic() < deadline:
        time.sleep(0.1)
    return count


def line(what: str, budget: str, rows: list[tuple[float, ...]], column: int) -> str:
    ours, peer = (statistics.median(row[one] for row in rows) for one in (column, 3))
    worst = max(row[column] for row in rows)
    times = (f"{one * 1000:.0f} ms" for one in (ours, worst, peer))
    cells = (what, budget, *times, f"{ours / peer:.1f} ×")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    quick = arguments(__doc__).parse_args().quick
    count, orders = (QUICK_ROUNDS, QUICK_MANY) if quick else (ROUNDS, MANY)
    with tempfile.TemporaryDirectory(prefix="fortctl-panic-") as name:
        folder = Path(name)
        for template in make_template(folder / "t"):
            answering, hung = rounds(template, folder, nothing, count), rounds(template, folder, hang, count)
            many = [cancelling(template, folder, arrange, orders) for arrange in (nothing, hang)]
    lines = [
        "## Panic",
        "",
        f"{facts('click', 'cryptography')}; {count} panics of each kind after one warm-up, whole processes seen from"
        f" outside, the robot trading; load average {os.getloadavg()[1]:.0f}. `benchmarks/panic.py`.",
        "",
        "| from the command's start to | budget (stretch) | median | worst | `import click` in the same run | ratio |",
        "| --- | --- | --- | --- | --- | --- |",
        line("latch on disk, robot answering", "–", answering, 0),
        line("latch on disk and robot ended, robot answering", "< 1 s (0.3 s)", answering, 1),
        line("latch on disk, robot hung (SIGSTOP)", "–", hung, 0),
        line("latch on disk and robot ended, robot hung (SIGSTOP)", "< 1 s (0.3 s)", hung, 1),
        line("everything done, report printed, robot hung", "–", hung, 2),
        "",
        "| open orders, one by one | budget | the robot cancels | killed first, panic cancels |",
        "| --- | --- | --- | --- |",
        f"| {many[0][0]} / {many[1][0]} | 200 in < 5 s | {many[0][1]:.2f} s | {many[1][1]:.2f} s |",
    ]
    write_section("panic", lines, quick=quick)


if __name__ == "__main__":
    main()
