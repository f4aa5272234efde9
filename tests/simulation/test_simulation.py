"""Some worlds; ``make planted`` plays two hundred, ``make sim`` ten thousand."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from fortctl.robot.core.book import Book
from simulation import soak
from simulation.campaign import run_world
from simulation.loop import play
from support.harness import REPOSITORY

WORLDS, PART = int(os.environ.get("FORTCTL_WORLDS", "80")), 8


@pytest.mark.parametrize("first", range(0, WORLDS, PART))
def test_every_invariant_holds_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, first + PART):
        outcome = run_world(seed)
        assert not outcome.broken, outcome.explain()


def test_a_commission_in_bnb_that_no_profit_bears_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Book.worth

    def worth(book: Book, asset: str, commission: Decimal) -> Decimal:
        return Decimal(0) if asset == "BNB" else real(book, asset, commission)

    monkeypatch.setattr(Book, "worth", worth)
    assert any(one.startswith("4: the exchange's trades brought") for one in run_world(1).broken)


def test_one_seed_is_one_world() -> None:
    """The same seed plays the same world again, in another process with other hashes too."""
    again = run_world(3)
    assert run_world(3).trace == again.trace and len(again.trace) > 100
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(REPOSITORY / "tests")}
    argv = [sys.executable, "-m", "simulation.campaign", "3"]
    ran = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert again.fingerprint in ran.stdout, "replaying a seed must show what the campaign saw"


def test_ten_seeds_played_twice_are_equal_byte_for_byte() -> None:
    """The gate of docs/simulation.md: what was seen once can be seen again, in a process with other hashes."""
    code = "import sys; from simulation.campaign import run_world; "
    code += "[sys.stdout.write('\\n'.join(run_world(seed).trace) + '\\0') for seed in range(10)]"
    environment = {**os.environ, "PYTHONHASHSEED": "54321", "PYTHONPATH": str(REPOSITORY / "tests")}
    elsewhere = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout
    here = "".join("\n".join(run_world(seed).trace) + "\0" for seed in range(10)).encode()
    assert elsewhere == here and here.count(b"\n") > 1_000


def test_a_day_of_the_soak_ends_with_equal_books(tmp_path: Path) -> None:
    days, broken, _seconds = play(soak.month(tmp_path, 1, seed=7))
    assert broken == [] and days[0].closed > 50 and days[0].remembered < 3_000


def test_the_soak_tells_what_grows_from_what_fills_up() -> None:
    def day(number: int, mib: float) -> soak.Day:
        return soak.Day(number, 0, 0, 0, 0, mib, 0.0)

    fills_up = [day(number, min(40.0, 30.0 + 2 * number)) for number in range(1, 31)]
    grows = [day(number, 30.0 + 0.2 * number) for number in range(1, 31)]
    assert soak.grown(fills_up) < soak.ALLOWANCE_MIB < soak.grown(grows)
