"""The grid passes the suite that plugin authors import, with every kind of settings and filters."""

from __future__ import annotations

import copy
from dataclasses import replace
from decimal import Decimal

import pytest

from fortctl.robot.core.book import Book
from fortctl.robot.core.events import Cancel, Intent, ModeChanged, Place, StrategyNote
from fortctl.robot.core.lifecycle import TradingMode
from fortctl.robot.core.settings import GridSettings
from fortctl.robot.strategy.api import Plan, View
from fortctl.robot.strategy.grid import Grid
from fortctl.robot.strategy.guard import apply_limits
from fortctl.robot.testing import RULES, InvariantViolationError, SimulatedStep, StrategySimulator, strategy_suite

PLAIN = GridSettings("XRPETH", 6, Decimal("0.5"), Decimal("0.5"), Decimal("0.05"), max_quote=Decimal("0.2"))
NARROW = replace(
    RULES,
    bid_multiplier_down=Decimal("0.98"),
    ask_multiplier_up=Decimal("1.01"),
    max_orders=5,
    max_notional=Decimal("0.06"),
)
COARSE = replace(
    RULES,
    tick_size=Decimal("0.01"),
    min_price=Decimal("0.01"),
    step_size=Decimal("0.001"),
    min_quantity=Decimal("0.001"),
    min_notional=Decimal(5),
    max_notional=Decimal(0),
    max_price=Decimal(10**6),
)

TestGeometric = strategy_suite(Grid(), PLAIN)
TestArithmetic = strategy_suite(Grid(), replace(PLAIN, spacing="arithmetic", trail_up=False), examples=30)
TestMakerOnlyWithinBounds = strategy_suite(
    Grid(),
    replace(PLAIN, maker_only=True, price_floor=Decimal("0.00137"), price_ceiling=Decimal("0.00142")),
    examples=40,
)
TestNarrowFilters = strategy_suite(Grid(), replace(PLAIN, max_quote=None), rules=NARROW, examples=40)
TestCoarseSteps = strategy_suite(
    Grid(),
    replace(PLAIN, order_quote=Decimal(12), max_quote=Decimal(60)),
    rules=COARSE,
    price=Decimal(300),
    examples=40,
)


class Greedy(Grid):
    """Buys twice as much as it may."""

    def plan(self, book: Book, view: View) -> Plan:
        plan = super().plan(book, view)
        return replace(plan, intents=tuple(_doubled(intent) for intent in plan.intents))


def _doubled(intent: Intent) -> Intent:
    return replace(intent, quantity=intent.quantity * 2) if isinstance(intent, Place) else intent


class Forgetful(Grid):
    """Moves its grid each time it is asked."""

    def plan(self, book: Book, view: View) -> Plan:
        plan = super().plan(book, view)
        return replace(
            plan,
            events=(*plan.events, StrategyNote("asked", str(len(book.notes.get("asked", "")))), StrategyNote("x", "y")),
        )


class Cheap(Grid):
    """Sells a step below what its profit needs."""

    def plan(self, book: Book, view: View) -> Plan:
        plan = super().plan(book, view)
        return replace(
            plan,
            intents=tuple(
                replace(one, sell_price=one.sell_price - view.rules.tick_size)
                if isinstance(one, Place) and one.sell_price
                else one
                for one in plan.intents
            ),
        )


class Meddler(Grid):
    """Writes into the book itself."""

    def plan(self, book: Book, view: View) -> Plan:
        book.notes["mine"] = "too"
        return super().plan(book, view)


class Deaf(Grid):
    """Buys on while it drains."""

    def plan(self, book: Book, view: View) -> Plan:
        if book.mode is not TradingMode.DRAINING:
            return super().plan(book, view)
        book = copy.deepcopy(book)
        book.mode = TradingMode.RUNNING
        return super().plan(book, view)


@pytest.mark.parametrize("wrong", [Greedy, Forgetful, Cheap, Meddler, Deaf], ids=lambda kind: kind.__name__.lower())
def test_the_suite_finds_what_a_strategy_does_wrong(wrong: type[Grid]) -> None:
    suite = strategy_suite(wrong(), PLAIN, examples=100, shrink=False)()
    found = []
    for name in ("test_the_invariants_hold_whatever_happens", "test_a_drain_ends", "test_every_cycle_earns_its_profit"):
        try:
            getattr(suite, name)()
        except InvariantViolationError as broken:
            found.append(str(broken))
    assert found


def test_the_guard_lets_through_nothing_but_what_the_robot_may_do() -> None:
    played = StrategySimulator(Grid(), PLAIN)
    played.step(SimulatedStep("start"))
    price = Decimal("0.00130000")
    good = Place(None, 77, "buy", price, Decimal(30), sell_price=Decimal("0.00140000"))
    played.step(SimulatedStep("cancel_by_hand"))
    wrong = {
        "over the budget": replace(good, quantity=Decimal(600)),
        "more than its cycle bought": Place(1, 1, "sell", price, Decimal(30)),
        "the level is taken": replace(good, level=1),
        "a buy begins a new cycle": replace(good, cycle=1),
        "no open order of ours": Cancel("somebody-elses"),
        "breaks PRICE_FILTER": replace(good, price=price + Decimal("0.000000001")),
        "breaks NOTIONAL": replace(good, quantity=Decimal(1)),
        "is not the strategy's": ModeChanged("running", "by itself", 0),
    }
    for text, intent in wrong.items():
        one = Plan(events=(intent,)) if isinstance(intent, ModeChanged) else Plan(intents=(intent,))
        plan, complaints = apply_limits(one, played.book, played.view())
        assert not plan.intents and not plan.events and complaints, text


def test_the_guard_counts_the_small_buys_of_one_plan_together() -> None:
    """Each buy alone is within the budget; together they must be too."""
    budget = Decimal("0.2")
    played = StrategySimulator(Grid(), replace(PLAIN, max_quote=budget))
    played.step(SimulatedStep("start"))
    price, bound = Decimal("0.00130000"), played.book.committed_quote()
    buys = [Place(None, 77 + n, "buy", price, Decimal(30), sell_price=Decimal("0.00140000")) for n in range(20)]
    plan, complaints = apply_limits(Plan(intents=tuple(buys)), played.book, played.view())
    spent = sum((buy.price * buy.quantity for buy in plan.intents if isinstance(buy, Place)), Decimal(0))
    cost = price * 30
    assert bound + spent <= budget < bound + spent + cost
    assert any("over the budget" in text for text in complaints)
