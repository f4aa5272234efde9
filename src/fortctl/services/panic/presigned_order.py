"""Keep an unused, pre-signed panic order ready for a robot on another host (docs/sealed-mailbox.md)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Protocol

from fortctl.errors import FortctlError, VaultDamagedError
from fortctl.mailbox.panic_order import PanicOrderFile, sign_orders
from fortctl.ports import PanicBoard
from fortctl.services.site_vault import SiteVault


class Readiness(StrEnum):
    """Whether a panic has an order to send."""

    READY = "ready"
    # It was sent: it does not stop the robot again.
    USED = "used"
    MISSING = "missing"


class OrderFilePort(Protocol):
    """The order's file, readable by this user alone."""

    def read(self) -> bytes | None: ...

    def write(self, data: bytes) -> None: ...


class PanicOrders:
    """One account's order.

    Args:
        account: the account.
        file: holds the order.
        board: the mailbox that the robot polls.
        mailbox: the URL of that mailbox.
    """

    def __init__(self, account: str, file: OrderFilePort, board: PanicBoard, mailbox: str) -> None:
        self._account = account
        self._file = file
        self._board = board
        self._mailbox = mailbox

    def state(self) -> Readiness:
        """Return whether the order can be sent."""
        order = self._read()
        if order is None:
            return Readiness.MISSING
        if order.used:
            return Readiness.USED
        with suppress(FortctlError):
            # Sent by a panic that could not note it, or by a thief.
            if self._board.panic(self._account, order.nonce) is not None:
                return Readiness.USED
        return Readiness.READY

    def ensure_ready(self, site_vault: SiteVault) -> bool:
        """Sign a fresh order unless there is an unused one for this robot and mailbox; return whether one was signed.

        Raises:
            FortctlError, OSError: an order is needed and cannot be signed or written.
        """
        pin = site_vault.robot()
        if pin is None:
            return False
        order = self._read()
        matches = order is not None and (order.robot_id, order.mailbox) == (pin.robot_id, self._mailbox)
        if matches and self.state() is Readiness.READY:
            return False
        signed = sign_orders(site_vault.operator(), self._account, pin.robot_id, pin.public, self._mailbox)
        self._file.write(signed.as_bytes())
        return True

    def _read(self) -> PanicOrderFile | None:
        data = self._file.read()
        try:
            return PanicOrderFile.from_bytes(data) if data is not None else None
        except VaultDamagedError:
            return None


def ensure_presigned_order(orders: PanicOrders, site_vault: SiteVault, warn: Callable[[str, str], None]) -> None:
    """Sign a fresh order if one is needed; warn (``NO_PANIC_ORDER``) where that fails."""
    try:
        orders.ensure_ready(site_vault)
    except (FortctlError, OSError) as error:
        reason = error.message if isinstance(error, FortctlError) else error.strerror
        warn("NO_PANIC_ORDER", f"there is no unused panic order for the robot's host: {reason}")
