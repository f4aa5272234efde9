"""The request weight used by this home's processes, in ``HOME/weights.sqlite`` (adapter).

Losing the numbers costs one refused request at most. So commits do not wait for the disk, and a damaged file is
replaced.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from fortctl.errors import ConflictError, VaultDamagedError
from fortctl.store.sqlite import connect, transaction

BUSY_MS = 100
MIGRATIONS = (
    """
    CREATE TABLE weight (
        target TEXT PRIMARY KEY,
        minute BIGINT NOT NULL,
        used BIGINT NOT NULL,
        stopped_until BIGINT NOT NULL
    );
    """,
    # The limit that the exchange states: -1 none stated yet, 0 no limit.
    "ALTER TABLE weight ADD COLUMN most BIGINT NOT NULL DEFAULT -1;",
)

Row = tuple[int, int, int, int]
UNKNOWN: Row = (0, 0, 0, -1)


class RequestWeightStore:
    """Implements :class:`fortctl.exchange.rate_limiter.WeightStore`; opened at the first use.

    Args:
        path: ``weights.sqlite``; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def read(self, target: str) -> Row:
        """Return (minute, used, stopped until, most a minute).

        Raises ``ConflictError`` when the store cannot be used.
        """
        try:
            return self._row(self._open(), target)
        except sqlite3.Error as error:
            raise _unusable(error) from None

    def change(self, target: str, change: Callable[[Row], Row]) -> None:
        """Change the numbers of a target in one transaction. Raises ``ConflictError`` if the store fails."""
        try:
            connection = self._open()
            with transaction(connection):
                connection.execute(
                    "INSERT INTO weight (target, minute, used, stopped_until, most) VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT (target) DO UPDATE SET minute = excluded.minute, used = excluded.used,"
                    " stopped_until = excluded.stopped_until, most = excluded.most",
                    (target, *change(self._row(connection, target))),
                )
        except sqlite3.Error as error:
            raise _unusable(error) from None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _row(self, connection: sqlite3.Connection, target: str) -> Row:
        query = "SELECT minute, used, stopped_until, most FROM weight WHERE target = ?"
        found = connection.execute(query, (target,)).fetchone()
        return (int(found[0]), int(found[1]), int(found[2]), int(found[3])) if found else UNKNOWN

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._connection = connect(self._path, MIGRATIONS, busy_timeout_ms=BUSY_MS)
            except VaultDamagedError:
                self._path.unlink(missing_ok=True)
                self._connection = connect(self._path, MIGRATIONS, busy_timeout_ms=BUSY_MS)
            except OSError as error:
                raise _unusable(error) from None
            self._connection.execute("PRAGMA synchronous=OFF")
        return self._connection


def _unusable(error: Exception) -> ConflictError:
    return ConflictError(
        f"the store of request weight cannot be used ({type(error).__name__})", hint="see 'fortctl doctor'"
    )
