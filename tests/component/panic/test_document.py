"""The steps of a panic in docs/robot.md are what the table says."""

from __future__ import annotations

from support.harness import REPOSITORY
from tools.docgen import replace_section
from tools.panic_diagram import NAME, generated


def test_the_steps_in_the_documents_are_generated_from_the_table() -> None:
    text = (REPOSITORY / "docs" / "robot.md").read_text(encoding="utf-8")
    assert replace_section(text, NAME, generated()) == text, "run: python -m tools.panic_diagram"
