"""One account in real processes, ready to panic: a copy of a template's home, its robot trading on a moving market."""

from __future__ import annotations

import ctypes
import hashlib
import hmac
import json
import os
import resource
import shutil
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.harness import Paper, Ran, Shell, end_robots, run_command, serve_paper

LEVELS = 4
SETTINGS = (
    *("robot", "configure", "--symbol", "BTCUSDT", "--levels", str(LEVELS), "--step", "0.05"),
    *("--take-profit", "0.05", "--order-quote", "50"),
)
_PR_CAPBSET_DROP, _MODE_CAPABILITIES = 24, (1, 2, 3)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
_libc = ctypes.CDLL(None)


def obey_modes() -> None:
    """Take root's power over file modes away from the program that is about to be run (capabilities(7))."""
    if os.geteuid() == 0:
        for number in _MODE_CAPABILITIES:
            _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)


def write_no_byte() -> None:
    """No file of the program grows, as on a full disk (setrlimit(2), RLIMIT_FSIZE)."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@dataclass
class Template:
    """A paper exchange, and a home with both keys whose robot is configured and not running."""

    page: Shell
    paper: Paper
    home: Path
    keys: list[dict[str, str]]

    def cancel_all(self) -> None:
        """Leave no order of an earlier row at the exchange."""
        key = self.keys[1]
        signed_call(self.paper.ready["url"], "DELETE", "/api/v3/openOrders", key, {"symbol": "BTCUSDT"})


def signed_call(url: str, method: str, path: str, key: Mapping[str, str], fields: Mapping[str, str]) -> Any:
    query = urllib.parse.urlencode({**fields, "timestamp": int(time.time() * 1000)})
    signature = hmac.new(key["secret_key"].encode(), query.encode(), hashlib.sha256).hexdigest()
    request = urllib.request.Request(
        f"{url}{path}?{query}&signature={signature}", method=method, headers={"X-MBX-APIKEY": key["api_key"]}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def make_template(folder: Path, slot: str = "keyfile", speed: str = "600") -> Iterator[Template]:
    """Make a home once; each row panics in a copy of it."""
    page = Shell(folder / "page")
    paper = serve_paper(page, "--market", "synthetic:7", "--speed", speed, "--loop", "--limits", "off")
    shell = Shell(folder / "template")
    if slot == "passphrase":
        for name in ("site", "robot"):
            (folder / name).write_text(f"a phrase of the {name}\n")
            (folder / name).chmod(0o600)
        shell.environment["FORTCTL_PASSPHRASE_FILE"] = str(folder / "site")
        shell.environment["FORTCTL_ROBOT_PASSPHRASE_FILE"] = str(folder / "robot")
    try:
        shell.ok("init", "--exchange", paper.ready["url"], "--slot", slot)
        keys = []
        for role, permissions in (("site", "reading"), ("robot", "reading,spot_trading")):
            keys.append(page.ok("paper", "keys", "create", "--name", f"{role}-1", "--permissions", permissions))
            shell.ok("keys", "add", "--role", role, "--input", "-", stdin=json.dumps(keys[-1]))
        shell.ok(*SETTINGS)
        end_robots(shell.home)
        shell.await_status(lambda status: status["pid"] is None)
        yield Template(page, paper, shell.home, keys)
    finally:
        end_robots(shell.home)
        paper.stop()


@dataclass
class World:
    """A copy of the template's home, its robot trading.

    Attributes:
        prepare: what a command's process does to itself before it becomes fortctl.
        wrap: words before the command.
    """

    template: Template
    shell: Shell
    prepare: Callable[[], None] | None = None
    wrap: tuple[str, ...] = ()
    robot_pid: int = 0
    kept: list[Callable[[], None]] = field(default_factory=list)
    begun_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)

    @property
    def home(self) -> Path:
        return self.shell.home

    @property
    def place(self) -> Path:
        return self.home / "robots" / "default"

    def start(self) -> None:
        """Have the robot trade."""
        self.shell.ok("robot", "start")
        status = self.shell.await_status(lambda one: one["orders_open"] > 0, what="its orders")
        self.robot_pid = status["pid"]

    def hold_the_market(self) -> None:
        """Have the market stand still while orders are open, so that none of them fills meanwhile."""
        self.template.page.ok("paper", "market", "pause")
        self.kept.append(self.release_the_market)
        deadline = time.monotonic() + 30
        while not self.open_orders():
            assert time.monotonic() < deadline, "the robot has placed nothing"
            time.sleep(0.05)

    def release_the_market(self) -> None:
        self.template.page.ok("paper", "market", "resume")

    def panic(self, *words: str, **more: str) -> Ran:
        """Run ``panic-disconnect``, as the row has it."""
        special = {} if self.prepare is None else {"preexec_fn": self.prepare}
        argv = [*self.wrap, *self.shell.argv("panic-disconnect", "--yes", *words, "--json")]
        done = run_command(argv, {**self.shell.environment, **more}, **special)
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def panicking(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.shell.argv("panic-disconnect", "--yes", *words, "--json"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.shell.environment,
        )

    def orders_placed(self) -> list[dict[str, Any]]:
        """Return the orders that reached the exchange since this world began, by its own log."""
        requests = self.template.page.ok("paper", "requests", "--since", str(self.begun_ms))["requests"]
        return [one for one in requests if one["method"] == "POST" and one["path"] == "/api/v3/order"]

    def open_orders(self) -> list[dict[str, Any]]:
        key = self.template.keys[0]
        found = signed_call(self.template.paper.ready["url"], "GET", "/api/v3/openOrders", key, {})
        assert isinstance(found, list), f"the exchange does not tell them: {found}"
        return found

    def no_order_leaves(self, seconds: float = 1.0) -> None:
        """Assert by the exchange's log that nothing more arrives while the market moves on."""
        before = len(self.orders_placed())
        price = self.template.page.ok("paper", "market", "status")["price"]
        time.sleep(seconds)
        deadline = time.monotonic() + 20
        while self.template.page.ok("paper", "market", "status")["price"] == price:
            assert time.monotonic() < deadline, "the market stands still"
            time.sleep(0.05)
        assert len(self.orders_placed()) == before

    def key_traces(self) -> list[str]:
        """Return the files in which a key can still be read: an erasure key that is not zeros, or the key in clear."""
        found = []
        secrets = [key[name].encode() for key in self.template.keys for name in ("api_key", "secret_key")]
        for path in self.home.rglob("*"):
            if not path.is_file() or path.is_symlink():
                continue
            data = path.read_bytes()
            if any(secret in data for secret in secrets) or ("erasure" in path.parts and any(data)):
                found.append(str(path.relative_to(self.home)))
        return found

    def gone(self) -> bool:
        """Return whether the robot's process has ended."""
        try:
            return Path(f"/proc/{self.robot_pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True


@contextmanager
def a_world(template: Template, folder: Path) -> Iterator[World]:
    """Yield a copy of the template; whatever it started is ended, and nothing of it stays at the exchange."""
    shell = Shell(folder / "home")
    shutil.copytree(template.home, shell.home, ignore=shutil.ignore_patterns("socket"))
    world = World(template, shell)
    try:
        yield world
    finally:
        for undo in reversed(world.kept):
            undo()
        with suppress(ProcessLookupError):
            os.kill(template.paper.process.pid, signal.SIGCONT)
        end_robots(shell.home)
        subprocess.run(["chmod", "-R", "u+rwX", str(shell.home)], check=False)
        template.cancel_all()
