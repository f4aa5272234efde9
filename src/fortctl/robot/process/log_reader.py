"""Read the robot's log: JSON lines, rotated by size."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from fortctl.system.files import open_regular

_TAIL_BYTES = 4 * 1024 * 1024
_POLL_S = 0.2
_LONGEST_LINE = 1024 * 1024
Entry = dict[str, Any]


class LogReader:
    """Reads a log from its last lines on; no line is lost or repeated when the log is rotated meanwhile.

    Args:
        path: the newest file; ``PATH.1`` is the one before.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: IO[bytes] | None = None
        self._rest = b""

    def last(self, count: int) -> list[Entry]:
        """Return the last entries, those of the file before included; after it, :meth:`more` continues."""
        lines: list[bytes] = []
        if self._open():
            assert self._stream is not None
            lines = self._tail(self._stream)
        before = self._path.with_name(f"{self._path.name}.1")
        if len(lines) < count:
            with suppress(OSError), open(before, "rb", opener=open_regular) as stream:
                lines = [*self._tail(stream), *lines]
        # A line that is not complete yet follows with `more`.
        return [_parsed(line) for line in lines[max(0, len(lines) - count) :]]

    def more(self) -> list[Entry]:
        """Return what was appended since; a rotated log is read to its end first."""
        lines: list[bytes] = []
        while True:
            if self._stream is None and not self._open():
                return [_parsed(line) for line in lines]
            assert self._stream is not None
            lines += self._lines(self._stream.read())
            if not self._rotated(self._stream):
                return [_parsed(line) for line in lines]
            lines += self._lines(self._stream.read())
            self._stream.close()
            self._stream, self._rest = None, b""

    def follow(self, sleep: Callable[[float], None] = time.sleep) -> Iterator[Entry]:
        """Yield entries as they are appended, for ever."""
        while True:
            yield from self.more()
            sleep(_POLL_S)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _open(self) -> bool:
        try:
            self._stream = open(self._path, "rb", opener=open_regular)  # noqa: SIM115 (closed by close)
        except FileNotFoundError:
            return False
        return True

    def _tail(self, stream: IO[bytes]) -> list[bytes]:
        start = max(0, stream.seek(0, os.SEEK_END) - _TAIL_BYTES)
        stream.seek(start)
        data = stream.read()
        if start:
            data = data.partition(b"\n")[2]  # the first line is cut
        if stream is self._stream:
            return self._lines(data)
        return [line for line in data.split(b"\n") if line]

    def _lines(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            self._rest = b""
        return [line for line in lines if line]

    def _rotated(self, stream: IO[bytes]) -> bool:
        """Return whether the open file is not the newest one any more, or was cut."""
        here = os.fstat(stream.fileno())
        try:
            newest = self._path.stat()
        except FileNotFoundError:
            return False
        return (here.st_dev, here.st_ino) != (newest.st_dev, newest.st_ino) or newest.st_size < stream.tell()


def _parsed(line: bytes) -> Entry:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"message": line.decode("utf-8", "replace")}
