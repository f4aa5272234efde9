"""A journal that is lost, or older than the one that the robot wrote: it holds, and no number is used twice."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fortctl.errors import JournalUnwritableError, VaultDamagedError
from fortctl.robot.core.events import StrategyNote
from fortctl.robot.storage.journal import SqliteJournal
from fortctl.robot.storage.journal_checkpoint import BLOCK, JournalCheckpoint, read_checkpoint
from fortctl.system.clock import SystemClock
from simulation.loop import simulated
from support.robot_scenes import DEEP, again, codes, ours, trading
from support.robot_world import Robot, World

FILES = ("journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm")


def lose(folder: Path) -> None:
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def copy(folder: Path, into: Path) -> None:
    into.mkdir(exist_ok=True)
    for name in FILES:
        if (folder / name).exists():
            shutil.copy(folder / name, into / name)


async def ended(robot: Robot) -> None:
    """SIGTERM."""
    await robot.does(robot.runner.finish())
    robot.journal.settle()
    await robot.down()


async def worked(tmp_path: Path, world: World) -> Robot:
    robot = await trading(tmp_path, world)
    world.trade(DEEP, "5000")
    await robot.wait(5)
    return robot


@pytest.mark.parametrize("clean", [True, False], ids=["SIGTERM", "SIGKILL"])
@simulated
async def test_a_lost_journal_holds_and_no_id_is_sent_twice(tmp_path: Path, clean: bool) -> None:
    world = World()
    robot = await worked(tmp_path, world)
    await (ended(robot) if clean else robot.down())
    lose(tmp_path)
    robot = await again(tmp_path, world, robot)
    assert robot.runner.state in ("held", "stopped") and "JOURNAL_BEHIND" in robot.runner.status()["hold"][0]
    placed = len(world.placed)
    await robot.does(robot.runner.start(by_person=True))
    await robot.wait(30)
    assert "JOURNAL_BEHIND" in codes(robot) and "UNKNOWN_ORDER" in codes(robot) and len(world.placed) == placed
    await robot.down()
    robot = await again(tmp_path, world, robot)
    assert "JOURNAL_BEHIND" in codes(robot), "a restart is no look"
    await robot.does(robot.runner.resume())
    await robot.wait(30)
    assert robot.runner.state == "running" and len(world.placed) > placed
    assert len(set(world.placed)) == len(world.placed) and not world.broken
    await ended(robot)
    robot = await again(tmp_path, world, robot)
    assert not [code for code in codes(robot) if code == "JOURNAL_BEHIND"], "it is the robot's now"
    await robot.down()


@simulated
async def test_an_older_copy_holds_and_the_newest_put_back_goes_on(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    copy(tmp_path, tmp_path / "older")
    world.trade(DEEP, "5000")
    await robot.wait(5)
    await ended(robot)
    copy(tmp_path, tmp_path / "newest")
    lose(tmp_path)
    copy(tmp_path / "older", tmp_path)
    robot = await again(tmp_path, world, robot)
    assert robot.runner.state == "held" and codes(robot)[0] == "JOURNAL_BEHIND"
    await ended(robot)
    lose(tmp_path)
    copy(tmp_path / "newest", tmp_path)
    robot = await again(tmp_path, world, robot)
    assert robot.runner.state == "running" and ours(world, "SELL")
    assert not world.broken
    await robot.down()


def test_numbers_come_in_blocks_and_a_clean_end_wastes_none(tmp_path: Path) -> None:
    def opened() -> SqliteJournal:
        return SqliteJournal(tmp_path / "journal.sqlite", account="default", clock=SystemClock())

    def kept() -> JournalCheckpoint:
        found = read_checkpoint(tmp_path / "journal.anchor")
        assert found is not None
        return found

    journal = opened()
    assert read_checkpoint(tmp_path / "journal.anchor") is None
    assert journal.reserve(1, 3) == 1 and kept().next == 4 + BLOCK
    before = (tmp_path / "journal.anchor").stat().st_mtime_ns
    assert [journal.reserve(1, 1) for _ in range(BLOCK)] == list(range(4, 4 + BLOCK))
    assert (tmp_path / "journal.anchor").stat().st_mtime_ns == before, "no write but one a block"
    assert journal.reserve(1, 1) == 4 + BLOCK and kept().next == 5 + 2 * BLOCK
    journal.close()
    journal = opened()
    assert journal.reserve(1, 1) == 5 + 2 * BLOCK, "killed: what may have been used is not used"
    journal.append([StrategyNote("a", "b")])
    journal.settle()
    journal.close()
    assert kept() == JournalCheckpoint(kept().journal, 1, 6 + 2 * BLOCK)
    journal = opened()
    assert journal.behind() == "" and journal.reserve(1, 1) == 6 + 2 * BLOCK
    assert journal.reserve(1000, 1) == 1000, "a journal of before has used more"
    journal.close()


def test_an_anchor_that_cannot_be_written_or_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = SqliteJournal(tmp_path / "journal.sqlite", account="default", clock=SystemClock())

    def full(*names: object) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as disk:
        disk.setattr("fortctl.robot.storage.journal_checkpoint.replace_file", full)
        with pytest.raises(JournalUnwritableError, match="No space"):
            journal.reserve(1, 1)
    assert journal.reserve(1, 1) == 1
    journal.close()
    (tmp_path / "journal.anchor").write_text("{")
    with pytest.raises(VaultDamagedError, match="newest"):
        SqliteJournal(tmp_path / "journal.sqlite", account="default", clock=SystemClock())
