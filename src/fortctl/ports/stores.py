"""Where secrets and facts are kept: the vault, the mailbox, panic orders, long operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fortctl.secret import Secret


@dataclass(frozen=True)
class MailboxRow:
    """One command as it lies in the store. ``envelope`` is canonical JSON that the operator signed."""

    account: str
    number: int
    envelope: bytes
    sealed: bytes | None
    signature: bytes
    claimed_at: int | None = None
    finished_at: int | None = None
    result: bytes | None = None
    result_signature: bytes | None = None


class Mailbox(Protocol):
    """The signed command queue of robots; a store of its own. Raises ``FortctlError`` only."""

    def append(self, row: MailboxRow) -> None:
        """Store a command; raises ``ConflictError`` when the number is taken."""

    def last_number(self, account: str) -> int: ...

    def pending(self, account: str) -> tuple[MailboxRow, ...]:
        """Rows without a result, oldest first."""

    def row(self, account: str, number: int) -> MailboxRow | None: ...

    def claim(self, account: str, number: int, at: int) -> None: ...

    def finish(self, account: str, number: int, result: bytes, signature: bytes, at: int) -> None:
        """Write the result and erase the sealed payload."""

    def publish_card(self, account: str, body: bytes, signature: bytes, at: int) -> None:
        """Replace the robot's public card (recipient key, key shown, numbers), signed by the robot."""

    def card(self, account: str) -> tuple[bytes, bytes] | None: ...


@dataclass(frozen=True)
class PanicRow:
    """A panic order as it lies in the mailbox; ``answer`` is the robot's, signed."""

    nonce: str
    body: bytes
    signature: bytes
    answer: bytes | None = None
    answer_signature: bytes | None = None


class PanicBoard(Protocol):
    """Where panic orders wait without end. Raises ``FortctlError`` only."""

    def post_panic(self, account: str, nonce: str, body: bytes, signature: bytes) -> None:
        """Leave an order; one that lies there under this nonce already stays, with its answer."""

    def open_panics(self, account: str) -> tuple[PanicRow, ...]:
        """Return the orders without an answer."""

    def panic(self, account: str, nonce: str) -> PanicRow | None: ...

    def answer_panic(self, account: str, nonce: str, answer: bytes, signature: bytes) -> None: ...

    def card(self, account: str) -> tuple[bytes, bytes] | None:
        """Return the robot's card and its signature, or None."""


@dataclass(frozen=True)
class RecordMeta:
    """What is visible of a vault record without unlocking, and is bound to it as associated data."""

    record_id: str
    account: str
    exchange: str
    role: str
    name: str
    type: str
    version: int
    created_at: int
    erasable: bool


@dataclass(frozen=True)
class NewRecord:
    """A record to be written. ``erasable`` records can be destroyed without unlocking.

    Attributes:
        created_at: milliseconds since the epoch.
        purpose: names the erasure key's file (``site``, ``copy``, ``key``, ``recipient`` …).
        renews: it is the present record with other facts: where that was destroyed meanwhile, it is not written.
    """

    record_id: str
    account: str
    exchange: str
    role: str
    name: str
    type: str
    plaintext: Secret
    erasable: bool
    created_at: int
    purpose: str = ""
    renews: bool = False


class VaultPort(Protocol):
    """An unlocked vault. All methods raise VaultLocked / VaultDamaged / NotFound / Conflict only."""

    @property
    def generation(self) -> int: ...

    def records(self) -> tuple[RecordMeta, ...]: ...

    def get(self, record_id: str) -> Secret:
        """Return a record's plaintext. Raises ``NotFoundError`` (also when its erasure key is gone)."""

    def is_destroyed(self, record_id: str) -> bool:
        """Return whether a record is there whose erasure key is gone; nothing is decrypted."""

    def update(
        self,
        put: Sequence[NewRecord] = (),
        delete: Sequence[str] = (),
        *,
        audit: Callable[[str, int], None] | None = None,
    ) -> int:
        """Write all changes as one; ``audit(phase, generation)`` is called before and after. Returns the generation."""


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
