"""Open a mailbox that several hosts or users share, for a moment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fortctl.errors import RobotUnreachableError

if TYPE_CHECKING:
    from fortctl.mailbox.postgres import PostgresMailbox
    from fortctl.mailbox.sqlite import SqliteMailbox


def open_shared(url: str, *, busy_timeout_ms: int) -> SqliteMailbox | PostgresMailbox:
    """Open the mailbox at *url*; any thread may use it, one at a time. The caller closes it.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://…``.
        busy_timeout_ms: how long to wait for another writer of a SQLite mailbox (ms).

    Raises:
        RobotUnreachableError: there is no such mailbox, or it cannot be opened.
        FortctlError: as the mailbox itself.
    """
    if url.startswith("postgresql://"):
        from fortctl.mailbox.postgres import PostgresMailbox

        return PostgresMailbox(url)
    from fortctl.mailbox.sqlite import SqliteMailbox

    path = Path(url.removeprefix("sqlite://"))
    if not path.exists():
        # A panic order in a new mailbox, in a folder where nothing is mounted just now, would wait for nobody.
        raise RobotUnreachableError(f"there is no mailbox at {path}", hint="check whether its folder is mounted")
    try:
        return SqliteMailbox(path, shared=True, busy_timeout_ms=busy_timeout_ms, any_thread=True)
    except OSError as error:
        raise RobotUnreachableError(f"the mailbox {path} cannot be opened: {error.strerror}") from None
