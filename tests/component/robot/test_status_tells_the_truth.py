"""Issue 15, "Status tells the truth": what ``robot status`` says of exchange, market, orders, disk and time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from fortctl.errors import VaultDamagedError
from fortctl.model import StreamDown, StreamUp
from fortctl.ports import ExchangeError, Outcome
from fortctl.robot.core.events import ModeChanged
from fortctl.robot.core.status import SILENT_S
from fortctl.robot.storage.journal import SqliteJournal
from fortctl.robot.storage.journal_checkpoint import JournalCheckpoint, read_checkpoint, write_checkpoint
from fortctl.robot.storage.offline_status import journal_summary, offline_status
from fortctl.system.clock import SystemClock
from fortctl.timestamps import parse_rfc3339
from simulation.loop import simulated
from support.robot_scenes import DEEP, again, trading
from support.robot_world import SYMBOL, Robot, World

NO_FUNDS = "Account has insufficient balance for requested action."


def failing(world: World, fault: Callable[[str], ExchangeError | None]) -> None:
    """Let calls fail."""

    def before(name: str) -> None:
        error = fault(name)
        if error is not None:
            raise error

    world.before = before


def refuse_buys(world: World, error: ExchangeError) -> None:
    failing(world, lambda name: error if name == "POST /api/v3/order" else None)


@simulated
async def test_status_says_how_long_ago_the_exchange_answered_and_the_market_moved(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    world.trade("0.00140100")
    await robot.wait(7)
    status = robot.runner.status()
    assert status["market_moved_ago_s"] == pytest.approx(7, abs=0.5)
    assert 0 <= status["exchange_answered_ago_s"] <= 30
    assert parse_rfc3339(status["market_moved_at"]) == pytest.approx(world.clock.ms - 7_000, abs=600)
    assert parse_rfc3339(status["exchange_answered_at"]) <= world.clock.ms


@simulated
async def test_an_exchange_that_is_dead_is_told_from_the_first_call_without_an_answer(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    failing(world, lambda name: ExchangeError(Outcome.UNREACHABLE, "connection refused"))
    await robot.wait(40)
    status = robot.runner.status()
    assert status["state"] == "running" and status["exchange_answered_ago_s"] < SILENT_S
    assert status["reason"].startswith("EXCHANGE: it has not answered for ")
    assert "connection refused" in status["reason"] and status["waits"] == [status["reason"]]
    world.before = lambda name: None
    await robot.wait(40)
    assert robot.runner.status()["waits"] == [] and robot.runner.status()["exchange_answered_ago_s"] <= 30


@simulated
async def test_a_market_that_is_over_is_told(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    assert robot.runner.status()["market_moved_at"] is None, "no trade has arrived in this process"
    world.trade("0.00140100")
    await robot.wait(600)
    status = robot.runner.status()
    assert status["market_moved_ago_s"] == pytest.approx(600, abs=1) and status["exchange_answered_ago_s"] <= 30
    for _process, queue in world.watchers:
        queue.put_nowait(StreamDown("ConnectionResetError"))
    await robot.wait(1)
    assert robot.runner.status()["waits"] == [f"MARKET: the stream of {SYMBOL}'s trades is down (ConnectionResetError)"]
    for _process, queue in world.watchers:
        queue.put_nowait(StreamUp())
    await robot.wait(1)
    assert robot.runner.status()["waits"] == []


@simulated
async def test_since_is_the_states_own(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    assert parse_rfc3339(robot.runner.status()["since"]) == pytest.approx(world.clock.ms, abs=6_000)
    await robot.wait(600)
    world.delete_key("a")
    world.trade(DEEP)
    await robot.wait(60)
    status = robot.runner.status()
    assert status["state"] == "key_lost" and status["since"] == status["key_loss"]["since"]


@simulated
async def test_since_of_a_held_robot_outlives_its_process(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    world.trade(DEEP)
    await robot.wait(5)
    await robot.down()
    world.trade("0.00160000")
    robot = await again(tmp_path, world, robot)
    held = robot.runner.status()
    assert held["state"] == "held" and parse_rfc3339(held["since"]) == pytest.approx(world.clock.ms, abs=11_000)
    await robot.wait(300)
    await robot.down()
    assert offline_status(tmp_path / "journal.sqlite", 0)["since"] == held["since"]
    robot = await again(tmp_path, world, robot)
    assert robot.runner.status()["since"] == held["since"]
    await robot.does(robot.runner.resume())
    await robot.wait(5)
    status = robot.runner.status()
    assert status["state"] == "running" and parse_rfc3339(status["since"]) == pytest.approx(world.clock.ms, abs=6_000)


@pytest.mark.parametrize(
    "error",
    [
        ExchangeError(Outcome.NO_FUNDS, NO_FUNDS, code=-2010),
        ExchangeError(Outcome.REFUSED, "Filter failure: MAX_NUM_ORDERS", code=-1013),
        ExchangeError(Outcome.REFUSED, "Filter failure: PERCENT_PRICE", code=-1013),
        ExchangeError(Outcome.REFUSED, "This symbol is restricted for this account.", code=-2010),
        ExchangeError(Outcome.UNREACHABLE, "connection refused"),
    ],
    ids=lambda error: error.message.replace(" ", "-"),
)
@simulated
async def test_buys_that_cannot_be_placed_are_told_in_the_exchanges_words(tmp_path: Path, error: ExchangeError) -> None:
    world = World()
    refuse_buys(world, error)
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    await robot.does(robot.runner.start(by_person=True))
    for _ in range(30):
        await robot.wait(3)
        status = robot.runner.status()
        told = [wait for wait in status["waits"] if wait.startswith("BUY_WAITS: 4 buys ")]
        assert len(told) == 1 and error.message in told[0], "steadily, whatever is tried again meanwhile"
        assert (str(error.code) in told[0]) is (error.code is not None)
        assert told[0] in status["reason"] and status["orders_open"] == 0
    world.before = lambda name: None
    await robot.wait(400)
    assert robot.runner.status()["waits"] == []
    assert robot.runner.status()["orders_open"] == 4


@simulated
async def test_buys_whose_outcome_is_unknown_are_told_and_counted_apart(tmp_path: Path) -> None:
    world = World()
    refuse_buys(world, ExchangeError(Outcome.UNKNOWN, "HTTP 503", http_status=503))
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    await robot.does(robot.runner.start(by_person=True))
    await robot.settle()
    status = robot.runner.status()
    assert (status["orders_open"], status["orders_in_doubt"]) == (0, 4)
    assert sum(wait.startswith("UNKNOWN: ") and "HTTP 503" in wait for wait in status["waits"]) == 4
    await robot.wait(20)
    status = robot.runner.status()
    assert any(wait.startswith("BUY_WAITS: ") and "HTTP 503" in wait for wait in status["waits"])
    world.before = lambda name: None
    await robot.wait(400)
    status = robot.runner.status()
    assert (status["orders_open"], status["orders_in_doubt"]) == (4, 0)
    assert not any(wait.startswith(("BUY", "UNKNOWN")) for wait in status["waits"])


@simulated
async def test_a_filter_that_forbids_buys_is_told(tmp_path: Path) -> None:
    robot = await trading(tmp_path, World())
    rules = robot.runner.robot.rules
    assert rules is not None
    robot.runner.book.levels.add(5)
    for changed, name in (
        (replace(rules, max_orders=4), "MAX_NUM_ORDERS"),
        (replace(rules, bid_multiplier_down=Decimal("0.99")), "PERCENT_PRICE"),
    ):
        plan = robot.runner.strategy.plan(robot.runner.executor.view(Decimal("0.0014"), changed, Decimal(0)))
        assert [str(wait).split(" (")[0] for wait in plan.blocked_reasons] == [f"BUY_WAITS: {name} forbids 1 buy"]
        assert not plan.intents and robot.runner.status()["waits"] == list(map(str, plan.blocked_reasons))


@pytest.mark.parametrize("free", [0, 900 * 1024])
@simulated
async def test_a_full_disk_is_held_with_journal_steadily_and_clears_by_itself(tmp_path: Path, free: int) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    robot.journal.free_bytes = lambda: free  # type: ignore[method-assign]
    robot.journal.disk = "database or disk is full"
    world.trade(DEEP)
    await robot.wait(2)
    # What was given free again, a byte here and there, lets a small write through and not the next one.
    for number in range(40):
        robot.journal.disk = "database or disk is full" if number % 2 else ""
        await robot.wait(1.7)
        status = robot.runner.status()
        assert status["state"] == "held" and [row["code"] for row in status["reasons"]] == ["JOURNAL"]
    robot.journal.disk = ""
    del robot.journal.free_bytes
    world.trade("0.00138700")
    await robot.wait(10)
    assert robot.runner.state == "running"


def test_a_journal_that_lacks_what_its_checkpoint_says_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = SqliteJournal(path, account="default", clock=SystemClock())
    journal.append([ModeChanged("running", "started", 1), ModeChanged("stopped", "stopped", 2)])
    journal.settle()
    journal.close()
    assert journal_summary(path).startswith("2 events")
    write_checkpoint(path.with_suffix(".anchor"), replace(anchor_of(path), seq=302))
    with pytest.raises(VaultDamagedError, match="ends at event 2, and had got as far as 302"):
        journal_summary(path)
    path.unlink()
    with pytest.raises(VaultDamagedError, match=r"journal.sqlite is gone, and had 302 events"):
        journal_summary(path)
    path.with_suffix(".anchor").unlink()
    assert journal_summary(path) == "the robot has not written any yet"


def anchor_of(journal: Path) -> JournalCheckpoint:
    anchor = read_checkpoint(journal.with_suffix(".anchor"))
    assert anchor is not None
    return anchor
