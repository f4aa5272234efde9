"""Measure what an overlap rotation by the issuer costs a robot that trades: its gap, and how long it stands still.

The gap is what the robot itself reports (``trading_gap_s``): from the last instant at which an order could leave with
the old key to the first with the new one. Seen from outside, the robot is asked over its socket without a pause: the
longest wait for an answer during the rotation bounds every moment in which its event loop did something else, the vault
writes of the delivery included. Its peer is the same question over the same time without a rotation. Writes
docs/performance.md.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from _page import arguments, facts, write_section

from fortctl.errors import FortctlError
from fortctl.robot.process.local_robot import query

ROUNDS, QUICK_ROUNDS = 15, 1
EMAIL = "sub@paper.example"


class Home:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {name: text for name, text in os.environ.items() if not name.startswith("FORTCTL_")}

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "fortctl", "--home", str(self.folder), "--json", "--no-input", *words]

    def run(self, *words: str, given: str | None = None) -> dict[str, Any]:
        done = subprocess.run(
            self.argv(*words), input=given or "", capture_output=True, text=True, env=self.environment, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        data: dict[str, Any] = json.loads(done.stdout)["data"]
        return data


class Asker:
    """Asks the robot over its socket, one question after another; notes the longest wait."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.longest = 0.0
        self.asked = 0

    def __enter__(self) -> Asker:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._end.is_set():
            began = time.monotonic()
            try:
                query(self._folder, {"op": "ping"}, timeout_s=10.0)
            except FortctlError:
                continue
            self.longest = max(self.longest, time.monotonic() - began)
            self.asked += 1


def prepare(home: Home) -> None:
    master = json.dumps(home.run("paper", "keys", "create", "--name", "m", "--permissions", "reading,spot_trading"))
    home.run("init", "--exchange", "paper", "--slot", "keyfile")
    home.run("paper", "accounts", "create", "sub", "--sub-of", "default", "--email", EMAIL, "--deposit", "USDT=10000")
    home.run("issuer", "set", "sub-account", "--email", EMAIL, "--input", "-", given=master)
    for role in ("site", "robot"):
        home.run("keys", "add", "--role", role, "--issue", "--ip", "127.0.0.1")
    grid = ("--levels", "8", "--step", "0.05", "--take-profit", "0.05", "--order-quote", "50")
    home.run("robot", "configure", "--symbol", "BTCUSDT", *grid)
    home.run("robot", "start")


def measure(home: Home, rounds: int) -> list[dict[str, float]]:
    folder, found = home.folder / "robots" / "default", []
    for _round in range(rounds + 1):
        with Asker(folder) as during:
            began = time.monotonic()
            done = home.run("keys", "rotate", "--role", "robot", "--mode", "overlap")["operation"]
            whole = time.monotonic() - began
        with Asker(folder) as beside:
            time.sleep(whole)
        gap = float(done["trading_gap_s"])
        found.append({"gap": gap, "whole": whole, "stands": during.longest, "peer": beside.longest})
    return found[1:]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.3f} ms"


def main() -> None:
    quick = arguments(__doc__).parse_args().quick
    count = QUICK_ROUNDS if quick else ROUNDS
    with tempfile.TemporaryDirectory(prefix="rotation-") as name:
        home = Home(Path(name) / "home")
        serve = ("paper", "serve", "--market", "synthetic:7", "--speed", "100", "--limits", "off", "--port", "0")
        serving = subprocess.Popen(home.argv(*serve), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert serving.stdout is not None
        serving.stdout.readline()
        try:
            prepare(home)
            rounds = measure(home, count)
            requests = home.run("paper", "requests")["requests"]
            status = home.run("robot", "status")["robot"]
            os.kill(int(status["pid"]), 9)
        finally:
            serving.terminate()
            serving.wait()
    orders = [one for one in requests if one["method"] == "POST" and one["path"].endswith("/order")]
    refused = sum(1 for one in orders if one["status"] == 401)

    def shown(field: str) -> str:
        values = [one[field] for one in rounds]
        return f"{_ms(statistics.median(values))} | {_ms(max(values))}"

    write_section(
        "rotation",
        [
            "## Rotation",
            "",
            f"{facts('cryptography', 'aiohttp')}; {count} overlap rotations in a row by the issuer after one warm-up,"
            " while the robot trades a synthetic market at 100 times its speed. `benchmarks/rotation.py`.",
            "",
            "| what | budget | median | longest |",
            "| --- | --- | --- | --- |",
            f"| trading gap, as the robot reports it | < 1 s, stretch < 50 ms | {shown('gap')} |",
            f"| longest time without an answer over the robot's socket, during the rotation | – | {shown('stands')} |",
            f"| the same over as long a time without one | – | {shown('peer')} |",
            f"| the whole command: new key, delivery, swap, deletion, proof | – | {shown('whole')} |",
            "",
            f"{len(orders)} orders were placed meanwhile, {refused} refused for their key; "
            f"{status['cycles']['closed']} cycles closed.",
        ],
        quick=quick,
    )


if __name__ == "__main__":
    main()
