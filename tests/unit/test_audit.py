"""The audit log finds any change, cut or reordering."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fortctl.audit import AuditFile
from fortctl.errors import VaultDamaged
from fortctl.secret import Secret


@pytest.fixture
def path(tmp_path: Path) -> Path:
    log = AuditFile(tmp_path / "audit.jsonl")
    log.append("first", account="a", result="done")
    log.seal_with(Secret(b"k" * 32))
    for number in range(4):
        log.append("later", account="a", result="done", number=number)
    return tmp_path / "audit.jsonl"


def checked(path: Path) -> int:
    log = AuditFile(path)
    log.seal_with(Secret(b"k" * 32))
    return log.check().entries


def test_a_whole_chain(path: Path) -> None:
    assert checked(path) == 5
    entries = list(AuditFile(path).entries())
    assert entries[0]["seal"] is None and entries[1]["seal"]


@pytest.mark.parametrize("change", ["edit", "cut", "swap", "seal", "doubled"])
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
        entry["seal"] = "0" * 64
        lines[4] = json.dumps(entry) + "\n"
    path.write_text("".join(lines))
    with pytest.raises(VaultDamaged):
        checked(path)


def test_a_torn_end_is_refused_and_panic_goes_on(path: Path) -> None:
    with path.open("a") as stream:
        stream.write('{"half')
    with pytest.raises(VaultDamaged):
        AuditFile(path).append("x", account="a", result="done")
    AuditFile(path).append("panic", account="a", result="done", best_effort=True)


def test_what_looks_like_a_key_is_masked(tmp_path: Path) -> None:
    log = AuditFile(tmp_path / "a.jsonl")
    log.append("oops", account="a", result="done", note="K" * 64)
    assert "K" * 64 not in (tmp_path / "a.jsonl").read_text()
    assert log.check().entries == 1
