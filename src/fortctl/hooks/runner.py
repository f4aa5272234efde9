"""Start hooks in a clean environment, each under a supervisor of its own (adapter)."""

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
# What a program needs to find its way; nothing that a secret was ever put into.
KEPT = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "XDG_RUNTIME_DIR")
# The event fits into a pipe, so that writing it never waits for the hook (pipe(7)).
EVENT_LIMIT = 32 * 1024


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment a hook is given."""
    return {name: value for name, value in environment.items() if name in KEPT or name.startswith("LC_")}


class SubprocessHookRunner:
    """Starts programs; implements :class:`fortctl.ports.HookRunner`."""

    def start(self, argv: Sequence[str], event: bytes, *, limit_s: float) -> RunningHook:
        """Start a program with an event on its standard input.

        Args:
            argv: the program and its arguments; no shell sees them.
            event: one JSON document.
            limit_s: seconds after which the program is ended, also when this process is gone by then.

        Raises:
            OSError: nothing can be started.
        """
        if len(event) > EVENT_LIMIT:
            raise OSError(7, "the event is too large")
        words = [sys.executable, "-I", "-S", str(SUPERVISOR), str(limit_s), *argv]
        process = subprocess.Popen(
            words,
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
        return _Running(process)


class _Running:
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
            told = json.loads(line)
            return HookOutcome(told["exit"], bool(told["timed_out"]), redact(str(told["stderr"])).strip())
        except (ValueError, KeyError, TypeError):
            return HookOutcome(None, False, "its supervisor broke")


def notification(urls: Path) -> tuple[str, ...]:
    """Return the argument list that tells an event through Apprise.

    Args:
        urls: a 0600 file with Apprise's URLs, one a line.
    """
    return (sys.executable, "-P", "-m", "fortctl.hooks.notify", str(urls))
