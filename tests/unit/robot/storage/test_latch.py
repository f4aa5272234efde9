"""The panic latch in a real folder: it is on or off, says what was written, and keeps placing and panicking apart."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fortctl.errors import ConflictError
from fortctl.robot.storage.latch import LatchFile


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "robots" / "default"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def latch(folder: Path) -> LatchFile:
    return LatchFile(folder)


# -- on and off --------------------------------------------------------------------------------------------------------


def test_it_is_on_from_its_writing_until_it_is_lifted(latch: LatchFile, folder: Path) -> None:
    assert not latch.is_latched() and latch.read() == {} and latch.cleared() is None
    latch.set({"who": "me", "at_ms": 5})
    assert latch.is_latched() and latch.read() == {"who": "me", "at_ms": 5}
    assert stat.S_IMODE((folder / "latch").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["latch"], "no temporary file is left"
    latch.set({"who": "you"})
    assert latch.read() == {"who": "you"}
    latch.clear()
    assert not latch.is_latched() and latch.cleared() == {"who": "you"}
    assert (folder / "latch.cleared").exists(), "a robot of another version reads it there"
    with pytest.raises(ConflictError, match="not latched"):
        latch.clear()
    latch.forget_cleared()
    assert latch.cleared() is None
    latch.forget_cleared()


def test_a_second_lift_replaces_what_the_first_one_left(latch: LatchFile) -> None:
    for who in ("first", "second"):
        latch.set({"who": who})
        latch.clear()
    assert latch.cleared() == {"who": "second"} and not latch.is_latched()


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[]", b"\xff"])
def test_one_that_cannot_be_read_is_on_and_says_nothing(latch: LatchFile, folder: Path, content: bytes) -> None:
    (folder / "latch").write_bytes(content)
    assert latch.is_latched() and latch.read() == {}
    latch.clear()
    assert latch.cleared() == {}


def test_a_link_that_leads_nowhere_is_a_latch(latch: LatchFile, folder: Path) -> None:
    (folder / "latch").symlink_to("nowhere")
    assert latch.is_latched() and latch.read() == {}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("at_ms", 5, [True, "5", 5.0, None]),
        ("keys", [{"name": "a"}], [{"name": "a"}, ["a"], 5]),
        ("issued", [{"name": "a"}], [["a"], None]),
        ("unknown", ["site"], ["site", [5], [["site"]]]),
        ("queued", [], [[5], {}]),
        ("orders", ["x"], [[{}], 5]),
    ],
)
def test_a_misshapen_fact_is_left_out(latch: LatchFile, folder: Path, name: str, good: object, bad: list[Any]) -> None:
    latch.set({name: good, "other": 7})
    assert latch.read() == {name: good, "other": 7}
    for value in bad:
        (folder / "latch").write_text(json.dumps({name: value, "other": 7}))
        assert latch.read() == {"other": 7}, value


# -- changing it -------------------------------------------------------------------------------------------------------


def test_of_several_changes_at_once_none_is_lost(latch: LatchFile, folder: Path) -> None:
    def add(number: int) -> None:
        one = LatchFile(folder)
        for step in range(5):
            one.update(lambda facts, step=step: {**facts, f"{number}-{step}": step})  # type: ignore[misc]

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(latch.read()) == 20


def test_another_panic_that_hangs_in_its_change_is_not_waited_for_long(
    latch: LatchFile, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fortctl.robot.storage.latch._LOCK_WITHIN_S", 0.05)
    with latch._folder_lock():
        LatchFile(folder).update(lambda facts: {**facts, "who": "me"})
    assert latch.read() == {"who": "me"}


# -- a disk that refuses -----------------------------------------------------------------------------------------------


def refusing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(descriptor: int, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", refuse)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("lock_file", [True, False])
def test_on_a_full_disk_a_name_without_facts_is_the_latch(
    latch: LatchFile, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, lock_file: bool
) -> None:
    if lock_file:
        with latch.placing():
            pass
    refusing(monkeypatch, number)
    latch.set({"who": "me"})
    assert latch.is_latched() and latch.read() == {}
    assert not [path for path in folder.iterdir() if path.name.startswith(".latch")]
    latch.set({"who": "me"})
    latch.clear()
    assert not latch.is_latched()


def test_a_write_that_is_cut_short_is_a_full_disk_and_keeps_what_is_there(
    latch: LatchFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    latch.set({"who": "first"})
    monkeypatch.setattr(os, "write", lambda descriptor, data: len(data) - 1)
    latch.set({"who": "second"})
    assert latch.read() == {"who": "first"}


def test_any_other_fault_is_the_callers(latch: LatchFile, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        latch.set({"who": "me"})
    assert not latch.is_latched()


@pytest.mark.parametrize("write", [lambda one: one.set({"a": 1}), lambda one: one.update(lambda facts: {"a": 1})])
def test_a_folder_that_is_gone_is_made_again_in_a_home_that_is_there(
    latch: LatchFile, folder: Path, write: Callable[[LatchFile], None]
) -> None:
    folder.rmdir()
    folder.parent.rmdir()
    write(latch)
    assert latch.read() == {"a": 1} and stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_home_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    latch = LatchFile(tmp_path / "gone" / "robots" / "default")
    with pytest.raises(FileNotFoundError):
        latch.set({})
    assert not (tmp_path / "gone").exists()


# -- placing and panicking ---------------------------------------------------------------------------------------------


def test_nothing_is_placed_once_it_is_on(latch: LatchFile) -> None:
    with latch.placing() as may:
        assert may is True
    latch.set({})
    with latch.placing() as may:
        assert may is False


def test_a_panic_waits_until_nobody_places(latch: LatchFile, folder: Path) -> None:
    panic = LatchFile(folder)
    assert panic.drain_placers(0.0)
    with latch.placing(), latch.placing():
        assert not panic.drain_placers(0.02)
    assert panic.drain_placers(0.0)
    with latch.placing():
        with latch.placing():
            pass
        assert not panic.drain_placers(0.02), "one of two is still placing"
    assert panic.drain_placers(0.02)


def test_a_panic_is_done_waiting_as_soon_as_nobody_places(latch: LatchFile, folder: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def place() -> None:
        with LatchFile(folder).placing():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=place)
    thread.start()
    assert entered.wait(10)
    threading.Timer(0.05, leave.set).start()
    assert latch.drain_placers(10.0)
    thread.join()


def test_nothing_is_placed_while_a_panic_holds_the_lock(latch: LatchFile, folder: Path) -> None:
    with latch.placing():
        pass
    (lock,) = folder.iterdir()
    assert lock.name == "latch.lock", "a robot that was started before an update locks this one"
    with lock.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with LatchFile(folder).placing() as may:
            assert may is False
    with LatchFile(folder).placing() as may:
        assert may is True
