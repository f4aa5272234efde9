"""docs/glossary.md names every state, reason, role, mode and step that fortctl shows to a person."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fortctl.model import Role
from fortctl.robot.core.cycle import CycleState
from fortctl.robot.core.hold_reasons import HoldCode
from fortctl.robot.core.lifecycle import DERIVED
from fortctl.robot.core.submission import SubmissionStep
from fortctl.services.panic import plan as panic
from fortctl.services.rotation import plan as rotation

GLOSSARY = Path(__file__).resolve().parents[3] / "docs" / "glossary.md"
WORDS: dict[str, list[str]] = {
    "hold reason": list(HoldCode),
    "state of a robot": [name for name, _holds in DERIVED],
    "state of a cycle": list(CycleState),
    "role": list(Role),
    "submission step": list(SubmissionStep),
    "mode of a rotation": list(rotation.RotationMode),
    "step of a rotation": list(rotation.KINDS),
    "step of a panic": [kind.name for kind in panic.PLAN],
}


@pytest.mark.parametrize("kind", WORDS)
def test_glossary_names_every_word(kind: str) -> None:
    named = set(re.findall(r"`([^`]+)`", GLOSSARY.read_text(encoding="utf-8")))
    assert [str(word) for word in WORDS[kind] if str(word) not in named] == []


def test_every_term_has_one_meaning_on_one_line() -> None:
    rows = [line for line in GLOSSARY.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row for row in cells if len(row) != 2 or not all(row)] == []
