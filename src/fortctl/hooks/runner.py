"""Start hooks in a clean environment, each under its own supervisor process (adapter)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fortctl.ports import HookOutcome, RunningHook
from fortctl.secret import redact

SUPERVISOR = Path(__file__).with_name("supervisor.py")
# The variables that a program needs; none of them ever holds a secret.
KEPT = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "XDG_RUNTIME_DIR")
# Fits into a pipe's buffer, so writing an event never waits for the hook (pipe(7)).
EVENT_LIMIT = 32 * 1024


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that a hook receives."""
    return {name: value for name, value in environment.items() if name in KEPT or name.startswith("LC_")}


class SubprocessHookRunner:
    """Starts programs; implements :class:`fortctl.ports.HookRunner`."""

    def start(self, argv: Sequence[str], event: bytes, *, limit_s: float) -> RunningHook:
        """Start a program with an event on its standard input.

        Args:
            argv: the program and its arguments; no shell interprets them.
            event: one JSON document.
            limit_s: seconds after which the program is killed, even if this process has ended by then.

        Raises:
            OSError: no process can be started, or the event is too large.
        """
        if len(event) > EVENT_LIMIT:
            raise OSError(7, "the event is too large")
        command = [sys.executable, "-I", "-S", str(SUPERVISOR), str(limit_s), *argv]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            close_fds=True,
            start_new_session=True,
            cwd="/",
            env=clean_environment(os.environ),
        )
        assert process.stdin is not None
        try:
            process.stdin.write(event)
            process.stdin.close()
        except BrokenPipeError:
            pass  # a hook need not read
        return _SupervisedHook(process)


class _SupervisedHook:
    """A started hook; implements :class:`fortctl.ports.RunningHook`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def outcome(self, wait_s: float) -> HookOutcome | None:
        import select

        assert self._process.stdout is not None
        deadline, line = time.monotonic() + wait_s, b""
        while not line.endswith(b"\n"):
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                return None
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                break
            line += chunk
        self._process.stdout.close()
        self._process.wait()
        try:
            report = json.loads(line)
            return HookOutcome(report["exit"], bool(report["timed_out"]), redact(str(report["stderr"])).strip())
        except (ValueError, KeyError, TypeError):
            return HookOutcome(None, False, "the hook's supervisor failed")


def notification(urls: Path) -> tuple[str, ...]:
    """Return the argument list of the hook that sends an event through Apprise.

    Args:
        urls: a 0600 file with Apprise URLs, one a line.
    """
    return (sys.executable, "-P", "-m", "fortctl.hooks.notify", str(urls))
