"""A robot on another host, in real processes: two homes that share a mailbox, and the panic between them."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.harness import Shell, campaign, end_robots
from support.hosts import Hosts


def step(data: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in data["steps"] if one["name"] == name)
    return found


@pytest.mark.parametrize("hosts", ["sqlite", pytest.param("postgresql", marks=campaign)], indirect=True)
def test_the_order_alone_stops_it(hosts: Hosts) -> None:
    """Neither vault, nor key file, nor configuration: the pre-signed order stops the robot within its wake-up."""
    order = hosts.operator.home / "robots" / "default" / "panic-order.json"
    assert order.stat().st_mode & 0o777 == 0o600
    assert step_of_doctor(hosts.operator)["state"] == "ok"
    hosts.lock_out()
    done = hosts.operator.run("panic-disconnect", "--yes", "--timeout", "20")
    assert (done.code, done.error["code"]) == (12, "ACTION_REQUIRED")
    assert step(done.data, "order to the robot's host")["state"] == "done"
    named, nameless = done.error["details"]["actions"]
    assert named["name"] == "robot-1" and "the site key that you gave to fortctl" in nameless["text"]
    assert hosts.ended() == 8, "what its service manager does not start again"
    status = hosts.robot.status()
    assert (status["state"], status["pid"]) == ("latched", None)
    assert not list((hosts.robot.home / "robots" / "default" / "erasure").rglob("key-*"))
    assert hosts.page.ok("paper", "requests")["requests"][-1]["method"] == "DELETE"
    # It stays latched, and the order is good for one use.
    assert hosts.robot.run("robot", "run").code == 8


def step_of_doctor(shell: Shell) -> dict[str, Any]:
    checks = shell.ok("doctor")["checks"]
    found: dict[str, Any] = next(one for one in checks if one["name"] == "panic order")
    return found


@campaign
def test_a_robot_that_is_not_there_obeys_at_its_next_contact(hosts: Hosts) -> None:
    end_robots(hosts.robot.home)
    hosts.ended()
    before = hosts.placed()
    done = hosts.operator.run("panic-disconnect", "--yes", "--timeout", "1")
    assert (done.code, done.error["code"]) == (9, "ROBOT_TIMEOUT") and done.error["details"]["queued"] is True
    assert step(done.data, "order to the robot's host")["state"] == "queued"
    assert step_of_doctor(hosts.operator)["reason"].startswith("PANIC_ORDER_USED")
    plain = hosts.operator.run("panic-disconnect", "--yes", "--timeout", "1", json_mode=False)
    assert plain.code == 9 and "NOT REACHED" in plain.out
    hosts.process = subprocess.Popen(
        hosts.robot.argv("robot", "run"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=hosts.robot.environment,
    )
    assert hosts.ended() == 8
    assert hosts.robot.status()["state"] == "latched" and hosts.placed() == before
    # The way back, on both hosts; the next unlocked contact signs a fresh order.
    hosts.robot.ok("panic-clear", "--confirm", "default")
    hosts.operator.ok("panic-clear", "--confirm", "default")
    hosts.run_robot()
    assert hosts.robot.status()["hold"][0].startswith("PANIC")
    key = hosts.page.paper_key("robot-2", "reading,spot_trading")
    hosts.operator.ok("keys", "add", "--role", "robot", "--input", "-", stdin=key)
    assert step_of_doctor(hosts.operator)["state"] == "ok"
    hosts.robot.await_status(lambda status: status["state"] == "held")
    hosts.operator.ok("robot", "resume")
    hosts.robot.await_status(lambda status: status["state"] == "running")


@campaign
def test_a_mailbox_that_cannot_be_reached_is_said_and_the_deadman_silences_the_robot(hosts: Hosts) -> None:
    end_robots(hosts.robot.home)
    hosts.ended()
    hosts.robot.ok("config", "set", "robot.deadman", "10s")
    away = hosts.shared.with_name("away")
    hosts.shared.rename(away)
    done = hosts.operator.run("panic-disconnect", "--yes", "--timeout", "1")
    assert (done.code, done.error["code"]) == (9, "ROBOT_TIMEOUT") and done.error["details"]["queued"] is False
    # It comes up deaf: before it has heard anything it places nothing.
    away.rename(hosts.shared)
    mailbox = sqlite3.connect(hosts.shared / "mailbox.sqlite", isolation_level=None)
    mailbox.execute("ALTER TABLE panic RENAME TO away")
    before = hosts.placed()
    hosts.run_robot()
    status = hosts.robot.await_status(lambda one: one["state"] == "held")
    assert status["reason"].startswith("DEADMAN") and hosts.placed() == before
    mailbox.execute("ALTER TABLE away RENAME TO panic")
    hosts.robot.await_status(lambda one: one["state"] == "running")
    # And deaf for longer than its deadman's time it falls silent again.
    mailbox.execute("ALTER TABLE panic RENAME TO away")
    hosts.robot.await_status(lambda one: one["state"] == "held", timeout=40)
    mailbox.execute("ALTER TABLE away RENAME TO panic")
    hosts.robot.await_status(lambda one: one["state"] == "running")
    mailbox.close()


@campaign
def test_a_stolen_order_stops_the_robot_and_no_more(hosts: Hosts, tmp_path: Path) -> None:
    """Whoever copies the file, to a home of his own, can stop the robot once: he gets no key and steers nothing."""
    thief = Shell(tmp_path / "thief")
    folder = thief.home / "robots" / "default"
    folder.mkdir(parents=True, mode=0o700)
    thief.home.chmod(0o700)
    shutil.copy(hosts.operator.home / "robots" / "default" / "panic-order.json", folder)
    for words in (("robot", "start"), ("keys", "list"), ("robot", "resume"), ("keys", "verify")):
        assert thief.run(*words).code != 0
    done = thief.run("panic-disconnect", "--yes", "--timeout", "20")
    assert done.code == 12 and hosts.ended() == 8
    assert {path.name for path in folder.iterdir()} <= {"panic-order.json", "latch", "latch.lock"}
    assert "secret" not in json.dumps(done.doc)
    hosts.robot.ok("panic-clear", "--confirm", "default")
    hosts.run_robot()
    again = thief.run("panic-disconnect", "--yes", "--timeout", "3")
    assert again.code == 9, "a used order halts nothing, and is not taken for one that did"
    time.sleep(1.5)
    assert hosts.process is not None and hosts.process.poll() is None, "it is good for one use"
    assert step_of_doctor(hosts.operator)["reason"].startswith("PANIC_ORDER_USED")
    # The operator's own panic finds its order used, and signs another.
    done = hosts.operator.run("panic-disconnect", "--yes", "--timeout", "20")
    assert done.code == 12 and hosts.ended() == 8
    assert step(done.data, "order to the robot's host")["state"] == "done"


@campaign
def test_a_robot_that_looks_at_a_delivered_key_obeys_at_once(hosts: Hosts) -> None:
    """The exchange takes seven seconds for each answer about it; the old key trades on meanwhile."""
    key = hosts.page.paper_key("robot-2", "reading,spot_trading")
    hosts.page.ok("paper", "fault", "set", "slow:7", "--match", "GET", "/api/v3/account", "--count", "1000")
    delivering = subprocess.Popen(
        hosts.operator.argv("keys", "change", "--role", "robot", "--input", "-", "--json"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=hosts.operator.environment,
    )
    assert delivering.stdin is not None
    delivering.stdin.write(key.encode())
    delivering.stdin.close()
    with closing(sqlite3.connect(hosts.shared / "mailbox.sqlite", isolation_level=None)) as mailbox:
        claimed = "SELECT 1 FROM command WHERE claimed_at IS NOT NULL AND result IS NULL"
        deadline = time.monotonic() + 30
        while not mailbox.execute(claimed).fetchall():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    done = hosts.operator.run("panic-disconnect", "--yes", "--timeout", "4")
    assert done.code == 12 and step(done.data, "order to the robot's host")["state"] == "done", done.doc
    assert hosts.ended() == 8 and delivering.wait(30) == 8
    assert not list((hosts.robot.home / "robots" / "default" / "erasure").rglob("key-*"))
