"""``robot start``, ``robot status`` and ``doctor`` over real processes: they say what is true."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from fortctl.timestamps import parse_rfc3339
from support.harness import Shell, serve_paper

CONFIGURE = (
    *("robot", "configure", "--symbol", "BTCUSDT", "--levels", "2", "--step", "0.3", "--take-profit", "0.3"),
    *("--order-quote", "50"),
)


def finding(shell: Shell, name: str) -> dict[str, Any]:
    return next(check for check in shell.ok("doctor")["checks"] if check["name"] == name)


def test_a_start_that_ends_held_is_a_warning_and_a_lost_journal_is_no_ok(running: Shell) -> None:
    folder = running.home / "robots" / "default"
    running.ok(*CONFIGURE)
    running.ok("robot", "start")
    running.await_status(lambda status: status["orders_open"] == 2)
    assert finding(running, "journal")["state"] == "ok" and finding(running, "disk")["state"] == "ok"
    os.kill(running.status()["pid"], signal.SIGKILL)
    running.await_status(lambda status: status["pid"] is None)
    for name in ("journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"):
        (folder / name).unlink(missing_ok=True)
    lost = finding(running, "journal")
    assert lost["state"] == "fail" and "journal.sqlite is gone, and had " in lost["reason"]
    running.ok(*CONFIGURE)
    ran = running.run("robot", "start")
    (warning,) = ran.doc["warnings"]
    assert ran.code == 0 and ran.data["robot"]["state"] == "held", ran.doc
    assert warning["code"] == "ROBOT_HELD" and "JOURNAL_BEHIND" in warning["message"]


@pytest.mark.parametrize(
    ("edit", "remedy"),
    [
        (("--permissions", "reading"), "tick 'Enable Spot & Margin Trading'"),
        (("--ip", "203.0.113.7"), "add the address"),
    ],
    ids=["right", "address"],
)
def test_doctor_says_what_cures_a_lost_key(running: Shell, edit: tuple[str, str], remedy: str) -> None:
    running.ok(*CONFIGURE)
    running.ok("robot", "start")
    running.await_status(lambda status: status["orders_open"] == 2)
    running.ok("paper", "keys", "edit", "robot-1", *edit)
    # More levels are more orders, and each of them needs the key.
    running.ok(*CONFIGURE[:5], "4", *CONFIGURE[6:])
    running.await_status(lambda status: status["state"] == "key_lost", 60)
    for name in ("robot key", "robot"):
        check = finding(running, name)
        assert check["state"] == "fail" and remedy in check["remedy"], check
        assert "continues by itself" in check["remedy"] and "new key" not in check["remedy"]


def test_an_exchange_that_ends_is_reported_at_once(shell: Shell) -> None:
    paper = serve_paper(shell, "--market", "synthetic:7")
    try:
        shell.ok("init", "--exchange", "paper", "--slot", "keyfile")
        key = shell.paper_key("robot-1", "reading,spot_trading")
        shell.ok("keys", "add", "--role", "robot", "--input", "-", stdin=key)
        shell.ok(*CONFIGURE)
        shell.ok("robot", "start")
        before = shell.await_status(lambda status: status["orders_open"] == 2 and status["market_moved_at"])
        assert before["exchange_answered_ago_s"] < 30 and before["waits"] == []
    finally:
        paper.stop()
    status = shell.await_status(lambda status: status["waits"], 10, "a reason")
    assert status["state"] in ("running", "reconciling") and status["reason"].startswith(
        "EXCHANGE: it has not answered"
    )
    later = shell.await_status(lambda status: status["market_moved_ago_s"] > 1.5)
    # Each is derived from the time that has passed since: two answers may differ by a rounded millisecond.
    assert parse_rfc3339(later["market_moved_at"]) >= parse_rfc3339(before["market_moved_at"]) - 10
