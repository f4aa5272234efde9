"""A key that is edited at the exchange behind fortctl's back, with a robot that trades: real processes."""

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


def edit(shell: Shell, name: str, *permissions: str) -> None:
    """Edit a key as somebody does who got into the Binance account."""
    shell.ok("paper", "keys", "edit", name, "--permissions", ",".join(permissions), "--ip", "127.0.0.1")


def trade(shell: Shell, hook: Path, *settings: tuple[str, str]) -> None:
    """Start a robot that asks about its key every second."""
    edit(shell, "robot-1", "reading", "spot_trading")
    for name, value in (("keys.drift_interval", "1s"), *settings):
        shell.ok("config", "set", name, value)
    shell.ok("config", "set", "hooks.on-key-drift", json.dumps([sys.executable, "-c", WRITE, str(hook)]))
    shell.ok("robot", "configure", *GRID)
    shell.ok("robot", "start")
    shell.await_status(lambda status: status["orders_open"] == 2)


def announced(hook: Path, permission: str) -> dict[str, Any]:
    """Return the hook's event about a permission."""

    deadline = time.monotonic() + 40
    while not (hook.exists() and permission in (text := hook.read_text()) and text.endswith("\n")):
        assert time.monotonic() < deadline, f"no hook wrote of {permission}"
        time.sleep(0.05)
    event: dict[str, Any] = json.loads(text)
    assert event["event"] == "on-key-drift" and event["account"] == "default"
    return event


def check(shell: Shell, name: str) -> dict[str, Any]:
    row: dict[str, Any] = next(row for row in shell.ok("doctor")["checks"] if row["name"] == name)
    return row


def test_a_right_to_withdraw_is_reported_everywhere_and_holds_until_a_person_accepts_it(
    keyed: Shell, tmp_path: Path
) -> None:
    trade(keyed, tmp_path / "event")
    before = keyed.ok("keys", "list")["keys"][1]
    assert before["permissions_at"]
    edit(keyed, "robot-1", "reading", "spot_trading", "withdrawals")
    held = keyed.await_state("held")
    assert held["reason"].startswith("KEY_DRIFT: ") and "withdrawals" in [
        one["permission"] for one in held["key_drift"]
    ]
    assert "withdrawals" in held["key_rights"]["permissions"]
    facts = announced(tmp_path / "event", "withdrawals")["facts"]
    assert facts["action"] == "hold" and facts["drift"][-1]["kind"] == "right_added"
    keyed.await_status(lambda status: any(one["permission"] == "withdrawals" for one in status["key"]["drift"]))
    listed = keyed.ok("keys", "list")["keys"][1]
    assert "withdrawals" in listed["permissions"] and listed["permissions_at"] > before["permissions_at"]
    row = check(keyed, "robot key")
    assert row["state"] == "fail" and row["code"] == "KEY_POLICY" and "KEY_DRIFT" in row["reason"]
    assert "robot resume" in row["remedy"]
    assert keyed.run("keys", "verify", "--role", "robot").code == 4
    keyed.ok("robot", "resume")
    resumed = keyed.await_state("running")
    assert [one["kind"] for one in resumed["key_drift"]] == []
    # The right goes again; that is another change, and no reason to hold.
    edit(keyed, "robot-1", "reading", "spot_trading")
    gone = keyed.await_status(lambda status: bool(status["key_drift"]))
    assert [one["kind"] for one in gone["key_drift"]] == ["right_removed"] and gone["state"] == "running"


def test_the_operator_may_choose_a_panic(keyed: Shell, tmp_path: Path) -> None:
    trade(keyed, tmp_path / "event", ("keys.drift_action", "panic"))
    edit(keyed, "robot-1", "reading", "spot_trading", "withdrawals")
    ended = keyed.await_status(lambda status: status["pid"] is None, what="the end of the process")
    assert ended["state"] == "latched" and announced(tmp_path / "event", "withdrawals")
    orders = ask(keyed.home / "paper", "orders/list", {"limit": 50})["orders"]
    assert {order["status"] for order in orders} == {"CANCELED"}
    facts = json.loads((keyed.home / "robots" / "default" / "latch").read_text())
    assert "withdrawals" in facts["reason"] and facts["keys"][0]["name"] == "robot-1"
    assert keyed.run("robot", "start").code == 8
    # What the robot has not reached: the site key, and what a person must do at Binance.
    done = keyed.run("panic-disconnect", "--yes")
    assert done.code == 12, "the keys still live at the exchange"


def test_a_site_key_that_drifts_is_reported_until_it_is_entered_again(ready: Shell) -> None:
    key = ready.paper_key("site-1", "reading")
    ready.ok("keys", "add", "--role", "site", "--input", "-", stdin=key)
    (fresh,) = ready.ok("keys", "list")["keys"]
    assert fresh["permissions_at"] and fresh["drift"] == []
    edit(ready, "site-1", "reading", "fix_read")
    seen = ready.run("keys", "verify", "--role", "site")
    assert seen.code == 0 and "KEY_DRIFT" in [warning["code"] for warning in seen.doc["warnings"]]
    assert {one["permission"] for one in seen.data["results"][0]["drift"]} >= {"fix_read"}
    row = check(ready, "site key")
    assert row["state"] == "warn" and "fix_read" in row["reason"] and "keys change" in row["remedy"]
    assert "fix_read" in str(ready.ok("keys", "list")["keys"][0]["drift"])
    ready.ok("keys", "change", "--role", "site", "--input", "-", stdin=key)
    assert ready.ok("keys", "list")["keys"][0]["drift"] == [] and check(ready, "site key")["state"] == "ok"
