"""A robot that has forgotten a key has no trace of it: not in its memory, its command line, its environment."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from support.harness import Shell
from support.memory_image import image, places

CONFIGURE = (
    *("robot", "configure", "--symbol", "BTCUSDT", "--levels", "3", "--step", "0.3"),
    *("--take-profit", "0.3", "--order-quote", "50"),
)


def held(pid: int, secrets: list[str]) -> int:
    """Return the places of the secrets in what a core file would hold, and in what ``/proc`` shows."""
    shown = b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    assert not places(shown.ljust(64, b" "), secrets)
    return places(image(pid), secrets)


def await_gone(pid: int, secrets: list[str]) -> None:
    """Wait until nothing is left: the robot answers first, and cleans up then."""
    deadline = time.monotonic() + 30
    while held(pid, secrets):
        assert time.monotonic() < deadline, "traces stay in the robot's memory"
        time.sleep(0.2)


def test_a_forgotten_key_leaves_no_trace_in_the_robots_memory(ready: Shell) -> None:
    if os.geteuid() != 0 or not Path("/proc/self/mem").exists():
        pytest.skip("another process's memory is read by root on Linux alone")

    def deliver(what: str, name: str, rights: str, *more: str) -> list[str]:
        key = json.loads(ready.paper_key(name, rights, *more))
        private = key.get("secret_key") or key["private_key"].splitlines()[1][22:]
        ready.run("keys", what, "--role", "robot", "--input", "-", stdin=json.dumps(key))
        return [key["api_key"], private]

    first = deliver("add", "robot-1", "reading,spot_trading")
    ready.ok(*CONFIGURE)
    ready.ok("robot", "start")
    pid = ready.await_status(lambda status: status["state"] == "running" and status["orders_open"])["pid"]
    assert held(pid, first) > 100, "while it trades it has the key, and the search finds it"
    refused = deliver("change", "too-much", "reading,spot_trading,futures")
    await_gone(pid, refused)  # a key that was refused
    second = deliver("change", "robot-2", "reading,spot_trading", "--type", "ed25519")
    await_gone(pid, first)  # a key that was replaced
    assert held(pid, second) > 100
    ready.await_status(lambda status: status["state"] == "running" and status["orders_open"])
    ready.ok("robot", "stop", "--now", "--cancel-orders")
    ready.ok("keys", "delete", "--role", "robot", "--yes")
    assert held(pid, second) == 0, "a key that was deleted: the receipt says so"
    assert ready.status()["pid"] == pid
