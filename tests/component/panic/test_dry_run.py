"""What a dry run tells, and what a panic reads before the latch is on: nothing that could hang."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fortctl.bootstrap import deadline, panic_latch
from fortctl.bootstrap.deadline import read_in_time
from fortctl.bootstrap.panic_latch import affected_accounts
from fortctl.config import file
from fortctl.config.home import Home
from fortctl.errors import BadInputError, ConflictError, NotFoundError, VaultLockedError
from fortctl.robot.process.local_robot import LocalRobot
from fortctl.robot.storage.latch import LatchFile
from fortctl.services.panic.dry_run import dry_run
from fortctl.services.panic.known_key import KeysRead, KnownKey
from fortctl.services.panic.ports import AbortedOperation
from fortctl.services.panic.report import PanicReport
from support.panic_bench import NOW_S, Bench, Issuer, Process, key, told


def plan(report: PanicReport) -> dict[str, str]:
    assert {step.state for step in report.steps} == {"would"}
    return {step.name: step.detail for step in report.steps}


async def planned(bench: Bench) -> PanicReport:
    before = sorted(path.name for path in bench.folder.iterdir())
    report = await dry_run(bench.ports(), cancel_orders=True)
    assert sorted(path.name for path in bench.folder.iterdir()) == before and bench.destroyed and not bench.audited
    return report


async def test_every_step_is_told_and_what_a_person_must_do(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "robot", Process("silent"))
    bench.changes = {"open_operation": lambda: "the rotation r1", "hooks": lambda event: (event, "notify")}
    report = await planned(bench)
    steps = plan(report)
    assert list(steps) == [
        *("latch", "halt", "destroy keys", "empty mailbox", "abort operation", "cancel orders", "delete at exchange"),
        *("hook on-panic", "hook notify", "hook post-rotate"),
    ]
    assert steps["halt"] == "pid 7 is halted" and steps["abort operation"] == "the rotation r1 is aborted"
    assert told(report) == [("site", "site-1"), ("robot", "robot-1")]


async def test_the_rotation_that_it_ends_is_told_of(tmp_path: Path) -> None:
    heard: list[tuple[str, Mapping[str, Any]]] = []
    ended = {"operation": {"id": "r1", "state": "aborted", "reason": "panic"}}
    bench = Bench(tmp_path / "robot", Process("none"))
    bench.changes["abort_operation"] = lambda: AbortedOperation(
        "the rotation r1 was aborted", NOW_S, {}, post_rotate=ended
    )
    bench.changes["fire"] = lambda event, facts, wait_s: heard.append((event, facts)) or ()
    await bench.panic()
    assert sorted(event for event, _facts in heard) == ["on-panic", "post-rotate"]
    assert dict(heard)["post-rotate"] == ended


async def test_a_robot_on_another_host_is_not_called_absent(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "robot", changes={"remote": lambda: lambda *how: None})
    steps = plan(await planned(bench))
    assert steps["halt"] == "the robot is on another host" and "order to the robot's host" in steps


async def test_whether_the_issuer_opens_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "robot", keys=KeysRead((key("robot"), KnownKey("site", "only-a-name"))))
    issuer = Issuer(bench)
    bench.changes["issuer"] = lambda: issuer
    report = await planned(bench)
    assert "opens: it deletes" in plan(report)["delete at exchange"] and told(report) == [("site", "only-a-name")]

    def locked() -> Any:
        raise VaultLockedError("the vault does not open")

    bench.changes["issuer"] = locked
    report = await planned(bench)
    assert "does not open (the vault does not open)" in plan(report)["delete at exchange"]
    assert ("robot", "robot-1") in told(report)


async def test_whatever_is_broken_the_plan_is_told(tmp_path: Path) -> None:
    def broken(*_words: object) -> Any:
        raise OSError(5, "Input/output error")

    names = ("remote", "open_operation", "issuer", "hooks")
    places = ("site_vault", "robot_vault", "robot_card", "never_had_robot", "deliveries")
    bench = Bench(
        tmp_path / "robot",
        changes={**dict.fromkeys(names, broken), "keys": SimpleNamespace(**dict.fromkeys(places, broken))},
    )
    steps = plan(await planned(bench))
    assert steps["abort operation"] == "whether a rotation is open cannot be read now"
    assert steps["hooks"] == "the configuration cannot be read: none is run"


# -- what is read before the latch -------------------------------------------------------------------------------------


def test_what_hangs_is_not_waited_for() -> None:
    assert read_in_time(threading.Event().wait, 0.0) is None
    assert read_in_time(lambda: 7) == 7


@pytest.mark.parametrize("trace", ["robots/default", "erasure/default"])
def test_the_configuration_is_not_read_where_the_home_tells_of_the_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trace: str
) -> None:
    """One that hangs delays no latch, and one that is broken hides no account whose keys lie there still."""

    def never(_home: object) -> Any:
        raise AssertionError("it is read")

    monkeypatch.setattr(file, "load_config", never)
    (tmp_path / trace).mkdir(parents=True)
    assert affected_accounts(Home(tmp_path), "default", False) == ["default"]


def test_an_account_that_only_a_configuration_in_time_would_name_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panic_latch, "read_in_time", lambda read: read_in_time(read, 0.0))
    monkeypatch.setattr(file, "load_config", lambda home: threading.Event().wait())
    with pytest.raises(NotFoundError):
        affected_accounts(Home(tmp_path), "nobody", False)


def test_a_passphrase_file_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that nobody writes into; a disk that is gone. What can be read is read once, however often it is asked."""
    monkeypatch.setattr(deadline, "READ_WITHIN_S", 0.05)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "phrase").write_bytes(b"a phrase\n")
    impatient = deadline.ImpatientPrompts()
    with pytest.raises(BadInputError):
        impatient.read_input(str(tmp_path / "pipe"))
    assert impatient.read_input(str(tmp_path / "phrase")) == b"a phrase\n"
    (tmp_path / "phrase").unlink()
    assert impatient.read_input(str(tmp_path / "phrase")) == b"a phrase\n"
    # Whoever hangs in it is let go.
    os.close(os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK))


