"""Delete the old keys through the issuer, and prove them dead (docs/rotation.md, "What counts as deleted")."""

from __future__ import annotations

from collections.abc import Callable, Collection

from fortctl.errors import FortctlError
from fortctl.keys.fingerprint import fingerprint
from fortctl.keys.verification import check_deleted
from fortctl.mailbox.payloads import ProveRetired
from fortctl.model import Role
from fortctl.ports import Clock, Issuer
from fortctl.services.keys.issuer import delete_keys, keys_of
from fortctl.services.keys.service import Connect
from fortctl.services.robot.client import RobotClient
from fortctl.services.rotation.plan import Operation
from fortctl.services.site_vault import SiteVault

# Binance does not document how fast a deletion takes effect.
TRIES, PAUSE_S = 10, 0.5
# Where no retiring copy is left nothing was proved: somebody else may have destroyed it.
PROVED = ("dead", "dead_by_refusal")
NoteDead = Callable[[Role, str | None], Operation]


class DeletionProof:
    """What is known of old keys.

    Args:
        vault: holds the site's retiring key.
        control: the line to the robot, which holds its own.
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
        note: NoteDead,
        issuer: Issuer | None,
        *,
        patient: bool = True,
    ) -> list[Role]:
        """Ask about each old key that is not proved dead yet; its copy is destroyed once the death is journaled.

        Args:
            note: journals a death, and that the copy is gone.
            issuer: its list counts too: a key that it named once and names no longer is dead.
            patient: ask again for some seconds.

        Returns:
            The roles whose old key is not proved dead.
        """
        alive = [role for role in roles if role not in operation.facts.dead]
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
            if role in operation.facts.dead and role not in operation.facts.dropped:
                await self.drop(role)
                operation = note(role, None)
        return alive

    async def _ask(self, operation: Operation, role: Role, issuer: Issuer | None) -> str | None:
        """Return how the old key is proved dead, or None."""
        state = await (self._ask_site(operation) if role is Role.SITE else self._ask_robot(operation))
        if state in PROVED:
            return state
        if state == "alive" or issuer is None or role not in operation.facts.listed:
            # The exchange takes the key, or this list may be another account's: it never named the key.
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
            death = await check_deleted(asking, beside, self._clock)
        finally:
            await asking.close()
            if beside is not None:
                await beside.close()
        return death.state

    async def _ask_robot(self, operation: Operation) -> str:
        found = self._client.execute(ProveRetired()).data
        shown = found.get("fingerprint")
        if shown and shown != operation.facts.old[Role.ROBOT].fingerprint:
            return "unproved"
        return str(found["state"])

    async def listed(self, issuer: Issuer, operation: Operation, roles: Collection[Role]) -> list[Role]:
        """Return those of the roles whose old key the issuer's list names. Raises ``FortctlError``."""
        under = self._vault.fingerprint_key()
        there = {fingerprint(key.api_key, under) for key in await keys_of(issuer)}
        return [role for role in roles if operation.facts.old[role].fingerprint in there]

    async def delete(self, issuer: Issuer, operation: Operation) -> tuple[str, ...]:
        """Delete the old keys, and whatever this rotation had made and did not take up; return their names.

        Raises:
            FortctlError: one of them is still listed.
        """
        under, new = self._vault.fingerprint_key(), set(operation.facts.new.values())
        old = {operation.facts.old[role].fingerprint for role in operation.scope.roles}
        own = set(operation.issued_names())

        def meant(name: str, shown: str) -> bool:
            return shown not in new and (shown in old or name in own)

        return await delete_keys(issuer, lambda key: meant(key.name, fingerprint(key.api_key, under)))

    async def delete_named(self, issuer: Issuer, names: Collection[str]) -> tuple[str, ...]:
        """Delete keys that bear names which this rotation journaled; return what is gone."""
        return await delete_keys(issuer, lambda key: key.name in names)

    async def drop(self, role: Role) -> None:
        """Destroy a retiring copy without a proof: the issuer's list has told, or the rotation ends."""
        if role is Role.SITE:
            self._vault.destroy_retiring()
            return
        try:
            self._client.execute(ProveRetired(drop=True))
        except FortctlError:
            # A robot that cannot be reached now keeps it until its next rotation or panic.
            return
