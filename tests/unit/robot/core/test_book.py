"""The book, event by event: what each changes, and what a doubled, late or reverted one leaves as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from fortctl.robot.core.book import KEPT, KEPT_EMPTY, Book, CycleCounts
from fortctl.robot.core.cycle import Cycle, CycleState, IllegalTransitionError
from fortctl.robot.core.events import (
    Anchored,
    AssetPriced,
    AssetsNamed,
    Configured,
    DustLeft,
    Event,
    FillRecorded,
    Held,
    KeyStatusChanged,
    ModeChanged,
    OrderIntended,
    OrderNotFound,
    OrderStatusReported,
    Released,
    StrategyNote,
    Trailed,
)
from fortctl.robot.core.hold_reasons import HoldCode, HoldReason
from fortctl.robot.core.lifecycle import TradingMode
from fortctl.robot.core.settings import GridSettings, PluginSettings

D = Decimal
SETTINGS = GridSettings("BTCUSDT", 3, D(1), D(1), D(500))
GAP, DRIFT = HoldReason(HoldCode.GAP, "a break"), HoldReason(HoldCode.DRIFT, "a move")


def book(*events: Event) -> Book:
    made = Book()
    made.replay([Configured(SETTINGS.as_json()), AssetsNamed("BTC", "USDT"), *events])
    return made


def intent(name: str, cycle: int = 1, leg: str = "buy", attempt: int = 1, at: int = 10, **more: str) -> OrderIntended:
    values = {"price": "100", "quantity": "5", "dust": "0", "sell_price": "0", "sell_step": "0", **more}
    texts = {key: D(value) for key, value in values.items()}
    return OrderIntended(cycle=cycle, level=2, leg=leg, attempt=attempt, client_order_id=name, at=at, **texts)


def status(name: str, executed: str, state: str = "FILLED", number: int = 7) -> OrderStatusReported:
    return OrderStatusReported(name, number, state, D(executed))


def fill(
    name: str, trade: int, quantity: str, price: str = "100", fee: str = "0", asset: str = "USDT", at: int = 20
) -> FillRecorded:
    amount, worth = D(quantity), D(quantity) * D(price)
    return FillRecorded(name, trade, D(price), amount, worth, D(fee), asset, at)


def bought(cycle: int = 1, quantity: str = "5", **more: str) -> list[Event]:
    name = f"b{cycle}"
    return [
        intent(name, cycle, quantity=quantity, **more),
        status(name, quantity),
        fill(name, 100 + cycle, quantity),
    ]


def sold(cycle: int = 1, quantity: str = "5", price: str = "110", name: str = "", **more: str) -> list[Event]:
    name = name or f"s{cycle}"
    return [
        intent(name, cycle, "sell", quantity=quantity, price=price, **more),
        status(name, quantity),
        fill(name, 200 + cycle, quantity, price, at=30),
    ]


# -- one cycle ---------------------------------------------------------------------------------------------------------


def test_a_new_book_is_empty() -> None:
    one = Book()
    assert (one.next_cycle, one.since, one.last_at, one.closed, one.hold_changed_at) == (1, 0, 0, 0, 0)
    assert (one.mode, one.reason, one.symbol, one.base, one.quote) == (TradingMode.STOPPED, "", "", "", "")
    assert (one.profit, one.dust, one.dust_cost, one.inventory(), one.committed_quote()) == (0, 0, 0, 0, 0)
    assert one.counts() == CycleCounts(0, 0, 0) and one.cycle_rows() == []


def test_a_cycle_from_its_buy_to_its_profit() -> None:
    finished: list[Cycle] = []
    one = Book(finished.append)
    one.replay([Configured(SETTINGS.as_json()), AssetsNamed("BTC", "USDT"), intent("b1")])
    assert one.cycles[1].state is CycleState.BUYING and one.committed_quote() == 500 and one.inventory() == 0
    assert (one.cycles[1].level, one.cycles[1].symbol, one.cycles[1].opened_at) == (2, "BTCUSDT", 10)
    one.replay([status("b1", "2", "PARTIALLY_FILLED"), fill("b1", 1, "2")])
    assert one.committed_quote() == 200 + 300 and one.inventory() == 2
    assert one.counts() == CycleCounts(1, 0, 0)
    one.replay([status("b1", "5"), fill("b1", 2, "3", "90")])
    assert one.cycles[1].state is CycleState.BOUGHT and one.cycles[1].spent == 470
    assert one.committed_quote() == 470 and one.counts() == CycleCounts(1, 0, 1)
    one.apply(intent("s1", leg="sell", price="110"))
    assert one.cycles[1].state is CycleState.SELLING and one.counts().held == 0 and one.committed_quote() == 470
    one.replay([status("s1", "5"), fill("s1", 3, "5", "110", at=99)])
    assert one.cycles[1].state is CycleState.CLOSED and one.profit == 80 and finished == [one.cycles[1]]
    assert one.cycles[1].closed_at == 99 == one.last_at and one.live == set() and one.open_orders == set()
    assert one.counts() == CycleCounts(0, 1, 0) and one.inventory() == one.committed_quote() == 0
    assert one.moved == {"BTC": 0, "USDT": 80} and one.trades == {1, 2, 3}
    (row,) = one.cycle_rows()
    assert (row["id"], row["level"], row["state"], row["profit"]) == (1, 2, "closed", "80")
    assert (row["buy"]["client_order_id"], row["sell"]["client_order_id"]) == ("b1", "s1")
    assert row["buy"]["side"] == "BUY" and row["sell"]["side"] == "SELL" and row["buy"]["order_id"] == 7


def test_a_cycle_without_a_sell_has_none_in_its_row() -> None:
    (row,) = book(*bought()).cycle_rows()
    assert row["sell"] == {} and row["state"] == "bought" and row["profit"] == "0"


def test_a_buy_without_a_fill_is_cancelled_and_a_partial_one_is_sold() -> None:
    one = book(intent("b1"), status("b1", "0", "CANCELED"), intent("b2", 2), OrderNotFound("b2", "refused"))
    assert [cycle.state for cycle in one.cycles.values()] == [CycleState.CANCELLED] * 2
    assert one.counts() == CycleCounts(0, 0, 0) and one.orders["b2"].absent
    one = book(intent("b1"), fill("b1", 1, "2"), status("b1", "2", "CANCELED"))
    assert one.cycles[1].state is CycleState.BOUGHT and one.inventory() == 2


def test_a_sell_that_ends_early_leaves_the_rest_to_sell() -> None:
    one = book(*bought(), intent("s1", leg="sell", price="110"))
    one.replay([fill("s1", 2, "2", "110"), status("s1", "2", "EXPIRED")])
    assert one.cycles[1].state is CycleState.BOUGHT and one.inventory() == 3 and one.committed_quote() == 300
    one.replay([intent("s1x", leg="sell", attempt=2, quantity="3", price="110"), OrderNotFound("s1x", "refused")])
    assert one.cycles[1].state is CycleState.BOUGHT and one.cycles[1].attempts == {"buy": 1, "sell": 2}
    assert one.next_attempt(one.cycles[1], "sell", D(110), D(3)) == 3


def test_a_cycle_waits_for_the_fills_that_the_exchange_reported() -> None:
    one = book(intent("b1"), status("b1", "5"))
    assert one.cycles[1].state is CycleState.BUYING and [order.missing for order in one.unsettled()] == [5]
    one.apply(fill("b1", 1, "4"))
    assert one.cycles[1].state is CycleState.BUYING
    one.apply(fill("b1", 2, "1"))
    assert one.cycles[1].state is CycleState.BOUGHT and one.unsettled() == []


def test_what_cannot_have_happened_is_refused() -> None:
    with pytest.raises(IllegalTransitionError):
        book(*bought(), intent("b1x", attempt=2))
    with pytest.raises(IllegalTransitionError):
        book(intent("b1"), DustLeft(1))
    with pytest.raises(KeyError):
        book(status("unknown", "1"))
    with pytest.raises(TypeError, match="unknown event Event"):
        book(Event())


# -- doubled, late and reverted events ---------------------------------------------------------------------------------


def test_a_fill_is_booked_once() -> None:
    one = book(*bought(), fill("b1", 101, "5"))
    assert one.inventory() == 5 and one.has_booked("b1", 101)
    assert not one.has_booked("b1", 102) and not one.has_booked("unknown", 101)


def test_a_late_report_takes_nothing_back() -> None:
    one = book(intent("b1"), status("b1", "3", "PARTIALLY_FILLED"), status("b1", "1", "PARTIALLY_FILLED", 0))
    assert one.orders["b1"].executed == 3 and one.orders["b1"].order_id == 7
    one.replay([status("b1", "3", "CANCELED"), status("b1", "2", "PARTIALLY_FILLED"), status("b1", "3", "NEW")])
    assert one.orders["b1"].status == "CANCELED", "final stays final"
    one.apply(status("b1", "5", "FILLED"))
    assert (one.orders["b1"].status, one.orders["b1"].executed) == ("FILLED", 5), "unless more was executed"


def test_a_fill_that_comes_before_its_report_counts_as_executed() -> None:
    one = book(intent("b1"), fill("b1", 1, "2"))
    assert one.orders["b1"].executed == 2 and one.orders["b1"].missing == 0
    one.apply(status("b1", "1", "PARTIALLY_FILLED"))
    assert one.orders["b1"].executed == 2


def test_an_order_that_was_believed_absent_and_executed_is_unsettled_again() -> None:
    one = book(intent("b1"), OrderNotFound("b1", "not found"))
    assert one.unsettled() == []
    one.apply(status("b1", "5"))
    assert not one.orders["b1"].absent and [order.client_order_id for order in one.unsettled()] == ["b1"]
    one = book(intent("b1"), status("b1", "0", "CANCELED"), OrderNotFound("b1", "not found"))
    assert not one.orders["b1"].absent, "what has ended is not absent"


def test_a_repeated_report_of_an_end_finishes_the_cycle_once() -> None:
    finished: list[int] = []
    one = Book(lambda cycle: finished.append(cycle.id))
    one.replay([Configured(SETTINGS.as_json()), AssetsNamed("BTC", "USDT"), *bought(), *sold()])
    one.replay([status("s1", "5"), OrderNotFound("s1", "late")])
    assert finished == [1] and one.profit == 50 and one.closed == 1


def test_time_and_numbers_never_go_back() -> None:
    one = book(intent("b3", 3), fill("b3", 1, "1", at=50), fill("b3", 2, "1", at=40), intent("b2", 2))
    assert one.last_at == 50 and one.next_cycle == 4


# -- commissions -------------------------------------------------------------------------------------------------------


def test_commissions_in_base_leave_less_to_sell_and_in_quote_cost_profit() -> None:
    one = book(intent("b1"), status("b1", "5"), fill("b1", 1, "5", fee="0.005", asset="BTC"))
    assert one.inventory() == D("4.995") and one.cycles[1].fees == 0 and one.moved["BTC"] == D("4.995")
    one.replay([intent("s1", leg="sell", quantity="4", price="200"), status("s1", "4")])
    one.apply(fill("s1", 2, "4", "200", fee="0.8", asset="USDT"))
    cycle = one.cycles[1]
    assert cycle.fees == D("0.8") and cycle.commissions == {"BTC": D("0.005"), "USDT": D("0.8")}
    unit = D(500) / D("4.995")
    assert cycle.profit == 800 - 4 * unit - D("0.8") == one.profit
    assert one.dust == D("0.995") and one.dust_cost == D("0.995") * unit, "what is left goes to the pool at its price"
    assert one.moved["USDT"] == 800 - 500 - D("0.8")


def test_commission_in_base_of_a_sell_counts_as_sold() -> None:
    one = book(*bought(), intent("s1", leg="sell", quantity="4", price="110"), status("s1", "4"))
    one.apply(fill("s1", 2, "4", "110", fee="0.5", asset="BTC"))
    assert one.cycles[1].sold == D("4.5") and one.dust == D("0.5") and one.moved["BTC"] == D("0.5")


def test_a_commission_in_another_asset_costs_its_worth_where_that_is_known() -> None:
    one = book(intent("b1"), status("b1", "5"), fill("b1", 1, "2", fee="0.1", asset="BNB"))
    assert one.other_commissions == {"BNB": D("0.1")} and one.cycles[1].fees == 0
    one.replay([AssetPriced("BNB", D(300), 44), fill("b1", 2, "3", fee="0.1", asset="BNB")])
    assert one.other_commissions == {"BNB": D("0.1")} and one.cycles[1].fees == 30
    assert one.prices == {"BNB": D(300)} and one.priced_at == {"BNB": 44} and one.moved["BNB"] == D("-0.2")
    assert (one.worth("BTC", D(1)), one.worth("USDT", D(1)), one.worth("BNB", D(1)), one.worth("X", D(1))) == (
        *(0, 1, 300),
        0,
    )
    one = book(intent("b1"), status("b1", "5"), fill("b1", 1, "5", fee="0", asset="BNB"))
    assert one.other_commissions == {}
    one.replay([*sold(), fill("s1", 9, "0", fee="0.2", asset="BNB")])
    one.apply(fill("s1", 10, "0", fee="0.3", asset="BNB"))
    assert one.other_commissions == {"BNB": D("0.5")}


# -- dust --------------------------------------------------------------------------------------------------------------


def test_dust_is_pooled_sold_along_and_kept_for_its_symbol() -> None:
    one = book(*bought(1, "0.5"), DustLeft(1), *bought(2))
    assert one.cycles[1].state is CycleState.DUST and (one.dust, one.dust_cost) == (D("0.5"), 50)
    assert one.inventory() == D("5.5") and one.committed_quote() == 550 and one.counts().open == 1
    one.apply(intent("s2", 2, "sell", quantity="5.2", price="110", dust="0.2"))
    assert (one.dust, one.dust_cost) == (D("0.3"), 30)
    assert (one.cycles[2].dust, one.cycles[2].dust_cost, one.cycles[2].held_quantity) == (D("0.2"), 20, D("5.2"))
    one.apply(AssetsNamed("BTC", "USDT"))
    assert one.dust == D("0.3"), "the same symbol again changes nothing"
    one.apply(AssetsNamed("ETH", "USDT"))
    assert (one.dust, one.dust_cost, one.base) == (0, 0, "ETH")
    one.apply(AssetsNamed("BTC", "USDT"))
    assert (one.dust, one.dust_cost) == (D("0.3"), 30)


def test_profits_are_kept_by_quote() -> None:
    one = book(*bought(), *sold())
    one.apply(AssetsNamed("BTC", "EUR"))
    assert one.profit == 0 and one.profits == {"USDT": D(50)}


# -- promised sells ----------------------------------------------------------------------------------------------------


def test_only_a_promised_sell_that_was_not_journaled_is_doubted() -> None:
    promised = {"sell_price": "110", "sell_step": "0.1"}
    one = book(
        *bought(1), *bought(2, **promised), *bought(3, **promised), intent("s3", 3, "sell"), *bought(4, **promised)
    )
    one.replay(sold(4))
    one.doubt_promises()
    assert one.doubted == {2}
    one.apply(intent("s2", 2, "sell"))
    assert one.doubted == set()
    one = book(intent("b1", **promised))
    one.doubt_promises()
    assert one.doubted == {1}
    one.apply(status("b1", "0", "CANCELED"))
    assert one.doubted == set(), "nothing was bought"


def test_the_first_number_of_a_promised_sell_is_kept_for_that_very_order() -> None:
    one = book(*bought(1, sell_price="110", sell_step="1"))
    cycle = one.cycles[1]
    assert one.next_attempt(cycle, "sell", D(110), D(5)) == 1
    assert one.next_attempt(cycle, "sell", D(111), D(5)) == one.next_attempt(cycle, "sell", D(110), D(4)) == 2
    one.replay([intent("s1", leg="sell", attempt=2), OrderNotFound("s1", "refused")])
    assert one.next_attempt(cycle, "sell", D(110), D(5)) == 3 and one.next_attempt(cycle, "buy", D(1), D(1)) == 2
    assert book(*bought()).next_attempt(cycle, "sell", D(110), D(5)) == 3
    plain = book(*bought())
    assert plain.next_attempt(plain.cycles[1], "sell", D(110), D(5)) == 1


# -- settings, levels, mode --------------------------------------------------------------------------------------------


def configured(**changes: object) -> Configured:
    return Configured(replace(SETTINGS, **changes).as_json())  # type: ignore[arg-type]


def test_levels_are_laid_trailed_cut_and_added() -> None:
    one = book(Anchored(D(100)))
    assert one.anchor == 100 and one.levels == {1, 2, 3}
    one.apply(Trailed(3, 0))
    assert one.levels == {0, 1, 2}
    one.apply(Trailed(9, 5))
    assert one.levels == {0, 1, 2, 5}
    one.apply(configured(levels=2))
    assert one.levels == {0, 1} and one.anchor == 100
    one.apply(configured(levels=4))
    assert one.levels == {0, 1, 2, 3} and one.settings is not None
    fresh = book(configured(levels=2))
    assert fresh.levels == set(), "no grid was laid yet"


def test_another_strategy_begins_without_the_notes_of_the_last() -> None:
    one = book(Anchored(D(100)), StrategyNote("a", "1"), StrategyNote("b", "2"), StrategyNote("a", ""))
    assert one.notes == {"b": "2"}
    one.apply(configured(levels=3))
    assert one.notes == {"b": "2"} and one.anchor == 100
    assert one.settings is not None
    one.apply(Configured(PluginSettings("other", "BTCUSDT", D(1), D(500)).as_json()))
    assert (one.anchor, one.levels, one.notes) == (None, set(), {}) and one.settings.strategy == "other"


@pytest.mark.parametrize(
    ("mode", "open_cycle", "kept"),
    [("running", False, False), ("running", True, True), ("draining", False, True), ("stopped", False, True)],
)
def test_only_a_start_without_a_cycle_lays_a_fresh_grid(mode: str, open_cycle: bool, kept: bool) -> None:
    one = book(Anchored(D(100)), StrategyNote("a", "1"), *([intent("b1")] if open_cycle else []))
    one.apply(ModeChanged(mode, "a person", 77))
    assert (one.mode, one.reason, one.since) == (TradingMode(mode), "a person", 77)
    assert (one.anchor is not None, bool(one.levels), bool(one.notes)) == (kept, kept, kept)


def test_a_hold_lasts_from_its_first_reason_until_its_release() -> None:
    one = book(Held((GAP,), 5), Held((GAP, DRIFT), 9))
    assert one.hold == (GAP, DRIFT) and one.hold_changed_at == 5
    one.apply(Released(12))
    assert one.hold == () and one.hold_changed_at == 12
    one.apply(Held((DRIFT,), 15))
    assert one.hold_changed_at == 15


def test_the_last_loss_of_a_key_outlives_its_successor() -> None:
    lost, fresh = KeyStatusChanged("lost", 5), KeyStatusChanged("set", 9)
    one = book(lost, fresh)
    assert one.key_status == fresh and one.last_loss == lost


# -- what it forgets ---------------------------------------------------------------------------------------------------


def finished_cycles(first: int, count: int, empty: bool) -> Sequence[Event]:
    events: list[Event] = []
    for number in range(first, first + count):
        name = f"b{number}"
        events += [intent(name, number), status(name, "0", "CANCELED")] if empty else [*bought(number), *sold(number)]
    return events


def test_finished_cycles_leave_the_book_but_not_its_sums() -> None:
    one = book(*finished_cycles(1, KEPT, False), *finished_cycles(1001, KEPT_EMPTY, True))
    assert len(one.cycles) == KEPT + KEPT_EMPTY and len(one.orders) == 2 * KEPT + KEPT_EMPTY
    one.replay(finished_cycles(2001, 1, True))
    assert 1001 not in one.cycles and "b1001" not in one.orders and 1002 in one.cycles and 1 in one.cycles
    one.replay(finished_cycles(3001, 2, False))
    assert not {1, 2} & set(one.cycles) and "b1" not in one.orders and "s2" not in one.orders and 3 in one.cycles
    assert one.closed == KEPT + 2 and one.profit == 50 * (KEPT + 2) and one.next_cycle == 3003


def test_a_cycle_of_which_the_exchange_reports_again_stays() -> None:
    one = book(*finished_cycles(1, KEPT_EMPTY, True), status("b1", "5"))
    one.replay(finished_cycles(1001, 2, True))
    assert 1 in one.cycles and "b1" in one.orders and 2 not in one.cycles
