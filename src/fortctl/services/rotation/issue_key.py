"""Have the issuer make a new key for a rotation: the private half and the name are durable before it is asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from fortctl.keys.fingerprint import fingerprint
from fortctl.keys.policy import unrestricted_error
from fortctl.mailbox.payloads import ShowPending
from fortctl.mailbox.receipts import PairWaiting
from fortctl.model import IP_UNRESTRICTED, KeyPair, KeyType, Role
from fortctl.ports import Clock, Issuer
from fortctl.secret import Secret
from fortctl.services.keys.issuer import addresses_of, delete_keys, keys_of, make_key
from fortctl.services.keys.service import KeyService
from fortctl.services.robot.client import RobotClient
from fortctl.services.rotation.facts import IssueAttempts, RotationFacts
from fortctl.services.rotation.plan import Operation
from fortctl.services.site_vault import SiteVault

Note = Callable[[Role, IssueAttempts], Operation]


class KeyIssuer:
    """Makes one key, or uses the one that was made before a crash.

    Args:
        vault, keys, client: where the private half is kept.
        clock: the clock.
    """

    def __init__(self, vault: SiteVault, keys: KeyService, client: RobotClient, clock: Clock) -> None:
        self._vault = vault
        self._keys = keys
        self._client = client
        self._clock = clock

    async def make(
        self, issuer: Issuer, operation: Operation, role: Role, note: Note, renew: Callable[[], None]
    ) -> KeyPair:
        """Return the new key; the robot's without its private half, which is with the robot.

        A key under a journaled name whose private half is lost is deleted, never adopted; no other key is touched.

        Args:
            note: makes what is about to be asked for durable.
            renew: renews the lease; raises ``ConflictError`` if another command took over: nothing is asked for then.

        Raises:
            KeyPolicyError: the robot's key would have no IP list, and the operator did not accept that.
            FortctlError: nothing is lost by calling again.
        """
        attempts = operation.facts.issue.get(role, IssueAttempts())
        if attempts.pending_id is None or not self._has_half(role, attempts.pending_id):
            attempts = await self._begin(issuer, operation, role, attempts.names, note)
        name = attempts.names[-1]
        made = await make_key(issuer, name, attempts.public_key, role, attempts.addresses, self._clock, renew)
        if role is Role.ROBOT:
            return KeyPair(name, KeyType.ED25519, made.api_key, Secret(b""))
        return self._keys.complete_pending(role, made.api_key, name)

    async def _begin(
        self, issuer: Issuer, operation: Operation, role: Role, before: tuple[str, ...], note: Note
    ) -> IssueAttempts:
        """Make a pair, and journal the name and the public half that the issuer is asked for next.

        Args:
            before: the names of earlier attempts; their private halves are lost.
        """
        if before:
            await delete_keys(issuer, lambda key: key.name in before)
        addresses = await self._addresses(issuer, operation, role)
        require_ip_list(role, addresses, operation.facts.allow)
        public, pending = self._keys.generate(role, KeyType.ED25519)
        # Unique: the operation's id is random, and each attempt has a name of its own.
        name = f"fortctl-{role.value}-{operation.id}-{len(before) + 1}"
        attempts = IssueAttempts((*before, name), pending, public, addresses)
        note(role, attempts)
        return attempts

    def _has_half(self, role: Role, pending: str) -> bool:
        if role is Role.ROBOT:
            return PairWaiting.from_json(self._client.execute(ShowPending()).data).pending_id == pending
        made = self._vault.pending()
        return made is not None and made.id == pending

    async def _addresses(self, issuer: Issuer, operation: Operation, role: Role) -> tuple[str, ...]:
        """Return the IP list that the new key is made with: as asked for, else the old key's."""
        facts = operation.facts
        if facts.addresses is not None or role in facts.old_addresses or role not in facts.old:
            return new_addresses(facts, role)
        old = facts.old[role].fingerprint
        return await listed_addresses(issuer, old, self._vault.fingerprint_key()) or ()


def new_addresses(facts: RotationFacts, role: Role) -> tuple[str, ...]:
    """Return the journaled IP list that the issuer makes a role's new key with: as asked for, else the old key's."""
    return facts.addresses if facts.addresses is not None else facts.old_addresses.get(role, ())


def require_ip_list(role: Role, addresses: Sequence[str], allow: Collection[str]) -> None:
    """Refuse to have a key made that the robot would refuse: one that may trade from any IP address.

    What was accepted for the old key does not count here: fortctl makes no unrestricted key unasked.

    Args:
        addresses: the IP list that the key is made with.
        allow: what the operator accepted for the new keys.

    Raises:
        KeyPolicyError: the robot's key would have no IP list.
    """
    if role is Role.ROBOT and not addresses and IP_UNRESTRICTED not in allow:
        error = unrestricted_error(role.value)
        error.hint = "say which addresses may use it: --ip ADDR,… (or accept it with --allow ip_unrestricted)"
        raise error


async def listed_addresses(issuer: Issuer, key_fingerprint: str, fingerprint_key: bytes) -> tuple[str, ...] | None:
    """Return the IP list of the sub-account's key of a fingerprint; None where no key of it is listed.

    Args:
        fingerprint_key: makes the fingerprints of the listed keys.

    Raises:
        FortctlError: the exchange does not report it.
    """
    for key in await keys_of(issuer):
        if fingerprint(key.api_key, fingerprint_key) == key_fingerprint:
            return await addresses_of(issuer, key.api_key)
    return None
