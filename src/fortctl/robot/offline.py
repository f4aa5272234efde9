"""What the journal says while no robot runs (adapter; reads only)."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from fortctl.robot.book import Book
from fortctl.robot.describe import describe
from fortctl.robot.journal import read_events


def offline_status(path: Path) -> dict[str, Any]:
    """Return the status of a robot that does not run; nothing is written, not even a lease."""
    book = Book()
    if path.exists():
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            book.replay(read_events(connection))
        finally:
            connection.close()
    status = describe(book, "held" if book.hold else book.wish.value)
    # Nothing trades without a process, whatever the wish: it says what a service manager would go on with.
    if status["state"] in ("running", "draining"):
        status["reason"], status["state"] = f"no process; the wish is {status['state']}", "stopped"
    status["cycle_list"] = book.cycle_rows()
    return status
