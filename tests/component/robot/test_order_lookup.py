"""Look up what became of orders, against an exchange whose orders arrive at their own time; the journal is real."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fortctl.model import Fill, OrderState, OrderStatus, Side
from fortctl.ports import ExchangeError, Outcome
from fortctl.robot.core.events import (
    AssetsNamed,
    Configured,
    Event,
    FillRecorded,
    OrderIntended,
    OrderStatusReported,
)
from fortctl.robot.core.lifecycle import Books
from fortctl.robot.core.order_ids import client_order_id
from fortctl.robot.core.settings import GridSettings
from fortctl.robot.core.submission import PROVED_AFTER_MS
from fortctl.robot.storage.journal import SqliteJournal
from fortctl.robot.trading.order_lookup import OrderLookup, restore_client_ids
from fortctl.robot.trading.state import RobotState
from support.clock import START_MS, FakeClock

D = Decimal
ROBOT = "aabbccdd00112233"
SETTINGS = GridSettings("BTCUSDT", 9, D(1), D(1), D(500))
PRICE, SELL_PRICE, QUANTITY = D(100), D(101), D(5)
GONE = ExchangeError(Outcome.ABSENT, "Order does not exist.", code=-2013)


def name_of(cycle: int, leg: str = "buy", attempt: int = 1) -> str:
    return client_order_id(ROBOT, cycle, leg, attempt)


def state(
    number: int, name: str, side: Side = Side.BUY, executed: str = "0", status: OrderStatus = OrderStatus.NEW
) -> OrderState:
    price = PRICE if side is Side.BUY else SELL_PRICE
    return OrderState(
        *("BTCUSDT", number, name, side, "LIMIT", price, QUANTITY, D(executed), D(0), status, START_MS, START_MS)
    )


def fill(number: int, order_id: int, quantity: str = "5") -> Fill:
    amount = D(quantity)
    return Fill("BTCUSDT", number, order_id, Side.BUY, PRICE, amount, PRICE * amount, D(0), "USDT", START_MS, True)


class Exchange:
    """Orders and trades, and everything that was asked."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.orders: list[OrderState] = []
        self.coming: list[tuple[int, OrderState]] = []
        self.fills: list[Fill] = []
        self.earlier: dict[int, tuple[str, ...]] = {}
        self.archived: set[str] = set()
        self.fault: ExchangeError | None = None
        self.asked: list[str] = []

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        self.orders += [order for at, order in self.coming if at <= self.clock.ms]
        self.coming = [(at, order) for at, order in self.coming if at > self.clock.ms]
        if self.fault is not None:
            raise self.fault

    async def order(self, symbol: str, client_order_id: str, *, order_id: int | None = None) -> OrderState:
        self._ask(f"order {order_id or client_order_id}")
        if client_order_id in self.archived:
            raise ExchangeError(Outcome.ABSENT, "Order was canceled or expired.", code=-2026)
        for order in self.orders:
            if order.order_id == order_id or (order_id is None and order.client_order_id == client_order_id):
                return order
        raise GONE

    async def all_orders(
        self, symbol: str, *, start_time: int | None = None, from_id: int | None = None
    ) -> tuple[OrderState, ...]:
        self._ask(f"all from {from_id}")
        return tuple(order for order in self.orders if order.order_id >= (from_id or 0))

    async def trades(self, symbol: str, *, order_id: int | None = None, from_id: int | None = None) -> tuple[Fill, ...]:
        self._ask(f"trades of {order_id}" if order_id is not None else f"trades from {from_id}")
        return tuple(one for one in self.fills if order_id in (None, one.order_id) and one.trade_id >= (from_id or 0))

    async def previous_client_order_ids(self, symbol: str, order_id: int) -> tuple[str, ...]:
        self._ask(f"names of {order_id}")
        return self.earlier.get(order_id, ())


class OpenLatch:
    def is_latched(self) -> bool:
        return False

    def placing(self) -> Any:
        return nullcontext(True)


