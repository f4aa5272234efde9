"""What ``robot run`` lives through: frozen while the market moves, a full disk, a second robot, a key that dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fortctl.robot.core.events import FillRecorded
from support.harness import Shell, campaign
from support.replaying import XRPETH, Replay, until

FEW, MANY = 60, 400
MIB = 1024 * 1024


@pytest.fixture
def replay(shell: Shell) -> Iterator[Replay]:
    """The recording, standing still until it is stepped; every order is let through."""
    one = Replay(shell, XRPETH, "--speed", "max")
    yield one
    one.close()


def trade_until(replay: Replay, wanted: Any, what: str) -> Any:
    """Let the market go on, a few trades at a time, until something is true; return it.

    It waits for the robot whenever there is a fill that the robot has not booked.
    """

    def look() -> Any:
        found = wanted()
        if not found and replay.filled() == sum(event.quantity for event in fills(replay)):
            replay.page("market", action="step", count=FEW)
        return found

    return until(look, what)


def orders_sent(replay: Replay, since: int = 0) -> int:
    """Return how many orders the exchange has heard of, refused ones too."""
    return sum(_places(one) for one in replay.page("requests", since=since)["requests"])


def _places(request: dict[str, Any]) -> bool:
    return (request["method"], request["path"]) == ("POST", "/api/v3/order")


def fills(replay: Replay) -> list[FillRecorded]:
    return [event for event in replay.events() if isinstance(event, FillRecorded)]


def booked(replay: Replay) -> int:
    return len(fills(replay))


def test_frozen_while_the_market_moves(replay: Replay) -> None:
    """Stopped as by SIGSTOP, it hears of nothing; once it goes on, its books are the exchange's again."""
    replay.set_up()
    process = replay.run_robot()
    replay.await_running()
    for _ in range(2):
        process.send_signal(signal.SIGSTOP)
        known = booked(replay)
        while len(replay.truth().trades) < known + 3:
            assert replay.page("market", action="step", count=FEW)["ended"] is False
        assert booked(replay) == known
        process.send_signal(signal.SIGCONT)
        replay.await_equal()


