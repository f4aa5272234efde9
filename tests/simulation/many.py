"""``make sim``: many worlds on two cores; what was played already is not played again (``.sim/``)."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterable
from multiprocessing import get_context
from pathlib import Path

from simulation.campaign import run_world

ROOT = Path(__file__).resolve().parents[2]
PIECE = 50


def source() -> str:
    """Return what the worlds are made of: with other code they are other worlds."""
    digest = hashlib.sha256()
    folders = (ROOT / "src" / "fortctl", ROOT / "tests" / "simulation", ROOT / "tests" / "support")
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def play_piece(first: int) -> tuple[int, float, dict[str, int], dict[int, list[str]]]:
    """Play some worlds; return their CPU time, what happened in them, and what was broken."""
    started, counts, broken = time.process_time(), {}, {}
    for seed in range(first, first + PIECE):
        outcome = run_world(seed)
        for name, count in outcome.counts.items():
            counts[name] = counts.get(name, 0) + count
        if outcome.broken:
            broken[seed] = outcome.broken
    return first, time.process_time() - started, counts, broken


def total(rows: Iterable[dict[str, object]]) -> tuple[dict[str, int], dict[str, list[str]], float]:
    counts: dict[str, int] = {}
    broken: dict[str, list[str]] = {}
    seconds = 0.0
    for row in rows:
        seconds += float(row["seconds"])  # type: ignore[arg-type]
        broken.update(row["broken"])  # type: ignore[call-overload]
        for name, count in row["counts"].items():  # type: ignore[attr-defined]
            counts[name] = counts.get(name, 0) + count
    return counts, broken, seconds


def main(worlds: int) -> int:
    kept = ROOT / ".sim" / f"{source()}.jsonl"
    kept.parent.mkdir(exist_ok=True)
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    left = sorted(set(range(0, worlds, PIECE)) - {row["first"] for row in rows})
    print(f"{worlds} worlds, {worlds - len(left) * PIECE} of them played before", flush=True)
    # Not concurrent.futures: with a limit of tasks for each worker it deadlocks (python/cpython#115634).
    with get_context("spawn").Pool(2, maxtasksperchild=5) as pool, kept.open("a") as file:
        for first, seconds, counts, broken in pool.imap_unordered(play_piece, left):
            row = {"first": first, "seconds": round(seconds, 2), "counts": counts, "broken": broken}
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
            for seed, invariants in broken.items():
                print(
                    f"world {seed}: {invariants[0]} (replay: cd tests && python -m simulation.campaign {seed})",
                    flush=True,
                )
    counts, broken, seconds = total(rows)
    happened = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    print(f"{worlds} worlds, {len(broken)} with a violation, {seconds:.0f} s of processor time\n{happened}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
