"""What the guard lets a strategy do: every limit at its bound, and one step beyond it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from fortctl.model import SymbolRules
from fortctl.robot.core.blocked_reason import BlockedReason
from fortctl.robot.core.book import Book
from fortctl.robot.core.events import (
    Anchored,
    AssetsNamed,
    Cancel,
    Configured,
    DustLeft,
    Event,
    FillRecorded,
    Held,
    ModeChanged,
    OrderIntended,
    OrderStatusReported,
    Place,
    StrategyNote,
    Trailed,
)
from fortctl.robot.core.settings import GridSettings, PluginSettings
from fortctl.robot.strategy.api import Plan, View
from fortctl.robot.strategy.guard import NOTE_LENGTH, apply_limits

D = Decimal
SETTINGS = GridSettings("BTCUSDT", 9, D(1), D(1), D(100), D(1000), D(50), D(150))
RULES = SymbolRules(
    *("BTCUSDT", "BTC", "USDT", "TRADING"),
    *(D("0.5"), D(1), D(10000)),
    *(D("0.1"), D("0.2"), D(1000)),
    D(5),
    max_orders=4,
)
VIEW = View(D(100), RULES, D("0.001"))


def book(*events: Event, mode: str = "running", settings: Any = SETTINGS) -> Book:
    made = Book()
    made.replay([Configured(settings.as_json()), AssetsNamed("BTC", "USDT"), ModeChanged(mode, "", 1), *events])
    return made


def opened(cycle: int, price: str = "90", quantity: str = "1", level: int = 0) -> list[Event]:
    name = f"b{cycle}"
    intent = OrderIntended(cycle, level or cycle, "buy", 1, name, D(price), D(quantity), D(0), 1)
    return [intent, OrderStatusReported(name, cycle, "NEW", D(0))]


def bought(cycle: int, price: str = "90", quantity: str = "1", sell_price: str = "0") -> list[Event]:
    name, amount = f"b{cycle}", D(quantity)
    return [
        OrderIntended(cycle, cycle, "buy", 1, name, D(price), amount, D(0), 1, D(sell_price), D("0.1")),
        OrderStatusReported(name, cycle, "FILLED", amount),
        FillRecorded(name, cycle, D(price), amount, D(price) * amount, D(0), "USDT", 1),
    ]


def buy(price: str = "90", quantity: str = "1", level: int = 5, **more: Any) -> Place:
    return Place(None, level, "buy", D(price), D(quantity), **more)


def sell(cycle: int = 1, price: str = "110", quantity: str = "1", dust: str = "0") -> Place:
    return Place(cycle, cycle, "sell", D(price), D(quantity), D(dust))


def refusals(one: Book, *intents: Any, view: View = VIEW) -> list[str]:
    """Return why intents are refused; what is not refused is in the plan, in order."""
    plan, complaints = apply_limits(Plan(intents=intents), one, view)
    assert len([intent for intent in plan.intents if intent in intents]) == len(intents) - len(complaints)
    return complaints


# -- buys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "why"),
    [
        (buy(), None),
        (buy("50"), None),
        (buy("49.5"), "outside floor and ceiling"),
        (buy("150", "1"), None),
        (buy("150.5", "1"), "outside floor and ceiling"),
        (buy("100", "10"), None),
        (buy("100", "10.1"), "over the budget"),
        (buy(sell_price=D("91.5")), None),
        (buy(sell_price=D("91.7")), "the promised sell is not on the tick"),
        (buy(dust=D("0.1")), "a buy begins a new cycle, without dust"),
        (replace(buy(), cycle=3), "a buy begins a new cycle, without dust"),
        (buy("90.2"), "breaks PRICE_FILTER"),
        (buy(quantity="0.1"), "breaks LOT_SIZE"),
    ],
)
def test_a_buy_within_every_limit_is_placed(place: Place, why: str | None) -> None:
    assert refusals(book(), place) == ([f"place: {why}"] if why else [])


def test_small_buys_together_do_not_exceed_the_budget() -> None:
    buys = [buy("100", "4", level) for level in (1, 2)]
    assert refusals(book(), *buys, buy("100", "2", 3)) == []
    assert refusals(book(), *buys, buy("100", "2.1", 3)) == ["place: over the budget"]
    assert refusals(book(*opened(7, "100", "9")), buy("100", "1")) == []
    assert refusals(book(*opened(7, "100", "9")), buy("100", "1.1")) == ["place: over the budget"]
    unbound = book(settings=replace(SETTINGS, max_quote=None))
    assert refusals(unbound, buy("100", "900")) == []


def test_a_refused_buy_takes_no_place_and_no_budget() -> None:
    assert refusals(book(), buy("100", "11", 1), buy("100", "10", 1)) == ["place: over the budget"]


def test_a_level_has_one_cycle() -> None:
    assert refusals(book(*opened(5)), buy()) == ["place: the level is occupied"]
    assert refusals(book(), buy(), buy("91")) == ["place: the level is occupied"]
    assert refusals(book(*opened(4)), buy()) == []
    assert refusals(book(), buy(), view=replace(VIEW, blocked=(5,))) == ["place: the level must wait"]
    assert refusals(book(), buy(), view=replace(VIEW, blocked=(4,))) == []


@pytest.mark.parametrize(("mode", "complaints"), [("running", []), ("draining", ["place: the robot drains"])])
def test_a_robot_that_drains_buys_nothing(mode: str, complaints: list[str]) -> None:
    assert refusals(book(mode=mode), buy()) == complaints


def test_a_stopped_robot_and_one_without_settings_do_nothing_and_complain_of_nothing() -> None:
    for one in (book(*bought(1), mode="stopped"), Book()):
        plan, complaints = apply_limits(Plan(intents=(buy(), sell(), Cancel("b1"))), one, VIEW)
        assert (plan.intents, complaints) == ((), [])


def test_a_buy_never_meets_a_sell_of_ours() -> None:
    assert refusals(book(*bought(1, sell_price="90")), buy("90")) == ["place: it would meet a sell of ours"]
    assert refusals(book(*bought(1, sell_price="90")), buy("89.5")) == []


def test_each_cycle_has_room_for_its_one_order() -> None:
    three = [event for cycle in (1, 2, 3) for event in opened(cycle, quantity="0.2")]
    assert refusals(book(*three), buy(quantity="0.2")) == []
    assert refusals(book(*three), buy(quantity="0.2"), buy(quantity="0.2", level=6)) == ["place: MAX_NUM_ORDERS"]
    four = [*three, *opened(4, quantity="0.2")]
    plan, complaints = apply_limits(Plan(intents=(buy(quantity="0.2"),)), book(*four), VIEW)
    assert complaints == ["place: MAX_NUM_ORDERS"]
    assert plan.blocked_reasons == (BlockedReason("BUY_WAITS", "MAX_NUM_ORDERS forbids the buy at 90 now"),)
    unlimited = replace(VIEW, rules=replace(RULES, max_orders=0))
    assert refusals(book(*four), buy(quantity="0.2"), view=unlimited) == []


def test_a_filter_that_keeps_a_buy_waiting_is_in_the_status_and_a_mistake_is_not() -> None:
    for place, reasons in (
        (buy(quantity="0.1"), (BlockedReason("BUY_WAITS", "LOT_SIZE forbids the buy at 90 now"),)),
        (buy("100", "11"), ()),
    ):
        own = ("MINE: x", BlockedReason("MINE", "y", 7), "no code")
        plan, complaints = apply_limits(Plan(intents=(place,), blocked_reasons=own), book(), VIEW)
        expected = (BlockedReason("MINE", "x"), own[1], BlockedReason("STRATEGY", "no code"))
        assert len(complaints) == 1 and plan.blocked_reasons == (*expected, *reasons)


# -- sells -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "refused"),
    [
        (sell(), False),
        (sell(quantity="0.5"), False),
        (sell(quantity="1.1"), True),
        (sell(2), True),
        (sell(3), True),
        (replace(sell(), cycle=None), True),
    ],
)
def test_a_cycle_sells_no_more_than_it_bought(place: Place, refused: bool) -> None:
    assert bool(refusals(book(*bought(1), *opened(3)), place)) is refused


def test_a_cycle_is_sold_once_and_not_while_it_must_wait() -> None:
    assert refusals(book(*bought(1)), sell(quantity="0.5"), sell(quantity="0.5")) == [
        "place: the cycle has nothing to sell now"
    ]
    assert refusals(book(*bought(1)), sell(), view=replace(VIEW, blocked_sells=(1,)))
    doubted = book(*bought(1, sell_price="110"))
    doubted.doubt_promises()
    assert refusals(doubted, sell())


def with_dust() -> Book:
    return book(*bought(1, quantity="0.3"), DustLeft(1), *bought(2), *bought(3))


def test_dust_is_sold_along_as_far_as_there_is_some_and_once() -> None:
    assert refusals(with_dust(), sell(2, quantity="1.3", dust="0.3")) == []
    assert refusals(with_dust(), sell(2, quantity="1.4", dust="0.4"))
    assert refusals(with_dust(), sell(2, quantity="1.3", dust="0.2"))
    assert refusals(with_dust(), sell(2, quantity="1.2", dust="0.2"), sell(3, quantity="1.1", dust="0.1")) == []
    assert len(refusals(with_dust(), sell(2, quantity="1.2", dust="0.2"), sell(3, quantity="1.2", dust="0.2"))) == 1
    assert refusals(with_dust(), sell(2, quantity="0.9", dust="-0.1"))


def test_a_sell_that_a_filter_forbids_is_not_placed() -> None:
    assert refusals(book(*bought(1)), sell(price="110.2")) == ["place: breaks PRICE_FILTER"]


# -- cancels -----------------------------------------------------------------------------------------------------------


def test_only_an_open_order_of_ours_is_cancelled() -> None:
    one = book(*opened(1), *bought(2))
    assert refusals(one, Cancel("b1")) == []
    assert refusals(one, Cancel("b2")) == ["cancel: no open order of ours"] == refusals(one, Cancel("a person's"))


def test_buys_that_the_settings_no_longer_allow_are_cancelled_while_it_runs() -> None:
    for mode, expected in (("running", (Cancel("b1"),)), ("draining", ())):
        one = book(*opened(1, "160", "1"), *opened(2), mode=mode)
        plan, complaints = apply_limits(Plan(), one, VIEW)
        assert (plan.intents, complaints) == (expected, [])
    one = book(*opened(1, "160", "1"))
    assert apply_limits(Plan(intents=(Cancel("b1"),)), one, VIEW)[0].intents == (Cancel("b1"),), "once"


# -- events ------------------------------------------------------------------------------------------------------------


def noted(one: Book, *events: Event) -> int:
    plan, complaints = apply_limits(Plan(events=events), one, VIEW)
    assert complaints == (["an event that is not the strategy's to write"] if len(plan.events) < len(events) else [])
    return len(plan.events)


def test_a_strategy_writes_its_own_events_alone() -> None:
    anchored = book(Anchored(D(100)))
    plugin = book(settings=PluginSettings("other", "BTCUSDT", D(1), D(100)))
    assert noted(book(), Anchored(D(100))) == 1
    assert noted(book(), Anchored(D(0))) == noted(plugin, Anchored(D(100))) == noted(Book(), Anchored(D(1))) == 0
    assert noted(anchored, Trailed(3, 0)) == 1 and noted(book(), Trailed(3, 0)) == 0
    assert noted(book(), StrategyNote("n" * 100, "v" * (NOTE_LENGTH - 100))) == 1 and NOTE_LENGTH == 200
    assert noted(book(), StrategyNote("n" * 100, "v" * (NOTE_LENGTH - 99))) == 0
    assert noted(book(), Held(()), ModeChanged("running", "", 1), StrategyNote("a", "b")) == 1


@pytest.mark.parametrize(
    ("events", "kept"),
    [
        (bought(1, quantity="0.1"), 1),
        (bought(1, "20", "0.2"), 1),
        (bought(1, quantity="0.29"), 0),
        (bought(1, "25", "0.2"), 0),
        (opened(1, quantity="0.1"), 0),
        ((), 0),
    ],
)
def test_only_what_cannot_be_sold_alone_is_written_off(events: Any, kept: int) -> None:
    assert noted(book(*events), DustLeft(1)) == kept


# -- the rest of the plan ----------------------------------------------------------------------------------------------


def test_a_plan_stays_quiet_only_where_it_does_nothing() -> None:
    quiet = Plan(quiet_below=D(120), wake_at=77)
    assert apply_limits(quiet, book(), VIEW)[0] == quiet
    for plan in (
        replace(quiet, intents=(buy(),)),
        replace(quiet, intents=(buy("100", "11"),)),
        replace(quiet, events=(StrategyNote("a", "b"),)),
        replace(quiet, events=(Held(()),)),
    ):
        limited = apply_limits(plan, book(), VIEW)[0]
        assert limited.quiet_below is None and limited.wake_at == 77
    cut = apply_limits(quiet, book(*opened(1, "160", "1")), VIEW)[0]
    assert cut.quiet_below is None, "a buy is cancelled"


def test_a_halted_symbol_is_why_nothing_is_placed() -> None:
    halted = replace(VIEW, rules=replace(RULES, status="BREAK"))
    plan, complaints = apply_limits(Plan(intents=(buy(),)), book(), halted)
    assert complaints == ["place: breaks STATUS"] and plan.intents == ()
    assert str(plan.blocked_reasons[0]).startswith("HALTED: BTCUSDT does not trade now (BREAK)")
    assert apply_limits(Plan(), Book(), halted)[0].blocked_reasons == ()
