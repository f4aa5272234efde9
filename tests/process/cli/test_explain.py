"""``fortctl explain`` through the executable."""

from __future__ import annotations

import pytest

from support.harness import Shell


@pytest.mark.parametrize("words", [("-2015",), ("--", "-2015"), ("-2015", "--")])
def test_explain_takes_a_negative_code_with_and_without_the_end_of_options(
    shell: Shell, words: tuple[str, ...]
) -> None:
    ran = shell.run("explain", *words, json_mode=False)
    assert ran.code == 0 and ran.out.startswith("-2015: "), ran.err


def test_explain_refuses_a_second_code(shell: Shell) -> None:
    assert shell.run("explain", "--", "-2015", "-1021", json_mode=False).code == 2
