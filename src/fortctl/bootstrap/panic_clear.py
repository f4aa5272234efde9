"""Lift a latch after a panic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fortctl.bootstrap.panic_rotation import close_for_panic
from fortctl.errors import FortctlError
from fortctl.services.panic.latch_facts import LatchFacts

if TYPE_CHECKING:
    from fortctl.bootstrap.container import Container
    from fortctl.ports import Latch, PanicBoard
    from fortctl.services.rotation.plan import Operation


@dataclass(frozen=True)
class LiftedLatch:
    """What lifting a latch leaves to be said.

    Attributes:
        alive: the names of the keys that were not proved deleted.
        ended: the rotation that the panic could not end and that was ended now, or None.
    """

    alive: tuple[str, ...]
    ended: Operation | None


def lift_latch(container: Container) -> LiftedLatch:
    """Lift the latch of the account's robot. Raises ``ConflictError``: there is none, or the store is locked."""
    latch, clock = container.latch, container.clock
    if container.account_entry.robot != "remote":
        _void_waiting_orders(latch, container.mailbox, container.account, container.warn)
    alive = tuple(key.name for key in LatchFacts.from_json(latch.read()).keys)
    # A rotation that the panic could not end would continue with keys that are dead.
    ended = close_for_panic(container.operations, container.account, clock.now_ms())
    latch.clear()
    container.audit.append("panic cleared", account=container.account, result="done", best_effort=True)
    return LiftedLatch(alive, ended)


def _void_waiting_orders(latch: Latch, board: PanicBoard, account: str, warn: Callable[[str, str], None]) -> None:
    """Mark the other orders of the panic that is about to be cleared as used.

    The same operator may have sent several; those that the robot has not answered would latch it again. Orders of other
    operators stay valid.
    """
    from fortctl.robot.control.panic_listener import orders_of

    operator = latch.read().get("operator")
    if not isinstance(operator, str):
        return
    try:
        waiting = orders_of(board.open_panics(account), operator)
    except FortctlError as error:
        warn("ORDERS_MAY_WAIT", f"a second order of the same panic may latch the robot again: {error.message}")
        return
    latch.update(lambda facts: {**facts, "orders": [*facts.get("orders", ()), *waiting]})
