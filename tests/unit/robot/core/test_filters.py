"""Each filter of a symbol holds at its bound, and one step beyond it does not (Binance ``filters.md``)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from fortctl.model import SymbolRules
from fortctl.robot.core.filters import capped_quantity, ceil_to, floor_to, format_money, sellable, violated_filter

D = Decimal
RULES = SymbolRules(
    *("BTCUSDT", "BTC", "USDT", "TRADING"),
    *(D("0.5"), D(10), D(1000)),
    *(D("0.1"), D("0.2"), D(50)),
    *(D(20), D(4000)),
    bid_multiplier_up=D("1.2"),
    bid_multiplier_down=D("0.8"),
    ask_multiplier_up=D(5),
    ask_multiplier_down=D("0.5"),
)
FREE = SymbolRules("BTCUSDT", "BTC", "USDT", "TRADING", *[D(0)] * 7)


def broken(leg: str, price: str, quantity: str, rules: SymbolRules = RULES, reference: str = "100") -> str | None:
    return violated_filter(rules, leg, D(price), D(quantity), D(reference))


@pytest.mark.parametrize(
    ("leg", "price", "quantity", "reference"),
    [
        ("buy", "100", "1", "100"),
        ("buy", "10", "2", "10"),
        ("sell", "1000", "4", "1000"),
        ("buy", "100", "0.2", "100"),
        ("buy", "80", "50", "100"),
        ("buy", "120", "1", "100"),
        ("sell", "500", "1", "100"),
        ("sell", "50", "1", "100"),
    ],
    ids=["all", "lowest", "highest", "smallest", "largest", "bid up", "ask up", "ask down"],
)
def test_an_order_at_a_bound_is_within_it(leg: str, price: str, quantity: str, reference: str) -> None:
    assert broken(leg, price, quantity, reference=reference) is None


@pytest.mark.parametrize(
    ("leg", "price", "quantity", "reference", "name"),
    [
        ("buy", "9.5", "4", "10", "PRICE_FILTER"),
        ("sell", "1000.5", "1", "1000", "PRICE_FILTER"),
        ("buy", "100.3", "1", "100", "PRICE_FILTER"),
        ("buy", "100", "0.1", "100", "LOT_SIZE"),
        ("buy", "20", "50.1", "20", "LOT_SIZE"),
        ("buy", "100", "1.05", "100", "LOT_SIZE"),
        ("buy", "19.5", "1", "20", "NOTIONAL"),
        ("buy", "100", "40.1", "100", "NOTIONAL"),
        ("buy", "120.5", "1", "100", "PERCENT_PRICE"),
        ("buy", "79.5", "1", "100", "PERCENT_PRICE"),
        ("sell", "500.5", "1", "100", "PERCENT_PRICE"),
        ("sell", "49.5", "1", "100", "PERCENT_PRICE"),
    ],
)
def test_an_order_beyond_a_bound_names_its_filter(
    leg: str, price: str, quantity: str, reference: str, name: str
) -> None:
    assert broken(leg, price, quantity, reference=reference) == name


def test_a_symbol_that_does_not_trade_takes_no_order() -> None:
    assert broken("buy", "100", "1", replace(RULES, status="BREAK")) == "STATUS"


def test_a_bound_of_zero_is_off_and_an_order_of_nothing_is_none() -> None:
    for leg in ("buy", "sell"):
        assert broken(leg, "0.123", "0.00077", FREE) is None
        assert broken(leg, "123456789", "987654321", FREE) is None
    assert broken("buy", "0", "1", FREE) == "PRICE_FILTER" and broken("buy", "-1", "1", FREE) == "PRICE_FILTER"
    assert broken("buy", "1", "0", FREE) == "LOT_SIZE" and broken("buy", "1", "-1", FREE) == "LOT_SIZE"


@pytest.mark.parametrize(
    ("quantity", "price", "step", "expected"),
    [
        ("0.2", "100", "0.1", True),
        ("0.1", "1000", "0.1", False),
        ("0.2", "1000", "0.3", False),
        ("0.3", "1000", "0.3", True),
        ("2", "10", "0.1", True),
        ("1.9", "10", "0.1", False),
        ("30", "0.5", "0.1", False),
    ],
)
def test_what_can_be_sold_alone_has_the_least_quantity_and_the_least_worth(
    quantity: str, price: str, step: str, expected: bool
) -> None:
    assert sellable(D(quantity), D(price), replace(RULES, step_size=D(step))) is expected


def test_a_quantity_is_capped_by_quantity_and_by_worth() -> None:
    """The worth's cap was missing: an order above it is refused by the exchange, again and again."""
    assert capped_quantity(D("60.07"), D(20), RULES) == D(50), "max_quantity"
    assert capped_quantity(D("60.07"), D(100), RULES) == D(40), "max_notional / price"
    assert capped_quantity(D("60"), D(300), RULES) == D("13.3"), "rounded down to the step"
    assert capped_quantity(D("7.09"), D(100), RULES) == D("7.0"), "below both caps"
    assert capped_quantity(D("60.07"), D("0.5"), replace(RULES, max_quantity=D(0))) == D("60.0"), "0 is no cap"
    assert capped_quantity(D("600.07"), D(100), replace(RULES, max_notional=D(0))) == D(50)
    assert capped_quantity(D("600.07"), D(0), RULES) == D(50), "a market order has no price"
    assert capped_quantity(D("600.07"), D("0.9"), replace(RULES, max_quantity=D(0), max_notional=D(90))) == D(100)
    assert capped_quantity(D("1.23456"), D(1), FREE) == D("1.23456")


def test_rounding_goes_to_the_multiple_below_or_above() -> None:
    assert floor_to(D("7.99"), D("0.5")) == D("7.5") and ceil_to(D("7.01"), D("0.5")) == D("7.5")
    assert floor_to(D("7.5"), D("0.5")) == ceil_to(D("7.5"), D("0.5")) == D("7.5")
    assert floor_to(D("7.99"), D(3)) == D(6) and ceil_to(D("7.99"), D(3)) == D(9)
    assert floor_to(D("7.99"), D(0)) == ceil_to(D("7.99"), D(0)) == D("7.99")


def test_money_has_eight_decimals_at_most_and_no_noughts_at_its_end() -> None:
    shown = {"1.500": "1.5", "100": "100", "0": "0", "-0.000000001": "0", "1E-7": "0.0000001", "-2.50": "-2.5"}
    assert {text: format_money(D(text)) for text in shown} == shown
    assert format_money(D("0.123456785")) == "0.12345678", "half to even"
