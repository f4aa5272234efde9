"""Open SQLite stores: write-ahead log, every commit on disk, deleted content overwritten (adapter)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from fortctl.errors import ConflictError, VaultDamagedError
from fortctl.system.files import NotARegularFileError

RESTORE = "put the file back from a backup of the home"


def connect(
    path: Path,
    migrations: Sequence[str],
    *,
    busy_timeout_ms: int = 5000,
    any_thread: bool = False,
    exclusive: bool = False,
    mode: int = 0o600,
) -> sqlite3.Connection:
    """Open (and create, 0600) a store and bring its schema up to date.

    Args:
        path: the database file; its folder must exist.
        migrations: scripts in order; ``PRAGMA user_version`` counts those that were applied.
        busy_timeout_ms: how long a writer waits for another writer.
        any_thread: several threads use the connection; the caller ensures that it is one at a time.
        mode: the mode of a new file.
        exclusive: no other process may open the store while this connection is open.

    Raises:
        ConflictError: the store stays locked by another process.
        VaultDamagedError: the file is not a SQLite database, or was written by a later fortctl.
    """
    if not path.exists():
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, mode)
        if mode != 0o600:
            # The umask removes the group's permissions.
            os.fchmod(descriptor, mode)
        os.close(descriptor)
    try:
        seconds = busy_timeout_ms / 1000
        connection = sqlite3.connect(path, timeout=seconds, isolation_level=None, check_same_thread=not any_thread)
        connection.row_factory = sqlite3.Row
        if exclusive:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("PRAGMA foreign_keys=ON")
        _migrate(connection, migrations, path)
        if exclusive:
            # The lock is taken by the first transaction that writes.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise ConflictError(
            f"the store {path.name} cannot be opened: {error}",
            hint="another process holds it, or the folder is read-only; see 'fortctl doctor'",
        ) from error
    except sqlite3.DatabaseError as error:
        raise damaged(path, error) from error
    return connection


def check_integrity(connection: sqlite3.Connection, path: Path) -> None:
    """Raise ``VaultDamagedError`` if a page of the store is missing or damaged."""
    answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if answer != "ok":
        raise damaged(path, sqlite3.DatabaseError(answer))


def damaged(path: Path, error: Exception) -> VaultDamagedError:
    """Return the error for a store that is not a SQLite database, or not the one that fortctl wrote."""
    hint = RESTORE
    if path.name == "journal.sqlite":
        hint += (
            "; if there is none, cancel the robot's orders ('fc…') at Binance and move the file away; the robot then"
            " starts with empty books and holds until 'fortctl robot resume'"
        )
    text = str(error) if isinstance(error, sqlite3.Error) else f"it has invalid content ({type(error).__name__})"
    return VaultDamagedError(f"the store {path} is damaged: {text}", hint=hint, details={"path": str(path)})


@contextmanager
def open_readonly(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an existing store for reading only.

    Raises:
        NotARegularFileError: *path* is a pipe or a device.
        ConflictError: the store cannot be read at present.
        VaultDamagedError: the file is not a SQLite database, or its tables are missing.
    """
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        if file.exists() and not file.is_file():
            raise NotARegularFileError(file)
    connection = None
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        yield connection
    except sqlite3.OperationalError as error:
        if str(error).startswith("no such table"):
            # The file was truncated, or belongs to another program.
            raise damaged(path, error) from error
        hint = (
            "another process holds it, or the folder is read-only (SQLite needs to write there); see 'fortctl doctor'"
        )
        raise ConflictError(f"the store {path} cannot be read: {error}", hint=hint) from error
    except sqlite3.DatabaseError as error:
        raise damaged(path, error) from error
    finally:
        if connection is not None:
            connection.close()


def _migrate(connection: sqlite3.Connection, migrations: Sequence[str], path: Path) -> None:
    applied = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if applied > len(migrations):
        raise VaultDamagedError(f"the store {path.name} was written by a later fortctl", hint="upgrade fortctl")
    for number in range(applied, len(migrations)):
        with transaction(connection):
            # A second process may have migrated while this one waited for the lock.
            if int(connection.execute("PRAGMA user_version").fetchone()[0]) > number:
                continue
            for statement in _statements(migrations[number]):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={number + 1}")


def _statements(script: str) -> Iterator[str]:
    """Split a migration into statements (``executescript`` would commit the surrounding transaction)."""
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


class Executing(Protocol):
    def execute(self, words: str, /) -> object: ...


C = TypeVar("C", bound=Executing)


@contextmanager
def transaction(connection: C) -> Iterator[C]:
    """Run a block in one write transaction; commit on success, roll back on any exception."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
