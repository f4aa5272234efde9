"""End a rotation for a panic: its store may be locked, and its row may be unreadable."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from fortctl.bootstrap.deadline import BUSY_MS
from fortctl.errors import FortctlError

if TYPE_CHECKING:
    from fortctl.config.home import Home
    from fortctl.ports import OperationRow, OperationStore
    from fortctl.services.panic.ports import AbortedOperation
    from fortctl.services.rotation.plan import Operation


def open_operation(home: Home, account: str) -> str | None:
    """Return which rotation is open, or None; change nothing. Raises ``FortctlError``, ``OSError``."""
    from fortctl.store.operations import SqliteOperations

    if not home.operations.exists():
        return None
    operations = SqliteOperations(home.operations, busy_timeout_ms=BUSY_MS)
    try:
        row = operations.current(account)
    finally:
        operations.close()
    return f"the {row.kind} {row.id}" if row is not None else None


def abort_operation(home: Home, account: str, now_ms: int) -> AbortedOperation | None:
    """End the account's open rotation; return under which names it may have had keys made.

    A rotation that an earlier panic ended is returned as well.

    Raises:
        FortctlError, OSError: the store cannot even be read.
    """
    from fortctl.services.panic.ports import AbortedOperation
    from fortctl.services.rotation.hooks import post_rotate_facts
    from fortctl.services.rotation.plan import ABORTED, OPEN, from_row
    from fortctl.store.operations import SqliteOperations

    if not home.operations.exists():
        return None
    operations = SqliteOperations(home.operations, busy_timeout_ms=BUSY_MS)
    problem: FortctlError | None = None
    closed: OperationRow | None = None
    try:
        row = operations.current(account)
        try:
            closed = operations.abort_for_panic(account, now_ms)
            row = closed or row
        except FortctlError as error:
            problem = error
        detail = f"the {row.kind} {row.id} was aborted" if row is not None and problem is None else ""
        at_ms = None if problem is not None else now_ms
        if row is None:
            row = operations.last(account)
            at_ms = row.updated_at if row is not None else None
    finally:
        operations.close()
    names: dict[str, tuple[str, ...]] = {}
    made = False
    if row is not None:
        with suppress(FortctlError):
            operation = from_row(row)
            # A rotation that ended otherwise has no key in the air: the vaults name its keys.
            if operation.state == OPEN or (operation.state == ABORTED and operation.reason == "panic"):
                names = {role.value: attempts.names for role, attempts in operation.facts.issue.items()}
                made = operation.is_done("create")
    if not (detail or names or problem):
        return None
    return AbortedOperation(detail, at_ms, names, made, problem, post_rotate_facts(_ended(closed, now_ms)))


def close_for_panic(operations: OperationStore, account: str, now_ms: int) -> Operation | None:
    """End the account's open rotation, also while a command works on it; return it. Raises ``ConflictError``."""
    return _ended(operations.abort_for_panic(account, now_ms), now_ms)


def _ended(row: OperationRow | None, now_ms: int) -> Operation | None:
    """Return a rotation as the panic that closed its row has left it; None where there is none to be read."""
    from fortctl.services.rotation.plan import from_row

    if row is None:
        return None
    with suppress(FortctlError):
        return from_row(row).aborted(now_ms, "panic")
    return None
