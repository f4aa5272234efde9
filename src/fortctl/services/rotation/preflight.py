"""What is looked at before a rotation changes anything: the robot stands still for nothing that could be known then."""

from __future__ import annotations

from collections.abc import Mapping

from fortctl.errors import ConflictError
from fortctl.model import KeyPair, Role
from fortctl.ports import Issuer
from fortctl.services.keys.results import same_key
from fortctl.services.rotation.context import RotationContext
from fortctl.services.rotation.issue_key import listed_addresses
from fortctl.services.rotation.key_steps import note_listed
from fortctl.services.rotation.plan import RotationMode


async def ask_issuer(work: RotationContext) -> None:
    """See that the issuer can be had and that its list names the keys in use; journal that it does.

    Raises:
        VaultLockedError, VaultDamagedError, KeyRejectedError, ExchangeUnreachableError: the issuer makes no key now.
        ConflictError: its list is another account's, or does not tell the IP list that a new key needs.
    """
    if not work.by_issuer:
        return
    async with work.issuer() as issuer:
        found = await work.tools.proofs.listed(issuer, work.operation, work.roles)
        strange = [role for role in work.roles if role not in found]
        if strange and work.operation.mode is not RotationMode.URGENT:
            raise ConflictError(
                f"the issuer's list does not name the {' and '.join(strange)} key in use: it may be another"
                " sub-account's",
                hint="look at the address: 'fortctl issuer status'; 'fortctl issuer set' changes it",
                details={"roles": [role.value for role in strange]},
            )
        note_listed(work, found)
        if "addresses" not in work.operation.facts:
            await _note_addresses(work, issuer)


async def _note_addresses(work: RotationContext, issuer: Issuer) -> None:
    """Journal the IP list that each new key is born with: the old one's, also where that key is dead already.

    Raises:
        ConflictError: the old key had one, and nobody knows it any more: none that trades from anywhere is made unasked.
    """
    cards = {card.role: card for card in work.tools.keys.listed()}
    born = {}
    for role in work.roles:
        shown = work.operation.facts["old"][role.value]["fingerprint"]
        found = await listed_addresses(issuer, shown, work.tools.custody.fingerprint_key())
        if found is None:
            found = work.born_with(role)
        if found is None and cards[role].ip_restricted:
            raise ConflictError(
                f"the old {role} key was restricted to trusted IPs, and that list is gone with it",
                hint="say which addresses it is accepted from: 'fortctl keys rotate … --ip ADDR,…'",
                details={"role": role.value, "reason": "addresses_unknown"},
            )
        born[role.value] = list(found or ())
    work.note(born=born)


async def look_at_given(work: RotationContext, given: Mapping[Role, KeyPair]) -> None:
    """Have the keys that were entered already looked at by those who will use them; nothing is stored.

    Raises:
        KeyRejectedError, KeyPolicyError, …: as when they are put in place.
    """
    old = work.operation.facts["old"]
    for role in work.roles:
        if role not in given or work.operation.mode is RotationMode.URGENT:
            continue
        if work.tools.custody.fingerprint(given[role]) == old[role.value]["fingerprint"]:
            raise same_key(role)
        await work.tools.keys.look_at(role, given[role])