@campaign
def test_frozen_for_longer_than_it_bridges_alone(replay: Replay) -> None:
    """A minute is the shortest ``resume.max_gap``; no order leaves between the break and a person's look."""
    replay.set_up(**{"resume.max_gap": "1m"})
    process = replay.run_robot()
    replay.await_running()
    trade_until(replay, lambda: booked(replay) >= 3, "a cycle")
    replay.await_equal()
    process.send_signal(signal.SIGSTOP)
    sent, began = orders_sent(replay), replay.exchange_time()
    until(lambda: replay.exchange_time() > began + 61_000, "the end of a minute", 90)
    replay.page("market", action="step", count=MANY)
    process.send_signal(signal.SIGCONT)
    status = until(lambda: (one := replay.status()).get("state") == "held" and one, "holding")
    assert [reason["code"] for reason in status["reasons"]] == ["GAP"], status["reasons"]
    assert orders_sent(replay) == sent
    replay.shell.ok("robot", "resume")
    replay.await_equal(held=True)
    assert orders_sent(replay) > sent


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[None]:
    """Put a folder on a file system of its own, of so many MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    kept = folder.with_name(f"{folder.name}-kept")
    shutil.copytree(folder, kept, ignore=lambda _folder, names: [name for name in names if name == "socket"])
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    try:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, left: int) -> Path:
    """Leave so many bytes free."""
    path = folder / "filler"
    told = os.statvfs(folder)
    with path.open("ab") as file:
        missing = told.f_bavail * told.f_frsize - left
        while missing > 0:
            try:
                missing -= file.write(b"\0" * min(missing, MIB))
                file.flush()
            except OSError:
                break
    return path


@pytest.mark.parametrize("left", [pytest.param(8 * MIB, id="nearly"), pytest.param(0, id="wholly", marks=campaign)])
def test_a_full_disk_stops_trading_before_it_loses_anything(replay: Replay, left: int) -> None:
    replay.set_up()
    with small_disk(replay.folder, 32):
        try:
            replay.run_robot()
            replay.await_running()
            trade_until(replay, lambda: booked(replay) >= 2, "a fill")
            replay.await_equal()
            filler = fill(replay.folder, left)
            held = trade_until(replay, lambda: (one := replay.status()).get("state") == "held" and one, "a pause")
            assert held["reason"].startswith(("DISK", "JOURNAL")), held["reason"]
            sent = orders_sent(replay)
            replay.page("market", action="step", count=MANY)
            assert replay.status()["state"] == "held" and orders_sent(replay) == sent
            filler.unlink()
            trade_until(replay, lambda: replay.status().get("state") == "running", "trading that goes on")
            replay.await_equal()
            trade_until(replay, lambda: orders_sent(replay) > sent, "an order")
            replay.await_equal()
        finally:
            replay.close()


def test_of_two_robots_at_once_one_trades(replay: Replay) -> None:
    """Started in the same instant, again and again, while the one before is killed: one has the account."""
    replay.set_up()
    # Three times in make crash, two in make test: each starts two robots.
    for number in range(1, 4 if os.environ.get("FORTCTL_CRASH") else 3):
        replay.process = one_of_two(replay)
        replay.await_running()
        trade_until(replay, lambda wanted=3 * number: booked(replay) >= wanted, "a fill")
        replay.kill()
    replay.run_robot()
    replay.await_equal()


def one_of_two(replay: Replay) -> subprocess.Popen[bytes]:
    """Start two robots in one instant; return the one that has the account."""
    both = [replay.run_robot(), replay.run_robot()]
    loser = until(lambda: next((one for one in both if one.poll() is not None), None), "the one that gives way")
    assert loser.returncode == 8
    return next(one for one in both if one is not loser)


CHOICES = ("at-once", "1", "silent")


@pytest.mark.parametrize(
    ("kind", "choice"),
    [
        # A silent death is noticed by a silence of half a minute: the simulation plays that in no time.
        *(pytest.param("ed25519", choice, marks=campaign if choice == "silent" else ()) for choice in CHOICES),
        *(pytest.param("hmac", choice, marks=campaign) for choice in CHOICES),
    ],
)
def test_a_key_deleted_while_its_stream_is_open(replay: Replay, kind: str, choice: str) -> None:
    """An Ed25519 key logs its connection on, another subscribes by signature.

    Binance doesn't say what becomes of an idle stream whose key is gone: the robot lives with each choice.

    One refusal and one confirming look later it is ``key_lost``, and no order call leaves any more.
    """
    replay.set_up(key=kind)
    replay.run_robot()
    replay.await_running()
    trade_until(replay, lambda: booked(replay) >= 2, "a fill")
    replay.await_equal()
    asked = {(one["via"], one["method"]) for one in replay.page("requests")["requests"]}
    assert (("ws", "session.logon") in asked) is (kind == "ed25519")
    replay.page("fault/set", kind=f"revoked-stream:{choice}")
    since = replay.exchange_time()
    replay.page("keys/delete", name="robot-1")
    trade_until(replay, lambda: replay.status().get("state") == "key_lost", "the loss")
    requests = replay.page("requests", since=since)["requests"]
    refused = [(one["method"], one["path"]) for one in requests if one["status"] != 200]
    assert refused[-2:] == [("GET", "/api/v3/account"), ("GET", "/sapi/v1/account/apiRestrictions")]
    # What had left side by side is refused side by side: one kind of request, and then the look.
    assert len(set(refused[:-2])) == 1 and not any(_places(one) and one["status"] == 200 for one in requests)
    sent = orders_sent(replay)
    replay.page("market", action="step", count=MANY)
    missed = len(replay.truth().trades) - booked(replay)
    loss = replay.status()["key_loss"]
    assert (loss["code"], loss["reason"]) == (-2008, "unknown_key") and orders_sent(replay) == sent
    assert missed and loss["probably_filled"]
    pair = replay.shell.paper_key("robot-2", "reading,spot_trading", "--type", kind)
    replay.shell.ok("keys", "change", "--role", "robot", "--input", "-", stdin=pair)
    replay.await_equal()
    trade_until(replay, lambda: orders_sent(replay) > sent, "an order with the new key")
    replay.await_equal()
