"""An operator and a robot on different hosts (here: two homes that share a mailbox), paired and trading."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.harness import STILL, WAIT_S, Shell, end_robots
from support.hosted_exchange import HostedExchange, serve

SETTINGS = (
    *("robot", "configure", "--symbol", "BTCUSDT", "--levels", "3", "--step", "0.3"),
    *("--take-profit", "0.3", "--order-quote", "50"),
)


class Hosts:
    """The operator's home and the robot's, paired, the robot under ``robot run`` and trading."""

    def __init__(self, folder: Path, page: Shell, paper: HostedExchange, database: str | None) -> None:
        self.page = page
        self.operator, self.robot = Shell(folder / "operator"), Shell(folder / "robot")
        self.shared = folder / "shared"
        self.shared.mkdir(mode=0o770)
        self.url = database or f"sqlite://{self.shared / 'mailbox.sqlite'}"
        self.process: subprocess.Popen[bytes] | None = None
        for shell in (self.operator, self.robot):
            shell.ok("init", "--exchange", paper.ready["url"], "--slot", "keyfile")
        self.operator.ok("accounts", "set", "default", "--robot", "remote")
        self._pair()
        key = page.paper_key("robot-1", "reading,spot_trading")
        self.operator.ok("keys", "add", "--role", "robot", "--input", "-", stdin=key)
        self.operator.ok(*SETTINGS)
        # From here on under a service manager.
        end_robots(self.robot.home)
        self.run_robot()
        self.operator.ok("robot", "start")
        self.robot.await_status(lambda status: status["orders_open"] == 3)

    def _pair(self) -> None:
        words = ("robot", "pair", "--mailbox", self.url, "--timeout", "60")
        other = subprocess.Popen(
            self.robot.argv(*words, "--json"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=self.robot.environment,
        )
        code = self.operator.run(*words).data["code"]
        other.communicate(timeout=WAIT_S)
        self.robot.ok("robot", "pair", "--confirm", code)
        self.operator.ok("robot", "pair", "--confirm", code)

    def run_robot(self) -> None:
        self.process = subprocess.Popen(
            self.robot.argv("robot", "run"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.robot.environment,
        )
        self.robot.await_status(lambda status: status["pid"] == self.process.pid)  # type: ignore[union-attr]

    def ended(self) -> int:
        assert self.process is not None
        return self.process.wait(30)

    def placed(self) -> int:
        requests = self.page.ok("paper", "requests")["requests"]
        return len([one for one in requests if one["method"] == "POST" and one["path"] == "/api/v3/order"])

    def lock_out(self) -> None:
        """Take away all that could unlock or tell: panic has the order's file alone."""
        for name in ("vault.toml", "vault.key", "config.toml"):
            (self.operator.home / name).unlink()


@contextmanager
def two_hosts(folder: Path, page: Shell, database: str | None = None) -> Iterator[Hosts]:
    """Yield them; what they started is ended."""
    paper = serve(page, *STILL)
    both: Hosts | None = None
    try:
        both = Hosts(folder, page, paper, database)
        yield both
    finally:
        for home in (folder / "operator", folder / "robot"):
            end_robots(home)
        if both is not None and both.process is not None:
            both.process.wait(10)
        paper.stop()
