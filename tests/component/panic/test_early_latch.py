"""The latch that stands before the rest of a panic is loaded: what is imported until then, and what it says."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from fortctl.bootstrap import panic_latch
from fortctl.bootstrap.panic_latch import write_latches
from fortctl.config.home import Home
from fortctl.robot.storage.latch import LatchFile
from fortctl.services.panic.early_latch import EarlyLatch, latch_begun
from fortctl.services.panic.panic import Panic
from fortctl.services.panic.plan import LATCH
from fortctl.services.panic.state import PanicOptions
from support.harness import clean_environment
from support.panic_bench import NOW_S, Bench, step

# All of fortctl that may be loaded while a robot trades on although somebody has confirmed a panic.
ALLOWED = {
    *("fortctl", "fortctl.__main__", "fortctl.errors", "fortctl.secret", "fortctl.timestamps"),
    *("fortctl.cli", "fortctl.cli.app", "fortctl.cli.commands", "fortctl.cli.context", "fortctl.cli.options"),
    *("fortctl.cli.output", "fortctl.cli.registry", "fortctl.cli.render", "fortctl.cli.result"),
    *("fortctl.terminal", "fortctl.terminal.global_options", "fortctl.terminal.printable"),
    *("fortctl.terminal.prompts",),
    *("fortctl.commands", "fortctl.commands.panic", "fortctl.config", "fortctl.config.home"),
    *("fortctl.bootstrap", "fortctl.bootstrap.deadline", "fortctl.bootstrap.panic_latch"),
    *("fortctl.robot", "fortctl.robot.storage", "fortctl.robot.storage.latch"),
    *("fortctl.services", "fortctl.services.panic", "fortctl.services.panic.early_latch"),
    *("fortctl.system", "fortctl.system.clock", "fortctl.system.files", "fortctl.system.users"),
}
FORBIDDEN = {
    "aiohttp",
    "asyncio",
    "binance",
    "cryptography",
    "logging",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tomllib",
}
# Prints what is loaded in the moment in which the latch gets its name, and ends there.
WATCH = """
import os, sys
def watch(event, arguments):
    if event == "os.rename" and os.fspath(arguments[1]).endswith("/latch"):
        print(*sys.modules, flush=True)
        os._exit(0)
sys.addaudithook(watch)
from fortctl.__main__ import main
main()
"""


@pytest.mark.parametrize("name", ["panic-disconnect", "panic"])
def test_nothing_more_is_loaded_before_the_latch_stands(tmp_path: Path, name: str) -> None:
    (tmp_path / "robots" / "default").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", WATCH, "--home", str(tmp_path), name, "--yes"],
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "fortctl.bootstrap.panic_latch" in loaded
    assert {module for module in loaded if module.partition(".")[0] == "fortctl"} <= ALLOWED
    assert not loaded & FORBIDDEN


def test_a_latch_is_written_for_every_account_and_says_when_and_who(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for account in ("a", "b"):
        home.robot(account).path.mkdir(parents=True)
    LatchFile(home.robot("b").path).set({"at_ms": 5, "keys": [{"name": "k"}]})
    latches = write_latches(home, ["a", "b"], cancel_orders=False)
    assert all(latch.written for latch in latches.values())
    first, second = (json.loads((home.robot(account).path / "latch").read_text()) for account in ("a", "b"))
    assert first["at_ms"] == latches["a"].at_ms and first["who"] and first["cancel_orders"] is False
    assert second["at_ms"] == 5 and second["keys"] == [{"name": "k"}], "a panic that is run again is the same panic"
    assert (home.robot("a").path / "latch").stat().st_mode & 0o777 == 0o600


def test_a_disk_that_hangs_or_refuses_keeps_no_panic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panic_latch, "WRITE_WITHIN_S", 0.05)
    assert write_latches(Home(tmp_path / "gone"), ["a"], cancel_orders=True)["a"].written is False
    monkeypatch.setattr(LatchFile, "update", lambda *_words: threading.Event().wait())
    (tmp_path / "robots" / "a").mkdir(parents=True)
    latches = write_latches(Home(tmp_path), ["a", "b"], cancel_orders=True)
    assert [latch.written for latch in latches.values()] == [False, False]


class Counting(LatchFile):
    updates = 0

    def update(self, change: Any) -> None:
        self.updates += 1
        super().update(change)


async def test_the_step_writes_the_latch_only_where_it_does_not_stand(tmp_path: Path) -> None:
    counts = []
    for number, written in enumerate((True, False)):
        bench = Bench(tmp_path / f"robot-{number}")
        latch = bench.changes["latch"] = Counting(bench.folder)
        early = EarlyLatch(int(NOW_S * 1000) - 100, bench.clock.monotonic() - 0.1, 7.0, written)
        if written:
            bench.latch.set(latch_begun(early.at_ms, "somebody", True))
        report = await Panic(bench.ports(), PanicOptions(), early_latch=early).run()
        counts.append(latch.updates)
        assert step(report, LATCH).state == "done" and step(report, LATCH).elapsed_ms >= 7.0
        assert report.elapsed_ms >= 100 and bench.latch.read()["at_ms"] == early.at_ms
    assert counts[1] == counts[0] + 1
