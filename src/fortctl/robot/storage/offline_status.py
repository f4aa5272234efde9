"""Status and report of a robot that does not run, read from its journal."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from fortctl.robot.core.book import Book
from fortctl.robot.core.cycle import IllegalTransitionError
from fortctl.robot.core.profit_report import report
from fortctl.robot.core.status import robot_status
from fortctl.robot.storage.journal import read_events
from fortctl.store.sqlite import check_integrity, damaged, open_readonly
from fortctl.timestamps import rfc3339


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
    """Return one line about a journal, read from end to end. Raises as :func:`fortctl.store.sqlite.reading`."""
    if not path.exists():
        return "the robot has not written any yet"
    with open_readonly(path) as connection:
        check_integrity(connection, path)
        return f"{sum(1 for _event in read_events(connection))} events; all can be read"


def _book(path: Path) -> Book:
    book = Book()
    if path.exists():
        with open_readonly(path) as connection:
            try:
                book.replay(read_events(connection))
            except (KeyError, IllegalTransitionError) as error:
                raise damaged(path, error) from error
    return book


def offline_orders(path: Path) -> list[tuple[str, str, int]]:
    """Return the orders that a journal holds as not final: symbol, client order id, the exchange's number (or 0)."""
    book = _book(path)
    if book.settings is None:
        return []
    symbol = book.settings.symbol
    return [(symbol, order.client_order_id, order.order_id) for order in book.unsettled() if not order.final]


def offline_status(path: Path) -> dict[str, Any]:
    """Return the status of a robot that does not run; nothing is written, not even a lease."""
    book = _book(path)
    status = robot_status(book, "held" if book.hold else book.mode.value)
    # Nothing trades without a process; the mode is what a service manager would start it with.
    if status["state"] in ("running", "draining"):
        status["reason"], status["state"] = f"no process; mode: {status['state']}", "stopped"
    status["cycle_list"] = book.cycle_rows()
    if book.key_status is not None and book.key_status.what == "lost":
        # What the journal knows; a robot that runs knows the market too.
        lost = book.key_status
        status["key_loss"] = {
            "since": rfc3339(lost.at),
            "code": lost.code,
            "reason": lost.reason,
            "certainty": lost.certainty,
            "why": lost.why,
            "price_then": lost.price or None,
        }
    return status
