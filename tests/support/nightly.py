"""The long campaigns (``make nightly``), in seeded rounds, resumable: the stateful machine over the paper exchange, and
the fuzz targets of the vault, the mailbox and what is entered.

Each round is one seed; what was done stands in ``.nightly/*.json``, so that an interrupted campaign goes on where
it was. A failure is printed with its smallest sequence of steps, kept, and makes the campaign fail.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, seed, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.stateful import run_state_machine_as_test

FOLDER = Path(__file__).resolve().parents[2] / ".nightly"
EXAMPLES, STEPS = 50, 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000, help="steps of the machine in all (default: 100,000)")
    parser.add_argument("--minutes", type=float, default=10.0, help="minutes of fuzzing in all (default: 10)")
    given = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    return max(fuzz(given.minutes), machine(given.steps))


def counting(target: Any, done: dict[str, Any]) -> Any:
    def attack(data: bytes) -> None:
        done["inputs"] += 1
        target(data)

    return attack


def fuzz(minutes: float) -> int:
    """Run the fuzz targets in turn until so many minutes were run in all."""
    from hypothesis import given
    from hypothesis import strategies as st

    from support.fuzz_targets import TARGETS, mutated

    path = FOLDER / "fuzz.json"
    done: dict[str, Any] = (
        json.loads(path.read_text()) if path.exists() else {"rounds": 0, "inputs": 0, "seconds": 0.0, "failures": []}
    )
    limits = settings(
        max_examples=2000,
        deadline=None,
        database=DirectoryBasedExampleDatabase(str(FOLDER / "examples")),
        suppress_health_check=list(HealthCheck),
    )
    while done["seconds"] < minutes * 60:
        began, number = time.monotonic(), done["rounds"] + 1
        name = list(TARGETS)[number % len(TARGETS)]
        target, seeds = TARGETS[name]

        try:
            seed(number)(limits(given(st.one_of(mutated(seeds()), st.binary(max_size=2000)))(counting(target, done))))()
        except Exception as error:
            done["failures"].append(
                {"round": number, "target": name, "error": f"{type(error).__name__}: {error}"[:2000]}
            )
            print(f"round {number} ({name}): {error}", file=sys.stderr)
        done["rounds"] = number
        done["seconds"] = round(done["seconds"] + time.monotonic() - began, 1)
        path.write_text(json.dumps(done, indent=1))
    print(f"fuzzing: {done['inputs']} inputs in {done['seconds'] / 60:.1f} minutes, {len(done['failures'])} failures")
    return 1 if done["failures"] else 0


def machine(wanted: int) -> int:
    """Run the stateful machine until it has taken so many steps in all."""
    from support.paper_machine import Market

    path = FOLDER / "paper.json"
    done: dict[str, Any] = (
        json.loads(path.read_text()) if path.exists() else {"rounds": 0, "steps": 0, "seconds": 0.0, "failures": []}
    )
    limits = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        database=DirectoryBasedExampleDatabase(str(FOLDER / "examples")),
    )
    counted = {"steps": 0}

    class Counted(Market):
        """The machine, counting the steps that it really takes."""

        def check_invariants(self, *given: object, **named: object) -> None:
            counted["steps"] += 1
            super().check_invariants(*given, **named)  # type: ignore[misc]

    while done["steps"] < wanted:
        began, number = time.monotonic(), done["rounds"] + 1
        counted["steps"] = 0
        try:
            run_state_machine_as_test(seed(number)(Counted), settings=limits)
        except Exception as error:
            done["failures"].append({"round": number, "error": f"{type(error).__name__}: {error}"[:2000]})
            print(f"round {number}: {error}", file=sys.stderr)
        done["rounds"] = number
        done["steps"] += counted["steps"]
        done["seconds"] = round(done["seconds"] + time.monotonic() - began, 1)
        path.write_text(json.dumps(done, indent=1))
    print(f"{done['steps']} steps in {done['rounds']} rounds and {done['seconds']} s: {len(done['failures'])} failures")
    return 1 if done["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
