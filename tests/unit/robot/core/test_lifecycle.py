"""Which state people see, fact by fact (robot.md, "What people see"), and when orders may be placed."""

from __future__ import annotations

import itertools

from fortctl.robot.core.hold_reasons import HoldCode, HoldReason
from fortctl.robot.core.lifecycle import Books, Key, LifecycleFacts, TradingMode, derive_state, may_trade

HOLD = (HoldReason(HoldCode.GAP, "the break lasted"),)


def expected(facts: LifecycleFacts) -> str:
    """Return robot.md's answer, written as one would ask a person."""
    if facts.latched:
        return "latched"
    if facts.candidate and facts.key is not Key.LOADED:
        return "verifying"
    if facts.key is Key.LOST:
        return "key_lost"
    active = facts.mode in (TradingMode.RUNNING, TradingMode.DRAINING)
    if facts.key is Key.NONE and active:
        return "awaiting_key"
    if facts.books is Books.STALE and active:
        return "reconciling"
    if facts.hold:
        return "held"
    return facts.mode.value


def test_every_combination_of_facts_has_the_state_of_the_design() -> None:
    states = set()
    for mode, key, candidate, books, hold, latched in itertools.product(
        TradingMode, Key, (False, True), Books, ((), HOLD), (False, True)
    ):
        facts = LifecycleFacts(mode, key, candidate, books, hold, latched)
        assert derive_state(facts) == expected(facts), facts
        trades = key is Key.LOADED and books is Books.AGREED and not (hold or latched)
        assert may_trade(facts) is (trades and mode is not TradingMode.STOPPED), facts
        states.add(expected(facts))
    assert len(states) == 9


def test_the_words_of_the_facts_are_those_of_the_status_and_the_journal() -> None:
    assert [str(one) for one in TradingMode] == ["stopped", "running", "draining"]
    assert [str(one) for one in Key] == ["none", "loaded", "lost"] and [str(one) for one in Books] == [
        "stale",
        "agreed",
    ]


def test_a_robot_begins_stopped_without_a_key_and_with_books_that_nobody_compared() -> None:
    assert LifecycleFacts() == LifecycleFacts(TradingMode.STOPPED, Key.NONE, False, Books.STALE, (), False)
