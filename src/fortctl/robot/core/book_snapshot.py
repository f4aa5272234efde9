"""The book as text, the text as a book, and the chain of digests that ties both to the journal (decision 0026). Pure.

A snapshot spares a start the replay of a long journal. It contains all that :class:`~fortctl.robot.core.book.Book`
keeps: a book with an attribute that is not named here refuses to be written, so that a new one cannot be forgotten.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, NamedTuple

from fortctl.errors import FortctlError
from fortctl.model import OrderStatus
from fortctl.robot.core.book import KEPT_FOREIGN, Book
from fortctl.robot.core.cycle import Cycle, CycleState, IllegalTransitionError, Order
from fortctl.robot.core.events import Event, event_from_json
from fortctl.robot.core.foreign_activity import ForeignActivity
from fortctl.robot.core.hold_reasons import HoldReason
from fortctl.robot.core.lifecycle import TradingMode
from fortctl.robot.core.settings import parse_settings

# How many of the journal's last rows a start reads again and compares before it believes a snapshot.
PROOF_ROWS = 100
# The chain of a journal without a row.
START = ""


class SnapshotError(Exception):
    """A snapshot cannot be used; the message says why. The journal is replayed instead."""


class Row(NamedTuple):
    """One event as the journal stores it."""

    seq: int
    at: int
    kind: str
    body: str


class Mark(NamedTuple):
    """What two snapshots have in common only if they are the same: position, chain, and the digest of the body."""

    seq: int
    chain: str
    body: str


@dataclass(frozen=True)
class Snapshot:
    """A book after an event of the journal.

    Attributes:
        seq: the last event that the book contains.
        chain: the digest over all rows up to it.
        proof_seq, proof_chain: the same at an earlier row: from there to ``seq``, a start computes the chain again.
        body: the book (:func:`dump`).
    """

    seq: int
    chain: str
    proof_seq: int
    proof_chain: str
    body: str

    @property
    def mark(self) -> Mark:
        return Mark(self.seq, self.chain, hashlib.sha256(self.body.encode()).hexdigest())


def chained(chain: str, rows: Iterable[Row]) -> str:
    """Return the digest over some rows and all before them."""
    for row in rows:
        chain = hashlib.sha256(f"{chain}|{row.seq}|{row.at}|{row.kind}|{row.body}".encode()).hexdigest()
    return chain


class Fold:
    """The replay of a journal, row by row as it is on disk, with the chain up to each row.

    Args:
        event_of: reads a row. Raises for what no robot wrote.
        after: begin after this snapshot instead of before the first row. Raises ``SnapshotError``.

    Attributes:
        book: without doubts; those belong to a process.
    """

    def __init__(self, event_of: Callable[[Row], Event], after: Snapshot | None = None) -> None:
        self._event_of = event_of
        self.book = load(after.body) if after is not None else Book()
        at = (after.seq, after.chain) if after is not None else (0, START)
        self._passed = deque([at], maxlen=PROOF_ROWS + 1)

    @property
    def seq(self) -> int:
        return self._passed[-1][0]

    @property
    def chain(self) -> str:
        return self._passed[-1][1]

    def take(self, rows: Iterable[Row]) -> None:
        """Apply rows, in order. Raises as :meth:`Book.apply`, and what ``event_of`` raises."""
        for row in rows:
            self.book.apply(self._event_of(row))
            self._passed.append((row.seq, chained(self.chain, [row])))

    def snapshot(self) -> Snapshot:
        """Return the book as a snapshot. Raises ``SnapshotError`` where it would not be read as it was written."""
        body = dump(self.book)
        if dump(load(body)) != body:
            raise SnapshotError("it does not read back as it was written")
        return Snapshot(self.seq, self.chain, *self._passed[0], body)


@dataclass(frozen=True)
class RestoredBook:
    """The book that a journal's events make, and the snapshot that it began with, if any."""

    book: Book
    snapshot: Snapshot | None


def restore(
    snapshot_of: Callable[[], Snapshot | None],
    events_after: Callable[[int], Iterable[Event]],
    refused: Callable[[Exception], None] = lambda why: None,
) -> RestoredBook:
    """Make the book of a journal: of its snapshot and the events since, or of all its events.

    Args:
        snapshot_of: reads the snapshot. Raises ``SnapshotError`` for one that is doubtful.
        events_after: reads the events after a position.
        refused: hears why a snapshot was not used.

    Raises:
        IllegalTransitionError, KeyError: the events themselves cannot have happened.
    """
    try:
        snapshot = snapshot_of()
        if snapshot is not None:
            book = load(snapshot.body)
            book.replay(events_after(snapshot.seq))
            return RestoredBook(book, snapshot)
    except (IllegalTransitionError, KeyError, SnapshotError) as error:
        refused(error)
    book = Book()
    book.replay(events_after(0))
    return RestoredBook(book, None)


