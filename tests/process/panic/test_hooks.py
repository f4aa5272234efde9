"""The robot's and the panic's hooks, through the executable."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from support.harness import Shell, campaign

GRID = ("--levels", "2", "--step", "0.3", "--take-profit", "0.3", "--order-quote", "50")
WRITE = "import sys; from pathlib import Path; Path(sys.argv[1]).write_text(sys.stdin.read())"


def told(path: Path) -> dict[str, Any]:
    deadline = time.monotonic() + 40
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"no hook wrote {path.name}"
        time.sleep(0.05)
    event: dict[str, Any] = json.loads(path.read_text())
    return event


@campaign
def test_hooks_are_told_what_happens(running: Shell, tmp_path: Path) -> None:
    for event in ("on-key-lost", "on-panic"):
        words = json.dumps([sys.executable, "-c", WRITE, str(tmp_path / event)])
        running.ok("config", "set", f"hooks.{event}", words)
    # The robot that took the key in reads its configuration again.
    os.kill(running.status()["pid"], signal.SIGHUP)
    running.ok("robot", "configure", "--symbol", "BTCUSDT", *GRID)
    running.ok("robot", "start")
    running.await_status(lambda status: status["orders_open"] == 2)
    running.ok("paper", "keys", "delete", "robot-1")
    event = told(tmp_path / "on-key-lost")
    assert event["account"] == "default" and event["facts"]["code"] in (-2008, -2015)
    done = running.run("panic-disconnect", "--yes")
    assert done.code == 12
    facts = told(tmp_path / "on-panic")["facts"]
    assert {"steps", "actions", "elapsed_ms"} <= set(facts) and facts["by"] == "panic-disconnect"
    hook = next(step for step in done.data["steps"] if step["name"] == "hook on-panic")
    assert hook["state"] in ("done", "running")


@campaign
def test_a_hook_that_fails_changes_nothing(keyed: Shell) -> None:
    keyed.ok("config", "set", "hooks.on-panic", json.dumps(["/no/such/program"]))
    done = keyed.run("panic-disconnect", "--yes")
    assert done.code == 12 and [one["code"] for one in done.doc["warnings"]] == ["HOOK_FAILED"]
    assert keyed.status()["state"] == "latched"
