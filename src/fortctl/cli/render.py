"""Render plain output: tables, names and values, durations. Colour only on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO


def colourful(stream: TextIO) -> bool:
    """Return whether colour and animation may be used on a stream (NO_COLOR, TERM=dumb and a pipe switch them off)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """Colour a text (``red``, ``green``, ``yellow``, ``bold``, ``dim``) where the stream shows colour."""
    codes = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "bold": 1, "dim": 2}
    return f"\x1b[{codes[colour]}m{text}\x1b[0m" if colourful(stream or sys.stdout) else text


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return an aligned table; numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(heading), *(len(row[index]) for row in cells)]) for index, heading in enumerate(headings)]
    numeric = [bool(cells) and all(_is_number(row[index]) for row in cells) for index in range(len(headings))]

    def line(row: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([line([heading.upper() for heading in headings]), *(line(row) for row in cells)])


def render_data(data: Mapping[str, Any], indent: str = "") -> str:
    """Return names and values, a line each; lists of objects as tables."""
    lines = []
    width = max((len(name) for name in data), default=0)
    for name, value in data.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{name}:", render_data(value, indent + "  ")]
        elif isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
            headings = list(value[0])
            shown = table(headings, [[row.get(heading) for heading in headings] for row in value])
            lines += [f"{indent}{name}:", *(f"{indent}  {row}" for row in shown.splitlines())]
        else:
            lines.append(f"{indent}{name.ljust(width)}  {_cell(value)}".rstrip())
    return "\n".join(lines)


def duration(milliseconds: float | None) -> str:
    """Return a duration as text, for example ``250 ms`` or ``1.5 s``."""
    if milliseconds is None:
        return "–"
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def _cell(value: Any) -> str:
    if value is None or value == [] or value == {}:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_cell(item)}" for name, item in value.items())
    return str(value)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace("-", "", 1).isdigit()
