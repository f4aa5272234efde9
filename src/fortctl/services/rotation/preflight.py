"""What is checked before a rotation changes anything, so that the robot does not stop for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fortctl.errors import ConflictError
from fortctl.model import KeyPair, Role
from fortctl.ports import Issuer
from fortctl.services.keys.results import same_key
from fortctl.services.rotation.context import RotationContext
from fortctl.services.rotation.issue_key import listed_addresses, new_addresses, require_ip_list
from fortctl.services.rotation.key_steps import note_listed
from fortctl.services.rotation.plan import RotationMode


async def ask_issuer(context: RotationContext) -> None:
    """Check that the issuer answers and that its list names the keys in use; journal that it does.

    Raises:
        VaultLockedError, VaultDamagedError, KeyRejectedError, ExchangeUnreachableError: the issuer makes no key now.
        ConflictError: its list is another account's, or does not report the IP list that a new key needs.
        KeyPolicyError: the robot's new key would have no IP list, and the operator did not accept that.
    """
    if not context.by_issuer:
        return
    async with context.issuer() as issuer:
        listed = await context.deps.proofs.listed(issuer, context.operation, context.roles)
        unlisted = [role for role in context.roles if role not in listed]
        if unlisted and context.operation.mode is not RotationMode.URGENT:
            raise ConflictError(
                f"the issuer's list does not name the {' and '.join(unlisted)} key in use: it may be another"
                " sub-account's",
                hint="check the e-mail address with 'fortctl issuer status'; 'fortctl issuer set' changes it",
                details={"roles": [role.value for role in unlisted]},
            )
        note_listed(context, listed)
        if context.facts.addresses is None:
            await _note_addresses(context, issuer)
    for role in context.roles:
        require_ip_list(role, new_addresses(context.facts, role), context.facts.allow)


async def _note_addresses(context: RotationContext, issuer: Issuer) -> None:
    """Journal the IP list that each new key gets: the old key's, even if that key is deleted already.

    Raises:
        ConflictError: the old key's list is not known: fortctl makes no unrestricted key unless asked to.
    """
    cards = {card.role: card for card in context.deps.keys.cards()}
    old_addresses = {}
    for role in context.roles:
        old = context.facts.old[role].fingerprint
        addresses = await listed_addresses(issuer, old, context.deps.vault.fingerprint_key())
        if addresses is None:
            addresses = context.issued_addresses(role)
        if addresses is None and cards[role].ip_restricted:
            raise ConflictError(
                f"the old {role} key was restricted to trusted IPs, and its list was deleted with it",
                hint="give the addresses that may use the new key: 'fortctl keys rotate … --ip ADDR,…'",
                details={"role": role.value, "reason": "addresses_unknown"},
            )
        old_addresses[role] = addresses or ()
    context.note(replace(context.facts, old_addresses=old_addresses))


async def verify_given(context: RotationContext, given: Mapping[Role, KeyPair]) -> None:
    """Have the entered keys verified where they will be used; store nothing.

    Raises:
        KeyRejectedError, KeyPolicyError, …: as when they are put in place.
    """
    for role in context.roles:
        if role not in given or context.operation.mode is RotationMode.URGENT:
            continue
        if context.deps.vault.fingerprint(given[role]) == context.facts.old[role].fingerprint:
            raise same_key(role)
        await context.deps.keys.verify_candidate(role, given[role], context.facts.allow)
