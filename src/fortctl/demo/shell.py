"""Run fortctl commands, each in a process of its own, in a home made for the demo."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fortctl.errors import InternalError

COMMAND_WITHIN_S = 120.0
READY_WITHIN_S = 30.0


class DemoShell:
    """One demo home and every process in it. Closing it ends them all and removes the home."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="fortctl-demo-"))
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("FORTCTL_")}
        self._children: list[subprocess.Popen[bytes]] = []

    def _argv(self, words: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-P", "-m", "fortctl", "--home", str(self.home), "--json", "--no-input", *words]

    def run(self, *words: str, given: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Run one command; return its exit code and its JSON document. ``given`` goes to standard input."""
        completed = subprocess.run(
            self._argv(words),
            input=json.dumps(given).encode() if given is not None else b"",
            capture_output=True,
            env=self._environment,
            timeout=COMMAND_WITHIN_S,
            check=False,
        )
        try:
            document: dict[str, Any] = json.loads(completed.stdout)
        except ValueError:
            raise InternalError(
                f"'fortctl {' '.join(words)}' printed no JSON document (exit {completed.returncode})"
            ) from None
        return completed.returncode, document

    def data(self, *words: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Run a command that must succeed; return its data."""
        code, document = self.run(*words, given=given)
        if code != 0:
            error = document.get("error", {})
            raise InternalError(
                f"'fortctl {' '.join(words)}' ended with {code}: {error.get('code')}: {error.get('message')}",
                hint=str(error.get("hint") or "see the message"),
                details={"words": list(words)},
            )
        data: dict[str, Any] = document["data"]
        return data

    def serve(self, *words: str) -> dict[str, Any]:
        """Start a serving command; return the data of its ready line."""
        child = self._spawn(words)
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line:
            raise InternalError(f"'fortctl {' '.join(words)}' did not start")
        data: dict[str, Any] = json.loads(line)["data"]
        return data

    @contextmanager
    def follow(self, *words: str) -> Iterator[Iterator[dict[str, Any]]]:
        """Start a following command; yield the documents that it prints, one a line; end it afterwards."""
        child = self._spawn(words)
        assert child.stdout is not None
        try:
            yield (json.loads(line) for line in child.stdout)
        finally:
            self._end(child)

    def _spawn(self, words: tuple[str, ...]) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            self._argv(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment,
            # Ctrl-C reaches the demo alone, which ends its children in order.
            start_new_session=True,
        )
        self._children.append(child)
        return child

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if child.stdout is not None:
            child.stdout.close()

    def close(self) -> None:
        """End every process of this home and remove the home."""
        with suppress(Exception):
            pid = self.run("robot", "status")[1]["data"]["robot"]["pid"]
            if pid:
                os.kill(int(pid), signal.SIGKILL)
        for child in self._children:
            self._end(child)
        shutil.rmtree(self.home, ignore_errors=True)
