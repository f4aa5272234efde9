"""What a broken robot leaves behind, what its log keeps, what a service manager is told."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from fortctl.errors import InternalError
from fortctl.ports import ExchangeError, Outcome
from fortctl.robot.process.crash_reports import FOLDER, MOST_BYTES, MOST_FILES, TRACE, CrashReports, listed
from fortctl.robot.process.daemon import STUCK_AFTER_S
from fortctl.robot.process.log_file import LogShape, RobotLog
from fortctl.robot.process.sd_notify import ServiceManager
from fortctl.secret import Secret
from simulation.loop import simulated
from support.robot_daemon import robot_daemon
from support.robot_world import Robot, World

KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
PEM = "-----BEGIN PRIVATE KEY-----\n" + base64.b64encode(os.urandom(48)).decode() + "\n-----END PRIVATE KEY-----"
STATE = {"state": "running", "orders_open": 3, "config": {"symbol": "BTCUSDT"}, "balances": [{"free": "12345"}]}


def broken() -> Exception:
    def place(api_key: str) -> None:
        raise InternalError(f"signature={KEY} of {api_key} was refused")

    try:
        try:
            place(KEY)
        except InternalError as error:
            raise RuntimeError(f"params: {KEY} {PEM}") from error
    except RuntimeError as error:
        return error


def test_an_incident_says_what_where_and_in_which_state_and_nothing_secret(tmp_path: Path) -> None:
    incidents = CrashReports(tmp_path, "default")
    state: dict[str, Any] = {**STATE, "reason": f"key {KEY}", "hold": [Secret(KEY)]}
    path = incidents.note(broken(), at_ms=0, where="run", state=state, log=[f"apiKey={KEY}", "books agree"])
    assert path is not None and path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    document = json.loads(text)
    assert [error["type"] for error in document["errors"]] == ["RuntimeError", "fortctl.errors.InternalError"]
    assert document["errors"][1]["frames"][-1].endswith(" place")
    assert document["state"]["orders_open"] == 3 and document["state"]["config"] == {"symbol": "BTCUSDT"}
    assert "12345" not in text and "books agree" in text
    for start in range(0, len(KEY) - 8, 8):
        assert KEY[start : start + 8] not in text
    assert "PRIVATE KEY" not in text and str(tmp_path) not in text
    (row,) = listed(tmp_path)
    assert row["where"] == "run" and row["error"] == "RuntimeError"


def test_incidents_are_bounded_in_number_and_size(tmp_path: Path) -> None:
    incidents = CrashReports(tmp_path, "default")
    for number in range(MOST_FILES + 5):
        log = ["x" * 5_000] * 1_000 if number % 2 else []
        assert incidents.note(broken(), at_ms=number * 1_000, where="run", state=STATE, log=log) is not None
    found = sorted((tmp_path / FOLDER).iterdir())
    assert len(found) == MOST_FILES and all(path.stat().st_size <= MOST_BYTES for path in found)
    assert [row["at"][17:19] for row in listed(tmp_path)] == [f"{number:02d}" for number in range(5, MOST_FILES + 5)]
    (tmp_path / FOLDER / "9999.json").write_text("no incident")
    assert len(listed(tmp_path)) == MOST_FILES - 1, "what cannot be read hides nothing"


def test_where_no_incident_can_be_written_the_error_itself_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / FOLDER).touch()
    assert CrashReports(tmp_path, "default").note(broken(), at_ms=0, where="run", state={}) is None


def test_a_native_trace_does_not_tell_where_things_are_installed(tmp_path: Path) -> None:
    trace = '  File "/opt/secret place/lib/python3.11/site-packages/fortctl/robot/trading/core.py", line 7 in beat'
    (tmp_path / TRACE).write_text(trace + "\n")
    incidents = CrashReports(tmp_path, "default")
    made = incidents.watch(1_700_000_000_000)
    incidents.close()
    assert (
        made is not None
        and "secret place" not in made.read_text()
        and "fortctl/robot/trading/core.py" in made.read_text()
    )


def test_a_trace_of_native_code_becomes_an_incident_once(tmp_path: Path) -> None:
    (tmp_path / TRACE).write_bytes(b"Fatal Python error: Aborted\n  File loop.py, line 3 in run\n" * 9_000)
    incidents = CrashReports(tmp_path, "default")
    try:
        made = incidents.watch(0)
        assert made is not None and made.stat().st_size <= MOST_BYTES
        assert json.loads(made.read_text())["trace"][0] == "Fatal Python error: Aborted"
        assert incidents.watch(1) is None
    finally:
        incidents.close()


@pytest.fixture
def log(tmp_path: Path) -> Any:
    one = RobotLog(tmp_path / "robot.log", "default", LogShape(max_bytes=2_000, files=2), echo=False)
    yield one
    one.close()


def test_the_log_is_rotated_private_redacted_and_takes_in_what_others_warn_of(tmp_path: Path, log: RobotLog) -> None:
    log.logger.info("key %s", KEY)
    logging.getLogger("asyncio").error("Task exception was never retrieved")
    logging.getLogger("aiohttp.access").info("noise")
    lines = [json.loads(line) for line in (tmp_path / "robot.log").read_text().splitlines()]
    assert [line.get("logger") for line in lines] == [None, "asyncio"] and KEY not in lines[0]["message"]
    for number in range(200):
        log.logger.info("line %d", number)
    files = sorted(path.name for path in tmp_path.glob("robot.log*"))
    assert files == ["robot.log", "robot.log.1", "robot.log.2"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.glob("robot.log*"))
    assert json.loads(log.last_lines()[-1])["message"] == "line 199" and len(log.last_lines()) <= 50
    log.reshape(LogShape("warning", 10**6, 2))
    log.logger.info("not told")
    assert "not told" not in (tmp_path / "robot.log").read_text()


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_hears_datagrams(tmp_path: Path, abstract: bool) -> None:
    name = f"@fortctl-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind("\0" + name[1:] if abstract else name)
        line.settimeout(5)
        manager = ServiceManager({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1500000"})
        assert manager.watchdog_s == 1.5
        manager.ready("two\nlines")
        assert line.recv(4096) == b"READY=1\nSTATUS=two lines"
        manager.reloading()
        assert line.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")


def test_a_managers_full_queue_loses_no_word_but_the_watchdogs(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.settimeout(20)
        manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"})
        while manager.tell(within_s=0.0, WATCHDOG="1"):
            pass
        reading = threading.Timer(0.2, lambda: [line.recv(4096) for _ in range(3)])
        reading.start()
        assert manager.tell(within_s=20, STOPPING="1")
        reading.join()


def test_nobody_hears_where_nobody_listens(tmp_path: Path) -> None:
    assert ServiceManager({}).tell(READY="1") is False
    assert ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "none")}).tell(READY="1") is False
    assert ServiceManager({"NOTIFY_SOCKET": "vsock:2:1"}).tell(READY="1") is False
    assert ServiceManager({"WATCHDOG_USEC": "5"}).watchdog_s is None
    one = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000000"}
    assert ServiceManager({**one, "WATCHDOG_PID": str(os.getpid() + 1)}).watchdog_s is None
    assert ServiceManager({**one, "WATCHDOG_USEC": "soon"}).watchdog_s is None


@simulated
async def test_a_worker_that_hangs_is_told_from_one_that_has_nothing_to_do(tmp_path: Path) -> None:
    robot = Robot(world := World(), tmp_path, world.key("k"))
    await robot.up()
    await robot.runner.start(by_person=True)
    await robot.wait(3_000)
    assert robot.runner.robot.stuck_for() < 60, "on a quiet market it still looks around"
    exchange: Any = robot.runner.robot.exchange
    hanging = asyncio.get_running_loop().create_future()

    async def hang(symbol: str | None = None) -> None:
        await hanging

    exchange.open_orders = hang
    await robot.wait(400)
    assert robot.runner.robot.stuck_for() > 300
    hanging.set_exception(ExchangeError(Outcome.UNKNOWN, "at last"))
    del exchange.open_orders
    await robot.wait(60)
    assert robot.runner.robot.stuck_for() < 60
    await robot.down()


@simulated
async def test_the_watchdog_hears_nothing_of_a_robot_that_is_stuck() -> None:
    """Nor does one whose event loop stands still: it could not answer."""

    class Worker:
        state = "running"
        stuck = 0.0

        @property
        def robot(self) -> Worker:
            return self

        def stuck_for(self) -> float:
            return self.stuck

    heard: list[float] = []

    class Hearing(ServiceManager):
        def alive(self, status: str) -> None:
            heard.append(asyncio.get_running_loop().time())

    worker: Any = Worker()
    manager = Hearing({"NOTIFY_SOCKET": "/none", "WATCHDOG_USEC": "60000000"})
    answering = asyncio.create_task(robot_daemon(runner=worker, manager=manager)._answer_watchdog())
    await asyncio.sleep(100)
    assert heard == [0.0, 20.0, 40.0, 60.0, 80.0], "three times in the time that is allowed"
    worker.stuck = STUCK_AFTER_S
    await asyncio.sleep(1_000)
    assert len(heard) == 5 or (len(heard) == 6 and heard[5] == 100.0)
    worker.stuck = 0.0
    await asyncio.sleep(30)
    assert heard[-1] > 1_000
    answering.cancel()
