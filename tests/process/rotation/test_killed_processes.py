"""Rotations through the executable, killed with SIGKILL, robot and all, while the robot trades a replay.

One row a mode here; ``make crash`` plays every step of every mode, and the long row: three overlap rotations in a row
by the issuer at a hundred times market speed, with a SIGKILL in each.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
from typing import Any

import pytest

from fortctl.services.rotation.plan import PLAN, ROTATIONS, RotationMode, Scope
from support.harness import REPOSITORY, WAIT_S, Shell, campaign
from support.hosted_exchange import serve

EVERYTHING = bool(os.environ.get("FORTCTL_CRASH"))
EMAIL = "sub@paper.example"
GRID = ("--levels", "4", "--step", "0.05", "--take-profit", "0.05", "--order-quote", "50", "--max-quote", "2000")
KILLED_AT = REPOSITORY / "tests" / "support" / "rotation_killer.py"
ROWS = [
    (mode, scope, step, write, when)
    for (mode, scope), row in PLAN.items()
    if mode in ROTATIONS
    for step in row
    for write, when in (("doing", "before"), ("doing", "after"), ("done", "before"), ("done", "after"))
]
SHORT = [
    (RotationMode.DRAIN, Scope.BOTH, "deliver", "done", "before"),
    (RotationMode.OVERLAP, Scope.ROBOT, "create", "done", "before"),
    (RotationMode.URGENT, Scope.BOTH, "store", "done", "before"),
]


@pytest.fixture
def issuing(shell: Shell) -> Any:
    """A robot that trades a replay in a sub-account, its keys made by the master's key."""
    paper = serve(shell, "--market", "synthetic:7", "--speed", "100")
    shell.ok("init", "--exchange", "paper", "--slot", "keyfile")
    shell.ok("paper", "accounts", "create", "sub", "--sub-of", "default", "--email", EMAIL, "--deposit", "USDT=10000")
    master = shell.paper_key("master", "reading,spot_trading")
    shell.ok("issuer", "set", "sub-account", "--email", EMAIL, "--input", "-", stdin=master)
    for role in ("site", "robot"):
        shell.ok("keys", "add", "--role", role, "--issue", "--ip", "127.0.0.1")
    shell.ok("robot", "configure", "--symbol", "BTCUSDT", *GRID)
    shell.ok("robot", "start")
    yield shell
    paper.stop()


def killed(shell: Shell, at: tuple[str, str, str], *words: str, robot: bool) -> None:
    """Run ``keys rotate`` and have it killed at a write of its journal; the robot too."""
    argv = [sys.executable, str(KILLED_AT), *at, "--", "--home", str(shell.home), "keys", "rotate", *words, "--json"]
    ran = subprocess.run(
        argv, env=shell.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT_S, check=False
    )
    assert ran.returncode == -signal.SIGKILL, ran.stdout.decode() + ran.stderr.decode()
    pid = shell.status()["pid"]
    if robot and pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def there(shell: Shell) -> set[str]:
    return {one["name"] for one in shell.ok("paper", "keys", "list")["keys"] if one["account"] == "sub"}


def books_agree(shell: Shell) -> None:
    """The exchange's balances are what the book says, and no order was accepted twice."""
    shell.ok("paper", "market", "pause")

    def apart() -> dict[str, Decimal]:
        rows = {row["asset"]: row for row in shell.ok("account", "balances")["balances"]}
        book = {name: Decimal(amount) for name, amount in shell.status()["book"].items()}
        held = {name: Decimal(row["free"]) + Decimal(row["locked"]) for name, row in rows.items()}
        held["USDT"] = held.get("USDT", Decimal(0)) - 10_000
        found = {name: held.get(name, Decimal(0)) - book.get(name, Decimal(0)) for name in {*held, *book}}
        return {name: amount for name, amount in found.items() if amount}

    deadline = time.monotonic() + 30
    while (differences := apart()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not differences
    requests = shell.ok("paper", "requests")["requests"]
    placed = [one["client_order_id"] for one in requests if one["method"] == "POST" and one["status"] == 200]
    assert not [name for name, count in Counter(filter(None, placed)).items() if count > 1]


@pytest.mark.parametrize(("mode", "scope", "step", "write", "when"), ROWS if EVERYTHING else SHORT)
def test_killed_and_gone_on_with(
    issuing: Shell, mode: RotationMode, scope: Scope, step: str, write: str, when: str
) -> None:
    before = there(issuing)
    words = ["--role", scope.value, "--mode", mode.value, "--timeout", "20", "--on-timeout", "cancel"]
    if mode is RotationMode.URGENT:
        old = {one["role"]: one["name"] for one in issuing.ok("keys", "list")["keys"]}
        for role in scope.roles:
            issuing.ok("paper", "keys", "delete", old[role.value])
        if Scope.SITE is not scope:
            issuing.await_state("key_lost")
    killed(issuing, (step, write, when), *words, robot=scope is not Scope.SITE)
    done = issuing.run("keys", "rotate", *words)
    assert done.code == 0 and done.data["operation"]["step"] == "done", done.doc
    assert len(there(issuing) - before) == len(scope.roles), "the new keys, and no other"
    assert len(there(issuing)) == 2
    if issuing.status()["state"] == "stopped":
        # A robot that a command brought up waits for its person after a SIGKILL (robot.md); killed at
        # the last write, it was not even needed any more.
        assert issuing.status()["reason"] in ("was_running", "drained", "stopped", "no process; mode: running")
        issuing.ok("robot", "start")
    issuing.await_state("running")
    assert {one["status"] for one in issuing.ok("keys", "list")["keys"]} == {"ok"}
    books_agree(issuing)


@contextmanager
def restarted(shell: Shell) -> Iterator[None]:
    """A service manager's work: the robot was killed, and is there again."""
    process = subprocess.Popen(
        shell.argv("robot", "run"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=shell.environment,
    )
    try:
        shell.await_state("running")
        yield
    finally:
        process.kill()
        process.wait()


@campaign
def test_three_overlaps_in_a_row_with_a_sigkill_in_each(issuing: Shell) -> None:
    """The command is killed in each; in the second its robot too, which its service manager brings back."""
    with ExitStack() as until_the_end:
        for step, write, robot in (("create", "done", False), ("deliver", "doing", True), ("delete", "done", False)):
            before = there(issuing)
            words = ("--role", "both", "--mode", "overlap")
            killed(issuing, (step, write, "before"), *words, robot=robot)
            if robot:
                issuing.await_status(lambda status: status["pid"] is None)
                until_the_end.enter_context(restarted(issuing))
            done = issuing.ok("keys", "rotate", *words)["operation"]
            assert done["step"] == "done" and done["trading_gap_s"] < 1
            assert not there(issuing) & before and len(there(issuing)) == 2
            issuing.await_state("running")
        issuing.await_status(lambda status: status["cycles"]["closed"] > 0, timeout=WAIT_S)
        books_agree(issuing)
