"""Reports come from the journal alone, add up, and agree with what the account has."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fortctl.robot.core import book as book_module
from fortctl.robot.core.book import Book
from fortctl.robot.core.events import (
    AssetPriced,
    AssetsNamed,
    Configured,
    FillRecorded,
    OrderIntended,
    OrderStatusReported,
)
from fortctl.robot.core.filters import format_money
from fortctl.robot.core.profit_report import BY, COLUMNS, Report, as_csv, report
from fortctl.robot.core.settings import GridSettings
from fortctl.robot.core.status import robot_status
from fortctl.robot.storage.offline_status import offline_report, offline_status
from fortctl.robot.strategy.grid import Grid
from fortctl.robot.testing import KINDS, SimulatedStep, StrategySimulator
from simulation.loop import simulated
from support.robot_scenes import walk
from support.robot_world import Robot, World

SETTINGS = GridSettings("XRPETH", 6, Decimal("0.5"), Decimal("0.5"), Decimal("0.05"), max_quote=Decimal("0.3"))
NEAR = Decimal("1e-15")
LAST_DIGIT = Decimal("1e-8")


def decimals_in(shown: Any) -> int:
    """Return the most decimals of any number in what people are shown."""
    numbers = re.findall(r'"-?[0-9]+(?:\.([0-9]+))?"', json.dumps(shown))
    return max((len(number) for number in numbers), default=0)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0.000000005", "0"),
        ("0.000000015", "0.00000002"),
        ("-0.000000004", "0"),
        ("1E+3", "1000"),
        ("12.50000000", "12.5"),
        ("-0.123456785000000000000001", "-0.12345679"),
        ("99999999999999999999999999999.5", "99999999999999999999999999999.5"),
    ],
)
def test_money_is_shown_to_eight_decimals_half_to_even(amount: str, text: str) -> None:
    assert format_money(Decimal(amount)) == text


@settings(max_examples=60, deadline=None)
@given(
    history=st.lists(
        st.builds(SimulatedStep, st.sampled_from(KINDS), st.decimals("-4", "4", places=2), st.integers(0, 50)),
        min_size=10,
        max_size=50,
    ),
    commission=st.sampled_from(["", "BNB", "ETH"]),
)
def test_realised_and_unrealised_profit_are_what_the_account_gained(
    history: list[SimulatedStep], commission: str
) -> None:
    played = StrategySimulator(Grid(), SETTINGS, commission=commission)
    played.record(AssetPriced("BNB", Decimal("0.2"), played.now))
    played.step(SimulatedStep("start"))
    for step in history:
        played.step(step)
    found = {by: report(played.journal, by, played.price) for by in BY}
    profit = found["symbol"]["totals"]["profit"].get("ETH", {"realised": "0", "unrealised": "0"})
    moved = played.moved
    gained = (
        moved.get("ETH", Decimal(0))
        + moved.get("XRP", Decimal(0)) * played.price
        + moved.get("BNB", 0) * Decimal("0.2")
    )
    folded = Report(played.price).feed(played.journal)
    folded.totals()
    lines = folded._symbols.values()
    assert abs(sum(line.realised + line.unrealised for line in lines) - gained) < NEAR, "summed exactly"
    assert abs(sum(line.realised for line in folded._days.values()) - sum(line.realised for line in lines)) < NEAR
    assert abs(Decimal(profit["realised"]) + Decimal(profit["unrealised"]) - gained) <= LAST_DIGIT
    for by in ("cycle", "day"):
        rows = [Decimal(row["realised_profit"] or 0) for row in found[by]["rows"]]
        assert abs(sum(rows) - Decimal(profit["realised"])) <= LAST_DIGIT / 2 * (len(rows) + 1)
    assert decimals_in(found) <= 8
    seen = robot_status(played.book, "running", played.price)
    assert decimals_in([seen["realised_profit"], seen["book"], seen["inventory"], played.book.cycle_rows()]) <= 8
    days = found["day"]["rows"]
    assert sum(row["fills"] for row in days) == sum(isinstance(event, FillRecorded) for event in played.journal)
    for by, one in found.items():
        read = list(csv.DictReader(io.StringIO(as_csv(one["rows"], by))))
        assert [row[COLUMNS[by][0]] for row in read] == [str(row[COLUMNS[by][0]]) for row in one["rows"]]
        assert json.loads(json.dumps(one)) == one


def test_commissions_in_another_asset_count_where_their_worth_is_known_and_are_named_where_not() -> None:
    price = Decimal("0.002")

    def earned(*known: AssetPriced) -> dict[str, object]:
        events = [
            *(Configured(SETTINGS.as_json()), AssetsNamed("XRP", "ETH"), *known),
            OrderIntended(1, 1, "buy", 1, "b", price, Decimal(100), Decimal(0), 1),
            *(
                FillRecorded("b", 1, price, Decimal(100), Decimal("0.2"), Decimal("0.001"), "BNB", 2),
                OrderStatusReported("b", 1, "FILLED", Decimal(100)),
            ),
            OrderIntended(1, 1, "sell", 1, "s", price * 2, Decimal(100), Decimal(0), 3),
            *(
                FillRecorded("s", 2, price * 2, Decimal(100), Decimal("0.4"), Decimal("0.002"), "BNB", 4),
                OrderStatusReported("s", 2, "FILLED", Decimal(100)),
            ),
        ]
        return report(events, "symbol")["totals"]

    known = earned(AssetPriced("BNB", Decimal(10), 0))
    assert known["profit"] == {"ETH": {"realised": "0.17", "unrealised": "0", "fees": "0.03"}}
    assert known["commissions_without_price"] == {}
    unknown = earned()
    assert unknown["profit"]["ETH"]["realised"] == "0.2"  # type: ignore[index]
    assert unknown["commissions_without_price"] == {"BNB": "0.003"}


@simulated
async def test_settled_cycles_leave_the_memory_and_stay_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book_module, "KEPT", 5)
    monkeypatch.setattr(book_module, "KEPT_EMPTY", 2)
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    await robot.runner.start(by_person=True)
    await walk(robot, world, seed=3, steps=300)
    book = robot.runner.book
    assert book.closed > 6
    assert len(book.cycles) <= 5 + 2 + len(book.live) and len(book.orders) <= 4 * len(book.cycles)
    assert book.next_cycle > len(book.cycles) + 1, "numbers are never given twice"
    await robot.down()
    found = offline_report(tmp_path / "journal.sqlite", "cycle")
    assert len([row for row in found["rows"] if row["state"] == "closed"]) == book.closed
    shown = offline_status(tmp_path / "journal.sqlite", 0)
    assert Decimal(shown["realised_profit"]) == round(book.profit, 8)
    assert Decimal(found["totals"]["profit"]["ETH"]["realised"]) == round(book.profit, 8)


def test_a_change_of_symbol_keeps_dust_and_profit_apart() -> None:
    book = Book()
    price = Decimal("0.002")
    for symbol, base, quote, cycle in (("XRPETH", "XRP", "ETH", 1), ("BNBBTC", "BNB", "BTC", 2)):
        book.apply(Configured(replace(SETTINGS, symbol=symbol).as_json()))
        book.apply(AssetsNamed(base, quote))
        for leg, gain in (("buy", 1), ("sell", 2)):
            name = f"{leg}{cycle}"
            offered = Decimal(100) if leg == "buy" else Decimal(99)
            book.apply(OrderIntended(cycle, 1, leg, 1, name, price * gain, offered, Decimal(0), 1))
            # The same trade id in both symbols: ids are unique within a symbol only.
            commission = Decimal("0.5") if leg == "buy" else Decimal(0)
            book.apply(FillRecorded(name, gain, price * gain, offered, offered * price * gain, commission, base, 2))
            book.apply(OrderStatusReported(name, gain, "FILLED", offered))
        assert book.dust == Decimal("0.5") and book.profit > 0
    assert set(book.profits) == {"ETH", "BTC"}
    book.apply(AssetsNamed("XRP", "ETH"))
    assert book.dust == Decimal("0.5") and book.inventory() == Decimal("0.5")
