from __future__ import annotations

from pathlib import Path

import pytest

from tools.docgen import replace_section, rewrite_section

TEXT = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n<!-- y: begin -->\n<!-- y: end -->\n"


def test_a_part_is_drawn_anew_and_nothing_else_changes(tmp_path: Path) -> None:
    new = replace_section(TEXT, "x", "new")
    assert new == TEXT.replace("\nold\n", "\n\nnew\n\n") and replace_section(new, "x", "new") == new
    path = tmp_path / "page.md"
    path.write_text(TEXT)
    assert rewrite_section(path, "x", "new") == 0 and path.read_text() == new


@pytest.mark.parametrize("text", ["", TEXT.replace("x: end", "z"), TEXT.replace("x: begin", "z")])
def test_a_part_that_is_not_there_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="'x'"):
        replace_section(text, "x", "new")
