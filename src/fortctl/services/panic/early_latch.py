"""The latch that ``panic-disconnect`` writes before the rest of a panic is loaded. Imports next to nothing."""

from __future__ import annotations

from dataclasses import dataclass

from fortctl.timestamps import rfc3339


@dataclass(frozen=True)
class EarlyLatch:
    """One account's latch, as the command has written it.

    Attributes:
        at_ms: when the panic began (ms).
        began: the same by the monotonic clock (s).
        elapsed_ms: how long the write took.
        written: the latch is on the disk; else the panic's latch step tries again.
    """

    at_ms: int
    began: float
    elapsed_ms: float = 0.0
    written: bool = False


def latch_begun(at_ms: int, user: str, cancel_orders: bool) -> dict[str, object]:
    """Return the facts that a latch begins with.

    Args:
        user: the name of the user who typed the command.
        cancel_orders: a robot that finds the latch by itself cancels its orders.
    """
    return {"at": rfc3339(at_ms), "at_ms": at_ms, "who": user, "cancel_orders": cancel_orders}
