"""What a core file would hold: the writable memory of a process, and the traces of secrets in it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from fortctl.demo.checks import encoded_pieces


def image(pid: int | str) -> bytes:
    """Return a process's writable memory; root may read that of a guarded one, too. Skips where nobody may."""
    pieces = []
    try:
        with open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                where, mode = line.split()[:2]
                if not mode.startswith("rw"):
                    continue
                start, end = (int(part, 16) for part in where.split("-"))
                try:
                    memory.seek(start)
                    pieces.append(memory.read(end - start))
                except (OSError, ValueError):
                    continue
    except PermissionError:
        pytest.skip("the memory of another process is read as root alone")
    return b"\0".join(pieces)


def places(data: bytes, secrets: Iterable[str]) -> int:
    """Return how many pieces of secrets, in any encoding, a memory image holds."""
    windows = {window for secret in secrets for window in encoded_pieces(secret)}
    sizes = {len(window) for window in windows}
    # The first aligned word of a piece begins at one of its first four characters.
    words = {int.from_bytes(window[at : at + 4], sys.byteorder) for window in windows for at in range(4)}
    found = set()
    view = memoryview(data)[: len(data) // 4 * 4].cast("I")
    for block in range(0, len(view), 1024):
        for word in words.intersection(view[block : block + 1024]):
            needle, at, end = word.to_bytes(4, sys.byteorder), block * 4 - 1, block * 4 + 4096
            while (at := data.find(needle, at + 1, end)) >= 0:
                found |= {
                    start
                    for start in range(at - 3, at + 1)
                    if any(data[start : start + size] in windows for size in sizes)
                }
    return len(found)
