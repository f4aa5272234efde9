"""Kills change nothing while the market moves only when the robot is idle; ``make sim`` compares more seeds."""

from __future__ import annotations

import pytest

from fortctl.robot.strategy import grid
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


def test_what_differs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "_out_of_grid_orders", lambda book: [])
    assert any(compare(seed)[0] for seed in range(SEEDS))
