"""Plain output: tables and values."""

from __future__ import annotations

import io

import pytest

from fortctl.cli.output import encode
from fortctl.cli.render import colourful, duration, paint, render_data, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_is_aligned_and_numbers_stand_to_the_right() -> None:
    assert table(["name", "free"], [["XRP", "1.50"], ["ETH", "-20"], ["DOGE", None]]).splitlines() == [
        "NAME  FREE",
        "XRP   1.50",
        "ETH   -20",
        "DOGE  –",
    ]
    assert table(["asset", "free"], [["XRP", "1.50"], ["ETH", "-20"]]).splitlines()[1:] == [
        "XRP    1.50",
        "ETH     -20",
    ]
    assert table(["name"], []) == "NAME"


def test_values_a_line_each_and_lists_as_tables() -> None:
    shown = render_data({"a": True, "longer": [], "nested": {"x": 1}, "rows": [{"n": 1, "m": [1, 2]}, {"n": 22}]})
    assert shown.splitlines() == [
        "a       yes",
        "longer  –",
        "nested:",
        "  x  1",
        "rows:",
        "   N  M",
        "   1  1, 2",
        "  22  –",
    ]
    assert render_data({}) == ""


def test_durations() -> None:
    assert [duration(value) for value in (None, 0.4, 999, 1000, 61_000)] == ["–", "0 ms", "999 ms", "1.0 s", "61.0 s"]


def test_colour_only_where_somebody_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert paint("x", "red", Terminal()) == "\x1b[31mx\x1b[0m"
    assert paint("x", "red", io.StringIO()) == "x" and not colourful(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert paint("x", "red", Terminal()) == "x"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("x", "red", Terminal()) == "x"


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", '{"a": "…"}'), ("ascii", '{"a": "\\u2026"}')])
def test_json_suits_the_stream(monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert encode({"a": "…"}) == shown
    assert encode({"a": "\udcff"}) == '{"a": "\\udcff"}'
