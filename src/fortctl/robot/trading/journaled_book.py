"""The book and the journal behind it: events are written in order, and read again after a crash."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

from fortctl.errors import JournalUnwritableError
from fortctl.robot.core.book import Book
from fortctl.robot.core.book_snapshot import Mark, Row, Snapshot, restore
from fortctl.robot.core.cycle import IllegalTransitionError
from fortctl.robot.core.events import Event
from fortctl.robot.core.hold_reasons import HoldCode, HoldReason
from fortctl.robot.core.reconciliation import LastContact


class EventJournal(Protocol):
    """What the robot needs of its journal."""

    def append(self, events: Sequence[Event]) -> None: ...

    def events(self, after: int = 0) -> Iterable[Event]:
        """Return the events after a position, oldest first."""

    def last_seq(self) -> int:
        """Return the position of the last event."""

    def rows(self, after: int, upto: int, limit: int) -> list[Row]:
        """Return rows as they are on disk. Raises ``JournalUnwritableError``, ``VaultDamagedError``."""

    def event_of(self, row: Row) -> Event:
        """Return the event of a row. Raises ``VaultDamagedError``."""

    def snapshot(self) -> Snapshot | None:
        """Return the snapshot of the book. Raises ``SnapshotError`` for a doubtful one."""

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        """Replace the snapshot. Raises ``JournalUnwritableError``, ``ConflictError``."""

    def drop_snapshot(self) -> None:
        """Remove the snapshot. Raises ``JournalUnwritableError``, ``ConflictError``."""

    def owns(self) -> bool: ...

    def probe(self) -> None:
        """Try to write. Raises ``JournalUnwritableError``."""

    def free_bytes(self) -> int:
        """Return the free bytes of its disk."""

    def keep_contact(self, contact: LastContact) -> None: ...

    def last_contact(self) -> LastContact | None: ...

    def behind(self) -> str:
        """Return what this journal lacks of the one that the robot wrote last; empty when nothing."""

    def reserve(self, first: int, count: int) -> int:
        """Return the first of so many cycle numbers that were never used. Raises ``JournalUnwritableError``."""

    def adopt(self) -> None:
        """Accept this journal as the robot's, because a person said so. Raises ``JournalUnwritableError``."""


MIB = 1024 * 1024
ROOM_BYTES = 16 * MIB
# With less than this the next write may fail, and the one after it not: the journal counts as unwritable.
FULL_BYTES = 1 * MIB
# So many events after the last snapshot, the next one is made: a start replays no more than these.
SNAPSHOT_EVERY = 2_000


class JournaledBook:
    """Keeps one robot's book.

    Attributes:
        book: made of the events that were applied.
        write_error: why the journal cannot be written, or None.
        low_space: why it soon cannot be, or None while there is room.
        began_with: the snapshot that the book was last made of, or None where it was made of all events.
        snapshot_due: set when enough events were written for another snapshot.
    """

    def __init__(self, journal: EventJournal, log: logging.Logger, *, snapshot_every: int = SNAPSHOT_EVERY) -> None:
        self._journal = journal
        self._log = log
        self.snapshot_every = snapshot_every
        self.snapshot_due = asyncio.Event()
        self._since_snapshot = 0
        self._distrusts_snapshots = False
        self.began_with: Mark | None = None
        # Events that the book has and the journal has not yet: written with the next ones, in order.
        self._unwritten: list[Event] = []
        self.write_error: HoldReason | None = None
        self.low_space: HoldReason | None = None
        self.book = Book()
        self.read_again()

    def read_again(self) -> None:
        """Make the book again from the journal, as a process that was just started does."""
        self._unwritten.clear()
        made = restore(self._snapshot, self._journal.events, self._refuse_snapshot)
        self.book = made.book
        self.began_with = made.snapshot.mark if made.snapshot is not None else None
        self.book.doubt_promises()

    def _snapshot(self) -> Snapshot | None:
        return None if self._distrusts_snapshots else self._journal.snapshot()

    def _refuse_snapshot(self, why: Exception) -> None:
        self._log.warning("the journal's snapshot is not used: %s; all events are replayed", why)

    def distrust_snapshots(self) -> None:
        """Make the book of all events from now on."""
        self._distrusts_snapshots = True

    def count_from_snapshot(self, events: int) -> None:
        """Note how many events were written since the last snapshot."""
        self._since_snapshot = 0
        self.snapshot_due.clear()
        self._count(events)

    def _count(self, events: int) -> None:
        self._since_snapshot += events
        if self._since_snapshot >= self.snapshot_every:
            self.snapshot_due.set()

    def write(self, events: Sequence[Event]) -> None:
        """Make events durable, after those that waited for this write. Raises ``JournalUnwritableError``."""
        if self.write_error is not None:
            # What failed may be on disk all the same: nothing is written before the journal has been read again.
            raise JournalUnwritableError(str(self.write_error))
        together = [*self._unwritten, *events]
        try:
            self._journal.append(together)
        except JournalUnwritableError as trouble:
            self.cannot_write(trouble.message)
            raise
        self._unwritten.clear()
        self._count(len(together))

    def write_with_next(self, events: Sequence[Event]) -> None:
        """Queue events, to be written before the next ones."""
        self._unwritten += events

    def flush(self) -> None:
        """Write what waits. Raises ``JournalUnwritableError``."""
        if self._unwritten:
            self.write(())

    def apply(self, events: Sequence[Event]) -> HoldReason | None:
        """Apply events to the book; return a reason to hold where it cannot follow them."""
        try:
            self.book.replay(events)
        except (IllegalTransitionError, KeyError) as error:
            self._log.error("the book cannot follow the exchange: %s", error)
            return HoldReason(HoldCode.BOOKS, str(error))
        return None

    def cannot_write(self, why: str) -> None:
        """Note that the journal cannot be written: no order leaves until it can (see ``Runner.run``)."""
        if self.write_error is None:
            self.write_error = HoldReason(HoldCode.JOURNAL, f"{why}; no order leaves until it can be written")
            self._log.error("%s", self.write_error)

    def must_be_read_again(self, why: str) -> None:
        """Let no order leave until the book was made again from the journal (see ``Runner.run``)."""
        self.write_error = HoldReason(HoldCode.JOURNAL, why)

    def check_space(self) -> None:
        """Note whether the disk is so full that the journal soon cannot be written."""
        low, free, least = None, self._journal.free_bytes(), ROOM_BYTES // MIB
        if free < FULL_BYTES:
            low = HoldReason(HoldCode.JOURNAL, "its disk is full; no order leaves until it can be written")
        elif free < ROOM_BYTES:
            words = f"{free // MIB} MiB are left for the journal; no order leaves until there are {least}"
            low = HoldReason(HoldCode.DISK, words)
        before = self.low_space.code if self.low_space is not None else None
        if (low.code if low is not None else None) != before:
            self._log.warning("%s", low or "there is room for the journal again")
        self.low_space = low

    @property
    def is_full(self) -> bool:
        """Whether the disk was full when :meth:`check_space` was called."""
        return self.low_space is not None and self.low_space.code == HoldCode.JOURNAL
