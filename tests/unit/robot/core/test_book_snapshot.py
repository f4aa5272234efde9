"""A book read from its snapshot is the book, at every cut of every history; what is not the whole book is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fortctl.model import Drift, DriftKind, KeyRights
from fortctl.robot.core.book import KEPT, KEPT_EMPTY, Book
from fortctl.robot.core.book_snapshot import (
    PROOF_ROWS,
    Fold,
    Row,
    Snapshot,
    SnapshotError,
    chained,
    dump,
    load,
    restore,
)
from fortctl.robot.core.cycle import Cycle, IllegalTransitionError, Order
from fortctl.robot.core.events import (
    AssetPriced,
    AssetsNamed,
    Configured,
    Event,
    FillRecorded,
    Held,
    KeyDriftReported,
    KeyRightsAccepted,
    KeyStatusChanged,
    OrderIntended,
    OrderNotFound,
    OrderStatusReported,
    Released,
    StrategyNote,
    event_from_json,
)
from fortctl.robot.core.hold_reasons import HoldCode, HoldReason
from fortctl.robot.strategy.grid import Grid
from fortctl.robot.strategy.simulator import KINDS, SimulatedStep, StrategySimulator
from support.robot_world import SETTINGS

ZERO = Decimal(0)
RIGHTS = KeyRights(("reading", "spot_trading"), True, 5)
ODD: tuple[Event, ...] = (
    StrategyNote("memory", "1"),
    StrategyNote("more", "2"),
    AssetPriced("BNB", Decimal("0.08"), 5),
    AssetPriced("BNB", Decimal("8E-2"), 6),
    Held((HoldReason(HoldCode.BALANCE, "words", "XRP", Decimal("1.5"), "XRP"), HoldReason("LATER", "of another"))),
    Released(),
    KeyStatusChanged("lost", 7, "0.0014", -2015, "IP_LIST", "likely", "the answer"),
    KeyStatusChanged("set", 8),
    KeyRightsAccepted("0123456789ab", RIGHTS, 9),
    KeyDriftReported((Drift(next(iter(DriftKind)), "words", "withdrawals"),), RIGHTS, 10),
    AssetsNamed("ADA", "ETH"),
    AssetsNamed("XRP", "ETH"),
    AssetsNamed("XRP", "BTC"),
)

steps = st.builds(SimulatedStep, st.sampled_from(KINDS), st.decimals("-4", "4", places=2), st.integers(0, 50))
histories = st.lists(steps, min_size=5, max_size=25)
insertions = st.lists(st.tuples(st.integers(0, 200), st.sampled_from(ODD)), max_size=8)


def rows_of(events: Sequence[Event]) -> list[Row]:
    return [Row(seq, seq * 10, event.kind, json.dumps(event.as_json())) for seq, event in enumerate(events, 1)]


def event_of(row: Row) -> Event:
    return event_from_json(row.kind, json.loads(row.body))


def played(history: list[SimulatedStep], commission: str, odd: list[tuple[int, Event]]) -> list[Event]:
    """Return the events of a traded history, with others in between."""
    market = StrategySimulator(Grid(), SETTINGS, commission=commission)
    market.step(SimulatedStep("start"))
    for step in history:
        market.step(step)
    events = list(market.journal)
    for place, event in odd:
        events.insert(2 + place % len(events), event)
    return events


def cycle_events(number: int, *, bought: bool) -> list[Event]:
    buy, sell, price = f"fc-{number}-b1", f"fc-{number}-s1", Decimal("0.0014")
    events: list[Event] = [
        OrderIntended(number, 1, "buy", 1, buy, price, Decimal(10), ZERO, number, price * 2, Decimal(1))
    ]
    if not bought:
        return [*events, OrderNotFound(buy, "refused")]
    return [
        *events,
        FillRecorded(buy, 2 * number, price, Decimal(10), price * 10, Decimal("0.01"), "XRP", number),
        OrderStatusReported(buy, number, "FILLED", Decimal(10)),
        OrderIntended(number, 1, "sell", 1, sell, price * 2, Decimal(9), ZERO, number),
        FillRecorded(sell, 2 * number + 1, price * 2, Decimal(9), price * 18, Decimal("0.001"), "BNB", number),
        OrderStatusReported(sell, number, "FILLED", Decimal(9)),
    ]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories, commission=st.sampled_from(["", "BNB", "ETH"]), odd=insertions)
def test_snapshot_and_the_rest_are_the_full_replay_at_every_cut(
    history: list[SimulatedStep], commission: str, odd: list[tuple[int, Event]]
) -> None:
    rows = rows_of(played(history, commission, odd))
    full, cuts = Fold(event_of), []
    for row in rows:
        try:
            full.take([row])
        except (IllegalTransitionError, KeyError):
            # Other assets in the middle of a cycle: a history ends where the book cannot follow it.
            rows = rows[: row.seq - 1]
            full = Fold(event_of)
            full.take(rows)
            break
        cuts.append(full.snapshot())
    for cut in cuts:
        assert cut.body == dump(load(cut.body))
        rest = Fold(event_of, cut)
        rest.take(rows[cut.seq :])
        assert (rest.seq, rest.chain, dump(rest.book)) == (full.seq, full.chain, dump(full.book))
        # By value too, not by the text alone, which both might leave the same thing out of.
        assert {name: value for name, value in vars(rest.book).items() if name != "_finished"} == {
            name: value for name, value in vars(full.book).items() if name != "_finished"
        }


def test_cycles_leave_a_restored_book_in_the_same_order() -> None:
    count = KEPT + KEPT_EMPTY + 40
    events: list[Event] = [Configured(SETTINGS.as_json()), AssetsNamed("XRP", "ETH")]
    for number in range(1, count):
        events += cycle_events(number, bought=number % 6 != 0)
    rows = rows_of(events)
    full = Fold(event_of)
    full.take(rows)
    for cut in range(1, len(rows), 397):
        part = Fold(event_of)
        part.take(rows[:cut])
        part = Fold(event_of, part.snapshot())
        part.take(rows[cut:])
        assert dump(part.book) == dump(full.book)
        assert part.book.cycle_rows() == full.book.cycle_rows() and len(full.book.cycles) < count


def test_a_snapshot_holds_no_doubts_of_a_process() -> None:
    book = Book()
    book.replay([Configured(SETTINGS.as_json()), AssetsNamed("XRP", "ETH"), *cycle_events(1, bought=True)[:3]])
    before = dump(book)
    book.doubt_promises()
    assert book.doubted == {1} and dump(book) == before and load(before).doubted == set()


def test_a_book_with_a_part_that_no_snapshot_knows_is_not_written() -> None:
    book = Book()
    book.forgotten = 1  # type: ignore[attr-defined]
    with pytest.raises(SnapshotError, match="forgotten"):
        dump(book)


def test_every_field_of_cycles_and_orders_is_in_the_text() -> None:
    book = Book()
    book.replay([Configured(SETTINGS.as_json()), AssetsNamed("XRP", "ETH"), *cycle_events(1, bought=True)])
    assert len(json.loads(dump(book))["cycles"][0][1]) == len(fields(Cycle))
    assert len(json.loads(dump(book))["orders"][0][1]) == len(fields(Order))
    for holder in (book.cycles[1], book.orders["fc-1-b1"]):
        for part in fields(type(holder)):
            before, value = dump(book), getattr(holder, part.name)
            if part.name in ("state", "status"):
                setattr(holder, part.name, next(other for other in type(value) if other is not value))
            elif isinstance(value, set):
                setattr(holder, part.name, value | {99})
            elif isinstance(value, dict):
                setattr(holder, part.name, {})
            else:
                setattr(holder, part.name, value * 2 if value else type(value)(1))
            assert dump(book) != before, f"{type(holder).__name__}.{part.name} is not in the snapshot"
            setattr(holder, part.name, value)


def test_the_chain_ties_each_row_to_all_before_it() -> None:
    rows = rows_of([StrategyNote(str(number), "x") for number in range(5)])
    whole = chained("", rows)
    assert chained(chained("", rows[:2]), rows[2:]) == whole
    assert chained("", rows[1:]) != whole and chained("", [rows[1], rows[0], *rows[2:]]) != whole
    for number, row in enumerate(rows):
        for changed in (
            row._replace(seq=99),
            row._replace(at=1),
            row._replace(kind="other"),
            row._replace(body=row.body + " "),
        ):
            assert chained("", [*rows[:number], changed, *rows[number + 1 :]]) != whole


def test_the_proof_covers_the_last_rows_only() -> None:
    rows = rows_of([StrategyNote(str(number), "x") for number in range(PROOF_ROWS + 50)])
    fold = Fold(event_of)
    fold.take(rows[:30])
    early = fold.snapshot()
    fold.take(rows[30:])
    late = fold.snapshot()
    assert (early.proof_seq, early.proof_chain) == (0, "") and late.proof_seq == late.seq - PROOF_ROWS
    assert chained(late.proof_chain, rows[late.proof_seq :]) == late.chain


@pytest.mark.parametrize("body", ["", "{", "[]", "{}", "null", '{"closed": 1}'])
def test_what_is_no_book_is_refused(body: str) -> None:
    with pytest.raises(SnapshotError):
        load(body)


def test_restore_says_why_it_replays_all() -> None:
    events = [StrategyNote("a", "1"), StrategyNote("b", "2")]
    fold = Fold(event_of)
    fold.take(rows_of(events)[:1])
    good, why = fold.snapshot(), []

    def after(seq: int) -> list[Event]:
        return events[seq:]

    made = restore(lambda: good, after, why.append)
    assert made.snapshot == good and made.book.notes == {"a": "1", "b": "2"} and not why
    assert restore(lambda: None, after, why.append).snapshot is None and not why

    def doubtful() -> Snapshot | None:
        raise SnapshotError("it is damaged")

    made = restore(doubtful, after, why.append)
    assert made.snapshot is None and made.book.notes == {"a": "1", "b": "2"} and str(why[0]) == "it is damaged"
    # A snapshot with which the rest cannot have happened is no reason to stop either.
    events.append(OrderStatusReported("fc-1-b1", 1, "NEW", ZERO))
    with pytest.raises(KeyError):
        restore(lambda: good, after, why.append)
    assert len(why) == 2
