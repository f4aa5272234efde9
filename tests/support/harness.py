"""Real processes for tests: the executable, the paper exchange, a home of one's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.fork_server import fork_server

REPOSITORY = Path(__file__).resolve().parents[2]

# A market that moves less than 0.1 % in five minutes. At speed 1 it falls by more than a level within one: on a slow
# machine an order fills in the middle of a test, and a drain then waits for a price that never comes.
STILL = ("--market", "synthetic:7", "--speed", "0.1", "--limits", "real")

# How long a test waits for what must come. On a busy machine everything takes as long as it takes; a wait that is
# answered costs nothing.
WAIT_S = 300.0

# A grid on that market: three buys, none of which is reached while it stands still.
THREE_LEVELS = ("robot", "configure", "--symbol", "BTCUSDT", "--levels", "3", "--step", "0.3", "--take-profit", "0.3")

# Rows with real processes beyond the few that 'make test' can afford.
campaign = pytest.mark.skipif(not os.environ.get("FORTCTL_CRASH"), reason="a row of 'make crash'")


def recording(name: str) -> Path:
    """Return a recording's path, from FORTCTL_MARKET_DATA or the shared folder beside the repository; else skip."""
    given = os.environ.get("FORTCTL_MARKET_DATA")
    folder = Path(given) if given else REPOSITORY.parent / "shared" / "market"
    path = folder / name if folder.is_dir() else folder
    if not path.is_file():
        pytest.skip(f"the recording {name} is not here (set FORTCTL_MARKET_DATA)")
    return path


