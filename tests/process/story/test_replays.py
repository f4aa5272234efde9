"""``robot run`` over recordings of real markets, killed again and again: its books are the exchange's."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from support.harness import Shell, campaign, end_robots
from support.replaying import BTCUSDT, XRPETH, Recording, Replay, kill_often
from support.standing import Stand, unequal
from support.stepping import Stepped

BOTH = pytest.mark.parametrize("what", [XRPETH, BTCUSDT], ids=lambda what: what.symbol)


def kill_and_compare(shell: Shell, what: Recording, kills: int, seed: int) -> None:
    replay = Replay(shell, what, "--speed", what.speed, "--loop", "--limits", "off")
    try:
        replay.set_up()
        kill_often(replay, kills, random.Random(seed))
        truth, book = replay.await_equal()
        assert book.closed and len(truth.trades) >= kills
        seen = f"{len(truth.orders)} orders, {len(truth.trades)} trades, {book.closed} cycles"
        print(f"{what.symbol}: {kills} kills, {seen}")
    finally:
        replay.close()


@BOTH
def test_three_sigkills_during_a_replay_lose_nothing(shell: Shell, what: Recording) -> None:
    kill_and_compare(shell, what, 3, 1)


@campaign
@pytest.mark.timeout(1800)
@BOTH
def test_a_hundred_sigkills_during_a_replay_lose_nothing(shell: Shell, what: Recording) -> None:
    kill_and_compare(shell, what, 100, 2)


def walk(folder: Path, what: Recording, steps: int, fate: random.Random | None) -> tuple[list[Stand], int]:
    shell = Shell(folder / ("killed" if fate else "alone") / "home")
    try:
        stepped = Stepped(shell, what, fate)
        return stepped.walk(steps), stepped.kills
    finally:
        # Exchange and robot both name the home, however far it came.
        end_robots(shell.home)


def step_and_compare(folder: Path, what: Recording, steps: int, seed: int) -> int:
    """Let both robots see the same trades, each while it is idle; return how often the one was killed."""
    alone, _none = walk(folder, what, steps, None)
    killed, kills = walk(folder, what, steps, random.Random(seed))
    assert unequal(alone, killed) == []
    print(f"{what.symbol}: {len(alone)} trades that concern the robot, {kills} kills, {alone[-1].closed} cycles")
    assert alone[-1].closed and kills
    return kills


def test_stepped_while_idle_the_books_are_those_of_a_robot_that_was_never_killed(tmp_path: Path) -> None:
    assert step_and_compare(tmp_path, XRPETH, 10, 1) >= 4


@campaign
@pytest.mark.timeout(3000)
@BOTH
def test_a_hundred_steps_while_idle(tmp_path: Path, what: Recording) -> None:
    step_and_compare(tmp_path, what, 100, 2)
