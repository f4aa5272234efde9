"""The mailbox between operators and robots: commands and their receipts, cards, panic orders."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class MailboxRow(NamedTuple):
    """One stored command (docs/sealed-mailbox.md).

    Attributes:
        envelope: canonical JSON that the operator signed.
        sealed: the arguments, encrypted to the robot; None once they are erased.
        claimed_at, finished_at: milliseconds since the epoch, or None.
        result, result_signature: the robot's receipt, or None.
    """

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
    """The signed command queue of robots. Raises ``FortctlError`` only."""

    def append(self, row: MailboxRow) -> None:
        """Store a command. Raises ``ConflictError`` if its number is already in use."""

    def last_number(self, account: str) -> int:
        """Return the highest number of an account's commands, or 0."""

    def pending(self, account: str) -> tuple[MailboxRow, ...]:
        """Return the commands without a result, oldest first."""

    def row(self, account: str, number: int) -> MailboxRow | None:
        """Return a command by its number, or None."""

    def claim(self, account: str, number: int, at: int) -> None:
        """Record that the robot has begun a command (*at*: ms since the epoch)."""

    def finish(self, account: str, number: int, result: bytes, signature: bytes, at: int) -> None:
        """Store a command's signed result and erase its sealed arguments."""

    def publish_card(self, account: str, body: bytes, signature: bytes, at: int) -> None:
        """Replace the robot's signed card: recipient key, key cards, command numbers."""

    def card(self, account: str) -> tuple[bytes, bytes] | None:
        """Return the robot's card and its signature, or None."""


class PanicRow(NamedTuple):
    """A stored panic order and the robot's signed answer, if there is one."""

    nonce: str
    body: bytes
    signature: bytes
    answer: bytes | None = None
    answer_signature: bytes | None = None


class PanicBoard(Protocol):
    """Where panic orders wait for the robot; they never expire. Raises ``FortctlError`` only."""

    def post_panic(self, account: str, nonce: str, body: bytes, signature: bytes) -> None:
        """Store an order; one with the same nonce stays unchanged, with its answer."""

    def open_panics(self, account: str) -> tuple[PanicRow, ...]:
        """Return the orders without an answer."""

    def panic(self, account: str, nonce: str) -> PanicRow | None:
        """Return an order by its nonce, or None."""

    def answer_panic(self, account: str, nonce: str, answer: bytes, signature: bytes) -> None:
        """Store the robot's signed answer to an order."""

    def card(self, account: str) -> tuple[bytes, bytes] | None:
        """Return the robot's card and its signature, or None."""
