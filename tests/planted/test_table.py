"""The planted bugs still find their places, and the document's table is theirs (``make planted`` plants them)."""

from __future__ import annotations

import shutil
from pathlib import Path

from planted.bugs import BUGS
from planted.run import NAME, plant, table
from support.harness import REPOSITORY
from tools.docgen import replace_section


def test_every_bug_has_its_place_in_the_source(tmp_path: Path) -> None:
    assert len(BUGS) >= 10
    for number, bug in enumerate(BUGS):
        source = tmp_path / str(number)
        (source / "fortctl" / bug.file).parent.mkdir(parents=True)
        shutil.copy(REPOSITORY / "src" / "fortctl" / bug.file, source / "fortctl" / bug.file)
        plant(bug, source)
        assert (REPOSITORY / bug.test.partition(" ")[0]).exists()


def test_the_documents_table_is_the_list() -> None:
    text = (REPOSITORY / "docs" / "robot.md").read_text(encoding="utf-8")
    assert replace_section(text, NAME, table()) == text and BUGS[0].name in text