class Place:
    """A robot whose process was just started over a journal, and its exchange."""

    def __init__(self, folder: Path, *events: Event) -> None:
        self.clock = FakeClock()
        self.exchange: Any = Exchange(self.clock)
        journal = SqliteJournal(folder / "journal.sqlite", account="default", clock=self.clock)
        journal.append([Configured(SETTINGS.as_json()), AssetsNamed("BTC", "USDT"), *events])
        self.robot = RobotState(
            account="default",
            robot_id=ROBOT,
            journal=journal,
            clock=self.clock,
            latch=OpenLatch(),
            connect=lambda pair: self.exchange,
            log=logging.getLogger("test.lookup"),
        )
        self.robot.exchange_clock.set(START_MS, self.clock.monotonic())
        self.robot.exchange = self.exchange
        self.lookup = OrderLookup(self.robot)

    @property
    def passed_ms(self) -> int:
        return self.clock.ms - START_MS


def intent(cycle: int = 1, leg: str = "buy", at: int = START_MS, promised: bool = False) -> OrderIntended:
    price = PRICE if leg == "buy" else SELL_PRICE
    sell = (SELL_PRICE, D(1)) if promised else (D(0), D(0))
    return OrderIntended(cycle, cycle, leg, 1, name_of(cycle, leg), price, QUANTITY, D(0), at, *sell)


def bought(cycle: int = 1, number: int = 11) -> list[Event]:
    """Return a cycle that has bought, whose sell is promised."""
    name = name_of(cycle)
    return [
        intent(cycle, promised=True),
        OrderStatusReported(name, number, "FILLED", QUANTITY),
        FillRecorded(name, number, PRICE, QUANTITY, PRICE * QUANTITY, D(0), "USDT", START_MS),
    ]


# -- an order of unknown outcome ---------------------------------------------------------------------------------------


async def test_an_order_is_absent_only_once_it_can_no_longer_arrive(tmp_path: Path) -> None:
    place = Place(tmp_path, intent())
    place.lookup.mark_unknown(name_of(1))
    await place.lookup.resolve_unknown(place.exchange)
    assert place.robot.book.orders[name_of(1)].absent and place.lookup.unknown == []
    assert PROVED_AFTER_MS < place.passed_ms <= PROVED_AFTER_MS + 100, "not before its receive window is over"
    assert place.exchange.asked == [f"order {name_of(1)}"] * 2 + ["all from 0"]


@pytest.mark.parametrize("arrives_ms", [1, 900, PROVED_AFTER_MS - 1, PROVED_AFTER_MS])
async def test_an_order_that_arrives_late_is_found(tmp_path: Path, arrives_ms: int) -> None:
    place = Place(tmp_path, intent())
    place.exchange.coming = [(START_MS + arrives_ms, state(12, name_of(1)))]
    place.lookup.mark_unknown(name_of(1))
    await place.lookup.resolve_unknown(place.exchange)
    order = place.robot.book.orders[name_of(1)]
    assert (order.status, order.order_id, order.absent) == ("NEW", 12, False)


@pytest.mark.parametrize(("age_ms", "looks"), [(PROVED_AFTER_MS + 1, 1), (PROVED_AFTER_MS, 2)])
async def test_an_order_whose_time_is_over_is_not_waited_for(tmp_path: Path, age_ms: int, looks: int) -> None:
    place = Place(tmp_path, intent(at=START_MS - age_ms))
    assert await place.lookup.look_up(place.exchange, place.robot.book.orders[name_of(1)]) is None
    assert place.exchange.asked.count(f"order {name_of(1)}") == looks
    assert place.passed_ms == (0 if looks == 1 else 50)


