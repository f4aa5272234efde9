"""Nothing that fortctl prints steers a terminal, whoever wrote it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fortctl.cli.options import Invocation
from fortctl.cli.output import encode, print_error
from fortctl.cli.render import table
from fortctl.errors import ExchangeUnreachableError
from fortctl.terminal.printable import printable

HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202eevil\u2066\x7f\u2028"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain text, tab\tand line\n", "plain text, tab\tand line\n"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b[2J\x1b[8m", "\\x1b[2J\\x1b[8m"),
        ("back\rspace\x08", "back\\x0dspace\\x08"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x9b1A", "\\x9b1A"),
    ],
)
def test_unsafe_character_is_escaped_and_text_stays(text: str, safe: str) -> None:
    assert printable(text) == safe


@given(st.text())
def test_no_text_keeps_an_unsafe_character(text: str) -> None:
    left = printable(text)
    assert "\x1b]" not in left and not set(left) & set("\x07\x08\r\x7f\x9b\u202e\u2066\u2028")
    assert printable(left) == left


@given(st.text())
def test_json_is_the_same_document_without_unsafe_characters(text: str) -> None:
    line = encode({"message": text})
    assert json.loads(line) == {"message": text}
    assert not set(line) & set("\x1b\x07\x7f\x9b\u202e\u2066\u2028")


@pytest.mark.parametrize("as_json", [False, True])
def test_error_with_a_hostile_text_of_the_exchange_is_printed_escaped(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    error = ExchangeUnreachableError(f"the exchange: {HOSTILE}", hint=HOSTILE, warnings=(("X", HOSTILE),), text=HOSTILE)
    print_error(error, Invocation(command="keys verify"), as_json)
    printed = "".join(capsys.readouterr())
    assert "evil" in printed and not set(printed) & set("\x1b\x07\r\x7f\x9b\u202e\u2066\u2028")


def test_table_of_hostile_cells_is_printed_escaped() -> None:
    assert "\x1b" not in printable(table(["name"], [[HOSTILE]]))
