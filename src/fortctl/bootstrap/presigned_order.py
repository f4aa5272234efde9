"""Take the panic order for a robot on another host from where it is: the latch, the home, or a fresh signature."""

from __future__ import annotations

import json
from base64 import b64decode
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from fortctl.bootstrap.deadline import UNREADABLE
from fortctl.config.home import RobotHome
from fortctl.errors import RobotUnreachableError
from fortctl.system.files import write_private

if TYPE_CHECKING:
    from fortctl.bootstrap.emergency_config import EmergencyConfig
    from fortctl.bootstrap.emergency_vaults import EmergencyVaults
    from fortctl.mailbox.panic_order import PanicOrderFile
    from fortctl.ports import Latch


class PresignedOrderSource:
    """Implements :class:`fortctl.services.panic.remote_halt.OrderSource`.

    Args:
        account: the account.
        place: the robot's folder in this home.
        latch: notes the order that this panic has sent.
        config: names the mailbox.
        vaults: the site's vault signs a fresh order, where it opens by itself.
    """

    def __init__(
        self, account: str, place: RobotHome, latch: Latch, config: EmergencyConfig, vaults: EmergencyVaults
    ) -> None:
        self._account = account
        self._place = place
        self._latch = latch
        self._config = config
        self._vaults = vaults

    def order(self) -> PanicOrderFile:
        """Return the order that this panic has sent before, else the pre-signed one, else a fresh one.

        An order that was sent may still wait for the robot, or be answered: another would latch the robot again.

        Raises:
            RobotUnreachableError: there is none, and the site's vault does not open by itself.
        """
        from fortctl.mailbox.panic_order import PanicOrderFile

        with suppress(*UNREADABLE):
            return PanicOrderFile.from_bytes(str(self._latch.read()["order"]).encode())
        with suppress(*UNREADABLE):
            return self._config.read_order()
        with suppress(*UNREADABLE):
            return self.sign()
        raise RobotUnreachableError(
            "there is no pre-signed order for the robot", hint="panic on the robot's own host: nothing else stops it"
        )

    def sign(self) -> PanicOrderFile:
        """Sign an order with the operator's identity. Raises ``FortctlError``: the site's vault does not open."""
        from fortctl.mailbox.crypto import Identity
        from fortctl.mailbox.panic_order import sign_orders

        vault = self._vaults.open("site")
        pin = json.loads(vault.get(f"robot/{self._account}").reveal_bytes())
        operator = Identity.from_private(vault.get("identity/operator"))
        public = b64decode(pin["public"])
        return sign_orders(operator, self._account, pin["robot_id"], public, self._config.mailbox_url())

    def mark_used(self, order: PanicOrderFile) -> None:
        """Note in the order's file and in the latch that it was sent; best effort."""
        used = replace(order, used=True).as_bytes()
        with suppress(*UNREADABLE):
            self._latch.update(lambda facts: {**facts, "order": used.decode()})
        with suppress(*UNREADABLE):
            write_private(self._place.panic_order, used)

    def was_sent(self, order: PanicOrderFile) -> bool:
        """Return whether this panic has sent the order before."""
        return order.nonce in str(self._latch.read().get("order", ""))
