"""Somebody else's activity on the account of a robot that trades: real processes."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from fortctl.paper.admin_client import ask
from support.harness import Shell

GRID = ("--symbol", "BTCUSDT", "--levels", "2", "--step", "0.3", "--take-profit", "0.3", "--order-quote", "50")
WRITE = "import sys; from pathlib import Path; Path(sys.argv[1]).write_text(sys.stdin.read())"


def start(shell: Shell, hook: Path) -> None:
    shell.ok("config", "set", "hooks.on-foreign-activity", json.dumps([sys.executable, "-c", WRITE, str(hook)]))
    shell.ok("robot", "configure", *GRID)
    shell.ok("robot", "start")
    shell.await_status(lambda status: status["orders_open"] == 2)


def announced(hook: Path) -> dict[str, Any]:
    deadline = time.monotonic() + 40
    while not (hook.exists() and (text := hook.read_text()).endswith("\n")):
        assert time.monotonic() < deadline, "no hook wrote"
        time.sleep(0.05)
    event: dict[str, Any] = json.loads(text)
    return event


def test_a_withdrawal_is_reported_by_status_doctor_and_hook(keyed: Shell, tmp_path: Path) -> None:
    start(keyed, tmp_path / "event")
    assert keyed.status()["foreign_activity"] == []
    ask(keyed.home / "paper", "deposit", {"asset": "USDT", "amount": "-10"})
    status = keyed.await_status(lambda status: bool(status["foreign_activity"]))
    (row,) = status["foreign_activity"]
    assert row["kind"] == "funds" and row["subject"] == "USDT" and "out of the account" in row["detail"]
    event = announced(tmp_path / "event")
    assert event["event"] == "on-foreign-activity" and event["facts"]["activity"]["kind"] == "funds"
    check = next(row for row in keyed.ok("doctor")["checks"] if row["name"] == "foreign activity")
    assert check["state"] == "warn" and "10" in check["reason"]


def test_the_operator_may_choose_a_panic_at_foreign_activity(keyed: Shell, tmp_path: Path) -> None:
    keyed.ok("config", "set", "account.foreign_action", "panic")
    start(keyed, tmp_path / "event")
    ask(keyed.home / "paper", "deposit", {"asset": "USDT", "amount": "-10"})
    ended = keyed.await_status(lambda status: status["pid"] is None, what="the end of the process")
    assert ended["state"] == "latched" and keyed.run("robot", "start").code == 8
    orders = ask(keyed.home / "paper", "orders/list", {"limit": 50})["orders"]
    assert {order["status"] for order in orders} == {"CANCELED"}
