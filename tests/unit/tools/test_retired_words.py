from __future__ import annotations

from pathlib import Path

import pytest

from tools.retired_words import find_retired, main


def test_words_are_found_in_docstrings_comments_and_messages_but_not_in_names() -> None:
    source = (
        '"""One line.\n\nIt goes on alone."""\ntold = "told"\nraise ValueError("it is no number")  # nobody was told\n'
    )
    assert [line for line, _words, _instead in find_retired(source)] == [3, 5, 5]
    assert find_retired('"""There is no key, it is no longer used, it goes on the disk."""\n') == []


def test_the_program_lists_each_place_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.py"
    path.write_text("# written anew\n")
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().out == f"{path}:1: …# written anew… (again, from the start)\n"
    path.write_text("# written again\n")
    assert main([str(path)]) == 0
