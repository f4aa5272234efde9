"""``robot run`` over recordings of real markets, killed again and again: its books are the exchange's."""

from __future__ import annotations

import random

import pytest

from harness import Shell, campaign
from replaying import BTCUSDT, XRPETH, Recording, Replay, kill_often

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
def test_ten_sigkills_during_a_replay_lose_nothing(shell: Shell, what: Recording) -> None:
    kill_and_compare(shell, what, 10, 1)


@campaign
@pytest.mark.timeout(1800)
@BOTH
def test_a_hundred_sigkills_during_a_replay_lose_nothing(shell: Shell, what: Recording) -> None:
    kill_and_compare(shell, what, 100, 2)
