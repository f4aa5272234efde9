"""The robot as a service manager sees it: readiness, watchdog, reload, an end with no order in doubt, crashes."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fortctl.robot.process.systemd_unit import NO_RESTART
from support.harness import Shell

CONFIGURE = (
    *("robot", "configure", "--symbol", "BTCUSDT", "--levels", "4", "--step", "0.3"),
    *("--take-profit", "0.3", "--order-quote", "50"),
)


class Manager:
    """A service manager's notification socket, and a robot started below it."""

    def __init__(self, shell: Shell, folder: Path) -> None:
        self._shell = shell
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._path = folder / "notify"
        self._line.bind(str(self._path))
        self._line.settimeout(30)
        self.heard: list[dict[str, str]] = []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        self.process = subprocess.Popen(
            self._shell.argv("robot", "run"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**self._shell.environment, "NOTIFY_SOCKET": str(self._path), "WATCHDOG_USEC": "300000"},
        )
        return self.process

    def await_field(self, name: str) -> dict[str, str]:
        """Return the next message that has a field."""
        while True:
            lines = self._line.recv(4096).decode().splitlines()
            message = dict(line.split("=", 1) for line in lines)
            self.heard.append(message)
            if name in message:
                return message

    def close(self) -> None:
        self._line.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def manager(keyed: Shell, tmp_path: Path) -> Iterator[Manager]:
    keyed.ok(*CONFIGURE)
    os.kill(keyed.status()["pid"], signal.SIGTERM)
    keyed.await_status(lambda status: status["pid"] is None)
    one = Manager(keyed, tmp_path)
    yield one
    one.close()


def log_messages(shell: Shell) -> list[str]:
    return [str(line["message"]) for line in shell.ok("robot", "logs")["lines"]]


def test_ready_watchdog_reload_and_an_end_with_no_order_in_doubt(keyed: Shell, manager: Manager) -> None:
    process = manager.start()
    assert manager.await_field("READY")["STATUS"] == "stopped"
    assert manager.await_field("WATCHDOG")["STATUS"]
    keyed.ok("config", "set", "log.level", "warning")
    process.send_signal(signal.SIGHUP)
    assert "MONOTONIC_USEC" in manager.await_field("RELOADING")
    manager.await_field("READY")
    assert "configuration read again" not in log_messages(keyed), "from the reload on, the log tells warnings only"
    config = keyed.home / "config.toml"
    config.write_text(config.read_text().replace('"warning"', '"loud"'))
    process.send_signal(signal.SIGHUP)
    manager.await_field("RELOADING")
    manager.await_field("READY")
    assert any(
        message.startswith("the configuration is invalid and was not applied") for message in log_messages(keyed)
    )
    # Each order is executed and its answer lost; asking what became of it takes a while.
    keyed.ok("paper", "fault", "set", "slow:1", "--match", "GET", "/api/v3/order")
    keyed.ok("paper", "fault", "set", "cut-after-execute", "--match", "POST", "/api/v3/order")
    keyed.ok("robot", "start")
    deadline = time.monotonic() + 30
    while not any(fault["kind"] != "slow" and fault["hits"] for fault in keyed.ok("paper", "fault", "list")["faults"]):
        assert time.monotonic() < deadline, "no order was sent"
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert manager.await_field("STOPPING")["EXTEND_TIMEOUT_USEC"]
    assert process.wait(60) == 0
    orders = keyed.status()["orders"]
    assert orders and {order["status"] for order in orders} <= {"NEW", "PARTIALLY_FILLED"}, "each was looked up"
    there = {order["client_order_id"] for order in keyed.ok("account", "orders")["orders"]}
    assert there == {order["client_order_id"] for order in orders}
    assert keyed.run("robot", "run").code == 2, "a start with such a configuration is refused"


def test_a_crash_leaves_an_incident_that_doctor_shows_and_no_secret(keyed: Shell, manager: Manager) -> None:
    process = manager.start()
    manager.await_field("READY")
    process.send_signal(signal.SIGABRT)  # as the watchdog does
    assert process.wait(30) == -signal.SIGABRT
    manager.start()
    manager.await_field("READY")
    checks = {check["name"]: check for check in keyed.ok("doctor")["checks"]}
    assert checks["incidents"]["state"] == "warn"
    (path,) = (keyed.home / "robots" / "default" / "incidents").iterdir()
    assert str(path) in checks["incidents"]["remedy"]
    document = json.loads(path.read_text())
    assert any("bootstrap/robot.py" in line for line in document["trace"]), "the trace says where the process stood"
    assert path.stat().st_mode & 0o777 == 0o600
    process = manager.process
    assert process is not None
    # Another owner's token: the next write is refused, and the worker breaks over it.
    keyed.ok("robot", "start")
    with closing(sqlite3.connect(keyed.home / "robots" / "default" / "journal.sqlite")) as journal, journal:
        journal.execute("UPDATE lease SET token = token + 1")
    # The price goes far away: orders fill, or the grid follows; either is written.
    keyed.ok("paper", "market", "jump", "50%")
    assert process.wait(60) in NO_RESTART
    newest = max((keyed.home / "robots" / "default" / "incidents").iterdir())
    broke = json.loads(newest.read_text())
    assert broke["where"] == "run" and broke["errors"][0]["type"] == "fortctl.errors.ConflictError"
    assert any(" _check_token" in frame for frame in broke["errors"][0]["frames"]) and broke["log"]
    assert broke["state"]["config"]["symbol"] == "BTCUSDT"
    process = manager.start()
    manager.await_field("READY")
    assert keyed.run("panic-disconnect", "--yes").code == 12
    assert process.wait(30) in (0, -signal.SIGKILL, *NO_RESTART)
    assert keyed.run("robot", "run").code in NO_RESTART, "a latched robot is not started again and again"
