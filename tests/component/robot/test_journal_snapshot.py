"""A start from the journal's snapshot is a full replay, and everything odd about it leads to one."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fortctl.errors import JournalUnwritableError, VaultDamagedError
from fortctl.robot.core.book import Book
from fortctl.robot.core.book_snapshot import PROOF_ROWS, Fold, Mark, Snapshot, SnapshotError, dump
from fortctl.robot.core.events import AssetsNamed, Configured, Event, StrategyNote
from fortctl.robot.storage import journal_snapshot
from fortctl.robot.storage.journal import MIGRATIONS, SqliteJournal, read_events
from fortctl.robot.storage.offline_status import journal_summary, offline_status
from fortctl.robot.trading.journaled_book import JournaledBook
from fortctl.store.sqlite import open_readonly
from fortctl.system.clock import SystemClock
from simulation.loop import simulated
from support.harness import REPOSITORY
from support.robot_scenes import DEEP, again, codes, trading
from support.robot_world import LOST_COMMIT, SETTINGS, SNAPSHOT_EVERY, Robot, World

NOTES = [StrategyNote(f"name-{number}", str(number)) for number in range(3 * PROOF_ROWS)]
EVENTS: list[Event] = [Configured(SETTINGS.as_json()), AssetsNamed("XRP", "ETH"), *NOTES]


def opened(folder: Path) -> SqliteJournal:
    return SqliteJournal(folder / "journal.sqlite", account="default", clock=SystemClock())


def full(folder: Path) -> str:
    """Return the replay of all events."""
    book = Book()
    with open_readonly(folder / "journal.sqlite") as connection:
        book.replay(read_events(connection))
    return dump(book)


def snapshot_of(journal: SqliteJournal, upto: int) -> Snapshot:
    fold = Fold(journal.event_of)
    fold.take(journal.rows(0, upto, upto))
    return fold.snapshot()


def written(folder: Path, upto: int = 250) -> None:
    """Leave a journal with a snapshot after event ``upto`` of 302."""
    journal = opened(folder)
    journal.append(EVENTS)
    journal.keep_snapshot(snapshot_of(journal, upto))
    journal.close()


class Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.logger = logging.Logger("test")
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def started(folder: Path) -> tuple[JournaledBook, list[str]]:
    log, journal = Log(), opened(folder)
    try:
        return JournaledBook(journal, log.logger), log.lines
    finally:
        journal.close()


def change(folder: Path, words: str, *values: object) -> None:
    connection = sqlite3.connect(folder / "journal.sqlite")
    connection.execute(words, values)
    connection.commit()
    connection.close()


# -- it fits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("upto", [1, PROOF_ROWS, 250, len(EVENTS)])
def test_a_start_reads_the_snapshot_and_the_events_after_it(tmp_path: Path, upto: int) -> None:
    written(tmp_path, upto)
    read: list[int] = []

    class Watched(SqliteJournal):
        def events(self, after: int = 0):  # type: ignore[no-untyped-def]
            read.append(after)
            return super().events(after)

    journal = Watched(tmp_path / "journal.sqlite", account="default", clock=SystemClock())
    book = JournaledBook(journal, Log().logger)
    journal.close()
    assert read == [upto] and book.began_with is not None and book.began_with.seq == upto
    assert dump(book.book) == full(tmp_path)


def test_status_and_doctor_begin_with_it_too(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "journal.sqlite"
    assert offline_status(path, 0)["config"]["symbol"] == SETTINGS.symbol
    assert journal_summary(path) == "302 events; all can be read; the snapshot after event 250 equals their replay"


def test_a_journal_of_before_there_were_snapshots_is_read_and_gets_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr("fortctl.robot.storage.journal.MIGRATIONS", MIGRATIONS[:2])
        journal = opened(tmp_path)
        journal.append(EVENTS)
        journal.close()
    path = tmp_path / "journal.sqlite"
    assert offline_status(path, 0)["config"] is not None
    assert journal_summary(path) == "302 events; all can be read"
    book, log = started(tmp_path)
    assert dump(book.book) == full(tmp_path) and book.began_with is None and not log
    journal = opened(tmp_path)
    journal.keep_snapshot(snapshot_of(journal, 250))
    journal.close()
    assert started(tmp_path)[0].began_with is not None


# -- it does not fit ---------------------------------------------------------------------------------------------------


def another_journals(folder: Path) -> None:
    """The very same events, in a journal of another identity."""
    other = folder / "other"
    other.mkdir()
    written(other)
    connection = sqlite3.connect(folder / "journal.sqlite")
    connection.execute("ATTACH ? AS other", (str(other / "journal.sqlite"),))
    connection.execute("INSERT OR REPLACE INTO snapshot SELECT * FROM other.snapshot")
    connection.commit()
    connection.close()
    shutil.rmtree(other)


ODD: dict[str, tuple[Callable[[Path], None], str]] = {
    "another journal's": (another_journals, "another journal's"),
    "journal cut": (lambda folder: change(folder, "DELETE FROM event WHERE seq > 200"), "ends at 200"),
    "last event changed": (
        lambda folder: change(folder, "UPDATE event SET body = replace(body, '2', '3') WHERE seq = 250"),
        "not the ones",
    ),
    "event gone": (lambda folder: change(folder, "DELETE FROM event WHERE seq = 240"), "not the ones"),
    "time changed": (lambda folder: change(folder, "UPDATE event SET at = at + 1 WHERE seq = 151"), "not the ones"),
    "seq": (lambda folder: change(folder, "UPDATE snapshot SET seq = 249"), "damaged"),
    "proof": (lambda folder: change(folder, "UPDATE snapshot SET proof_seq = 249, proof_chain = chain"), "damaged"),
    "body": (lambda folder: change(folder, "UPDATE snapshot SET body = replace(body, '247', '900')"), "damaged"),
    "no body": (lambda folder: change(folder, "UPDATE snapshot SET body = ''"), "damaged"),
    "a number for a body": (lambda folder: change(folder, "UPDATE snapshot SET body = 5"), "damaged"),
    "version": (lambda folder: change(folder, "UPDATE snapshot SET version = 'x'"), "damaged"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_snapshot_is_named_once_and_all_events_are_replayed(tmp_path: Path, name: str) -> None:
    written(tmp_path)
    damage, reason = ODD[name]
    damage(tmp_path)
    book, log = started(tmp_path)
    assert dump(book.book) == full(tmp_path) and book.began_with is None
    assert len(log) == 1 and reason in log[0]
    assert reason in journal_summary(tmp_path / "journal.sqlite")
    assert offline_status(tmp_path / "journal.sqlite", 0)["config"] is not None


def test_one_flipped_bit_anywhere_in_the_snapshot_is_noticed(tmp_path: Path) -> None:
    written(tmp_path)
    connection = sqlite3.connect(tmp_path / "journal.sqlite")
    columns = [row[1] for row in connection.execute("PRAGMA table_info(snapshot)")]
    row = connection.execute("SELECT * FROM snapshot").fetchone()
    version, tried = journal_snapshot.fold_version(), 0
    for column, value in zip(columns, row, strict=True):
        if column == "account":
            continue
        content = str(value).encode()
        for place in range(0, len(content), max(1, len(content) // 40)):
            flipped = bytearray(content)
            flipped[place] ^= 1 << (place % 7)
            text = flipped.decode("latin-1")
            connection.execute(f"UPDATE snapshot SET {column} = ?", (int(text) if text.isdecimal() else text,))
            with pytest.raises(SnapshotError):
                journal_snapshot.read_snapshot(connection, "default", version)
            tried += 1
        connection.execute(f"UPDATE snapshot SET {column} = ?", (value,))
    assert journal_snapshot.read_snapshot(connection, "default", version) is not None and tried > 150
    connection.close()


def test_a_torn_page_of_the_snapshot_costs_a_replay_only(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "journal.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'snapshot'").fetchone()[0]
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    content = bytearray(path.read_bytes())
    content[(page - 1) * size : page * size] = b"\xff" * size
    path.write_bytes(content)
    book, log = started(tmp_path)
    assert dump(book.book) == full(tmp_path) and book.began_with is None and len(log) == 1


def test_other_code_replays_once_and_writes_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr("fortctl.robot.storage.journal.fold_version", lambda: "an older one")
        written(tmp_path)
    book, log = started(tmp_path)
    assert dump(book.book) == full(tmp_path) and book.began_with is None and "another version" in log[0]


def test_the_version_changes_with_each_source_that_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(journal_snapshot.__file__).parents[2]
    for package in ("robot/core", "model"):
        shutil.copytree(source / package, tmp_path / package)
    monkeypatch.setattr(journal_snapshot, "files", lambda name: tmp_path / name.split(".", 1)[1].replace(".", "/"))
    fresh = journal_snapshot.fold_version.__wrapped__
    first = fresh()
    assert first == journal_snapshot.fold_version()
    for changed in ("robot/core/book.py", "robot/core/cycle.py", "robot/core/events.py", "model/trading.py"):
        file = tmp_path / changed
        file.write_bytes(file.read_bytes() + b"\n")
        assert fresh() != first, changed
        first = fresh()


# -- the robot ---------------------------------------------------------------------------------------------------------


async def worked(tmp_path: Path, world: World) -> Robot:
    """Return a robot that has traded long enough for a snapshot."""
    robot = await trading(tmp_path, world)
    world.trade(DEEP, "5000")
    await robot.wait(5)
    world.trade("0.00142", "5000")
    await robot.wait(10)
    assert robot.journal.last_seq() > 2 * SNAPSHOT_EVERY and robot.journal.snapshot() is not None
    return robot


@simulated
async def test_a_snapshot_is_made_of_what_is_on_disk_not_of_the_running_book(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    robot.runner.book.closed = 77
    world.trade(DEEP, "5000")
    await robot.wait(10)
    kept = robot.journal.snapshot()
    assert kept is not None and '"closed":77' not in kept.body
    await robot.down()


@simulated
async def test_a_false_snapshot_that_fits_is_found_out_beside_the_worker(tmp_path: Path) -> None:
    """It has the right digests and another book: what only a fault of fortctl could write."""
    world = World()
    robot = await worked(tmp_path, world)
    kept = robot.journal.snapshot()
    assert kept is not None
    closed = robot.runner.book.closed
    false = kept.body.replace(f'"closed":{Fold(robot.journal.event_of, kept).book.closed},', '"closed":77,')
    robot.journal.keep_snapshot(Snapshot(kept.seq, kept.chain, kept.proof_seq, kept.proof_chain, false))
    await robot.down()
    robot = Robot(world, tmp_path, robot._pair)
    assert robot.runner.book.closed >= 77 and world.broken
    world.broken.clear()
    await robot.up()
    await robot.wait(45)
    assert robot.runner.book.closed == closed and robot.runner.state == "held" and codes(robot) == ["BOOKS"]
    assert dump(robot.runner.book) == full(tmp_path)
    kept = robot.journal.snapshot()
    assert kept is not None and '"closed":77' not in kept.body, "the next is made of all events"
    await robot.does(robot.runner.resume())
    await robot.wait(30)
    assert robot.runner.state == "running"
    await robot.down()
    robot = await again(tmp_path, world, robot)
    assert robot.runner.robot.journaled.began_with is not None and not world.broken
    await robot.down()


@simulated
async def test_an_early_event_that_was_changed_is_found_out_beside_the_worker(tmp_path: Path) -> None:
    world = World()
    robot = await worked(tmp_path, world)
    journal = robot.journal
    journal.append([*EVENTS[2:], StrategyNote("end", "of notes")])
    journal.keep_snapshot(snapshot_of(journal, journal.last_seq()))
    await robot.down()
    change(tmp_path, "UPDATE event SET body = replace(body, 'started', 'altered') WHERE kind = 'wished'")
    robot = await again(tmp_path, world, robot)
    await robot.wait(40)
    assert robot.runner.state == "held" and codes(robot) == ["BOOKS"]
    assert dump(robot.runner.book) == full(tmp_path)
    await robot.down()


@simulated
async def test_an_early_event_that_cannot_be_read_ends_the_robot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    robot = await worked(tmp_path, world)
    journal = robot.journal
    journal.append(EVENTS[2:])
    journal.keep_snapshot(snapshot_of(journal, journal.last_seq()))
    await robot.down()
    change(tmp_path, "UPDATE event SET body = substr(body, 1, 5) WHERE seq = 3")
    # The world's own comparison reads every event before the robot does.
    monkeypatch.setattr(Robot, "_compare_with_replay", lambda robot: None)
    robot = Robot(world, tmp_path, robot._pair)
    with pytest.raises(VaultDamagedError):
        await robot.up()
        await robot.wait(40)
    await robot.down()


@simulated
async def test_a_disk_that_fails_delays_a_snapshot_and_nothing_else(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    real, failed = robot.journal.keep_snapshot, []

    def full_disk(snapshot: Snapshot) -> None:
        if len(failed) < 3:
            failed.append(snapshot.seq)
            raise JournalUnwritableError("database or disk is full")
        real(snapshot)

    robot.journal.keep_snapshot = full_disk  # type: ignore[method-assign]
    world.trade(DEEP, "5000")
    await robot.wait(20)
    assert failed and robot.runner.state == "running" and robot.runner.robot.journaled.write_error is None
    await robot.wait(120)
    assert len(failed) == 3 and robot.journal.snapshot() is not None
    robot.journal.disk = LOST_COMMIT
    await robot.wait(5)
    robot.journal.disk = ""
    await robot.down()
    robot = await again(tmp_path, world, robot)
    assert robot.runner.robot.journaled.began_with is not None and not world.broken
    await robot.down()


@simulated
async def test_no_replay_stays_in_memory_between_two_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Fold]] = []

    class Watched(Fold):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(weakref.ref(self))

    monkeypatch.setattr("fortctl.robot.trading.snapshot_keeper.Fold", Watched)
    world = World()
    robot = await worked(tmp_path, world)
    await robot.wait(30)
    gc.collect()
    assert len(made) >= 2 and not [fold for fold in made if fold() is not None]
    await robot.down()


# -- SIGKILL -----------------------------------------------------------------------------------------------------------


def test_every_beginning_of_what_is_written_leaves_the_old_snapshot_or_the_new_one(tmp_path: Path) -> None:
    """Each state of the files that a kill, or a loss of power, can leave: the log of SQLite cut at every half frame."""
    (tmp_path / "live").mkdir()
    written(tmp_path / "live")
    journal = opened(tmp_path / "live")
    journal._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    old, new = journal.snapshot(), snapshot_of(journal, len(EVENTS))
    found: list[Mark] = []
    journal.keep_snapshot(new)
    database, log = ((tmp_path / "live" / name).read_bytes() for name in ("journal.sqlite", "journal.sqlite-wal"))
    journal.close()
    frame = (24 + 4096) // 2
    assert len(log) > 6 * frame
    for cut in (*range(0, len(log), frame), len(log)):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "journal.sqlite").write_bytes(database)
        (folder / "journal.sqlite-wal").write_bytes(log[:cut])
        book, odd = started(folder)
        assert not odd and dump(book.book) == full(folder)
        assert book.began_with is not None
        found.append(book.began_with)
    assert old is not None and set(found) == {old.mark, new.mark}
    assert found[0] == old.mark and found[-1] == new.mark and found == sorted(found), (
        "the new one only once it is whole"
    )


WRITER = """
import sys
from pathlib import Path
from fortctl.robot.core.book_snapshot import Fold
from fortctl.robot.core.events import StrategyNote
from fortctl.robot.storage.journal import SqliteJournal
from fortctl.system.clock import SystemClock

journal = SqliteJournal(Path(sys.argv[1]) / "journal.sqlite", account="default", clock=SystemClock())
while True:
    journal.append([StrategyNote(f"name-{journal.last_seq() % 700}", "x" * 50) for _ in range(200)])
    fold = Fold(journal.event_of)
    fold.take(journal.rows(0, journal.last_seq(), 100_000))
    snapshot = fold.snapshot()
    print("writing", flush=True)
    journal.keep_snapshot(snapshot)
"""


def test_a_process_killed_while_it_writes_a_snapshot_leaves_a_whole_one(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    seqs = [0]
    for number in range(12):
        argv = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(1 + number % 3):
                assert writer.stdout.readline() == "writing\n"
            writer.send_signal(signal.SIGKILL)
        book, odd = started(tmp_path)
        assert not odd and dump(book.book) == full(tmp_path)
        seqs.append(book.began_with.seq if book.began_with is not None else 0)
    assert seqs == sorted(seqs) and seqs[-1] > 0
