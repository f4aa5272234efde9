"""The robot's journal: one append-only table of events, in SQLite (adapter).

Every append is one transaction, on disk before it returns, and refused when the fencing token is no longer ours
(robot.md, rule 5).
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from fortctl.errors import ConflictError, JournalUnwritableError
from fortctl.ports import Clock
from fortctl.robot.core.book_snapshot import Row, Snapshot
from fortctl.robot.core.events import Event, event_from_json
from fortctl.robot.core.reconciliation import LastContact
from fortctl.robot.storage.journal_checkpoint import BLOCK, JournalCheckpoint, read_checkpoint, write_checkpoint
from fortctl.robot.storage.journal_snapshot import fold_version, read_rows, read_snapshot, write_snapshot
from fortctl.store.sqlite import connect, damaged, transaction

MIGRATIONS = (
    """
    CREATE TABLE event (
        seq INTEGER PRIMARY KEY,
        account TEXT NOT NULL,
        at BIGINT NOT NULL,
        kind TEXT NOT NULL,
        body TEXT NOT NULL
    );
    CREATE TABLE lease (
        account TEXT PRIMARY KEY,
        token BIGINT NOT NULL
    );
    CREATE TABLE mark (
        account TEXT PRIMARY KEY,
        at BIGINT NOT NULL,
        price TEXT NOT NULL
    );
    """,
    """
    CREATE TABLE identity (
        account TEXT PRIMARY KEY,
        id TEXT NOT NULL
    );
    """,
    """
    CREATE TABLE snapshot (
        account TEXT PRIMARY KEY,
        version TEXT NOT NULL,
        seq BIGINT NOT NULL,
        chain TEXT NOT NULL,
        proof_seq BIGINT NOT NULL,
        proof_chain TEXT NOT NULL,
        body TEXT NOT NULL,
        digest TEXT NOT NULL
    );
    """,
)


class SqliteJournal:
    """One robot's journal; takes a new fencing token when it is opened, so that older owners write nothing more.

    Args:
        path: ``journal.sqlite``.
        account: the account's name.
        clock: stamps the events.
    """

    def __init__(self, path: Path, *, account: str, clock: Clock) -> None:
        self._connection = connect(path, MIGRATIONS)
        self._folder = path.parent
        self._account = account
        self._clock = clock
        self._version = fold_version()
        self._take_over(path)
        self._checkpoint_path = path.with_suffix(".anchor")
        anchor = read_checkpoint(self._checkpoint_path)
        # No number from here on was ever used, as far as this process knows; and as far as the anchor covers.
        self._unused = self._covered = anchor.next if anchor is not None else 1
        self._behind = anchor.missing(self._id(), self._last_seq()) if anchor is not None else ""

    def _take_over(self, path: Path) -> None:
        """Take a new fencing token. Raises ``JournalUnwritableError``, ``VaultDamagedError``."""
        try:
            with transaction(self._connection):
                self._connection.execute(
                    "INSERT INTO lease (account, token) VALUES (?, 1)"
                    " ON CONFLICT (account) DO UPDATE SET token = lease.token + 1",
                    (self._account,),
                )
                self._token = self._stored_token()
                self._connection.execute(
                    "INSERT INTO identity (account, id) VALUES (?, ?) ON CONFLICT (account) DO NOTHING",
                    (self._account, secrets.token_hex(8)),
                )
        except sqlite3.OperationalError as error:
            raise JournalUnwritableError(f"the journal {path} cannot be written: {error}") from error
        except sqlite3.DatabaseError as error:
            raise damaged(path, error) from error

    def behind(self) -> str:
        """Return what this journal lacks of the one that the robot wrote last; empty when nothing."""
        return self._behind

    def reserve(self, first: int, count: int) -> int:
        """Return the first of so many cycle numbers that were never used, not below ``first``.

        What is durable before this returns says that they may be used. Raises as :meth:`append`.
        """
        first = max(first, self._unused)
        if first + count > self._covered:
            self._cover(first + count + BLOCK)
        self._unused = first + count
        return first

    def adopt(self) -> None:
        """Accept this journal as the robot's, because a person said so. Raises as :meth:`append`."""
        self._cover(self._covered)
        self._behind = ""

    def settle(self) -> None:
        """Write at a clean end exactly how far the journal has got. Raises as :meth:`append`."""
        if not self._behind:
            self._cover(self._unused, exactly=True)

    def _cover(self, upto: int, *, exactly: bool = False) -> None:
        with self._writing():
            there = read_checkpoint(self._checkpoint_path)
            # Nobody else writes it meanwhile: the token was just checked, under the journal's own lock.
            upto = upto if exactly or there is None else max(upto, there.next)
            self._write_checkpoint(JournalCheckpoint(self._id(), self._last_seq(), upto))
        self._covered = upto

    def _write_checkpoint(self, anchor: JournalCheckpoint) -> None:
        write_checkpoint(self._checkpoint_path, anchor)

    def _id(self) -> str:
        row = self._connection.execute("SELECT id FROM identity WHERE account = ?", (self._account,)).fetchone()
        return str(row[0])

    def last_seq(self) -> int:
        """Return the position of the last event; 0 without one."""
        return self._last_seq()

    def _last_seq(self) -> int:
        return int(self._connection.execute("SELECT COALESCE(MAX(seq), 0) FROM event").fetchone()[0])

    def append(self, events: Sequence[Event]) -> None:
        """Write events, durably, as one.

        Raises:
            JournalUnwritableError: the disk is full or fails, or another process holds the file. Whether the
                events were written is not known, so the journal must be read again.
            ConflictError: another robot has taken over.
        """
        now = self._clock.now_ms()
        with self._writing():
            self._connection.executemany(
                "INSERT INTO event (account, at, kind, body) VALUES (?, ?, ?, ?)",
                [(self._account, now, event.kind, json.dumps(event.as_json(), sort_keys=True)) for event in events],
            )

    def events(self, after: int = 0) -> Iterator[Event]:
        """Yield the events after a position, oldest first. Raises as :func:`read_events`."""
        return read_events(self._connection, self._account, after)

    def rows(self, after: int, upto: int, limit: int) -> list[Row]:
        """Return the rows after one position up to another, at most so many.

        Raises:
            JournalUnwritableError: the journal cannot be read at present.
            VaultDamagedError: it is damaged.
        """
        try:
            return read_rows(self._connection, self._account, after, upto, limit)
        except sqlite3.OperationalError as error:
            raise JournalUnwritableError(f"the journal cannot be read: {error}") from error
        except sqlite3.DatabaseError as error:
            raise damaged(_file_of(self._connection), error) from error

    def event_of(self, row: Row) -> Event:
        """Return the event of a row. Raises ``VaultDamagedError`` for what no robot wrote."""
        return event_of(self._connection, row)

    def snapshot(self) -> Snapshot | None:
        """Return the snapshot of the book, or None where there is none. Raises ``SnapshotError`` for a doubtful one."""
        return read_snapshot(self._connection, self._account, self._version)

    def keep_snapshot(self, snapshot: Snapshot) -> None:
        """Replace the snapshot, durably. Raises as :meth:`append`."""
        with self._writing():
            write_snapshot(self._connection, self._account, self._version, snapshot)

    def drop_snapshot(self) -> None:
        """Remove the snapshot. Raises as :meth:`append`."""
        with self._writing():
            self._connection.execute("DELETE FROM snapshot WHERE account = ?", (self._account,))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction of ours."""
        try:
            with transaction(self._connection):
                self._check_token()
                yield
        except sqlite3.OperationalError as error:
            raise JournalUnwritableError(f"the journal cannot be written: {error}") from error

    def probe(self) -> None:
        """Try to write to the journal. Raises as :meth:`append`."""
        with self._writing():
            self._connection.execute("UPDATE lease SET token = token WHERE account = ?", (self._account,))

    def free_bytes(self) -> int:
        """Return how many bytes are left on the journal's disk for this process."""
        disk = os.statvfs(self._folder)
        return disk.f_bavail * disk.f_frsize

    def owns(self) -> bool:
        """Return whether our fencing token is still the newest."""
        return self._stored_token() == self._token

    def keep_contact(self, contact: LastContact) -> None:
        """Remember the last accepted signed answer. Raises as :meth:`append`."""
        with self._writing():
            self._connection.execute(
                "INSERT INTO mark (account, at, price) VALUES (?, ?, ?)"
                " ON CONFLICT (account) DO UPDATE SET at = excluded.at, price = excluded.price",
                (self._account, contact.at, f"{contact.price:f}"),
            )

    def last_contact(self) -> LastContact | None:
        row = self._connection.execute("SELECT at, price FROM mark WHERE account = ?", (self._account,)).fetchone()
        return LastContact(int(row[0]), Decimal(row[1])) if row else None

    def close(self) -> None:
        self._connection.close()

    def _stored_token(self) -> int:
        row = self._connection.execute("SELECT token FROM lease WHERE account = ?", (self._account,)).fetchone()
        return int(row[0])

    def _check_token(self) -> None:
        if not self.owns():
            raise ConflictError("another robot has taken over this account", hint="see 'fortctl robot status'")


def read_events(connection: sqlite3.Connection, account: str | None = None, after: int = 0) -> Iterator[Event]:
    """Yield the events after a position, oldest first. Raises ``VaultDamagedError`` for what no robot wrote."""
    rows = connection.execute(
        "SELECT kind, body FROM event WHERE (? IS NULL OR account = ?) AND seq > ? ORDER BY seq",
        (account, account, after),
    )
    try:
        for kind, body in rows:
            yield event_from_json(kind, json.loads(body))
    except sqlite3.OperationalError:
        raise
    except (KeyError, TypeError, ValueError, ArithmeticError, sqlite3.DatabaseError) as error:
        raise damaged(_file_of(connection), error) from error


def event_of(connection: sqlite3.Connection, row: Row) -> Event:
    """Return the event of a journal's row. Raises ``VaultDamagedError`` for what no robot wrote."""
    try:
        return event_from_json(row.kind, json.loads(row.body))
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise damaged(_file_of(connection), error) from error


def _file_of(connection: sqlite3.Connection) -> Path:
    return Path(connection.execute("PRAGMA database_list").fetchone()[2])
