"""Delete the old keys through the issuer, and prove their deletion (docs/rotation.md, "What counts as deleted")."""

from __future__ import annotations

from collections.abc import Callable, Collection

from fortctl.errors import FortctlError
from fortctl.keys.fingerprint import fingerprint
from fortctl.keys.verification import check_deleted
from fortctl.mailbox.payloads import ProveRetired
from fortctl.mailbox.receipts import RetiredKey
from fortctl.model import Role
from fortctl.ports import Clock, IssuedKey, Issuer
from fortctl.services.keys.issuer import delete_keys, keys_of
from fortctl.services.keys.service import Connect
from fortctl.services.robot.client import RobotClient
from fortctl.services.rotation.plan import Operation
from fortctl.services.site_vault import SiteVault

# Binance does not document how fast a deletion takes effect.
TRIES, PAUSE_S = 10, 0.5
# A robot without a retiring copy proves nothing: somebody else may have destroyed the copy.
PROVED = ("dead", "dead_by_refusal")
NoteDeleted = Callable[[Role, str | None], Operation]


class DeletionProof:
    """Proves that old keys are deleted.

    Args:
        vault: holds the site's retiring key.
        client: reaches the robot, which holds its own retiring key.
        connect: makes an exchange adapter for a key.
        clock: the clock.
    """

    def __init__(self, vault: SiteVault, client: RobotClient, connect: Connect, clock: Clock) -> None:
        self._vault = vault
        self._client = client
        self._connect = connect
        self._clock = clock

    async def prove(
        self,
        operation: Operation,
        roles: Collection[Role],
        note: NoteDeleted,
        issuer: Issuer | None,
        *,
        patient: bool = True,
    ) -> list[Role]:
        """Ask about each old key whose deletion is not proved yet; destroy its copy once the proof is journaled.

        Args:
            note: journals a proof, and that the copy is destroyed.
            issuer: its list counts too: a key that it named once and names no longer is deleted.
            patient: ask again for some seconds where the first answer proves nothing.

        Returns:
            The roles whose old key may still exist.
        """
        alive = [role for role in roles if role not in operation.facts.deleted]
        for attempt in range(TRIES if patient else 1):
            if attempt and alive:
                await self._clock.sleep(PAUSE_S)
            for role in list(alive):
                how = await self._ask(operation, role, issuer)
                if how is not None:
                    operation = note(role, how)
                    alive.remove(role)
            if not alive:
                break
        for role in roles:
            if role in operation.facts.deleted and role not in operation.facts.dropped:
                await self.drop(role)
                operation = note(role, None)
        return alive

    async def _ask(self, operation: Operation, role: Role, issuer: Issuer | None) -> str | None:
        """Return how the deletion of the old key is proved, or None."""
        state = await (self._ask_site(operation) if role is Role.SITE else self._ask_robot(operation))
        if state in PROVED:
            return state
        if state == "alive" or issuer is None or role not in operation.facts.listed:
            # The exchange accepts the key, or this list may be another account's: it never named the key.
            return None
        return None if role in await self.listed(issuer, operation, [role]) else "unlisted"

    async def _ask_site(self, operation: Operation) -> str:
        old, new = self._vault.retiring(), self._vault.site_key()
        if old is None:
            return "none"
        if self._vault.fingerprint(old.pair) != operation.facts.old[Role.SITE].fingerprint:
            return "unproved"
        asking, beside = self._connect(old.pair), self._connect(new.pair) if new is not None else None
        try:
            status = await check_deleted(asking, beside, self._clock)
        finally:
            await asking.close()
            if beside is not None:
                await beside.close()
        return status.state

    async def _ask_robot(self, operation: Operation) -> str:
        retired = RetiredKey.from_json(self._client.execute(ProveRetired()).data)
        if retired.fingerprint and retired.fingerprint != operation.facts.old[Role.ROBOT].fingerprint:
            return "unproved"
        return retired.state

    async def listed(self, issuer: Issuer, operation: Operation, roles: Collection[Role]) -> list[Role]:
        """Return those of the roles whose old key the issuer's list names. Raises ``FortctlError``."""
        key = self._vault.fingerprint_key()
        listed = {fingerprint(issued.api_key, key) for issued in await keys_of(issuer)}
        return [role for role in roles if operation.facts.old[role].fingerprint in listed]

    async def delete(self, issuer: Issuer, operation: Operation) -> tuple[str, ...]:
        """Delete the old keys, and the keys that this rotation had made and does not use; return their names.

        Raises:
            FortctlError: one of them is still listed.
        """
        fingerprint_key, new = self._vault.fingerprint_key(), set(operation.facts.new.values())
        old = {operation.facts.old[role].fingerprint for role in operation.scope.roles}
        own = set(operation.issued_names())

        def is_obsolete(key: IssuedKey) -> bool:
            mark = fingerprint(key.api_key, fingerprint_key)
            return mark not in new and (mark in old or key.name in own)

        return await delete_keys(issuer, is_obsolete)

    async def delete_named(self, issuer: Issuer, names: Collection[str]) -> tuple[str, ...]:
        """Delete the keys with names that this rotation journaled; return the names of those deleted."""
        return await delete_keys(issuer, lambda key: key.name in names)

    async def drop(self, role: Role) -> None:
        """Destroy a retiring copy: the proof is journaled, or the rotation ends."""
        if role is Role.SITE:
            self._vault.destroy_retiring()
            return
        try:
            self._client.execute(ProveRetired(drop=True))
        except FortctlError:
            # A robot that cannot be reached now keeps it until its next rotation or panic.
            return
