"""Cold starts beside their peers, whole processes in turn (A B A B …), medians and ratios into docs/performance.md.

Rows: ``fortctl --version`` against ``python -c "import click"``; ``fortctl keys list --json`` (key-file slot) and
``fortctl robot status --json`` (robot running) against a Typer hello of two commands.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _page import arguments, facts, write_section

PAIRS = 21
HELLO = """
import typer
app = typer.Typer()
@app.command()
def hello(name: str = "x") -> None: print(name)
@app.command()
def bye(name: str = "x") -> None: print(name)
app()
"""


def timed(words: list[str], environment: dict[str, str]) -> float:
    """Return a process's wall time (ms)."""
    started = time.perf_counter()
    subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - started) * 1000


def compare(rounds: int, ours: list[str], peer: list[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """Return the medians of ours, of the peer, and of the ratio pair by pair."""
    for words in (ours, peer):
        timed(words, environment)
    pairs = [(timed(ours, environment), timed(peer, environment)) for _ in range(rounds)]
    return (
        statistics.median(pair[0] for pair in pairs),
        statistics.median(pair[1] for pair in pairs),
        statistics.median(pair[0] / pair[1] for pair in pairs),
    )


def main() -> int:
    quick = arguments(__doc__).parse_args().quick
    rounds = 1 if quick else PAIRS
    with tempfile.TemporaryDirectory(prefix="fortctl-bench-") as folder:
        hello = Path(folder) / "hello.py"
        hello.write_text(HELLO)
        environment = {**os.environ, "FORTCTL_HOME": str(Path(folder) / "home")}
        # An installed fortctl has its bytecode beside it, as the peers' packages have.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        fortctl = [str(Path(sys.executable).with_name("fortctl"))]

        def run(*words: str, given: str | None = None) -> str:
            done = subprocess.run(
                [*fortctl, *words, "--json"], env=environment, input=given, capture_output=True, text=True, check=True
            )
            return done.stdout

        serve = subprocess.Popen(
            [*fortctl, "paper", "serve", "--market", "synthetic:1", "--port", "0", "--json"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        pid = 0
        try:
            assert serve.stdout is not None
            serve.stdout.readline()
            run("paper", "market", "pause")
            run("init", "--exchange", "paper", "--slot", "keyfile")
            for role, rights in (("site", "reading"), ("robot", "reading,spot_trading")):
                made = run("paper", "keys", "create", "--name", role, "--permissions", rights)
                run("keys", "add", "--role", role, "--input", "-", given=made)
            pid = json.loads(run("robot", "status"))["data"]["robot"]["pid"]
            rows = [
                (
                    "`fortctl --version`",
                    '`python -c "import click"`',
                    "≤ 0.45 ×",
                    *compare(rounds, [*fortctl, "--version"], [sys.executable, "-c", "import click"], environment),
                ),
                (
                    "`fortctl keys list --json` (key-file slot)",
                    "Typer hello, two commands",
                    "≤ 0.6 ×",
                    *compare(
                        rounds, [*fortctl, "keys", "list", "--json"], [sys.executable, str(hello), "hello"], environment
                    ),
                ),
                (
                    "`fortctl robot status --json`, robot running",
                    "Typer hello, two commands",
                    "≤ 0.5 ×",
                    *compare(
                        rounds,
                        [*fortctl, "robot", "status", "--json"],
                        [sys.executable, str(hello), "hello"],
                        environment,
                    ),
                ),
            ]
        finally:
            if pid:
                os.kill(pid, 15)
            serve.terminate()
            serve.wait()
    write(rows, rounds, quick=quick)
    return 0


def write(rows: list[tuple[str, str, str, float, float, float]], rounds: int, *, quick: bool) -> None:
    lines = [
        "## Cold start",
        "",
        f"{facts('click', 'typer', 'cryptography')}; {rounds} pairs after one warm-up, medians, whole processes."
        " `benchmarks/cold_start.py`.",
        "",
        "| what | peer in the same run | budget | ours | peer | ratio |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {what} | {peer} | {budget} | {ours:.0f} ms | {theirs:.0f} ms | {ratio:.2f} × |"
            for what, peer, budget, ours, theirs, ratio in rows
        ),
    ]
    write_section("cold_start", lines, quick=quick)


if __name__ == "__main__":
    raise SystemExit(main())