# -- a book as text ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Codec:
    """How a value is written as JSON, and read."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def _optional(codec: _Codec) -> _Codec:
    return _Codec(
        lambda value: None if value is None else codec.write(value),
        lambda value: None if value is None else codec.read(value),
    )


def _mapping(codec: _Codec, key: Callable[[Any], Any] = _same) -> _Codec:
    """Pairs, in the mapping's own order."""
    return _Codec(
        lambda values: [[name, codec.write(value)] for name, value in values.items()],
        lambda pairs: {key(name): codec.read(value) for name, value in pairs},
    )


_SAME = _Codec(_same, _same)
# With its exponent, which the decimal's digits as a person reads them do not always show.
_DECIMAL = _Codec(str, Decimal)
_SET = _Codec(sorted, set)
_DEQUE = _Codec(list, deque)
_EVENT = _optional(_Codec(lambda event: [event.kind, event.as_json()], lambda kept: event_from_json(*kept)))
_REASONS = _Codec(
    lambda reasons: [reason.as_json() for reason in reasons], lambda kept: tuple(map(HoldReason.from_json, kept))
)
_SETTINGS = _optional(_Codec(lambda settings: settings.as_json(), parse_settings))

# A field's type is its annotation's text.
_BY_TYPE = {
    "int": _SAME,
    "str": _SAME,
    "bool": _SAME,
    "Decimal": _DECIMAL,
    "OrderStatus | None": _optional(_Codec(lambda status: status.value, OrderStatus)),
    "CycleState": _Codec(lambda state: state.value, CycleState),
    "set[int]": _SET,
    "list[str]": _Codec(list, list),
    "dict[str, str]": _mapping(_SAME),
    "dict[str, int]": _mapping(_SAME),
    "dict[str, Decimal]": _mapping(_DECIMAL),
}


def _record(kind: type[Any]) -> _Codec:
    """A dataclass as the list of its values. Raises ``KeyError`` for a field of a type that has no codec yet."""
    parts = [(part.name, _BY_TYPE[str(part.type)]) for part in fields(kind)]
    writers = [(name, codec.write) for name, codec in parts]
    readers = [codec.read for _name, codec in parts]

    def write(value: Any) -> list[Any]:
        kept = vars(value)
        return [writer(kept[name]) for name, writer in writers]

    def read(values: list[Any]) -> Any:
        return kind(*[reader(value) for reader, value in zip(readers, values, strict=True)])

    return _Codec(write, read)


_POOLS = _mapping(
    _Codec(lambda pool: [str(amount) for amount in pool], lambda pool: tuple(map(Decimal, pool))), key=tuple
)
_FOREIGN = _Codec(
    lambda activities: [activity.to_json() for activity in activities],
    lambda rows: deque(map(ForeignActivity.from_json, rows), maxlen=KEPT_FOREIGN),
)
_BOOK: Mapping[str, _Codec] = {
    "_over": _DEQUE,
    "_over_empty": _DEQUE,
    "_last_cycle": _SAME,
    "_pools": _POOLS,
    "profits": _mapping(_DECIMAL),
    "settings": _SETTINGS,
    "mode": _Codec(lambda mode: mode.value, TradingMode),
    "reason": _SAME,
    "since": _SAME,
    "anchor": _optional(_DECIMAL),
    "levels": _SET,
    "cycles": _mapping(_record(Cycle)),
    "live": _SET,
    "orders": _mapping(_record(Order)),
    "open_orders": _SET,
    "dust": _DECIMAL,
    "dust_cost": _DECIMAL,
    "closed": _SAME,
    "hold": _REASONS,
    "hold_changed_at": _SAME,
    "key_status": _EVENT,
    "last_loss": _EVENT,
    "accepted_rights": _EVENT,
    "drift_report": _EVENT,
    "foreign": _FOREIGN,
    "moved": _mapping(_DECIMAL),
    "other_commissions": _mapping(_DECIMAL),
    "prices": _mapping(_DECIMAL),
    "priced_at": _mapping(_SAME),
    "notes": _mapping(_SAME),
    "last_at": _SAME,
    "base": _SAME,
    "quote": _SAME,
}
# What is the process's own: who hears of finished cycles, which promises it doubts, and what follows from the rest.
_NOT_KEPT = {"_finished", "_live_sorted", "doubted"}


def dump(book: Book) -> str:
    """Return a book as text, the same for equal books. Raises ``SnapshotError`` for a part that is not known here."""
    parts = vars(book)
    if parts.keys() != _BOOK.keys() | _NOT_KEPT:
        raise SnapshotError(f"unknown parts: {sorted(parts.keys() ^ (_BOOK.keys() | _NOT_KEPT))}")
    return json.dumps({name: codec.write(parts[name]) for name, codec in _BOOK.items()}, separators=(",", ":"))


def load(body: str) -> Book:
    """Return the book that :func:`dump` wrote, without doubts. Raises ``SnapshotError``."""
    book = Book()
    try:
        parts = json.loads(body)
        if parts.keys() != _BOOK.keys():
            raise SnapshotError("it has other parts than a book of this version")
        vars(book).update({name: codec.read(parts[name]) for name, codec in _BOOK.items()})
    except (AttributeError, ArithmeticError, FortctlError, KeyError, TypeError, ValueError) as error:
        raise SnapshotError(f"it has invalid content ({type(error).__name__})") from error
    return book
