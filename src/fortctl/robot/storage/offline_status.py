"""Status and report of a robot that does not run, read from its journal."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from fortctl.errors import VaultDamagedError
from fortctl.robot.core.book import Book
from fortctl.robot.core.book_snapshot import Fold, SnapshotError, restore
from fortctl.robot.core.cycle import IllegalTransitionError
from fortctl.robot.core.key_loss import Cause, KeyLossReport
from fortctl.robot.core.profit_report import report
from fortctl.robot.core.status import Contact, robot_status
from fortctl.robot.storage.journal import event_of, read_events
from fortctl.robot.storage.journal_checkpoint import read_checkpoint
from fortctl.robot.storage.journal_snapshot import fold_version, read_rows, read_snapshot
from fortctl.store.sqlite import check_integrity, damaged, open_readonly


def offline_report(path: Path, by: str, price: str | None = None) -> dict[str, Any]:
    """Return what the robot earned (:func:`fortctl.robot.core.profit_report.report`), from its journal alone.

    Inventory is valued at ``price``, else at the last price that came with an accepted signed answer.
    """
    if not path.exists():
        return report((), by)
    with open_readonly(path) as connection:
        mark = connection.execute("SELECT price FROM mark").fetchone()
        last = price or (mark[0] if mark else None)
        return report(read_events(connection), by, Decimal(last) if last else None)


def journal_summary(path: Path) -> str:
    """Return one line about a journal, read from end to end and compared with its checkpoint and its snapshot.

    Raises:
        VaultDamagedError: it is damaged, lacks events that the robot has written, or has a snapshot that is not what
            its events make.
        as :func:`fortctl.store.sqlite.open_readonly`.
    """
    checkpoint = read_checkpoint(path.with_suffix(".anchor"))
    if not path.exists():
        if checkpoint is not None and checkpoint.seq:
            raise _incomplete(f"{path.name} is gone, and had {checkpoint.seq} events")
        return "the robot has not written any yet"
    with open_readonly(path) as connection:
        check_integrity(connection, path)
        identity = connection.execute("SELECT id FROM identity").fetchone()
        last = int(connection.execute("SELECT COALESCE(MAX(seq), 0) FROM event").fetchone()[0])
        missing = checkpoint.missing(str(identity[0]) if identity else "", last) if checkpoint is not None else ""
        if missing:
            raise _incomplete(missing)
        events = f"{sum(1 for _event in read_events(connection))} events; all can be read"
        return events + _compared_with_snapshot(connection, path)


def _compared_with_snapshot(connection: sqlite3.Connection, path: Path) -> str:
    """Replay the journal as far as its snapshot; return words about it. Raises ``VaultDamagedError`` if they differ."""
    account = _account(connection)
    try:
        snapshot = read_snapshot(connection, account, fold_version())
    except SnapshotError as unusable:
        return f"; its snapshot is not used: {unusable}"
    if snapshot is None:
        return ""
    fold = Fold(partial(event_of, connection))
    try:
        while rows := read_rows(connection, account, fold.seq, snapshot.seq, limit=1_000):
            fold.take(rows)
        equal = fold.snapshot().mark == snapshot.mark
    except (KeyError, IllegalTransitionError, SnapshotError):
        equal = False
    if not equal:
        raise VaultDamagedError(
            f"the snapshot in {path} is not the book that the journal's events make",
            hint="restart the robot: it replays the journal and holds until 'fortctl robot resume'",
            details={"path": str(path)},
        )
    return f"; the snapshot after event {snapshot.seq} equals their replay"


def _account(connection: sqlite3.Connection) -> str:
    """Return whose journal it is; empty where no robot has opened it."""
    row = connection.execute("SELECT account FROM lease").fetchone()
    return str(row[0]) if row is not None else ""


def _incomplete(what: str) -> VaultDamagedError:
    return VaultDamagedError(
        what,
        hint="put the newest journal back; without it, cancel and sell by hand what it does not know, then"
        " 'fortctl robot resume'",
    )


def _book(path: Path) -> Book:
    if not path.exists():
        return Book()
    with open_readonly(path) as connection:
        try:
            return restore(
                partial(read_snapshot, connection, _account(connection), fold_version()),
                partial(read_events, connection, None),
            ).book
        except (KeyError, IllegalTransitionError) as error:
            raise damaged(path, error) from error


def offline_orders(path: Path) -> list[tuple[str, str, int]]:
    """Return the orders that a journal holds as not final: symbol, client order id, the exchange's number (or 0)."""
    book = _book(path)
    if book.settings is None:
        return []
    symbol = book.settings.symbol
    return [(symbol, order.client_order_id, order.order_id) for order in book.unsettled() if not order.final]


def _last_contact_at(path: Path) -> int:
    """Return when the exchange last accepted a signed request (its clock, ms); 0: never."""
    if not path.exists():
        return 0
    with open_readonly(path) as connection:
        mark = connection.execute("SELECT at FROM mark").fetchone()
    return int(mark[0]) if mark else 0


def offline_status(path: Path, now_ms: int) -> dict[str, Any]:
    """Return the status of a robot that does not run; nothing is written, not even a lease.

    Args:
        path: its journal.
        now_ms: this host's time.
    """
    book = _book(path)
    state = "held" if book.hold else book.mode.value
    since = book.hold_changed_at if book.hold else max(book.since, book.hold_changed_at)
    status = robot_status(book, state, since=since, contact=Contact(now_ms, _last_contact_at(path)))
    # Nothing trades without a process; the mode is what a service manager would start it with.
    if state in ("running", "draining"):
        # The journal does not know when the process ended.
        status |= {"reason": f"no process; mode: {state}", "state": "stopped", "since": None, "waits": []}
    status["cycle_list"] = book.cycle_rows()
    if book.key_status is not None and book.key_status.what == "lost":
        # What the journal knows; a robot that runs knows the market too.
        lost = book.key_status
        cause = Cause(lost.reason, lost.certainty, lost.why, lost.code)
        loss = KeyLossReport(lost.at, cause, Decimal(lost.price) if lost.price else None)
        status["key_loss"] = loss.to_json()
    return status
