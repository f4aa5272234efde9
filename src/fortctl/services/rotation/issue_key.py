"""Have the issuer make a new key in the middle of a rotation: private half and name durable before it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fortctl.keys.fingerprint import fingerprint
from fortctl.mailbox.payloads import ShowPending
from fortctl.model import KeyPair, KeyType, Role
from fortctl.ports import Clock, Issuer
from fortctl.secret import Secret
from fortctl.services.keys.issuer import addresses_of, delete_keys, keys_of, make_key
from fortctl.services.keys.service import KeyService
from fortctl.services.robot.client import RobotClient
from fortctl.services.rotation.plan import Operation
from fortctl.services.site_vault import SiteVault

Note = Callable[[Role, Mapping[str, Any]], Operation]


class KeyIssuer:
    """Makes one key, or finds the one that was made before a crash.

    Args:
        custody, keys, control: where the private half is kept.
        clock: the clock.
    """

    def __init__(self, custody: SiteVault, keys: KeyService, control: RobotClient, clock: Clock) -> None:
        self._custody = custody
        self._keys = keys
        self._control = control
        self._clock = clock

    async def make(
        self, issuer: Issuer, operation: Operation, role: Role, note: Note, beat: Callable[[], None]
    ) -> KeyPair:
        """Return the new key; the robot's without its private half, which is with the robot.

        A key under a journaled name whose private half is lost is deleted, never adopted; no other key is touched.

        Args:
            note: makes what is about to be asked for durable.
            beat: raises when the rotation was taken out of this process's hands; nothing is asked for then.

        Raises:
            FortctlError: nothing is lost by calling again.
        """
        facts: dict[str, Any] = dict(operation.facts.get("issue", {}).get(role.value, {"names": []}))
        if facts.get("pending") is None or not self._has_half(role, facts["pending"]):
            facts = await self._begin(issuer, operation, role, facts, note)
        name = str(facts["names"][-1])
        made = await make_key(issuer, name, str(facts["public"]), role, facts["addresses"], self._clock, beat)
        if role is Role.ROBOT:
            return KeyPair(name, KeyType.ED25519, made.api_key, Secret(b""))
        return self._keys.pending(role, made.api_key, name)

    async def _begin(
        self, issuer: Issuer, operation: Operation, role: Role, facts: dict[str, Any], note: Note
    ) -> dict[str, Any]:
        orphaned_keys = set(facts["names"])
        if orphaned_keys:
            await delete_keys(issuer, lambda key: key.name in orphaned_keys)
        addresses = await self._addresses(issuer, operation, role)
        public, pending = self._keys.generate(role, KeyType.ED25519)
        # Unique: the operation's id is random, and each attempt has a name of its own.
        name = f"fortctl-{role.value}-{operation.id}-{len(facts['names']) + 1}"
        begun = {"names": [*facts["names"], name], "pending": pending, "public": public, "addresses": list(addresses)}
        note(role, begun)
        return begun

    def _has_half(self, role: Role, pending: str) -> bool:
        if role is Role.ROBOT:
            return bool(self._control.execute(ShowPending()).data.get("pending_id") == pending)
        made = self._custody.pending()
        return made is not None and made.id == pending

    async def _addresses(self, issuer: Issuer, operation: Operation, role: Role) -> tuple[str, ...]:
        """Return the IP list that the new key is born with: as asked for, else the old key's."""
        if "addresses" in operation.facts:
            return tuple(operation.facts["addresses"])
        if role.value in operation.facts.get("born", {}):
            return tuple(operation.facts["born"][role.value])
        shown = operation.facts.get("old", {}).get(role.value, {}).get("fingerprint")
        return await listed_addresses(issuer, shown, self._custody.fingerprint_key()) or ()


async def listed_addresses(issuer: Issuer, shown: str, under: bytes) -> tuple[str, ...] | None:
    """Return the IP list of the sub-account's key of a fingerprint; None where no key of it is listed.

    Args:
        under: the fingerprint key.

    Raises:
        FortctlError: the exchange does not say.
    """
    for key in await keys_of(issuer):
        if fingerprint(key.api_key, under) == shown:
            return await addresses_of(issuer, key.api_key)
    return None
