"""The mailbox in SQLite (adapter). Its schema is simple enough to be the same in PostgreSQL."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fortctl.errors import ConfigError, ConflictError, RobotUnreachableError
from fortctl.ports import MailboxRow, PanicRow
from fortctl.store.sqlite import connect, transaction

MIGRATIONS = (
    """
    CREATE TABLE command (
        account TEXT NOT NULL,
        number BIGINT NOT NULL,
        envelope BLOB NOT NULL,
        sealed BLOB,
        signature BLOB NOT NULL,
        sent_at BIGINT NOT NULL DEFAULT 0,
        claimed_at BIGINT,
        finished_at BIGINT,
        result BLOB,
        result_signature BLOB,
        PRIMARY KEY (account, number)
    );
    CREATE TABLE card (
        account TEXT PRIMARY KEY,
        body BLOB NOT NULL,
        signature BLOB NOT NULL,
        published_at BIGINT NOT NULL
    );
    """,
    """
    CREATE TABLE pairing (
        account TEXT NOT NULL,
        step TEXT NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (account, step)
    );
    """,
    """
    CREATE TABLE panic (
        account TEXT NOT NULL,
        nonce TEXT NOT NULL,
        body BLOB NOT NULL,
        signature BLOB NOT NULL,
        answer BLOB,
        answer_signature BLOB,
        PRIMARY KEY (account, nonce)
    );
    """,
)
# How many commands are read at once, and the highest number of a command.
AT_ONCE, NUMBER_LIMIT = 100, 2**53
_NUMBERED = f"typeof(number) = 'integer' AND number BETWEEN 0 AND {NUMBER_LIMIT}"
# Larger values are not read into memory; no command, receipt or card comes near.
MESSAGE_LIMIT = 1 << 20
_BLOBS = ("envelope", "sealed", "signature", "result", "result_signature")


def bounded_columns(empty: str) -> str:
    """Return the columns of a command for a SELECT; a value that is too long reads as *empty*."""
    names = ("account", "number", *_BLOBS[:3], "claimed_at", "finished_at", *_BLOBS[3:])
    return ", ".join(
        f"CASE WHEN length({name}) > {MESSAGE_LIMIT} THEN {empty} ELSE {name} END" if name in _BLOBS else name
        for name in names
    )


_COLUMNS = bounded_columns("x''")
_PANIC_COLUMNS = "nonce, body, signature, answer, answer_signature"


class SqliteMailbox:
    """The command queue of a home's robots; implements :class:`fortctl.ports.Mailbox`."""

    def __init__(
        self, path: Path, *, shared: bool = False, busy_timeout_ms: int = 5000, any_thread: bool = False
    ) -> None:
        """
        Args:
            path: the store.
            shared: the users of operator and robot both may write to its folder.
            busy_timeout_ms: how long a writer waits for another writer.
            any_thread: several threads use it; the caller ensures that it is one at a time.
        """
        mode = 0o660 if shared else 0o600
        connection = connect(path, MIGRATIONS, mode=mode, busy_timeout_ms=busy_timeout_ms, any_thread=any_thread)
        self._connection = _TranslatingConnection(connection)

    def append(self, row: MailboxRow) -> None:
        try:
            with transaction(self._connection):
                self._connection.execute(
                    "INSERT INTO command (account, number, envelope, sealed, signature) VALUES (?, ?, ?, ?, ?)",
                    (row.account, row.number, row.envelope, row.sealed, row.signature),
                )
        except sqlite3.IntegrityError:
            raise ConflictError(f"command {row.number} of account {row.account} exists already") from None

    def last_number(self, account: str) -> int:
        found = self._connection.execute(
            f"SELECT MAX(number) FROM command WHERE account = ? AND {_NUMBERED}", (account,)
        ).fetchone()
        return int(found[0] or 0) if found else 0

    def pending(self, account: str) -> tuple[MailboxRow, ...]:
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM command WHERE account = ? AND result IS NULL AND {_NUMBERED}"
            f" ORDER BY number LIMIT {AT_ONCE}",
            (account,),
        )
        return tuple(_row(row) for row in rows)

    def row(self, account: str, number: int) -> MailboxRow | None:
        found = self._connection.execute(
            f"SELECT {_COLUMNS} FROM command WHERE account = ? AND number = ?", (account, number)
        ).fetchone()
        return _row(found) if found else None

    def claim(self, account: str, number: int, at: int) -> None:
        with transaction(self._connection):
            self._connection.execute(
                "UPDATE command SET claimed_at = ? WHERE account = ? AND number = ?", (at, account, number)
            )

    def finish(self, account: str, number: int, result: bytes, signature: bytes, at: int) -> None:
        with transaction(self._connection):
            self._connection.execute(
                "UPDATE command SET result = ?, result_signature = ?, finished_at = ?, sealed = NULL"
                " WHERE account = ? AND number = ?",
                (result, signature, at, account, number),
            )
        self._truncate_wal()

    def publish_card(self, account: str, body: bytes, signature: bytes, at: int) -> None:
        with transaction(self._connection):
            self._connection.execute(
                "INSERT INTO card (account, body, signature, published_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (account) DO UPDATE SET body = excluded.body, signature = excluded.signature,"
                " published_at = excluded.published_at",
                (account, body, signature, at),
            )

    def card(self, account: str) -> tuple[bytes, bytes] | None:
        found = self._connection.execute("SELECT body, signature FROM card WHERE account = ?", (account,)).fetchone()
        return (_blob(found[0]) or b"", _blob(found[1]) or b"") if found else None

    def post_pairing(self, account: str, step: str, body: bytes) -> None:
        with transaction(self._connection):
            self._connection.execute(
                "INSERT INTO pairing (account, step, body) VALUES (?, ?, ?)"
                " ON CONFLICT (account, step) DO UPDATE SET body = excluded.body",
                (account, step, body),
            )

    def pairing(self, account: str, step: str) -> bytes | None:
        found = self._connection.execute(
            "SELECT body FROM pairing WHERE account = ? AND step = ?", (account, step)
        ).fetchone()
        return _blob(found[0]) if found else None

    def clear_pairing(self, account: str) -> None:
        with transaction(self._connection):
            self._connection.execute("DELETE FROM pairing WHERE account = ?", (account,))

    def post_panic(self, account: str, nonce: str, body: bytes, signature: bytes) -> None:
        with transaction(self._connection):
            self._connection.execute(
                "INSERT INTO panic (account, nonce, body, signature) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (account, nonce, body, signature),
            )

    def open_panics(self, account: str) -> tuple[PanicRow, ...]:
        statement = f"SELECT {_PANIC_COLUMNS} FROM panic WHERE account = ? AND answer IS NULL"
        return tuple(
            PanicRow(str(row[0]), *map(_blob, row[1:])) for row in self._connection.execute(statement, (account,))
        )

    def panic(self, account: str, nonce: str) -> PanicRow | None:
        statement = f"SELECT {_PANIC_COLUMNS} FROM panic WHERE account = ? AND nonce = ?"
        found = self._connection.execute(statement, (account, nonce)).fetchone()
        return PanicRow(str(found[0]), *map(_blob, found[1:])) if found else None

    def answer_panic(self, account: str, nonce: str, answer: bytes, signature: bytes) -> None:
        with transaction(self._connection):
            self._connection.execute(
                "UPDATE panic SET answer = ?, answer_signature = ? WHERE account = ? AND nonce = ?",
                (answer, signature, account, nonce),
            )

    def waiting(self, account: str) -> list[tuple[int, int]]:
        """Return ``(number, created at in ms)`` of the commands without an answer."""
        return [(row.number, created_at(row)) for row in self.pending(account)]

    def withdraw(self, account: str, at: int, *, keep_card: bool = False) -> None:
        """Delete the robot's card and erase every sealed payload (panic)."""
        with transaction(self._connection):
            if not keep_card:
                self._connection.execute("DELETE FROM card WHERE account = ?", (account,))
            self._connection.execute(
                "UPDATE command SET sealed = NULL, finished_at = COALESCE(finished_at, ?),"
                " result = COALESCE(result, x'') WHERE account = ?",
                (at, account),
            )
        self._truncate_wal()

    def close(self) -> None:
        self._connection.close()

    def _truncate_wal(self) -> None:
        # secure_delete overwrites pages only; the write-ahead log would still contain the sealed bytes.
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class _TranslatingConnection:
    """A connection that raises fortctl's errors: other users may write to the store, and may damage it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> _Rows:
        try:
            return _Rows(self._connection.execute(sql, values).fetchall())
        except sqlite3.IntegrityError:
            raise
        except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:
            raise RobotUnreachableError(
                f"the mailbox cannot be used: {error}",
                hint="another process holds it, its disk is full or read-only, or the file is damaged",
            ) from None

    def close(self) -> None:
        self._connection.close()


class _Rows(list[Any]):
    def fetchone(self) -> Any:
        return self[0] if self else None


def _row(found: Any) -> MailboxRow:
    account, number, envelope, sealed, signature, claimed_at, finished_at, result, result_signature = found
    return MailboxRow(
        str(account),
        int(number),
        _blob(envelope) or b"",
        _blob(sealed),
        _blob(signature) or b"",
        claimed_at,
        finished_at,
        _blob(result),
        _blob(result_signature),
    )


def _blob(value: object) -> Any:
    """Return a column's bytes; SQLite allows any type in any column."""
    return value if isinstance(value, bytes) or value is None else b""


def created_at(row: MailboxRow) -> int:
    """Return a command's stated creation time (ms since the epoch); 0 if it is malformed."""
    try:
        return int(json.loads(row.envelope)["created_at"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return 0


def is_delivery(row: MailboxRow) -> bool:
    """Return whether a command claims to deliver a key."""
    try:
        return bool(json.loads(row.envelope)["kind"] == "deliver-key")
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def shared_path(url: str) -> Path:
    """Return the file of a mailbox that lies outside the home.

    Raises:
        ConfigError: *url* is not ``sqlite:///PATH``, or every user may write to the folder.
    """
    path = Path(url.removeprefix("sqlite://"))
    if not url.startswith("sqlite:///") or not path.is_absolute():
        raise ConfigError(
            "the mailbox's URL must be sqlite:///PATH or postgresql://…", hint="see docs/sealed-mailbox.md"
        )
    try:
        mode = path.parent.stat().st_mode
    except OSError as error:
        raise ConfigError(f"the mailbox's folder {path.parent} cannot be read: {error.strerror}") from None
    if mode & 0o002:
        raise ConfigError(
            f"every user may write to the mailbox's folder {path.parent}",
            hint="give it to a group that the operator and the robot share: chmod 2770",
        )
    return path
