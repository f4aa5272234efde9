"""The journal of long operations, which survives the process that runs one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class OperationRow:
    """A long operation as it lies in the store. ``body`` is JSON of whoever runs it; no secret is in it.

    Attributes:
        kind: ``rotation``.
        state: ``open``, ``done`` or ``aborted``; one open operation an account.
    """

    id: str
    account: str
    kind: str
    state: str
    body: str
    started_at: int
    updated_at: int


@dataclass(frozen=True)
class OperationOwner:
    """The process that works on an account's operation.

    Attributes:
        started: the kernel's start time of the process, so that a reused pid is noticed.
        acquired_at, renewed_at: when it took the lock, and when it last said that it lives (ms).
    """

    pid: int
    host: str
    started: str
    what: str
    acquired_at: int
    renewed_at: int


class OperationStore(Protocol):
    """The journal of long operations, and who works on them. Raises ``FortctlError`` only."""

    def current(self, account: str) -> OperationRow | None:
        """Return the open operation, or None."""

    def last(self, account: str) -> OperationRow | None:
        """Return the operation that was begun last, whatever became of it."""

    def all(self, account: str) -> tuple[OperationRow, ...]:
        """Return every operation, the one begun last first."""

    def acquire(
        self, account: str, me: OperationOwner, alive: Callable[[OperationOwner], bool]
    ) -> OperationOwner | None:
        """Take the account's lock; a dead owner's is taken over, and that owner returned.

        Raises:
            ConflictError: a living one holds it; ``details`` names it.
        """

    def owner(self, account: str) -> OperationOwner | None: ...

    def renew(self, account: str, me: OperationOwner, at: int) -> None:
        """Say that the owner lives. Raises ``ConflictError`` when the lock is its own no more."""

    def release(self, account: str, me: OperationOwner) -> None: ...

    def put(self, row: OperationRow, me: OperationOwner) -> None:
        """Make an operation's new state durable.

        Raises:
            ConflictError: the lock is not mine any more, the operation was closed meanwhile, or another one is open.
        """

    def abort_for_panic(self, account: str, at: int) -> OperationRow | None:
        """Close the open operation, whoever works on it, and return it as it stood; nothing is unlocked."""
