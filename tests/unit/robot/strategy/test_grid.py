"""What the grid wants must not depend on what was heard of first: the price or the fill, one fill or the other."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from fortctl.model import SymbolRules
from fortctl.robot.core.book import Book
from fortctl.robot.core.events import (
    Anchored,
    AssetsNamed,
    Cancel,
    Configured,
    DustLeft,
    Event,
    FillRecorded,
    ModeChanged,
    OrderIntended,
    OrderStatusReported,
    Place,
    Trailed,
)
from fortctl.robot.strategy.api import View
from fortctl.robot.strategy.grid import Grid
from support.robot_world import SETTINGS

RULES = SymbolRules(
    symbol="XRPETH",
    base="XRP",
    quote="ETH",
    status="TRADING",
    tick_size=Decimal("0.00000001"),
    min_price=Decimal(0),
    max_price=Decimal(0),
    step_size=Decimal(1),
    min_quantity=Decimal(1),
    max_quantity=Decimal(0),
    min_notional=Decimal("0.005"),
)
ZERO = Decimal(0)


def view(price: str) -> View:
    return View(Decimal(price), RULES, Decimal("0.001"))


def laid(levels: int = 3) -> Book:
    """A running grid of half a per cent below 0.00140000."""
    book = Book()
    settings = replace(SETTINGS, levels=levels)
    book.replay(
        [
            Configured(settings.as_json()),
            AssetsNamed("XRP", "ETH"),
            ModeChanged("running", "started", 1),
            Anchored(Decimal("0.00140000")),
        ]
    )
    return book


def buy(cycle: int, level: int, price: str, quantity: str = "35") -> list[Event]:
    name = f"buy-{cycle}"
    order = OrderIntended(cycle, level, "buy", 1, name, Decimal(price), Decimal(quantity), ZERO, 1)
    return [order, OrderStatusReported(name, 10 + cycle, "NEW", ZERO)]


def filled(cycle: int, price: str, got: str = "35") -> list[Event]:
    name, quantity = f"buy-{cycle}", Decimal(got)
    value = quantity * Decimal(price)
    fill = FillRecorded(name, 100 + cycle, Decimal(price), quantity, value, ZERO, "ETH", 2)
    return [fill, OrderStatusReported(name, 10 + cycle, "FILLED", quantity)]


def sell(cycle: int, level: int, price: str, quantity: str = "35") -> list[Event]:
    name = f"sell-{cycle}"
    order = OrderIntended(cycle, level, "sell", 1, name, Decimal(price), Decimal(quantity), ZERO, 3)
    return [order, OrderStatusReported(name, 20 + cycle, "NEW", ZERO)]


def sold(cycle: int, price: str, quantity: str = "35") -> list[Event]:
    name, value = f"sell-{cycle}", Decimal(quantity) * Decimal(price)
    fill = FillRecorded(name, 200 + cycle, Decimal(price), Decimal(quantity), value, ZERO, "ETH", 4)
    return [fill, OrderStatusReported(name, 20 + cycle, "FILLED", Decimal(quantity))]


def trailed(book: Book, price: str) -> list[Event]:
    return [event for event in Grid().plan(book, view(price)).events if isinstance(event, Trailed)]


def test_it_does_not_trail_past_a_sell_that_the_price_has_reached() -> None:
    book = laid()
    book.replay([*buy(1, 1, "0.00139303"), *filled(1, "0.00139303"), *sell(1, 1, "0.00140280")])
    book.replay([*buy(2, 2, "0.00138610"), *buy(3, 3, "0.00137920")])
    assert not trailed(book, "0.00141500"), "level 1 is taken only as long as nobody has heard of the fill"
    book.replay(sold(1, "0.00140280"))
    assert trailed(book, "0.00141500")


def test_it_trails_while_a_sell_waits_above_the_price() -> None:
    book = laid()
    book.replay([*buy(1, 1, "0.00139303"), *filled(1, "0.00139303"), *sell(1, 1, "0.00150000")])
    book.replay([*buy(2, 2, "0.00138610"), *buy(3, 3, "0.00137920")])
    assert trailed(book, "0.00141500")


def test_a_buy_at_a_level_that_was_given_up_is_taken_back_at_any_later_look() -> None:
    book = laid()
    book.replay([*buy(1, 1, "0.00139303"), *buy(2, 2, "0.00138610"), *buy(3, 3, "0.00137920"), Trailed(3, 0)])
    assert Cancel("buy-3") in Grid().plan(book, view("0.00140500")).intents
    book.replay([OrderStatusReported("buy-3", 13, "CANCELED", ZERO)])
    assert not any(isinstance(intent, Cancel) for intent in Grid().plan(book, view("0.00140500")).intents)


def test_of_two_buys_that_filled_the_higher_takes_the_dust_along() -> None:
    book = laid()
    book.replay([*buy(1, 3, "0.00137920", "1"), *filled(1, "0.00137920", "1"), DustLeft(1)])
    assert book.dust == 1
    book.replay([*buy(2, 2, "0.00138610"), *buy(3, 1, "0.00139303"), *filled(2, "0.00138610")])
    book.replay(filled(3, "0.00139303"))
    places = [intent for intent in Grid().plan(book, view("0.00138000")).intents if isinstance(intent, Place)]
    assert [(place.cycle, place.dust) for place in places if place.leg == "sell"] == [(3, 1), (2, 0)]
