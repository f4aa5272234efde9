"""The mailbox between operators and robots: commands and their receipts, cards, panic orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


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