async def test_every_unknown_order_is_looked_up_and_its_trades_are_booked(tmp_path: Path) -> None:
    place = Place(tmp_path, intent(1), intent(2))
    place.exchange.orders = [state(12, name_of(2), executed="5", status=OrderStatus.FILLED), state(11, name_of(1))]
    place.exchange.fills = [fill(7, 12)]
    for name in (name_of(2), name_of(1), "fcaabbccdd-99b1"):
        place.lookup.mark_unknown(name)
    assert place.lookup.unknown == sorted([name_of(1), name_of(2), "fcaabbccdd-99b1"]) and place.robot.woken.is_set()
    await place.lookup.resolve_unknown(place.exchange)
    first, second = (place.robot.book.orders[name_of(number)] for number in (1, 2))
    assert (first.status, second.status, second.booked) == ("NEW", "FILLED", QUANTITY)
    assert place.lookup.unknown == [] and place.exchange.asked.count("trades of 12") == 1


async def test_a_fault_leaves_the_order_unknown(tmp_path: Path) -> None:
    place = Place(tmp_path, intent())
    place.lookup.mark_unknown(name_of(1))
    place.exchange.fault = ExchangeError(Outcome.UNKNOWN, "503")
    with pytest.raises(ExchangeError, match="503"):
        await place.lookup.resolve_unknown(place.exchange)
    assert place.lookup.unknown == [name_of(1)] and place.passed_ms == 0
    assert not place.robot.book.orders[name_of(1)].absent


async def test_an_order_that_the_exchange_had_accepted_and_lost_holds_the_robot(tmp_path: Path) -> None:
    place = Place(tmp_path, intent(), OrderStatusReported(name_of(1), 11, "NEW", D(0)))
    place.lookup.mark_unknown(name_of(1))
    await place.lookup.resolve_unknown(place.exchange)
    assert [reason.code for reason in place.robot.book.hold] == ["ROLLED_BACK"]
    assert not place.robot.book.orders[name_of(1)].absent
    assert place.exchange.asked == [f"order {name_of(1)}", "order 11"] and place.passed_ms == 0


async def test_one_of_a_known_number_is_found_though_a_person_renamed_it(tmp_path: Path) -> None:
    place = Place(tmp_path, intent(), OrderStatusReported(name_of(1), 11, "NEW", D(0)))
    place.exchange.orders = [state(11, "amended by hand", executed="2")]
    found = await place.lookup.look_up(place.exchange, place.robot.book.orders[name_of(1)])
    assert found is not None and (found.client_order_id, found.executed) == (name_of(1), D(2))


async def test_one_of_a_known_number_whose_look_up_fails_is_not_absent(tmp_path: Path) -> None:
    place = Place(tmp_path, intent(), OrderStatusReported(name_of(1), 11, "NEW", D(0)))
    order = place.exchange.order

    async def refused(symbol: str, name: str, *, order_id: int | None = None) -> OrderState:
        if order_id is not None:
            raise ExchangeError(Outcome.BUSY, "418")
        found: OrderState = await order(symbol, name)
        return found

    place.exchange.order = refused
    with pytest.raises(ExchangeError, match="418"):
        await place.lookup.look_up(place.exchange, place.robot.book.orders[name_of(1)])


async def test_one_that_the_exchange_has_put_away_was_cancelled_without_a_fill(tmp_path: Path) -> None:
    place = Place(tmp_path, intent(at=START_MS - 10**9))
    place.exchange.archived = {name_of(1)}
    found = await place.lookup.look_up(place.exchange, place.robot.book.orders[name_of(1)])
    assert found is not None and (found.status, found.executed) == (OrderStatus.CANCELED, D(0))
    assert (found.symbol, found.client_order_id, found.side, found.price, found.quantity, found.time) == (
        *("BTCUSDT", name_of(1), Side.BUY, PRICE, QUANTITY),
        START_MS - 10**9,
    )


# -- one that was amended before its number was known ------------------------------------------------------------------


