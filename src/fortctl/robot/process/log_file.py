"""The robot's log: JSON lines in ``robot.log``, rotated by size (adapter). Every record passes the redaction."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fortctl.secret import install_redaction
from fortctl.system.files import open_regular
from fortctl.timestamps import rfc3339

_REMEMBERED = 50


@dataclass(frozen=True)
class LogShape:
    """What is logged, and how much of it is kept.

    Attributes:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        max_bytes: a larger file is rotated.
        files: rotated files that are kept.
    """

    level: str = "info"
    max_bytes: int = 8 * 1024 * 1024
    files: int = 3


class RobotLog:
    """Owns the log's handlers. Other libraries' warnings, and asyncio's, reach the same file.

    Args:
        path: ``robot.log``.
        account: named in each line.
        shape: as above.
        echo: the lines also go to stderr (a service manager's journal).
    """

    def __init__(self, path: Path, account: str, shape: LogShape, *, echo: bool) -> None:
        self._file = _PrivateFile(path, maxBytes=shape.max_bytes, backupCount=shape.files, encoding="utf-8")
        self._memory = _LastLines()
        handlers: list[logging.Handler] = [self._file, self._memory]
        if echo:
            handlers.append(logging.StreamHandler(sys.stderr))
        for handler in handlers:
            handler.setFormatter(JsonLines(account))
        install_redaction(handlers)
        self._handlers = handlers
        self.logger = logging.getLogger("fortctl.robot")
        root = logging.getLogger()
        for handler in handlers:
            root.addHandler(handler)
        root.setLevel(logging.WARNING)
        logging.captureWarnings(True)
        self.reshape(shape)

    def reshape(self, shape: LogShape) -> None:
        """Take another shape, from the next line on."""
        self.logger.setLevel(shape.level.upper())
        self._file.maxBytes, self._file.backupCount = shape.max_bytes, shape.files

    def last_lines(self) -> list[str]:
        """Return the newest lines, as they were written."""
        return list(self._memory.lines)

    def close(self) -> None:
        root = logging.getLogger()
        for handler in self._handlers:
            root.removeHandler(handler)
            handler.close()


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """Makes every file 0600, the one after a rotation too, whatever the process's umask."""

    def _open(self) -> Any:
        def private(name: str, flags: int) -> int:
            return open_regular(name, flags | os.O_NOFOLLOW)

        return open(self.baseFilename, self.mode, encoding=self.encoding, opener=private)


class _LastLines(logging.Handler):
    """Keeps the newest lines for an incident file."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=_REMEMBERED)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, account: str) -> None:
        super().__init__()
        self._account = account

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": rfc3339(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "account": self._account,
            "message": record.getMessage(),
        }
        if record.name != "fortctl.robot":
            entry["logger"] = record.name
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            entry["trace"] = record.exc_text
        return json.dumps(entry, ensure_ascii=False)
