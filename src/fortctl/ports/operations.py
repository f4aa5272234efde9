"""The journal of long operations, which survives the process that runs one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class OperationRow:
    """A stored long operation.

    Attributes:
        kind: ``rotation``.
        state: ``open``, ``done`` or ``aborted``; an account has at most one open operation.
        body: JSON of the service that runs the operation; it contains no secret.
        started_at, updated_at: milliseconds since the epoch.
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
    """The process that holds an account's operation lock.

    Attributes:
        started: the process's start time in the kernel, to notice a reused pid.
        what: the command, for messages.
        acquired_at, renewed_at: when it acquired the lock, and when it last renewed it (ms since the epoch).
    """

    pid: int
    host: str
    started: str
    what: str
    acquired_at: int
    renewed_at: int


class OperationStore(Protocol):
    """The journal of long operations, and the locks of the processes that run them. Raises ``FortctlError`` only."""

    def current(self, account: str) -> OperationRow | None:
        """Return the open operation, or None."""

    def last(self, account: str) -> OperationRow | None:
        """Return the operation that was started last, in any state, or None."""

    def all(self, account: str) -> tuple[OperationRow, ...]:
        """Return every operation, newest first."""

    def acquire(
        self, account: str, me: OperationOwner, alive: Callable[[OperationOwner], bool]
    ) -> OperationOwner | None:
        """Acquire the account's lock; return the dead owner from which it was taken over, or None.

        Raises:
            ConflictError: a live process holds it (``details.owner``).
        """

    def owner(self, account: str) -> OperationOwner | None:
        """Return the owner of the account's lock, or None."""

    def renew(self, account: str, me: OperationOwner, at: int) -> None:
        """Renew the lock. Raises ``ConflictError`` if another process has taken it over."""

    def release(self, account: str, me: OperationOwner) -> None:
        """Release the lock if *me* still owns it."""

    def put(self, row: OperationRow, me: OperationOwner) -> None:
        """Store an operation's state durably.

        Raises:
            ConflictError: *me* no longer owns the lock, the operation was closed meanwhile, or another one is open.
        """

    def abort_for_panic(self, account: str, at: int) -> OperationRow | None:
        """Abort the open operation, also of another process, and return its former state; needs no unlocking."""
