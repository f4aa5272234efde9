"""The request log: the latest requests in memory, and all of them in a file if one is named; without secrets."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

MAX_ENTRIES, MAX_BYTES = 100_000, 64 * 1024 * 1024
# About what an entry takes besides its path and its parameters.
ENTRY_BYTES = 600
Entry = dict[str, Any]


class RequestLog:
    """The requests of one server; old ones are dropped from memory beyond 100,000 entries or 64 MiB.

    Args:
        now: returns the exchange's time (ms).
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._entries: deque[Entry] = deque()
        self._sizes: deque[int] = deque()
        self._sequence = self._bytes = 0
        self._file: TextIO | None = None

    def open(self, path: Path) -> None:
        """Append every entry to a file from now on, one JSON document a line (mode 0600)."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._file = open(descriptor, "a", encoding="utf-8")  # noqa: SIM115 (open for the server's whole life)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, entry: Entry) -> None:
        """Record a request, numbered and with its time."""
        self._sequence += 1
        entry = {"seq": self._sequence, "time": self._now(), **entry}
        self._entries.append(entry)
        self._sizes.append(_size(entry))
        self._bytes += self._sizes[-1]
        while self._bytes > MAX_BYTES or len(self._entries) > MAX_ENTRIES:
            self._entries.popleft()
            self._bytes -= self._sizes.popleft()
        if self._file is not None:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()

    def since(self, time: int) -> list[Entry]:
        """Return the entries from a time (ms) on, oldest first."""
        return [entry for entry in self._entries if entry["time"] >= time]


def _size(entry: Entry) -> int:
    """Return about how much memory an entry takes (bytes)."""
    parameters = entry.get("query") or {}
    return ENTRY_BYTES + len(entry["path"]) + sum(len(name) + len(value) for name, value in parameters.items())
