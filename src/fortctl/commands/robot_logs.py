"""Read the robot's log: JSON lines."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TAIL_BYTES = 4 * 1024 * 1024
_POLL_S = 0.2


def last_lines(path: Path, count: int) -> list[dict[str, Any]]:
    """Return the last entries of a log; empty when there is none yet."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL_BYTES))
            lines = stream.read().splitlines()
    except FileNotFoundError:
        return []
    return [_parsed(line) for line in lines[len(lines) - min(count, len(lines)) :]]


def follow_log(path: Path) -> Iterator[dict[str, Any]]:
    """Yield entries as they are appended, for ever; a rotated log is opened anew."""
    position = path.stat().st_size if path.exists() else 0
    rest = b""
    while True:
        try:
            with path.open("rb") as stream:
                if path.stat().st_size < position:
                    position, rest = 0, b""
                stream.seek(position)
                chunk = stream.read()
                position += len(chunk)
        except FileNotFoundError:
            chunk = b""
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (_parsed(line) for line in lines if line)
        time.sleep(_POLL_S)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"message": line.decode("utf-8", "replace")}
