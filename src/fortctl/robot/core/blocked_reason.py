"""Why an order that a strategy plans is not placed. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockedReason:
    """One reason, as ``waits`` of ``robot status`` shows it.

    Attributes:
        code: ``BUY_WAITS``, ``SELL_WAITS``, ``HALTED`` …; ``fortctl explain`` knows the robot's own.
        text: the words for a person.
        cycle: the cycle whose sell waits; None for other reasons.
    """

    code: str
    text: str
    cycle: int | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"

    @classmethod
    def from_plugin(cls, reason: BlockedReason | str) -> BlockedReason:
        """Return a reason that a strategy gave; plain text is ``CODE: text``, as plugins of version 0.1.0 write it."""
        if isinstance(reason, BlockedReason):
            return reason
        code, found, text = reason.partition(": ")
        return cls(code, text) if found else cls("STRATEGY", reason)
