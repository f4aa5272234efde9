"""Proves the snapshot that a start believed, and makes the next ones, beside the worker (decision 0026).

Every snapshot is the replay of the journal's rows as they are on disk, never a copy of the running book. The first work
of a process is to replay the journal from its first event, a little at a time; where that makes another book than the
snapshot that the process began with, the robot holds, and the replay takes the place of its book.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fortctl.errors import ConflictError, JournalUnwritableError
from fortctl.robot.core.book_snapshot import Fold, Mark, SnapshotError
from fortctl.robot.core.cycle import IllegalTransitionError
from fortctl.robot.trading.journaled_book import EventJournal, JournaledBook

T = TypeVar("T")
# So many rows at a time take about half a millisecond; ten milliseconds pass before the next.
SLICE, PAUSE_S = 50, 0.01
# What made a snapshot due is busy: a fill, and the order that follows it.
CALM_S = 1.0
# After so long (s) a journal that cannot be read or written is tried again.
RETRY_S = 30.0
_UNFIT = (IllegalTransitionError, KeyError, SnapshotError)


class SnapshotKeeper:
    """Keeps the snapshot of one robot's journal.

    Args:
        journal, log: the robot's.
        journaled: the book; says when another snapshot is due.
        on_difference: is awaited when the snapshot that the book began with is not what the journal's events make.
    """

    def __init__(
        self,
        journal: EventJournal,
        journaled: JournaledBook,
        log: logging.Logger,
        on_difference: Callable[[], Awaitable[None]],
    ) -> None:
        self._journal = journal
        self._journaled = journaled
        self._log = log
        self._on_difference = on_difference
        # The snapshot in the journal that the replay of all events has made, or equals.
        self._proved: Mark | None = None

    async def run(self) -> None:
        """Work until cancelled, or until no snapshot can be made any more. Raises ``VaultDamagedError``."""
        try:
            # No replay is held while nothing is due: a book is as large as the robot's own.
            await self._extend(await self._prove())
            while True:
                await self._journaled.snapshot_due.wait()
                await asyncio.sleep(CALM_S)
                await self._extend(self._go_on())
        except ConflictError:
            self._log.info("another robot owns the journal; no snapshot is made")
        except _UNFIT as error:
            self._log.warning("no snapshot of the journal is made any more: %s", error)

    def _seq(self) -> int:
        return self._proved.seq if self._proved is not None else 0

    async def _prove(self) -> Fold:
        """Replay the journal as far as the snapshot that the book began with, and compare."""
        believed, fold = self._journaled.began_with, Fold(self._journal.event_of)
        if believed is None:
            return fold
        try:
            await self._follow(fold, believed.seq)
            equal = fold.snapshot().mark == believed
        except _UNFIT:
            equal = False
        if equal:
            self._proved = believed
            self._log.info("the snapshot of the journal equals the replay of its %d events", believed.seq)
        else:
            await self._on_difference()
            await self._try(self._journal.drop_snapshot)
            fold = Fold(self._journal.event_of)
        return fold

    def _go_on(self) -> Fold:
        """Return the replay as far as the proved snapshot, or its beginning where that is not in the journal."""
        try:
            kept = self._journal.snapshot()
        except SnapshotError:
            kept = None
        if kept is None or kept.mark != self._proved:
            self._proved = kept = None
        return Fold(self._journal.event_of, kept)

    async def _extend(self, fold: Fold) -> None:
        """Replay up to the journal's end, and keep that where it is far enough from the last snapshot."""
        await self._follow(fold, self._journal.last_seq())
        if fold.seq - self._seq() >= self._journaled.snapshot_every:
            snapshot = fold.snapshot()
            await self._try(lambda: self._journal.keep_snapshot(snapshot))
            self._proved = snapshot.mark
        self._journaled.count_from_snapshot(self._journal.last_seq() - self._seq())

    async def _follow(self, fold: Fold, upto: int) -> None:
        while rows := await self._try(lambda: self._journal.rows(fold.seq, upto, SLICE)):
            fold.take(rows)
            await asyncio.sleep(PAUSE_S)

    async def _try(self, work: Callable[[], T]) -> T:
        """Do something with the journal as soon as that is possible."""
        while True:
            try:
                return work()
            except JournalUnwritableError as trouble:
                self._log.debug("the snapshot waits: %s", trouble.message)
            await asyncio.sleep(RETRY_S)
