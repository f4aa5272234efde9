"""Crash reports: a small file that says what failed, where, and in which state the robot was (adapter).

Nothing secret is in it: frames are file, line and function without values, the state is a list of names that are
known to be harmless, and the whole text passes the redaction that logs pass. A crash in native code, or the
watchdog's SIGABRT, is traced by faulthandler into a file of its own and made an incident at the next start.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import platform
import re
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from fortctl import __version__
from fortctl.config.home import make_private_folder
from fortctl.errors import FortctlError
from fortctl.secret import redact
from fortctl.system.files import open_regular, read_regular, write_private
from fortctl.timestamps import rfc3339

FOLDER, TRACE = "incidents", "crash.trace"
MOST_FILES, MOST_BYTES = 10, 64 * 1024
_MOST_FRAMES, _MOST_CAUSES, _LONGEST_TEXT = 40, 4, 2_000
_STATE = (
    *("state", "reason", "since", "cycles", "orders_open", "realised_profit", "profit_asset", "last_event_at"),
    *("price", "hold", "inventory", "config"),
)


class CrashReports:
    """The incident files of one robot.

    Args:
        folder: the robot's folder.
        account: its account.
    """

    def __init__(self, folder: Path, account: str) -> None:
        self._folder = folder
        self._account = account
        self._trace: IO[bytes] | None = None

    def note(
        self, error: BaseException, *, at_ms: int, where: str, state: Mapping[str, Any], log: Sequence[str] = ()
    ) -> Path | None:
        """Write what happened; None where even that fails, which must not hide the error itself."""
        return self._write(
            at_ms,
            {
                "where": where,
                "errors": [_described(one) for one in _chain(error)],
                "state": {name: state[name] for name in _STATE if name in state},
                "log": [line[:_LONGEST_TEXT] for line in log],
            },
        )

    def watch(self, at_ms: int) -> Path | None:
        """Have crashes in native code traced from here on; return the incident that the last such trace became."""
        made = None
        path = self._folder / TRACE
        with contextlib.suppress(OSError):
            left = read_regular(path)[:MOST_BYTES] if path.exists() else b""
            if left.strip():
                lines = [_without_place(line) for line in left.decode("utf-8", "replace").splitlines()[:200]]
                made = self._write(at_ms, {"where": "native code, or stopped by the watchdog", "trace": lines})
            descriptor = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW)
            self._trace = os.fdopen(descriptor, "wb", buffering=0)
            faulthandler.enable(self._trace)
        return made

    def close(self) -> None:
        """Trace no more."""
        if self._trace is not None:
            faulthandler.disable()
            self._trace.close()
            self._trace = None

    def _write(self, at_ms: int, facts: Mapping[str, Any]) -> Path | None:
        at = str(rfc3339(at_ms))
        document = {
            "format": "fortctl-incident/1",
            "at": at,
            "account": self._account,
            "pid": os.getpid(),
            "version": __version__,
            "python": platform.python_version(),
            **facts,
        }
        try:
            text = redact(json.dumps(document, ensure_ascii=False, indent=1, default=lambda one: type(one).__name__))
            if len(text.encode()) > MOST_BYTES:
                document.pop("log", None)
                document["state"] = {"cut": "too large"}
                text = redact(json.dumps(document, ensure_ascii=False, indent=1, default=lambda one: "…"))
            folder = self._folder / FOLDER
            make_private_folder(folder)
            path = folder / f"{at.replace(':', '').replace('.', '-')}-{os.getpid()}.json"
            write_private(path, text.encode()[:MOST_BYTES])
            for old in sorted(folder.glob("*.json"))[:-MOST_FILES]:
                old.unlink(missing_ok=True)
        except (OSError, FortctlError, ValueError):
            return None
        return path


def listed(folder: Path) -> list[dict[str, Any]]:
    """Return a robot's incidents, oldest first: ``at``, ``where``, ``error``, ``path``."""
    found = []
    for path in sorted((folder / FOLDER).glob("*.json"))[-MOST_FILES:]:
        with contextlib.suppress(OSError, ValueError):
            parsed = json.loads(read_regular(path)[: MOST_BYTES + 1])
            errors = parsed.get("errors") or [{"type": "a crash", "message": ""}]
            first = f"{errors[0]['type']}: {errors[0]['message']}".rstrip(": ")
            found.append({"at": parsed["at"], "where": parsed["where"], "error": first, "path": str(path)})
    return found


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain and len(chain) < _MOST_CAUSES:
        chain.append(at)
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return chain


def _described(error: BaseException) -> dict[str, Any]:
    # A foreign library's text may hold anything, a request's parameters too: of those, the type alone.
    own = isinstance(error, FortctlError | OSError | AssertionError)
    text = error.strerror if isinstance(error, OSError) else str(error)
    frames = traceback.extract_tb(error.__traceback__)[-_MOST_FRAMES:]
    return {
        "type": f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins."),
        "message": redact(str(text))[:_LONGEST_TEXT] if own and text else "",
        "frames": [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames],
    }


def _without_place(line: str) -> str:
    """Return a line of a native trace without where things are installed."""
    return _FILE.sub(lambda found: f'"{_short(found[1])}"', line)


_FILE = re.compile(r'"(/[^"]*)"')


def _short(filename: str) -> str:
    """Return a source file's path from its package on: where things are installed is nobody's business."""
    parts = Path(filename).parts
    for root in ("site-packages", "src"):
        if root in parts:
            return "/".join(parts[parts.index(root) + 1 :])
    return "/".join(parts[-2:])