async def test_an_amended_order_is_found_by_its_earlier_name(tmp_path: Path) -> None:
    other = [intent(2), OrderStatusReported(name_of(2), 20, "NEW", D(0)), intent(3)]
    place = Place(tmp_path, intent(1, at=START_MS - 10_000), *other)
    theirs = [
        state(20, "of a known number"),
        state(21, "another side", Side.SELL),
        replace(state(22, "another price"), price=D(99)),
        state(23, name_of(3)),
        state(24, "a person's own"),
        state(25, "amended by hand", executed="1"),
    ]
    place.exchange.orders = theirs
    place.exchange.earlier = {number: (name_of(1),) for number in (20, 21, 22, 23, 25)}
    found = await place.lookup.look_up(place.exchange, place.robot.book.orders[name_of(1)])
    assert found is not None and (found.order_id, found.client_order_id) == (25, name_of(1))
    names = [asked for asked in place.exchange.asked if asked.startswith("names")]
    assert names == ["names of 24", "names of 25"], "nobody is asked about what cannot be it"


async def test_the_listing_begins_after_what_was_stamped_a_minute_earlier_and_serves_twice(tmp_path: Path) -> None:
    old = [intent(1, at=START_MS - 200_000), OrderStatusReported(name_of(1), 40, "FILLED", D(0))]
    near = [intent(2, at=START_MS - 100_000), OrderStatusReported(name_of(2), 50, "NEW", D(0))]
    lost = [intent(number, at=START_MS - 90_000) for number in (3, 4)]
    place = Place(tmp_path, *old, *near, *lost)
    for number in (3, 4):
        assert await place.lookup.look_up(place.exchange, place.robot.book.orders[name_of(number)]) is None
    assert [asked for asked in place.exchange.asked if asked.startswith("all")] == ["all from 41"]


async def test_a_listing_of_before_an_order_could_arrive_proves_nothing_of_it(tmp_path: Path) -> None:
    place = Place(tmp_path, intent(1, at=START_MS - 10_000), intent(2, at=START_MS - PROVED_AFTER_MS))
    assert await place.lookup.look_up(place.exchange, place.robot.book.orders[name_of(1)]) is None
    place.clock.advance(3.0)
    assert await place.lookup.look_up(place.exchange, place.robot.book.orders[name_of(2)]) is None
    assert place.exchange.asked.count("all from 0") == 2


# -- a sell that an earlier process may have sent ----------------------------------------------------------------------


async def test_a_doubted_sell_is_absent_only_once_it_can_no_longer_arrive(tmp_path: Path) -> None:
    """Taken as absent at once, it was sent a second time."""
    place = Place(tmp_path, *bought())
    assert place.robot.book.doubted == {1}
    await place.lookup.resolve_doubted_sells(place.exchange, [])
    assert PROVED_AFTER_MS < place.passed_ms <= PROVED_AFTER_MS + 100
    sell = place.robot.book.orders[name_of(1, "sell")]
    assert sell.absent and (sell.price, sell.quantity, sell.at) == (SELL_PRICE, QUANTITY, START_MS)
    assert place.robot.book.doubted == set()
    cycle = place.robot.book.cycles[1]
    assert place.robot.book.next_attempt(cycle, "sell", SELL_PRICE, QUANTITY) == 2, "its number is spent"


@pytest.mark.parametrize("arrives_ms", [0, 1, 1_000, PROVED_AFTER_MS - 1])
async def test_a_doubted_sell_that_arrives_late_is_the_robots(tmp_path: Path, arrives_ms: int) -> None:
    place = Place(tmp_path, *bought())
    place.exchange.coming = [(START_MS + arrives_ms, state(12, name_of(1, "sell"), Side.SELL))]
    await place.lookup.resolve_doubted_sells(place.exchange, [])
    sell = place.robot.book.orders[name_of(1, "sell")]
    assert (sell.status, sell.order_id, sell.absent) == ("NEW", 12, False) and place.robot.book.doubted == set()


async def test_the_process_start_counts_and_not_the_first_look(tmp_path: Path) -> None:
    place = Place(tmp_path, *bought())
    place.clock.advance(1.5)
    await place.lookup.resolve_doubted_sells(place.exchange, [])
    assert PROVED_AFTER_MS < place.passed_ms <= PROVED_AFTER_MS + 100
    assert place.robot.book.orders[name_of(1, "sell")].at == START_MS


