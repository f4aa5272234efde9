"""Kills change nothing while the market moves only when the robot is idle; ``make sim`` compares more seeds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fortctl.robot import grid, strategy
from fortctl.robot.records import Cycle
from simulation.undisturbed import compare

SEEDS, PART = 30, 10


@pytest.mark.parametrize("first", range(0, SEEDS, PART))
def test_the_books_are_those_of_a_robot_that_was_never_killed(first: int) -> None:
    kills = fills = 0
    for seed in range(first, first + PART):
        broken, killed, filled = compare(seed)
        assert not broken, broken[0]
        kills, fills = kills + killed, fills + filled
    assert kills > 100 and fills > 60


def test_a_buy_that_was_given_up_and_not_cancelled_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "_strays", lambda book: [])
    assert compare(6)[0]


def test_trailing_past_a_fill_that_is_on_its_way_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "_fills_on_the_way", lambda book, view: False)
    assert compare(43)[0]


def test_dust_that_goes_to_whoever_was_heard_of_first_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_number(cycles: Sequence[Cycle], key: object) -> list[Cycle]:
        return list(cycles)

    monkeypatch.setattr(strategy, "sorted", by_number, raising=False)
    assert compare(102)[0]
