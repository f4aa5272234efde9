"""The snapshot of the book in the journal's database, and what must fit before a start believes it (decision 0026).

It is read only where its own digest, the journal's identity, the version of the code that folds events into a book, and
the digests over the journal's rows just before it all fit. Everything else is a reason to replay the journal.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from fortctl.robot.core.book_snapshot import PROOF_ROWS, Row, Snapshot, SnapshotError, chained

# The packages whose code decides which book some events make.
_FOLDING = ("fortctl.robot.core", "fortctl.model")
FORMAT = 1


class OtherVersionError(SnapshotError):
    """The snapshot was made by other code: expected once after each upgrade."""


@cache
def fold_version() -> str:
    """Return a digest of the code that makes a book of events, so that no other version's book is believed."""
    digest = hashlib.sha256(f"format {FORMAT}".encode())
    for package in _FOLDING:
        for file in _sources(files(package)):
            content = file.read_bytes()
            digest.update(f"|{package}|{file.name}|{len(content)}|".encode() + content)
    return digest.hexdigest()


def _sources(folder: Traversable) -> list[Traversable]:
    found = [file for file in folder.iterdir() if file.name.endswith(".py")]
    return sorted(found, key=lambda file: file.name)


def read_rows(connection: sqlite3.Connection, account: str, after: int, upto: int, limit: int) -> list[Row]:
    """Return the journal's rows after one position up to another, at most so many. Raises as SQLite."""
    rows = connection.execute(
        "SELECT seq, at, kind, body FROM event WHERE account = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
        (account, after, upto, limit),
    )
    return [Row(*row) for row in rows]


def read_snapshot(connection: sqlite3.Connection, account: str, version: str) -> Snapshot | None:
    """Return an account's snapshot; None where there is none, or the journal is of before there were any.

    Raises:
        OtherVersionError: other code made it.
        SnapshotError: it is damaged, or the journal is not the one that it was made of.
    """
    try:
        return _read(connection, account, version)
    except sqlite3.DatabaseError as error:
        raise SnapshotError(f"it cannot be read: {error}") from error


def _read(connection: sqlite3.Connection, account: str, version: str) -> Snapshot | None:
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'snapshot'").fetchone() is None:
        return None
    row = connection.execute(
        "SELECT version, seq, chain, proof_seq, proof_chain, body, digest FROM snapshot WHERE account = ?", (account,)
    ).fetchone()
    if row is None:
        return None
    made_by, *parts, digest = row
    snapshot = Snapshot(*parts)
    if digest != _digest(_identity(connection, account), account, made_by, snapshot):
        raise SnapshotError("it is damaged, or another journal's")
    if made_by != version:
        raise OtherVersionError("another version of fortctl made it")
    last = connection.execute("SELECT COALESCE(MAX(seq), 0) FROM event").fetchone()[0]
    if last < snapshot.seq:
        raise SnapshotError(f"it was made after event {snapshot.seq}, and the journal ends at {last}")
    rows = read_rows(connection, account, snapshot.proof_seq, snapshot.seq, PROOF_ROWS + 1)
    if chained(snapshot.proof_chain, rows) != snapshot.chain:
        raise SnapshotError("the journal's events before it are not the ones that it was made of")
    return snapshot


def write_snapshot(connection: sqlite3.Connection, account: str, version: str, snapshot: Snapshot) -> None:
    """Put a snapshot in the place of the one before, in the caller's transaction."""
    digest = _digest(_identity(connection, account), account, version, snapshot)
    parts = (snapshot.seq, snapshot.chain, snapshot.proof_seq, snapshot.proof_chain, snapshot.body)
    connection.execute(
        "INSERT OR REPLACE INTO snapshot (account, version, seq, chain, proof_seq, proof_chain, body, digest)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (account, version, *parts, digest),
    )


def _identity(connection: sqlite3.Connection, account: str) -> str:
    row = connection.execute("SELECT id FROM identity WHERE account = ?", (account,)).fetchone()
    return str(row[0]) if row is not None else ""


def _digest(journal: str, account: str, version: str, snapshot: Snapshot) -> str:
    parts = [snapshot.seq, snapshot.chain, snapshot.proof_seq, snapshot.proof_chain, snapshot.body]
    return hashlib.sha256(json.dumps([journal, account, version, *parts]).encode()).hexdigest()
