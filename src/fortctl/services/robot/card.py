"""Read what a robot publishes of itself, checked against its pinned identity.

The identity is pinned once, from the file that the robot leaves in its own folder of the home (never from the mailbox,
which others may administer).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fortctl.errors import VaultDamagedError
from fortctl.keys.serialization import key_card_from_json
from fortctl.mailbox.crypto import verify
from fortctl.mailbox.home_anchor import HomeAnchor
from fortctl.model import KeyType
from fortctl.services.site_vault import RobotPin
from fortctl.system.files import read_regular

if TYPE_CHECKING:
    from fortctl.model import KeyCard
    from fortctl.ports import Mailbox
    from fortctl.services.site_vault import SiteVault

IDENTITY_FILE = "identity.json"


class RobotCard(NamedTuple):
    """What the robot publishes of itself, checked against its pinned identity.

    Attributes:
        recipient_id: the recipient key that deliveries are sealed to.
        recipient_public: its public bytes.
        number: the last command applied.
        generation: counts installed keys; never falls.
        key: the robot's key as it may be shown, or None.
        pending: the type of the key pair that waits there for its API key, or None.
        sites: by operator, where its home stood at the last command that the robot applied.
        state: the robot's state when the card was published.
        published_at: milliseconds since the epoch.
    """

    recipient_id: str
    recipient_public: bytes
    number: int
    generation: int
    key: KeyCard | None
    sites: Mapping[str, HomeAnchor]
    state: str
    published_at: int
    pending: KeyType | None = None


class RobotCardReader:
    """Reads one robot's card.

    Args:
        site_vault: the site's vault for this account, which pins the robot.
        mailbox: where the card is published.
        folder: the robot's folder, which holds its public identity.
    """

    def __init__(self, site_vault: SiteVault, mailbox: Mailbox, folder: Path) -> None:
        self._site_vault = site_vault
        self._mailbox = mailbox
        self._folder = folder

    def read(self) -> RobotCard | None:
        """Return the card, or None if the robot never published one.

        Raises:
            VaultDamagedError: the pinned robot did not sign the card, or it shows an older state than before.
        """
        signed = self._mailbox.card(self._site_vault.account)
        if signed is None:
            return None
        pin = self.pin()
        body, signature = signed
        if pin is None or not verify(pin.public, "card", body, signature):
            raise VaultDamagedError(
                "the robot's card in the mailbox is not signed by the robot that this home trusts",
                hint="somebody changed the mailbox, or the robot's folder was replaced; see 'fortctl doctor'",
            )
        card = _decode_card(body)
        if card.generation < pin.generation:
            raise VaultDamagedError(
                "the robot shows an older state than it has shown before",
                hint="the robot's folder was put back to an older copy: delete and enter the robot key again",
            )
        return card

    def pin(self) -> RobotPin | None:
        """Return the pinned robot, pinning it at first sight; None if there is none.

        Raises:
            VaultDamagedError: the robot's identity file cannot be read.
        """
        pin = self._site_vault.robot()
        if pin is not None:
            return pin
        try:
            identity = json.loads(read_regular(self._folder / IDENTITY_FILE))
            pin = RobotPin(str(identity["robot_id"]), base64.b64decode(identity["public"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            raise VaultDamagedError("the robot's identity file cannot be read") from None
        self._site_vault.pin_robot(pin)
        return pin


def _decode_card(body: bytes) -> RobotCard:
    fields = json.loads(body)
    key = fields["key"]
    return RobotCard(
        recipient_id=fields["recipient"]["id"],
        recipient_public=base64.b64decode(fields["recipient"]["public"]),
        number=int(fields["number"]),
        generation=int(fields["generation"]),
        key=key_card_from_json(key) if key else None,
        sites={
            str(name): HomeAnchor(int(site[0]), int(site[1]), str(site[2]))
            for name, site in fields.get("sites", {}).items()
        },
        state=str(fields["state"]),
        published_at=int(fields["at"]),
        pending=KeyType(fields["pending"]) if fields.get("pending") else None,
    )
