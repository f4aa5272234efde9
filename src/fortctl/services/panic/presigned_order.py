"""Keep an unused, pre-signed panic order ready for a robot on another host (robot.md, "Panic")."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from fortctl.errors import FortctlError, VaultDamagedError
from fortctl.mailbox.panic_order import PanicOrderFile, sign_orders
from fortctl.ports import PanicBoard
from fortctl.services.site_vault import SiteVault

READY, USED, MISSING = "ready", "used", "missing"


class OrderFilePort(Protocol):
    """Where the order lies in clear, this user's alone."""

    def read(self) -> bytes | None: ...

    def write(self, data: bytes) -> None: ...


class PanicOrders:
    """One account's order.

    Args:
        shelf: where it lies.
        board: the mailbox that the robot looks into.
        mailbox: that mailbox's URL.
    """

    def __init__(self, account: str, shelf: OrderFilePort, board: PanicBoard, mailbox: str) -> None:
        self._account = account
        self._shelf = shelf
        self._board = board
        self._mailbox = mailbox

    def state(self) -> str:
        """Return ``ready``, ``used`` (it was sent: it stops no robot again) or ``missing``."""
        order = self._present()
        if order is None:
            return MISSING
        if order.used:
            return USED
        with suppress(FortctlError):
            # Sent by a panic that could not note it, or by a thief.
            if self._board.panic(self._account, order.nonce) is not None:
                return USED
        return READY

    def keep_ready(self, custody: SiteVault) -> bool:
        """Sign a fresh order unless an unused one for this robot and mailbox lies there; True when one was signed."""
        pin = custody.robot()
        if pin is None:
            return False
        order = self._present()
        fits = order is not None and (order.robot_id, order.mailbox) == (pin.robot_id, self._mailbox)
        if fits and self.state() == READY:
            return False
        fresh = sign_orders(custody.operator(), self._account, pin.robot_id, pin.public, self._mailbox)
        self._shelf.write(fresh.as_bytes())
        return True

    def _present(self) -> PanicOrderFile | None:
        data = self._shelf.read()
        try:
            return PanicOrderFile.from_bytes(data) if data is not None else None
        except VaultDamagedError:
            return None


def ensure_presigned_order(orders: PanicOrders, custody: SiteVault, warn: Callable[[str, str], None]) -> None:
    """Keep an order ready; what keeps it from that is a warning, not an error."""
    try:
        orders.keep_ready(custody)
    except (FortctlError, OSError) as error:
        why = error.message if isinstance(error, FortctlError) else error.strerror
        warn("NO_PANIC_ORDER", f"no panic order could be made ready for the robot's host: {why}")
