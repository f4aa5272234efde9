"""Two hundred worlds; ``make sim`` plays ten thousand."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from harness import REPOSITORY
from simulation.campaign import run_world

WORLDS, PART = 200, 25


@pytest.mark.parametrize("first", range(0, WORLDS, PART))
def test_every_invariant_holds_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, first + PART):
        outcome = run_world(seed)
        assert not outcome.broken, outcome.explain()


def test_one_seed_is_one_world() -> None:
    """The same seed plays the same world again, in another process with other hashes too."""
    again = run_world(3)
    assert run_world(3).trace == again.trace and len(again.trace) > 100
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(REPOSITORY / "tests")}
    argv = [sys.executable, "-m", "simulation.campaign", "3"]
    ran = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert again.fingerprint in ran.stdout, "replaying a seed must show what the campaign saw"
