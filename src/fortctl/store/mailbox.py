"""The mailbox in SQLite: a store of its own (adapter). Its schema is plain enough for PostgreSQL to take over."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fortctl.errors import Conflict, RobotUnreachable
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
_COLUMNS = "account, number, envelope, sealed, signature, claimed_at, finished_at, result, result_signature"
_PANIC_COLUMNS = "nonce, body, signature, answer, answer_signature"


class SqliteMailbox:
    """The command queue of a home's robots; implements :class:`fortctl.ports.Mailbox`."""

    def __init__(
        self, path: Path, *, shared: bool = False, busy_timeout_ms: int = 5000, any_thread: bool = False
    ) -> None:
        """
        Args:
            path: the store.
            shared: it lies in a folder that both an operator's and a robot's OS user may write.
            busy_timeout_ms: how long a writer waits for another one.
            any_thread: the caller sees to it that one thread at a time uses it.
        """
        mode = 0o660 if shared else 0o600
        self._connection = connect(path, MIGRATIONS, mode=mode, busy_timeout_ms=busy_timeout_ms, any_thread=any_thread)

    def append(self, row: MailboxRow) -> None:
        try:
            with transaction(self._connection):
                self._connection.execute(
                    "INSERT INTO command (account, number, envelope, sealed, signature) VALUES (?, ?, ?, ?, ?)",
                    (row.account, row.number, row.envelope, row.sealed, row.signature),
                )
        except sqlite3.IntegrityError:
            raise Conflict(f"command {row.number} of account {row.account} is taken") from None

    def last_number(self, account: str) -> int:
        found = self._connection.execute("SELECT MAX(number) FROM command WHERE account = ?", (account,)).fetchone()
        return int(found[0] or 0)

    def pending(self, account: str) -> tuple[MailboxRow, ...]:
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM command WHERE account = ? AND result IS NULL ORDER BY number", (account,)
        )
        return tuple(MailboxRow(*row) for row in rows)

    def row(self, account: str, number: int) -> MailboxRow | None:
        found = self._connection.execute(
            f"SELECT {_COLUMNS} FROM command WHERE account = ? AND number = ?", (account, number)
        ).fetchone()
        return MailboxRow(*found) if found else None

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
        self._forget_log()

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
        return (found[0], found[1]) if found else None

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
        return bytes(found[0]) if found else None

    def clear_pairing(self, account: str) -> None:
        with transaction(self._connection):
            self._connection.execute("DELETE FROM pairing WHERE account = ?", (account,))

    def post_panic(self, account: str, nonce: str, body: bytes, signature: bytes) -> None:
        with _told(), transaction(self._connection):
            self._connection.execute(
                "INSERT INTO panic (account, nonce, body, signature) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (account, nonce, body, signature),
            )

    def open_panics(self, account: str) -> tuple[PanicRow, ...]:
        words = f"SELECT {_PANIC_COLUMNS} FROM panic WHERE account = ? AND answer IS NULL"
        with _told():
            return tuple(PanicRow(*row) for row in self._connection.execute(words, (account,)))

    def panic(self, account: str, nonce: str) -> PanicRow | None:
        words = f"SELECT {_PANIC_COLUMNS} FROM panic WHERE account = ? AND nonce = ?"
        with _told():
            found = self._connection.execute(words, (account, nonce)).fetchone()
        return PanicRow(*found) if found else None

    def answer_panic(self, account: str, nonce: str, answer: bytes, signature: bytes) -> None:
        with _told(), transaction(self._connection):
            self._connection.execute(
                "UPDATE panic SET answer = ?, answer_signature = ? WHERE account = ? AND nonce = ?",
                (answer, signature, account, nonce),
            )

    def waiting(self, account: str) -> list[tuple[int, int]]:
        """Return ``(number, created at in ms)`` of the commands without an answer."""
        import json

        return [(row.number, int(json.loads(row.envelope)["created_at"])) for row in self.pending(account)]

    def withdraw(self, account: str, at: int) -> None:
        """Take the robot's card away and erase every sealed payload (panic)."""
        with _told(), transaction(self._connection):
            self._connection.execute("DELETE FROM card WHERE account = ?", (account,))
            self._connection.execute(
                "UPDATE command SET sealed = NULL, finished_at = COALESCE(finished_at, ?),"
                " result = COALESCE(result, x'') WHERE account = ?",
                (at, account),
            )
        self._forget_log()

    def close(self) -> None:
        self._connection.close()

    def _forget_log(self) -> None:
        # secure_delete overwrites pages; the write-ahead log would still hold the sealed bytes.
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _told() -> Iterator[None]:
    """Tell what SQLite refuses as an error of fortctl's own."""
    try:
        yield
    except sqlite3.Error as error:
        raise RobotUnreachable(
            f"the mailbox cannot be used: {error}", hint="another process holds it, or its disk is full or read-only"
        ) from None
