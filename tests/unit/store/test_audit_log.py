"""The audit log finds any change, cut or reordering."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from fortctl.errors import ConflictError, VaultDamagedError
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


# -- what an entry says ------------------------------------------------------------------------------------------------


def test_an_entry_says_who_did_what_when_and_what_came_before(path: Path) -> None:
    first, second = list(AuditLogFile(path).entries())[:2]
    assert set(first) == {"seq", "time", "who", "what", "account", "result", "prev", "sealed", "hash", "seal"}
    assert set(first["who"]) == {"user", "host", "pid"} and first["who"]["pid"] == os.getpid()
    assert (first["seq"], first["prev"], first["sealed"], first["what"]) == (1, "0" * 64, False, "first")
    assert (second["seq"], second["prev"], second["sealed"], second["number"]) == (2, first["hash"], True, 0)
    assert first["time"].endswith("Z") and first["time"] <= second["time"]
    assert AuditLogFile(path).head() == (5, list(AuditLogFile(path).entries())[-1]["hash"])


@pytest.mark.parametrize("torn", [b"x", b"y" * 5_000, b"z" * 200_000])
def test_nothing_of_a_torn_end_is_left(path: Path, torn: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(torn)
    with pytest.raises(VaultDamagedError, match="half an entry"):
        checked(path)
    AuditLogFile(path).append("after", account="a", result="done")
    removed, after = list(AuditLogFile(path).entries())[-2:]
    assert (removed["what"], removed["bytes"], after["what"], after["seq"]) == (
        *("torn end removed", len(torn)),
        *("after", 7),
    )
    assert AuditLogFile(path).check().entries == 7


def test_a_log_that_holds_half_an_entry_alone_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"half')
    log = AuditLogFile(path)
    assert log.head() is None
    log.append("after", account="a", result="done")
    assert [entry["what"] for entry in log.entries()] == ["torn end removed", "after"] and log.check().entries == 2


def test_a_disk_that_refuses_leaves_the_log_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fortctl.store.audit_log.write_all", full)
    with pytest.raises(ConflictError, match="No space"):
        AuditLogFile(path).append("after", account="a", result="done")
    assert path.read_bytes() == before


def test_entries_of_several_at_once_are_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"

    def write(who: str) -> None:
        for number in range(25):
            AuditLogFile(path).append("at once", account=who, result="done", number=number)

    threads = [threading.Thread(target=write, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert AuditLogFile(path).check().entries == 100


# -- generations -------------------------------------------------------------------------------------------------------


def log_of(path: Path, *entries: tuple[str, int]) -> AuditLogFile:
    log = AuditLogFile(path)
    for result, generation in entries:
        facts = {"generation": generation} if generation else {}
        log.append("vault", account="a", result=result, **facts)
    return log


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ((), None),
        ((("done", 0), ("result", 0)), None),
        ((("intent", 3),), (3, 0)),
        ((("intent", 3), ("result", 3)), (3, 3)),
        ((("intent", 3), ("result", 3), ("intent", 4)), (4, 3)),
        ((("intent", 3), ("result", 3), ("intent", 4), ("done", 0)), (4, 3)),
        ((("intent", 9), ("result", 3), ("intent", 4)), (4, 3)),
        ((("accepted", 7),), (7, 7)),
        ((("intent", 8), ("accepted", 7)), (7, 7)),
        ((("intent", 8), ("intent", 7)), (8, 0)),
        ((("result", 2), ("refused", 5)), (5, 2)),
    ],
)
def test_the_generations_that_were_meant_and_reached(
    tmp_path: Path, entries: tuple[tuple[str, int], ...], expected: tuple[int, int] | None
) -> None:
    assert log_of(tmp_path / "audit.jsonl", *entries).generations() == expected


def test_generations_are_found_behind_many_other_entries(tmp_path: Path) -> None:
    log = log_of(tmp_path / "audit.jsonl", ("result", 5))
    for _entry in range(12):
        log.append("long", account="a", result="done", text=["word"] * 3_000)
    assert (tmp_path / "audit.jsonl").stat().st_size > 200_000 and log.generations() == (5, 5)
    assert log.check().entries == 13


def test_half_an_entry_has_no_generation(tmp_path: Path) -> None:
    log = log_of(tmp_path / "audit.jsonl", ("result", 5))
    with (tmp_path / "audit.jsonl").open("ab") as stream:
        stream.write(b'{"generation": 99, "result": "result"}')
    assert log.generations() == (5, 5)
    head = log.head()
    assert head is not None and head[0] == 1


@pytest.mark.parametrize("line", ["[]", '"text"', '{"generation": "x"}', '{"generation": 5}', "\xff"])
def test_a_malformed_end_is_damage_for_generations(tmp_path: Path, line: str) -> None:
    log = log_of(tmp_path / "audit.jsonl", ("result", 5))
    with (tmp_path / "audit.jsonl").open("a", encoding="latin-1") as stream:
        stream.write(line + "\n")
    with pytest.raises(VaultDamagedError, match="malformed"):
        log.generations()


# -- the check ---------------------------------------------------------------------------------------------------------


def test_a_check_counts_entries_and_seals_and_names_the_last(path: Path) -> None:
    log = AuditLogFile(path)
    unsealed = log.check()
    log.seal_with(Secret(b"k" * 32))
    done = log.check()
    last = list(log.entries())[-1]["hash"]
    assert (done.entries, done.sealed, done.head) == (5, 4, last) and (unsealed.entries, unsealed.sealed) == (5, 0)
    assert AuditLogFile(path.with_name("none")).check().entries == 0


def test_another_homes_seals_are_found(path: Path) -> None:
    log = AuditLogFile(path)
    log.seal_with(Secret(b"x" * 32))
    with pytest.raises(VaultDamagedError, match="entry 2 is not this home's"):
        log.check()


def test_an_entry_of_a_vaults_change_must_be_sealed(tmp_path: Path) -> None:
    log = log_of(tmp_path / "audit.jsonl", ("done", 0), ("result", 5))
    assert log.check().entries == 2
    log.seal_with(Secret(b"k" * 32))
    with pytest.raises(VaultDamagedError, match="audit entry 2 has no seal") as caught:
        log.check()
    assert caught.value.details["entry"] == 2


@pytest.mark.parametrize(("anchor", "good"), [(5, True), (6, False), (1, True)])
def test_a_robot_remembers_an_entry_that_must_be_there(path: Path, anchor: int, good: bool) -> None:
    log = AuditLogFile(path)
    hashes = [entry["hash"] for entry in log.entries()]
    remembered = (anchor, hashes[min(anchor, 5) - 1])
    if good:
        assert log.check(remembered).entries == 5
        with pytest.raises(VaultDamagedError, match="is not the one that the robot remembers"):
            log.check((anchor, "0" * 64))
    else:
        with pytest.raises(VaultDamagedError, match="ends at entry 5"):
            log.check(remembered)