async def test_after_the_book_was_read_again_what_this_process_sent_may_still_arrive(tmp_path: Path) -> None:
    place = Place(tmp_path, *bought())
    place.clock.advance(60.0)
    place.lookup.mark_unknown("whatever")
    place.lookup.forget()
    assert place.lookup.unknown == []
    place.exchange.coming = [(START_MS + 61_000, state(12, name_of(1, "sell"), Side.SELL))]
    await place.lookup.resolve_doubted_sells(place.exchange, [])
    assert place.robot.book.orders[name_of(1, "sell")].status == "NEW"


async def test_a_listed_sell_is_not_asked_about_and_a_buy_that_is_open_was_never_followed(tmp_path: Path) -> None:
    place = Place(tmp_path, *bought(1), *bought(2, 12)[:2])
    listed = state(21, name_of(1, "sell"), Side.SELL)
    still = state(12, name_of(2), executed="5", status=OrderStatus.PARTIALLY_FILLED)
    assert place.robot.book.doubted == {1, 2}
    await place.lookup.resolve_doubted_sells(place.exchange, [listed, still])
    assert place.exchange.asked == [] and place.passed_ms == 0 and place.robot.book.doubted == set()
    assert place.robot.book.orders[name_of(1, "sell")].order_id == 21
    assert name_of(2, "sell") not in place.robot.book.orders


async def test_a_buy_that_has_not_finished_and_is_not_listed_stays_doubted(tmp_path: Path) -> None:
    place = Place(tmp_path, *bought()[:1])
    await place.lookup.resolve_doubted_sells(place.exchange, [])
    assert place.robot.book.doubted == {1} and place.exchange.asked == []


async def test_a_doubted_sell_that_was_amended_is_found_among_what_came_after_its_buy(tmp_path: Path) -> None:
    place = Place(tmp_path, *bought())
    amended = replace(state(12, "amended by hand", Side.SELL), quantity=D(4))
    place.exchange.orders = [amended, state(11, "older", Side.SELL)]
    place.exchange.earlier = {12: (name_of(1, "sell"),)}
    await place.lookup.resolve_doubted_sells(place.exchange, [])
    sell = place.robot.book.orders[name_of(1, "sell")]
    assert (sell.order_id, sell.quantity, sell.price) == (12, 4, SELL_PRICE)
    assert "all from 12" in place.exchange.asked and "names of 11" not in place.exchange.asked


async def test_nothing_in_doubt_asks_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path, intent())
    await place.lookup.resolve_doubted_sells(place.exchange, [])
    assert place.exchange.asked == []


# -- many at once ------------------------------------------------------------------------------------------------------


def many(count: int) -> list[Event]:
    events: list[Event] = []
    for number in range(1, count + 1):
        events += [intent(number), OrderStatusReported(name_of(number), 100 + number, "NEW", D(0))]
    return events


@pytest.mark.parametrize(("count", "asked"), [(5, []), (6, ["all from 101"])])
async def test_more_than_five_orders_are_listed_together(tmp_path: Path, count: int, asked: Sequence[str]) -> None:
    place = Place(tmp_path, *many(count), intent(20))
    ours = list(place.robot.book.orders.values())
    place.exchange.orders = [state(102, "amended by hand", executed="1"), state(103, name_of(3)), state(999, "other")]
    listed = await place.lookup.list_orders(place.exchange, ours)
    assert place.exchange.asked == asked
    expected = {name_of(2): (102, D(1)), name_of(3): (103, D(0))} if asked else {}
    assert {name: (one.order_id, one.executed) for name, one in listed.items()} == expected
    assert all(one.client_order_id == name for name, one in listed.items())


