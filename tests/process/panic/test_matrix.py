"""``panic-disconnect`` in every state of the world (conditions.py), in real processes.

Five rows run in ``make test``, all of them in ``make crash``; each tells how long it took (``-rA`` shows it).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fortctl.robot.core.submission import RECV_WINDOW_MS
from support.harness import WAIT_S, campaign
from support.panic_conditions import ROWS, Row, mount_tmpfs
from support.panic_world import Template, World, a_world, make_template

TOO_LATE = -1021


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    yield from make_template(tmp_path_factory.mktemp("panic"))


@pytest.fixture(scope="module")
def locked_template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    yield from make_template(tmp_path_factory.mktemp("locked"), "passphrase")


@pytest.fixture
def world(template: Template, tmp_path: Path) -> Iterator[World]:
    with a_world(template, tmp_path) as one:
        yield one


def rows() -> list[object]:
    return [pytest.param(row, id=row.name, marks=() if row.everyday else campaign) for row in ROWS]


@pytest.mark.parametrize("row", rows())
def test_panic_when(row: Row, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if row.root and os.geteuid() != 0:
        pytest.skip("this row needs root")
    template: Template = request.getfixturevalue("locked_template" if row.slot == "passphrase" else "template")
    undo = mount_tmpfs(tmp_path / "small", "48m") if "small disk" in row.name else None
    try:
        with a_world(template, tmp_path / "small" if undo else tmp_path) as world:
            if row.slot == "passphrase":
                folder = template.home.parent
                world.shell.environment["FORTCTL_PASSPHRASE_FILE"] = str(folder / "site")
                world.shell.environment["FORTCTL_ROBOT_PASSPHRASE_FILE"] = str(folder / "robot")
            world.start()
            if row.orders_stay:
                world.hold_the_market()
            row.arrange(world)
            check(row, world, request)
    finally:
        if undo is not None:
            undo()


def check(row: Row, world: World, request: pytest.FixtureRequest) -> None:
    """Panic, and hold what the row and rule 6 promise against what can be seen from outside."""
    if row.slot == "passphrase":
        for name in ("FORTCTL_PASSPHRASE_FILE", "FORTCTL_ROBOT_PASSPHRASE_FILE"):
            del world.shell.environment[name]
    done = world.panic("--timeout", row.timeout)
    assert done.code == row.exit_code, f"{done.out} {done.err}"
    document = done.doc
    request.node.user_properties.append(("elapsed_ms", document["data"]["elapsed_ms"]))
    print(f"{row.name}: {document['data']['elapsed_ms']} ms")
    told = [action["text"] for action in document["error"]["details"]["actions"]]
    for text in row.says:
        assert any(text in one for one in told), f"'{text}' was not said: {told}"
    # The exchange comes back, and the market moves: what could still place an order would do it now.
    world.template.paper.process.send_signal(signal.SIGCONT)
    world.template.page.ok("paper", "fault", "clear")
    assert world.gone(), "the robot has ended"
    assert row.orders_stay is None or bool(world.open_orders()) is row.orders_stay
    world.release_the_market()
    world.no_order_leaves()
    assert bool(world.key_traces()) is row.keys_stay, world.key_traces()
    assert os.path.lexists(world.place / "latch") is row.latches
    if row.latches:
        # A request that lay before a stopped exchange may be taken up within its recvWindow (rule 5).
        lying_ms = RECV_WINDOW_MS if row.orders_stay is None else 0
        assert no_later_than_the_halt(world, document, lying_ms)
        assert world.shell.run("robot", "run").code in (2, 8), "it stays latched (2: the configuration is broken too)"
    row.after(world)
    # Run again: it knows what still lives at the exchange.
    again = world.panic("--timeout", "1")
    assert again.code == 12 and any("'robot-1'" in one["text"] for one in again.data["actions"])


def no_later_than_the_halt(world: World, document: dict[str, object], lying_ms: int = 0) -> bool:
    """By the exchange's own clock (it is this machine's): the last order came before the halt was done.

    Args:
        lying_ms: how long after that one may have been taken up that had lain before a stopped exchange; those that
            lay longer, it has refused.
    """
    facts = json.loads((world.place / "latch").read_text() or "{}") if (world.place / "latch").is_file() else {}
    if "at" not in facts:
        return True
    from datetime import datetime

    latched = datetime.fromisoformat(str(facts["at"]).replace("Z", "+00:00")).timestamp() * 1000
    steps = {step["name"]: step for step in document["data"]["steps"]}  # type: ignore[index]
    halted = latched + steps["latch"]["elapsed_ms"] + steps["halt"]["elapsed_ms"]
    taken_up = [one for one in world.orders_placed() if not (lying_ms and one.get("code") == TOO_LATE)]
    return all(one["time"] <= halted + lying_ms + 1 for one in taken_up)


@campaign
def test_what_a_frozen_robot_had_on_its_way_is_cancelled(world: World) -> None:
    """The exchange takes its orders up almost a second after they came, and after the latch."""
    page = world.template.page
    page.ok("paper", "fault", "set", "slow:0.9", "--match", "POST", "/api/v3/order", "--count", "100000")
    world.kept.append(lambda: page.ok("paper", "fault", "clear"))
    starting = subprocess.Popen(
        world.shell.argv("robot", "start"), stdout=subprocess.DEVNULL, env=world.shell.environment
    )
    journal = sqlite3.connect(f"file:{world.place / 'journal.sqlite'}?mode=ro", uri=True)
    deadline = time.monotonic() + 60
    while not journal.execute("SELECT 1 FROM event WHERE kind = 'intended'").fetchall():
        assert time.monotonic() < deadline
    time.sleep(0.02)  # On their way; whether they are is only told.
    world.robot_pid = json.loads((world.place / "robot.lock").read_text())["pid"]
    os.kill(world.robot_pid, signal.SIGSTOP)
    done = world.panic()
    starting.wait(60)
    journal.close()
    assert done.code == 12 and world.gone(), done.out
    facts = json.loads((world.place / "latch").read_text())
    steps = {step["name"]: step for step in done.data["steps"]}
    late = [one for one in world.orders_placed() if one["time"] > facts["at_ms"] and one["status"] == 200]
    print(f"{len(late)} orders were taken up after the latch; {steps['cancel orders']['detail']}")
    assert facts["orders_done"] is True and world.open_orders() == []


@campaign
def test_two_panics_at_once(world: World) -> None:
    world.start()
    both = [world.panicking(), world.panicking()]
    outs = [one.communicate(timeout=WAIT_S)[0] for one in both]
    assert [one.returncode for one in both] == [12, 12]
    for out in outs:
        names = {action["name"] for action in json.loads(out)["data"]["actions"] if "name" in action}
        assert names == {"site-1", "robot-1"}, "each of them knows what lives at the exchange"
    assert world.gone() and world.key_traces() == [] and world.open_orders() == []
    world.no_order_leaves()


@campaign
@pytest.mark.parametrize("moment", ["latched", "destroying", "halted"])
def test_a_panic_that_is_killed_half_way_and_run_again(world: World, moment: str) -> None:
    world.start()
    if moment == "destroying":
        os.kill(world.robot_pid, signal.SIGSTOP)
    erasure = world.place / "erasure" / "default"
    count = len(list(erasure.iterdir()))
    reached = {
        "latched": lambda: (world.place / "latch").exists(),
        "destroying": lambda: len(list(erasure.iterdir())) < count,
        "halted": world.gone,
    }[moment]
    first = world.panicking()
    deadline = time.monotonic() + 30
    while not reached() and first.poll() is None:
        assert time.monotonic() < deadline
    first.kill()
    first.communicate()
    again = world.panic()
    assert again.code == 12
    names = {action["name"] for action in again.data["actions"] if "name" in action}
    assert names == {"site-1", "robot-1"}
    assert world.gone() and world.key_traces() == []
    told = any(action["what"] == "cancel_orders_at_exchange" for action in again.data["actions"])
    assert told or world.open_orders() == []
    world.no_order_leaves()


@campaign
def test_a_rotation_that_is_at_work_is_overtaken(world: World) -> None:
    """It drains, or waits for a person; the panic takes the operation out of its hands, and it brings nothing back."""
    world.start()
    command = world.shell.argv("keys", "rotate", "--role", "robot", "--on-timeout", "wait", "--yes", "--json")
    rotating = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=world.shell.environment
    )
    deadline = time.monotonic() + 30
    while world.shell.run("keys", "rotate", "--status").code != 0:
        assert time.monotonic() < deadline and rotating.poll() is None, rotating.communicate()
        time.sleep(0.05)
    assert world.panic().code == 12
    out, err = rotating.communicate(timeout=WAIT_S)
    assert rotating.returncode in (8, 9, 12), f"{out!r} {err!r}"
    assert world.shell.ok("keys", "rotate", "--status")["operation"]["state"] == "aborted"
    assert world.gone() and world.key_traces() == [] and world.open_orders() == []
    world.no_order_leaves()


@campaign
@pytest.mark.parametrize("hangs", [True, False], ids=["and the robot hangs", "and the robot runs on, if it can"])
def test_the_home_is_gone(world: World, hangs: bool) -> None:
    """Nothing tells which keys live on, nor which orders: that is said, and again, whatever the robot did meanwhile."""
    world.start()
    if hangs:
        os.kill(world.robot_pid, signal.SIGSTOP)
    shutil.rmtree(world.home)
    for ran in (world.panic(), world.panic()):
        # A robot that ends by itself over it is found no more, and may or may not leave an incident behind.
        assert ran.code in (7, 12), ran.out
        told = " ".join([ran.error["hint"], *(one["text"] for one in ran.error["details"].get("actions", ()))])
        assert "every key that you gave to fortctl" in told and "open orders" in told, ran.out
        assert world.gone()
    world.no_order_leaves()
    shutil.rmtree(world.home, ignore_errors=True)
    nothing = world.panic()
    assert nothing.code == 7 and nothing.error["message"].startswith("there is nothing to disconnect"), nothing.out


@campaign
def test_the_robots_folder_is_gone(world: World) -> None:
    world.start()
    shutil.rmtree(world.place)
    done = world.panic()
    assert done.code == 12 and world.gone() and (world.place / "latch").exists()
    world.no_order_leaves()
    # Away again, and with it what the latch knew: of the robot's key nothing is known any more, and that is said.
    shutil.rmtree(world.place)
    again = world.panic()
    told = [action["text"] for action in again.data["actions"]]
    assert again.code == 12 and any("'site-1'" in one for one in told), told
    assert any("the robot key that you gave to fortctl" in one for one in told), told


@campaign
def test_a_latched_account_is_not_removed(world: World) -> None:
    assert world.panic().code == 12
    refused = world.shell.run("accounts", "remove", "default", "--confirm", "default")
    assert (refused.code, refused.error["details"]["state"]) == (8, "latched")


@campaign
def test_keeping_the_orders(world: World) -> None:
    world.start()
    world.hold_the_market()
    done = world.panic("--keep-orders")
    assert done.code == 12 and world.open_orders() and world.gone()
    world.release_the_market()
    world.no_order_leaves()


@campaign
def test_a_persons_own_orders_are_left_alone(world: World) -> None:
    from support.panic_world import signed_call

    world.start()
    fields = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001"}
    price = world.template.page.ok("paper", "market", "status")["price"]["BTCUSDT"]
    url, key = world.template.paper.ready["url"], world.template.keys[1]
    mine = signed_call(url, "POST", "/api/v3/order", key, {**fields, "price": f"{float(price) * 0.5:.2f}"})
    assert mine.get("orderId"), mine
    # One of the robot's that a person amended bears another name, and is the robot's still.
    ours = world.open_orders()[0]
    less = f"{float(ours['origQty']) * 0.6:.4f}"
    amended = {"symbol": "BTCUSDT", "orderId": str(ours["orderId"]), "newQty": less}
    assert "amendedOrder" in signed_call(url, "PUT", "/api/v3/order/amend/keepPriority", key, amended)
    os.kill(world.robot_pid, signal.SIGSTOP)
    assert world.panic().code == 12
    assert [one["orderId"] for one in world.open_orders()] == [mine["orderId"]]


@campaign
def test_every_account_of_the_home_at_once(world: World) -> None:
    page, shell = world.template.page, world.shell
    page.ok("paper", "accounts", "create", "other", "--deposit", "USDT=10000", "--deposit", "BTC=1")
    shell.ok("accounts", "add", "second", "--exchange", world.template.paper.ready["url"])
    for role, permissions in (("site", "reading"), ("robot", "reading,spot_trading")):
        key = page.paper_key(f"other-{role}", permissions, "--paper-account", "other")
        shell.ok("--account", "second", "keys", "add", "--role", role, "--input", "-", stdin=key)
    world.start()
    done = world.panic("--all-accounts")
    assert done.code == 12
    assert {one["account"] for one in done.data["accounts"]} == {"default", "second"}
    names = {(one["account"], one.get("name")) for one in done.data["actions"]}
    assert {("default", "robot-1"), ("second", "other-robot"), ("second", "other-site")} <= names
    for account in ("default", "second"):
        assert (world.home / "robots" / account / "latch").exists()
    assert world.key_traces() == [] and world.open_orders() == []


@campaign
def test_the_way_back_holds_until_a_person_has_looked(world: World) -> None:
    world.start()
    assert world.panic().code == 12
    # Over a new installation of the service and a new home folder's mode, a latch is a latch.
    assert world.shell.run("robot", "start").code == 8
    cleared = world.shell.run("panic-clear", "--confirm", "default")
    assert cleared.code == 0 and {one["code"] for one in cleared.doc["warnings"]} == {"OLD_KEYS_MAY_LIVE"}
    assert world.shell.run("panic-clear", "--confirm", "default").code == 8
    for key, role in zip(world.template.keys, ("site", "robot"), strict=True):
        world.shell.ok("keys", "add", "--role", role, "--input", "-", stdin=json.dumps(key))
    status = world.shell.ok("robot", "start")["robot"]
    assert status["state"] == "held" and status["reason"].startswith("PANIC")
    world.no_order_leaves()
    world.shell.ok("robot", "resume")
    world.shell.await_status(lambda one: one["state"] == "running" and one["orders_open"] > 0)


@campaign
def test_ten_panics_in_a_row_at_full_speed(tmp_path: Path) -> None:
    """The replay runs as fast as the machine allows; ten times a robot is cut off in the middle of it."""
    for template in make_template(tmp_path / "t", speed="max"):
        for number in range(10):
            with a_world(template, tmp_path / f"{number}") as world:
                world.start()
                before = len(world.orders_placed())
                deadline = time.monotonic() + 30
                while len(world.orders_placed()) < before + 3 and time.monotonic() < deadline:
                    time.sleep(0.05)
                done = world.panic()
                assert done.code == 12, done.out
                assert world.gone() and world.key_traces() == []
                assert no_later_than_the_halt(world, done.doc)
                count = len(world.orders_placed())
                time.sleep(0.3)
                assert len(world.orders_placed()) == count and world.open_orders() == []
            shutil.rmtree(tmp_path / f"{number}")
