"""The journal of long operations, and the locks of the processes that run them, in SQLite (adapter).

The store contains no secrets.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fortctl.errors import ConflictError
from fortctl.ports import OperationOwner, OperationRow
from fortctl.store.sqlite import connect, transaction
from fortctl.timestamps import rfc3339

MIGRATIONS = (
    """
    CREATE TABLE operations (
        id TEXT PRIMARY KEY,
        account TEXT NOT NULL,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        body TEXT NOT NULL,
        started_at BIGINT NOT NULL,
        updated_at BIGINT NOT NULL
    );
    CREATE UNIQUE INDEX one_open_operation ON operations (account) WHERE state = 'open';
    CREATE TABLE operation_lock (
        account TEXT PRIMARY KEY,
        pid BIGINT NOT NULL,
        host TEXT NOT NULL,
        started TEXT NOT NULL,
        what TEXT NOT NULL,
        taken_at BIGINT NOT NULL,
        beat_at BIGINT NOT NULL
    );
    """,
)
_ROW = "id, account, kind, state, body, started_at, updated_at"
_OWNER = "pid, host, started, what, taken_at, beat_at"


class SqliteOperations:
    """The operations of one home; implements :class:`fortctl.ports.OperationStore`."""

    def __init__(self, path: Path, *, busy_timeout_ms: int = 5000) -> None:
        self._connection = connect(path, MIGRATIONS, busy_timeout_ms=busy_timeout_ms)

    def close(self) -> None:
        self._connection.close()

    def current(self, account: str) -> OperationRow | None:
        return self._one("account = ? AND state = 'open'", account)

    def last(self, account: str) -> OperationRow | None:
        return self._one("account = ? ORDER BY started_at DESC, rowid DESC LIMIT 1", account)

    def all(self, account: str) -> tuple[OperationRow, ...]:
        query = f"SELECT {_ROW} FROM operations WHERE account = ? ORDER BY started_at DESC, rowid DESC"
        return tuple(OperationRow(*found) for found in self._connection.execute(query, (account,)))

    def _one(self, where: str, account: str) -> OperationRow | None:
        found = self._connection.execute(f"SELECT {_ROW} FROM operations WHERE {where}", (account,)).fetchone()
        return OperationRow(*found) if found is not None else None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with transaction(self._connection):
                yield
        except sqlite3.OperationalError as error:
            raise ConflictError(
                f"the operation store cannot be written: {error}",
                hint="another process holds the store, or the disk is full",
            ) from None

    # -- the lock --------------------------------------------------------------------------------------------------

    def owner(self, account: str) -> OperationOwner | None:
        found = self._connection.execute(
            f"SELECT {_OWNER} FROM operation_lock WHERE account = ?", (account,)
        ).fetchone()
        return OperationOwner(*found) if found is not None else None

    def acquire(
        self, account: str, me: OperationOwner, alive: Callable[[OperationOwner], bool]
    ) -> OperationOwner | None:
        with self._writing():
            holder = self.owner(account)
            if holder is not None and not _same(holder, me) and alive(holder):
                found = self.current(account)
                rotation = f"rotation {found.id}, " if found is not None else ""
                raise ConflictError(
                    f"another command works on the keys of account {account}: {holder.what} ({rotation}pid {holder.pid}"
                    f" on {holder.host}, since {rfc3339(holder.acquired_at)})",
                    hint="wait until it ends; 'fortctl keys rotate --status' shows the state of a rotation",
                    details={
                        "operation_id": found.id if found is not None else None,
                        "owner": {
                            "pid": holder.pid,
                            "host": holder.host,
                            "what": holder.what,
                            "since": rfc3339(holder.acquired_at),
                            "age_s": (me.acquired_at - holder.acquired_at) // 1000,
                        },
                    },
                )
            self._connection.execute(
                f"INSERT OR REPLACE INTO operation_lock (account, {_OWNER}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (account, me.pid, me.host, me.started, me.what, me.acquired_at, me.renewed_at),
            )
        return holder if holder is not None and not _same(holder, me) else None

    def renew(self, account: str, me: OperationOwner, at: int) -> None:
        with self._writing():
            self._expect_owner(account, me)
            self._connection.execute("UPDATE operation_lock SET beat_at = ? WHERE account = ?", (at, account))

    def release(self, account: str, me: OperationOwner) -> None:
        with self._writing():
            holder = self.owner(account)
            if holder is not None and _same(holder, me):
                self._connection.execute("DELETE FROM operation_lock WHERE account = ?", (account,))

    def _expect_owner(self, account: str, me: OperationOwner) -> None:
        holder = self.owner(account)
        if holder is None or not _same(holder, me):
            raise ConflictError(
                "another command or a panic took over the rotation",
                hint="see 'fortctl keys rotate --status'",
                details={"reason": "preempted"},
            )

    # -- the journal -----------------------------------------------------------------------------------------------

    def put(self, row: OperationRow, me: OperationOwner) -> None:
        try:
            with self._writing():
                self._expect_owner(row.account, me)
                written = self._connection.execute(
                    f"INSERT INTO operations ({_ROW}) VALUES (?, ?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (id) DO UPDATE SET state = excluded.state, body = excluded.body,"
                    " updated_at = excluded.updated_at WHERE operations.state = 'open'",
                    (row.id, row.account, row.kind, row.state, row.body, row.started_at, row.updated_at),
                )
                if written.rowcount != 1:
                    raise ConflictError("the rotation is already over", hint="see 'fortctl keys rotate --status'")
        except sqlite3.IntegrityError:
            raise ConflictError(f"another rotation of account {row.account} is open") from None

    def abort_for_panic(self, account: str, at: int) -> OperationRow | None:
        with self._writing():
            self._connection.execute("DELETE FROM operation_lock WHERE account = ?", (account,))
            found = self.current(account)
            if found is not None:
                self._connection.execute(
                    "UPDATE operations SET state = 'aborted', updated_at = ?,"
                    " body = json_set(body, '$.reason', 'panic') WHERE id = ?",
                    (at, found.id),
                )
        return found


def _same(one: OperationOwner, other: OperationOwner) -> bool:
    return (one.pid, one.host, one.started) == (other.pid, other.host, other.started)
