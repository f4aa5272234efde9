"""A journal that is damaged is named, with its remedy, by whatever reads it; no robot is begun over it in a loop."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fortctl.errors import VaultDamagedError
from fortctl.robot.core.events import Configured, StrategyNote
from fortctl.robot.process.systemd_unit import NO_RESTART
from fortctl.robot.storage.journal import SqliteJournal
from fortctl.robot.storage.offline_status import journal_summary, offline_report, offline_status
from fortctl.system.clock import SystemClock
from support.robot_world import SETTINGS


def open_journal(path: Path) -> SqliteJournal:
    return SqliteJournal(path, account="default", clock=SystemClock())


def overwritten(path: Path) -> None:
    path.write_bytes(b"no database at all" * 500)


def cut_to_nothing(path: Path) -> None:
    path.write_bytes(b"")


def a_foreign_event(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO event (account, at, kind, body) VALUES ('default', 1, 'nonsense', '{}')")
    connection.close()


def half_an_event(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE event SET body = substr(body, 1, 5)")
    connection.close()


def a_torn_page(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))


READERS: list[Callable[[Path], Any]] = [
    lambda path: offline_status(path, 0),
    lambda path: offline_report(path, "symbol"),
    journal_summary,
]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    folder = tmp_path / "a home 50%?#x"
    folder.mkdir()
    path = folder / "journal.sqlite"
    one = open_journal(path)
    one.append([Configured(SETTINGS.as_json()), *(StrategyNote(f"name-{number}", "x" * 100) for number in range(200))])
    one.close()
    return path


def test_a_whole_journal_is_read_wherever_it_lies(journal: Path) -> None:
    assert offline_status(journal, 0)["config"]["symbol"] == SETTINGS.symbol
    assert journal_summary(journal) == "201 events; all can be read"
    assert offline_report(journal, "symbol")["rows"] == []


@pytest.mark.parametrize("damage", [overwritten, cut_to_nothing, a_foreign_event, half_an_event, a_torn_page])
@pytest.mark.parametrize("reader", READERS, ids=["status", "report", "doctor"])
def test_a_damaged_one_is_named_with_its_remedy(
    journal: Path, reader: Callable[[Path], Any], damage: Callable[[Path], None]
) -> None:
    damage(journal)
    with pytest.raises(VaultDamagedError) as found:
        reader(journal)
    assert str(journal) in found.value.message and "backup" in found.value.hint
    assert found.value.exit_code == 6


@pytest.mark.parametrize("damage", [overwritten, a_foreign_event, half_an_event, a_torn_page])
def test_no_robot_begins_over_a_damaged_one_and_no_manager_tries_again(
    journal: Path, damage: Callable[[Path], None]
) -> None:
    damage(journal)
    with pytest.raises(VaultDamagedError) as found:
        list(open_journal(journal).events())
    assert found.value.exit_code in NO_RESTART
