"""Every benchmark completes one short round (``--quick``), prints its table and leaves docs/performance.md alone."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "performance.md"
# script → what it needs besides fortctl
BENCHMARKS = {
    "accounts": ("binance",),
    "cold_start": ("typer",),
    "panic": (),
    "paper": (),
    "robot": ("binance",),
    "rotation": (),
}


def test_no_benchmark_is_forgotten() -> None:
    assert {path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py")} == BENCHMARKS.keys()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_quick_round_prints_a_table_and_writes_no_page(name: str) -> None:
    missing = [peer for peer in BENCHMARKS[name] if find_spec(peer) is None]
    if missing:
        pytest.skip(f"its peer is not installed: {', '.join(missing)}")
    page = PAGE.read_bytes()
    words = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--quick"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert "\n## " in "\n" + done.stdout and len(rows) >= 3, done.stdout
    assert PAGE.read_bytes() == page
