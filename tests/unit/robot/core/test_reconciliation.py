"""What the robot concludes from the exchange's answers, with one order and one balance at a time."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from fortctl.model import AccountState, Balance, Fill, OrderState, OrderStatus, Side
from fortctl.robot.core.book import Book
from fortctl.robot.core.cycle import Order
from fortctl.robot.core.events import (
    AssetsNamed,
    Configured,
    FillRecorded,
    OrderIntended,
    OrderNotFound,
    OrderStatusReported,
)
from fortctl.robot.core.hold_reasons import HoldCode
from fortctl.robot.core.reconciliation import (
    LastContact,
    Outage,
    ResumeLimits,
    fill_record,
    has_missed_events,
    missed_events,
    orders_to_look_up,
    other_robots,
    reasons_to_hold,
    regressed_orders,
    rollback_reason,
    shortage,
    status_report,
)
from fortctl.robot.core.settings import GridSettings

D = Decimal
ROBOT = "aabbccdd00112233"
OURS = "fcaabbccdd-"
BUY, SELL = f"{OURS}1b1", f"{OURS}1s1"
HOUR = 3600 * 1000
PRICE = D(100)


def bought(quantity: str = "5") -> Book:
    """Return a book with one cycle that has bought; nothing is offered."""
    book, amount = Book(), D(quantity)
    book.replay(
        [
            Configured(GridSettings("BTCUSDT", 4, D(1), D(1), D(500)).as_json()),
            AssetsNamed("BTC", "USDT"),
            OrderIntended(1, 1, "buy", 1, BUY, PRICE, amount, D(0), 1_000),
            OrderStatusReported(BUY, 11, "FILLED", amount),
            FillRecorded(BUY, 1, PRICE, amount, PRICE * amount, D(0), "USDT", 1_500),
        ]
    )
    return book


def selling(quantity: str = "5") -> Book:
    """Return the same with all of it offered."""
    book = bought(quantity)
    book.replay(
        [
            OrderIntended(1, 1, "sell", 1, SELL, D(101), D(quantity), D(0), 2_000),
            OrderStatusReported(SELL, 12, "NEW", D(0)),
        ]
    )
    return book


def account(free: str, locked: str) -> AccountState:
    return AccountState(1, True, D(0), D(0), (Balance("BTC", D(free), D(locked)), Balance("USDT", D(9), D(9))))


def state(name: str, executed: str = "0", status: OrderStatus = OrderStatus.NEW, side: Side = Side.SELL) -> OrderState:
    return OrderState("BTCUSDT", 12, name, side, "LIMIT", D(101), D(5), D(executed), D(0), status, 2_000, 2_000)


# -- what can be sold --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "locked"), [("5", "0"), ("0", "5"), ("3", "2"), ("7", "0"), ("0", "9")], ids=lambda text: text
)
def test_enough_free_or_locked_in_our_own_sell_is_no_shortage(free: str, locked: str) -> None:
    assert shortage(selling(), account(free, locked), PRICE) is None


def test_what_is_exactly_there_is_no_shortage_and_one_step_less_is_one() -> None:
    """With the operands swapped, the robot held where more was there than it had bought, and not where less was."""
    assert shortage(bought(), account("5", "0"), PRICE) is None
    assert shortage(bought(), account("5.00000001", "0"), PRICE) is None
    lack = shortage(bought(), account("4.5", "0"), D(90))
    assert lack is not None and (lack.code, lack.amount, lack.asset) == (HoldCode.BALANCE, D("0.5"), "BTC")
    assert lack.detail == (
        "0.5 BTC are missing; 4.5 can be sold at the exchange, 5 are in our cycles; the difference is worth 45.0 USDT"
    )


def test_what_another_order_has_locked_cannot_be_sold() -> None:
    lack = shortage(bought(), account("3", "2"), PRICE)
    assert lack is not None and lack.amount == D(2), "nothing of ours offers it"
    lack = shortage(selling("2"), account("0", "5"), PRICE)
    assert lack is None, "ours offers 2 of what is locked, and no more is needed"
    partly = selling()
    partly.apply(OrderStatusReported(SELL, 12, "PARTIALLY_FILLED", D(2)))
    partly.apply(FillRecorded(SELL, 2, D(101), D(2), D(202), D(0), "USDT", 3_000))
    assert shortage(partly, account("0", "3"), PRICE) is None
    lack = shortage(partly, account("0", "2"), PRICE)
    assert lack is not None and lack.amount == D(1)
    more = [OrderIntended(2, 2, "buy", 1, f"{OURS}2b1", PRICE, D(5), D(0), 4_000)]
    partly.replay([*more, OrderStatusReported(f"{OURS}2b1", 13, "FILLED", D(5))])
    partly.apply(FillRecorded(f"{OURS}2b1", 3, PRICE, D(5), D(500), D(0), "USDT", 4_000))
    lack = shortage(partly, account("0", "8"), PRICE)
    assert lack is not None and lack.amount == D(5), "what our sell has executed it offers no longer"


def test_a_buy_and_a_sell_that_has_ended_offer_nothing() -> None:
    book = bought()
    book.replay(
        [
            OrderIntended(2, 2, "buy", 1, f"{OURS}2b1", PRICE, D(5), D(0), 2_000),
            OrderStatusReported(f"{OURS}2b1", 13, "NEW", D(0)),
        ]
    )
    lack = shortage(book, account("0", "5"), PRICE)
    assert lack is not None and lack.amount == D(5), "an open buy locks quote, not base"
    ended = selling()
    # Cancelled after 2 of 5, whose trade is not booked yet: the cycle still counts all five.
    ended.apply(OrderStatusReported(SELL, 12, "CANCELED", D(2)))
    lack = shortage(ended, account("0", "5"), PRICE)
    assert lack is not None and lack.amount == D(5)


# -- why it holds ------------------------------------------------------------------------------------------------------


def outage(gap_ms: int = 0, price: str = "100", now: int = 10**12) -> Outage:
    return Outage(LastContact(now - gap_ms, PRICE), now, D(price))


def held_for(book: Book, gone: Outage, *orders: OrderState, free: str = "5") -> list[str]:
    limits = ResumeLimits(6 * HOUR, D(5))
    return [str(reason.code) for reason in reasons_to_hold(book, ROBOT, orders, account(free, "0"), gone, limits)]


def test_a_break_or_a_move_at_its_limit_is_bridged_and_beyond_it_is_not() -> None:
    book = bought()
    assert held_for(book, outage(6 * HOUR)) == [] and held_for(book, outage(6 * HOUR + 1)) == ["GAP"]
    assert held_for(book, outage(0, "105")) == held_for(book, outage(0, "95")) == []
    assert held_for(book, outage(0, "105.1")) == held_for(book, outage(0, "94.9")) == ["DRIFT"]
    assert held_for(book, outage(7 * HOUR, "120")) == ["GAP", "DRIFT"]
    assert held_for(book, Outage(None, 10**12, D(500))) == [], "the robot never traded"
    assert held_for(Book(), outage(7 * HOUR, "120")) == [], "no cycle lived through it"


def test_the_words_of_a_break_have_its_numbers() -> None:
    gap, drift = outage(9 * HOUR, "90").too_long(ResumeLimits(6 * HOUR, D(5)))
    assert gap.detail == "the break lasted 9.0 h, 6.0 h are bridged alone"
    assert drift.detail == "the price moved by 10.0 % meanwhile (100 to 90), 5 % are bridged alone"


def test_the_limits_are_six_hours_and_five_per_cent() -> None:
    assert ResumeLimits() == ResumeLimits(21_600_000, D(5))


def test_an_order_with_our_prefix_that_the_journal_lacks_holds_the_robot() -> None:
    strange = replace(state(f"{OURS}9s1", "2"), price=D(110))
    book = selling()
    (reason,) = reasons_to_hold(book, ROBOT, [state(SELL), strange], account("5", "0"), outage(), ResumeLimits())
    assert (reason.code, reason.subject) == (HoldCode.UNKNOWN_ORDER, f"{OURS}9s1")
    assert reason.detail.endswith("SELL 5 at 110, 330 USDT")
    assert held_for(book, outage(), state(SELL), state("a person's own"), state("fc00000000-1b1")) == []
    assert held_for(book, outage(), strange, free="1") == ["UNKNOWN_ORDER", "BALANCE"]


def test_other_robots_are_counted_by_their_prefix() -> None:
    names = [f"{OURS}1b1", "fc00000001-1b1", "fc00000001-2b1", "fcffffffff-1s1", "a person's own", "fcxyz-1"]
    assert other_robots(ROBOT, [state(name) for name in names]) == {"fc00000001-": 2, "fcffffffff-": 1}


# -- what was missed ---------------------------------------------------------------------------------------------------


def test_an_order_that_is_not_listed_is_looked_up() -> None:
    book = selling()
    assert orders_to_look_up(book, [state(SELL)]) == []
    assert [order.client_order_id for order in orders_to_look_up(book, [state("another")])] == [SELL]


def test_a_list_shows_what_was_missed() -> None:
    book = selling()
    assert not has_missed_events(book, [state(SELL), state("a person's own", "3")])
    assert has_missed_events(book, [state(SELL, "1")]), "it executed more"
    assert has_missed_events(book, []), "it is gone"


def test_missed_events_are_the_new_trades_the_listed_and_the_looked_up() -> None:
    book = bought()
    book.replay(
        [
            OrderIntended(1, 1, "sell", 1, SELL, D(101), D(5), D(0), 2_000),
            OrderIntended(2, 2, "buy", 1, f"{OURS}2b1", PRICE, D(5), D(0), 2_000),
            OrderIntended(3, 3, "buy", 1, f"{OURS}3b1", PRICE, D(5), D(0), 2_000),
        ]
    )
    old, new = (Fill("BTCUSDT", n, 12, Side.SELL, D(101), D(1), D(101), D("0.1"), "USDT", 7, False) for n in (1, 2))
    gone = state(f"{OURS}2b1", "0", OrderStatus.CANCELED)
    events = missed_events(
        book,
        [state(SELL, "1", OrderStatus.PARTIALLY_FILLED), state("a person's own")],
        {f"{OURS}2b1": gone, f"{OURS}3b1": None},
        {BUY: [old], SELL: [new], "unknown": [new]},
    )
    assert events == [
        FillRecorded(SELL, 2, D(101), D(1), D(101), D("0.1"), "USDT", 7),
        OrderStatusReported(SELL, 12, "PARTIALLY_FILLED", D(1)),
        OrderStatusReported(f"{OURS}2b1", 12, "CANCELED", D(0)),
        OrderNotFound(f"{OURS}3b1", "not found at the exchange"),
    ]
    assert status_report(gone) == events[2] and fill_record(new, SELL) == events[0]


# -- what the exchange takes back --------------------------------------------------------------------------------------


def ours(executed: str = "2", status: OrderStatus | None = OrderStatus.PARTIALLY_FILLED, absent: bool = False) -> Order:
    return Order(SELL, 1, "sell", 1, D(101), D(5), 0, status, absent, 12, D(executed), D(executed))


def test_an_order_of_which_less_is_reported_than_before_was_rolled_back() -> None:
    for order, found, words in (
        (ours(), None, "does not know it any more"),
        (ours("2"), state(SELL, "1.9"), "it has executed 1.9 at the exchange, which had reported 2"),
        (ours("2", OrderStatus.FILLED), state(SELL, "2"), "reports it as open, after it had reported its end"),
    ):
        reason = rollback_reason(order, found)
        assert reason is not None and words in reason.detail and reason.detail.startswith(f"{SELL}; ")
        assert (reason.code, reason.subject) == (HoldCode.ROLLED_BACK, SELL)


def test_an_order_that_goes_on_was_not_rolled_back() -> None:
    ended = state(SELL, "2", OrderStatus.CANCELED)
    for order, found in (
        (ours("0", None), None),
        (ours("2"), state(SELL, "2")),
        (ours("2"), state(SELL, "3")),
        (ours("2", OrderStatus.CANCELED), ended),
        (ours("0", OrderStatus.REJECTED, absent=True), state(SELL, "0")),
    ):
        assert rollback_reason(order, found) is None, (order, found)


def test_the_orders_that_a_list_takes_back_are_asked_about() -> None:
    book = selling()
    book.apply(OrderStatusReported(SELL, 12, "PARTIALLY_FILLED", D(2)))
    assert regressed_orders(book, [state(SELL, "2"), state("a person's own")]) == []
    assert regressed_orders(book, [state(SELL, "1.9")]) == [SELL]
    assert regressed_orders(book, [state(BUY, "5", side=Side.BUY)]) == [BUY], "it had ended"
    book = bought()
    book.replay([OrderIntended(1, 1, "sell", 1, SELL, D(101), D(5), D(0), 2_000), OrderNotFound(SELL, "refused")])
    assert regressed_orders(book, [state(SELL)]) == [], "it was only believed to be absent"
