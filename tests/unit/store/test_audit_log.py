"""The audit log finds any change, cut or reordering."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fortctl.errors import VaultDamagedError
from fortctl.secret import Secret
from fortctl.store.audit_log import AuditLogFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    log = AuditLogFile(tmp_path / "audit.jsonl")
    log.append("first", account="a", result="done")
    log.seal_with(Secret(b"k" * 32))
    for number in range(4):
        log.append("later", account="a", result="done", number=number)
    return tmp_path / "audit.jsonl"


def checked(path: Path) -> int:
    log = AuditLogFile(path)
    log.seal_with(Secret(b"k" * 32))
    return log.check().entries


def test_a_whole_chain(path: Path) -> None:
    assert checked(path) == 5
    entries = list(AuditLogFile(path).entries())
    assert entries[0]["seal"] is None and entries[1]["seal"]


@pytest.mark.parametrize("change", ["edit", "cut", "swap", "seal", "no seal", "doubled"])
def test_every_change_is_found(path: Path, change: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    if change == "edit":
        lines[2] = lines[2].replace('"number": 1', '"number": 7')
    elif change == "cut":
        del lines[2]
    elif change == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    elif change == "doubled":
        lines.insert(2, lines[2])
    else:
        entry = json.loads(lines[4])
        entry["seal"] = "0" * 64 if change == "seal" else None
        lines[4] = json.dumps(entry) + "\n"
    path.write_text("".join(lines))
    with pytest.raises(VaultDamagedError):
        checked(path)


def test_a_torn_end_is_told_then_taken_away(path: Path) -> None:
    with path.open("a") as stream:
        stream.write('{"half')
    with pytest.raises(VaultDamagedError) as found:
        checked(path)
    assert found.value.details["reason"] == "torn_end"
    AuditLogFile(path).append("panic", account="a", result="done", best_effort=True)
    assert [entry["what"] for entry in AuditLogFile(path).entries()][-2:] == ["torn end removed", "panic"]
    assert checked(path) == 7


def test_a_log_whose_seals_were_stripped_is_found(tmp_path: Path) -> None:
    """Somebody writes the whole chain anew, without the key: an entry of a generation must bear a seal."""
    log = AuditLogFile(tmp_path / "a.jsonl")
    log.append("key added", account="a", result="result", generation=3)
    assert log.check().entries == 1, "locked, only the chain is checked"
    log.seal_with(Secret(b"k" * 32))
    with pytest.raises(VaultDamagedError, match="no seal"):
        log.check()


@pytest.mark.parametrize("change", ["spaces", "doubled field", "no newline", "half a character"])
def test_an_entry_has_one_writing(path: Path, change: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    if change == "spaces":
        lines[1] = lines[1].replace(": ", ":  ", 1)
    elif change == "doubled field":
        lines[1] = lines[1].replace('"what": "later"', '"what": "nothing", "what": "later"')
    elif change == "half a character":
        lines[1] = lines[1].replace("later", "\\ud800")
    else:
        lines[-1] = lines[-1].rstrip("\n")
    path.write_text("".join(lines))
    with pytest.raises(VaultDamagedError):
        checked(path)


@pytest.mark.parametrize("change", ["edit", "hash", "spaces"])
def test_nothing_is_chained_on_an_entry_that_was_changed(path: Path, change: str) -> None:
    before = path.read_bytes()
    *head, last = before.decode().splitlines(keepends=True)
    entry = json.loads(last)
    if change == "spaces":
        last = last.replace(": ", ":  ", 1)
    else:
        entry |= {"number": 9} if change == "edit" else {"hash": "0" * 64}
        last = json.dumps(entry, ensure_ascii=False) + "\n"
    path.write_text("".join([*head, last]))
    with pytest.raises(VaultDamagedError, match="last entry") as found:
        AuditLogFile(path).append("next", account="a", result="done")
    assert found.value.hint and path.read_text() == "".join([*head, last])
    # A panic has its entry all the same; the check tells where the chain breaks.
    AuditLogFile(path).append("panic", account="a", result="done", best_effort=True)
    assert len(path.read_text().splitlines()) == len(head) + 2
    with pytest.raises(VaultDamagedError):
        checked(path)


@pytest.mark.parametrize("what", ["pipe", "device", "folder", "link"])
def test_a_log_that_is_no_plain_file_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "audit.jsonl"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "link":
        AuditLogFile(tmp_path / "other").append("first", account="a", result="done")
        path.symlink_to(tmp_path / "other")
    else:
        path = Path("/dev/zero")
    log = AuditLogFile(path)
    with pytest.raises(VaultDamagedError, match="not a regular file"):
        log.append("next", account="a", result="done")
    log.append("panic", account="a", result="done", best_effort=True)
    if what != "link":
        for read in (log.check, log.generations):
            with pytest.raises(VaultDamagedError, match="not a regular file"):
                read()
        assert log.head() is None


def test_long_entries_are_continued(tmp_path: Path) -> None:
    log = AuditLogFile(tmp_path / "a.jsonl")
    for _ in range(3):
        log.append("restored", account="a", result="done", comes_back=["é" * 50] * 4000)
    assert log.check().entries == 3 and log.head() == (3, log.check().head)


def test_what_looks_like_a_key_is_masked(tmp_path: Path) -> None:
    log = AuditLogFile(tmp_path / "a.jsonl")
    log.append("oops", account="a", result="done", note="K" * 64, more=[{"deep": "K" * 64}])
    assert "K" * 64 not in (tmp_path / "a.jsonl").read_text()
    assert log.check().entries == 1


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_entries_cut_off_the_end_are_missed_if_the_robot_remembers_them(path: Path, cut: int) -> None:
    anchor = AuditLogFile(path).head()
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: len(lines) - cut]))
    if not cut:
        assert AuditLogFile(path).check(anchor).entries == 5
        return
    with pytest.raises(VaultDamagedError, match="the log was cut") as found:
        AuditLogFile(path).check(anchor)
    assert found.value.details["entry"] == 5 - cut


def test_another_entry_in_the_place_of_the_remembered_one_is_found(path: Path) -> None:
    with pytest.raises(VaultDamagedError, match="entry 5 is not the one"):
        AuditLogFile(path).check((5, "0" * 64))