def test_a_vault_that_does_not_open_in_time_is_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "UNLOCK_WITHIN_S", 0.0)
    hanging = threading.Event()
    with pytest.raises(VaultLockedError, match="in time"):
        deadline.opened_in_time(hanging.wait)  # type: ignore[arg-type]
    hanging.set()


def no_threads(_thread: object) -> None:
    raise RuntimeError("can't start new thread")


async def test_a_machine_without_a_thread_to_give_stops_no_panic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Thread, "start", no_threads)
    bench = Bench(tmp_path / "robot", Process("silent"))
    report = await bench.panic()
    assert {step.state for step in report.steps} <= {"done", "skipped"} and bench.latch.is_latched()
    assert bench.process.state == "ended" and bench.destroyed == () and read_in_time(lambda: 7) == 7


def test_what_hangs_does_not_keep_the_process_from_ending() -> None:
    words = (
        "import asyncio, threading; from fortctl.system.threads import run_in_daemon_thread\n"
        "async def main():\n"
        "    try:\n"
        "        async with asyncio.timeout(0.01): await run_in_daemon_thread(threading.Event().wait)\n"
        "    except TimeoutError: print(await run_in_daemon_thread(lambda: 7))\n"
        "asyncio.run(main())"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (b"7\n", b"")


@pytest.mark.parametrize("content", [b"", b"[]", None], ids=["cut to nothing", "spoilt", "gone"])
def test_a_robot_is_found_though_its_lock_tells_of_nobody(tmp_path: Path, content: bytes | None) -> None:
    words = (sys.executable, "-c", "import time; time.sleep(600)", "--home", str(tmp_path), "robot", "run")
    robot = LocalRobot(tmp_path, "default", tmp_path)
    lock = tmp_path / "robot.lock"
    with subprocess.Popen(words) as process:
        try:
            if content is not None:
                lock.write_bytes(content)
            # Popen returns when the new program has begun, a moment before the kernel shows its words.
            while not Path(f"/proc/{process.pid}/cmdline").read_bytes().endswith(b"run\0"):
                pass
            owner = robot.owner()
            assert owner is not None and owner.pid == process.pid
            lock.write_bytes(json.dumps({"pid": 1, "started": "1", "host": "here"}).encode())
            assert robot.owner() is None, "it tells of one that has ended"
        finally:
            process.kill()


def test_a_latch_of_a_full_disk_is_lifted_twice(tmp_path: Path) -> None:
    """It is another name of the lock file, and so is what the first clear left."""
    latch = LatchFile(tmp_path)
    with latch.placing():
        pass
    for _again in range(2):
        latch._create_empty()
        assert latch.is_latched()
        latch.clear()
        assert not latch.is_latched() and latch.cleared() == {}
    with pytest.raises(ConflictError):
        latch.clear()