@pytest.mark.parametrize("count", [5, 6])
async def test_the_trades_of_more_than_five_orders_are_fetched_together(tmp_path: Path, count: int) -> None:
    place = Place(tmp_path, *bought(30, 50), *many(count))
    orders = [
        state(100 + number, name_of(number), executed="5", status=OrderStatus.FILLED) for number in range(1, count + 1)
    ]
    whole = [fill(200 + number, 100 + number) for number in range(2, count + 1)]
    # Of the first, the listing has a part only.
    place.exchange.fills = [fill(50, 50), fill(201, 101, "2"), *whole]
    fills = await place.lookup.missing_fills(
        place.exchange, [*orders, state(50, name_of(30), executed="5"), state(7, "a person's own", executed="5")]
    )
    assert {name: [one.trade_id for one in several] for name, several in fills.items()} == {
        name_of(number): [200 + number] for number in range(1, count + 1)
    }
    together = ["trades from 51", "trades of 101"]
    assert place.exchange.asked == (together if count > 5 else [f"trades of {100 + n}" for n in range(1, count + 1)])


async def test_without_a_booked_trade_to_begin_after_each_order_is_asked_about(tmp_path: Path) -> None:
    place = Place(tmp_path, *many(6))
    orders = [state(100 + number, name_of(number), executed="5") for number in range(1, 7)]
    await place.lookup.missing_fills(place.exchange, orders)
    assert place.exchange.asked == [f"trades of {100 + number}" for number in range(1, 7)]


async def test_what_is_booked_wholly_is_not_fetched(tmp_path: Path) -> None:
    place = Place(tmp_path, *bought())
    assert await place.lookup.missing_fills(place.exchange, [state(11, name_of(1), executed="5")]) == {}
    assert place.exchange.asked == []


# -- trades that the stream has not brought ----------------------------------------------------------------------------


@pytest.fixture
def filled(tmp_path: Path) -> Place:
    """An order of which the exchange has reported more than its trades."""
    place = Place(tmp_path, intent(), OrderStatusReported(name_of(1), 11, "PARTIALLY_FILLED", D(3)))
    place.robot.books = Books.AGREED
    place.exchange.fills = [fill(7, 11, "2"), fill(8, 11, "1")]
    return place


async def settle() -> None:
    """Wait as long as a trade may be missing before it is fetched, and a moment."""
    await asyncio.sleep(0.5)


async def test_missing_trades_are_fetched_once_and_booked(filled: Place) -> None:
    filled.lookup.fetch_fills_of(name_of(1))
    filled.lookup.fetch_fills_of(name_of(1))
    await settle()
    assert filled.exchange.asked == ["trades of 11"] and filled.robot.book.orders[name_of(1)].booked == D(3)
    filled.robot.record(OrderStatusReported(name_of(1), 11, "PARTIALLY_FILLED", D(4)))
    filled.exchange.fills.append(fill(9, 11, "1"))
    filled.lookup.fetch_fills_of(name_of(1))
    await settle()
    assert filled.exchange.asked == ["trades of 11"] * 2 and filled.robot.book.orders[name_of(1)].booked == D(4)


async def test_trades_that_the_stream_brought_meanwhile_are_not_fetched(filled: Place) -> None:
    filled.lookup.fetch_fills_of(name_of(1))
    for number, quantity in ((7, D(2)), (8, D(1))):
        filled.robot.record(FillRecorded(name_of(1), number, PRICE, quantity, D(1), D(0), "USDT", START_MS))
    filled.lookup.fetch_fills_of("fcaabbccdd-99b1")
    await settle()
    assert filled.exchange.asked == []


async def test_trades_that_cannot_be_fetched_make_the_robot_compare_its_books(filled: Place) -> None:
    filled.exchange.fault = ExchangeError(Outcome.UNREACHABLE, "no connection")
    filled.lookup.fetch_fills_of(name_of(1))
    await settle()
    assert filled.robot.books is Books.STALE and filled.robot.book.orders[name_of(1)].booked == D(0)


# -- names -------------------------------------------------------------------------------------------------------------


async def test_an_order_that_a_person_amended_gets_its_name_back(tmp_path: Path) -> None:
    book = Place(tmp_path, *many(2), intent(3)).robot.book
    listed = [state(101, "amended by hand"), state(102, name_of(2)), state(7, "a person's own"), state(0, "none yet")]
    names = [order.client_order_id for order in restore_client_ids(listed, book.orders)]
    assert names == [name_of(1), name_of(2), "a person's own", "none yet"]