@dataclass
class Ran:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def doc(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = self.doc["data"]
        return data

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.doc["error"]
        return error


def clean_environment(**more: str) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FORTCTL_")}
    environment.pop("CREDENTIALS_DIRECTORY", None)
    return {**environment, **more}


def forks(argv: list[str], environment: dict[str, str]) -> bool:
    """Return whether a process is forked: it behaves as one that is started, and nobody asked for real starts."""
    own = argv[:3] == [sys.executable, "-m", "fortctl"]
    return own and not os.environ.get("FORTCTL_REAL_STARTS") and fork_server().can_run(environment)


def run_command(
    argv: list[str], environment: dict[str, str], data: bytes | None = None, timeout: float = WAIT_S, **process: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run ``python -m fortctl ...`` to its end, in a fork of a process that has imported the product.

    A real start it is with ``FORTCTL_REAL_STARTS``, for another interpreter, for a process with options of its own
    (``user``, ``cwd``), and with an environment that an interpreter reads when it starts.
    """
    if not process and forks(argv, environment):
        return fork_server().run(argv[3:], environment, data, timeout)
    return subprocess.run(
        argv,
        input=data,
        stdin=subprocess.DEVNULL if data is None else None,
        capture_output=True,
        env=environment,
        timeout=timeout,
        check=False,
        **process,
    )


def run_text(words: Iterable[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one command whose home is not known: with these variables of ours in its environment, and no others."""
    done = run_command([sys.executable, "-m", "fortctl", *words], clean_environment(**environment))
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@dataclass
class Shell:
    """Types fortctl commands, each a process of its own, in one home."""

    home: Path
    environment: dict[str, str] = field(default_factory=clean_environment)
    transcript: list[str] = field(default_factory=list)
    user: int | None = None

    def as_user(self) -> dict[str, Any]:
        """Return what makes a subprocess another OS user's (root alone may)."""
        if self.user is None:
            return {}
        return {"user": self.user, "group": self.user, "extra_groups": [], "cwd": "/"}

    def argv(self, *words: str) -> list[str]:
        # A foreign client's environment has no fortctl: there another interpreter is named.
        python = os.environ.get("FORTCTL_UNDER_TEST", sys.executable)
        return [python, "-m", "fortctl", "--home", str(self.home), *words]

    def run(
        self, *words: str, stdin: str | bytes | None = None, json_mode: bool = True, timeout: float = WAIT_S
    ) -> Ran:
        """Run one command; with ``json_mode`` it is given ``--json``."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = run_command(
            self.argv(*words, *(["--json"] if json_mode else [])), self.environment, data, timeout, **self.as_user()
        )
        ran = Ran(done.returncode, done.stdout.decode(), done.stderr.decode())
        self.transcript += [ran.out, ran.err]
        return ran

    def ok(self, *words: str, stdin: str | bytes | None = None, timeout: float = WAIT_S) -> dict[str, Any]:
        """Run a command that must succeed; return its data."""
        ran = self.run(*words, stdin=stdin, timeout=timeout)
        assert ran.code == 0, f"fortctl {' '.join(words)} exited {ran.code}: {ran.out} {ran.err}"
        return ran.data

    def paper_key(self, name: str, permissions: str, *more: str) -> str:
        """Create a key on the paper exchange's page; return what ``keys add --input -`` takes.

        ``more`` are options of ``fortctl paper keys create``; without any the page is asked without a command. Tests
        whose interpreter has no fortctl of its own (tests/compat) always use the command.
        """
        if more or "FORTCTL_UNDER_TEST" in os.environ:
            return json.dumps(self.ok("paper", "keys", "create", "--name", name, "--permissions", permissions, *more))
        from fortctl.paper.admin_client import ask

        return json.dumps(
            ask(self.home / "paper", "keys/create", {"name": name, "permissions": permissions.split(",")})
        )

    def status(self) -> dict[str, Any]:
        robot: dict[str, Any] = self.ok("robot", "status")["robot"]
        return robot

    def await_status(self, wanted: Any, timeout: float = WAIT_S, what: str = "the wanted status") -> dict[str, Any]:
        """Wait until ``wanted(status)`` of what ``robot status`` prints.

        A running robot is asked over its socket first: a command for each question would cost more than the test.
        """
        deadline = time.monotonic() + timeout
        while True:
            if self._may_be(wanted) or time.monotonic() >= deadline:
                status = self.status()
                if wanted(status):
                    return status
                assert time.monotonic() < deadline, f"{what} did not come: {json.dumps(status)[:2000]}"
            time.sleep(0.05)

    def _may_be(self, wanted: Any) -> bool:
        """Return False where the robot's own answer is not the wanted one, and there is time to ask again."""
        from fortctl.errors import FortctlError
        from fortctl.robot.process.local_robot import query

        folder = self.home / "robots" / "default"
        try:
            owner = json.loads((folder / "robot.lock").read_bytes())
            answer = query(folder, {"op": "status"}, timeout_s=1.0)
            return bool(wanted({**answer, "pid": owner["pid"], "host": owner["host"]}))
        except (FortctlError, OSError, ValueError, KeyError):
            return True

    def await_state(self, state: str, timeout: float = WAIT_S) -> dict[str, Any]:
        """Poll until the robot is in a state: it may make its books agree again at any moment, for its own reasons."""
        return self.await_status(lambda status: status["state"] == state, timeout, f"the state {state}")


@dataclass
class Paper:
    """A paper exchange process."""

    process: subprocess.Popen[bytes]
    ready: dict[str, Any]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def serve_paper(shell: Shell, *words: str) -> Paper:
    """Start ``fortctl paper serve`` and wait for its ready line."""
    folder = os.environ.get("COMPAT_LOG")
    if folder:
        words = (*words, "--request-log", str(Path(folder) / f"{os.getpid()}-{time.time_ns()}.jsonl"))
    process = subprocess.Popen(
        shell.argv("paper", "serve", *words, "--port", "0", "--json"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=shell.environment,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"paper serve ended with {process.wait()}"
    ready = json.loads(line)
    assert ready["ok"] is True and ready["command"] == "paper serve"
    return Paper(process, ready["data"])


def end_robots(home: Path) -> None:
    """SIGKILL what may still run for a home (only processes that name it on their command line)."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError, ValueError):
            if str(home).encode() in entry.read_bytes() and int(entry.parent.name) != os.getpid():
                os.kill(int(entry.parent.name), signal.SIGKILL)
