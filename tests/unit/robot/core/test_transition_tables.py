"""The transition tables are complete, and the derived state is robot.md's."""

from __future__ import annotations

import itertools
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fortctl.robot.core.cycle import FINAL, NEVER, TRANSITIONS, CycleEvent, CycleState, IllegalTransitionError, advance
from fortctl.robot.core.lifecycle import (
    KEY,
    TRADING_MODE,
    Books,
    Key,
    KeyEvent,
    LifecycleFacts,
    TradingMode,
    TradingModeEvent,
    derive_state,
    may_trade,
)
from fortctl.robot.core.order_ids import client_order_id, parse, prefix_of
from fortctl.robot.core.settings import GridSettings, parse_settings
from fortctl.robot.strategy import grid
from fortctl.robot.strategy.api import sell_price


def test_every_state_and_event_has_an_entry() -> None:
    assert set(TRADING_MODE) == set(itertools.product(TradingMode, TradingModeEvent))
    assert set(KEY) == set(itertools.product(Key, KeyEvent))
    assert set(TRANSITIONS) == set(itertools.product(CycleState, CycleEvent))


@pytest.mark.parametrize("pair", list(itertools.product(CycleState, CycleEvent)), ids=":".join)
def test_an_event_leads_where_the_table_says_or_is_refused(pair: tuple[CycleState, CycleEvent]) -> None:
    if TRANSITIONS[pair] is NEVER:
        with pytest.raises(IllegalTransitionError):
            advance(*pair)
    else:
        assert advance(*pair) is TRANSITIONS[pair]


def test_a_finished_cycle_stays_as_it_is() -> None:
    for state in CycleState:
        ended = all(TRANSITIONS[state, event] is NEVER for event in CycleEvent)
        assert ended == (state in FINAL)


RANK = ["latched", "verifying", "key_lost", "awaiting_key", "reconciling", "held", "draining", "running", "stopped"]


def test_derived_states_come_in_the_order_of_the_design() -> None:
    for wish, key, candidate, books, hold, latched in itertools.product(
        TradingMode, Key, (False, True), Books, ((), ("GAP",)), (False, True)
    ):
        facts = LifecycleFacts(wish, key, candidate, books, hold, latched)
        state = derive_state(facts)
        assert state in RANK
        if latched:
            assert state == "latched"
        elif key is Key.LOST and not candidate:
            assert state == "key_lost"
        if may_trade(facts):
            assert key is Key.LOADED and books is Books.AGREED and not hold and not latched


def test_a_drain_survives_a_restart_and_running_does_not() -> None:
    assert TRADING_MODE[TradingMode.DRAINING, TradingModeEvent.BROUGHT_UP] is TradingMode.DRAINING
    assert TRADING_MODE[TradingMode.RUNNING, TradingModeEvent.BROUGHT_UP] is TradingMode.STOPPED


@given(st.text("0123456789abcdef", min_size=16, max_size=16), st.integers(1, 10**12 - 1), st.integers(1, 10**6 - 1))
def test_ids_are_binances_and_can_be_read_back(robot: str, cycle: int, attempt: int) -> None:
    import re

    for leg in ("buy", "sell"):
        name = client_order_id(robot, cycle, leg, attempt)
        assert re.fullmatch("[a-zA-Z0-9-_]{1,36}", name) and name.startswith(prefix_of(robot))
        assert parse(robot, name) == (cycle, leg, attempt)
    assert parse(robot, "x" + name) is None


prices = st.decimals("0.00000100", "100000", places=8)


@given(price=prices, step=st.decimals("0.05", "5", places=2), level=st.integers(1, 40))
def test_levels_fall_and_lie_on_the_tick(price: Decimal, step: Decimal, level: int) -> None:
    settings = GridSettings("XRPETH", 50, step, Decimal(1), Decimal(1))
    tick = Decimal("0.00000001")
    upper, lower = (grid.level_price(settings, price, n, tick) for n in (level, level + 1))
    assert lower <= upper <= price and upper % tick == 0
    exact = price / (1 + step / 100) ** level
    assert exact - tick <= upper <= exact + tick / 1000


@given(price=prices, profit=st.decimals("0.1", "5", places=2), rate=st.decimals("0", "0.002", places=4))
def test_a_sell_earns_its_profit_after_both_commissions(price: Decimal, profit: Decimal, rate: Decimal) -> None:
    settings = GridSettings("XRPETH", 5, Decimal(1), profit, Decimal(1))
    sell = sell_price(settings.take_profit, price, rate, Decimal("0.00000001"))
    received = sell * (1 - rate) * (1 - rate)
    assert received >= price * (1 + profit / 100) * (1 - Decimal("1e-20"))


def test_settings_survive_their_json() -> None:
    settings = GridSettings("XRPETH", 8, Decimal("0.3"), Decimal("0.3"), Decimal("0.05"), Decimal(2))
    assert parse_settings(settings.as_json()) == settings


def test_the_documents_diagrams_are_the_tables() -> None:
    from support.harness import REPOSITORY
    from tools.docgen import replace_section
    from tools.robot_diagrams import NAME, generated

    text = (REPOSITORY / "docs" / "robot.md").read_text(encoding="utf-8")
    assert replace_section(text, NAME, generated()) == text and "buying --> bought" in text
