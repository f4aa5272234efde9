"""The steps of a rotation that are about keys: put the new ones in use, have the old ones deleted, prove it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Protocol

from fortctl.errors import (
    ActionRequiredError,
    BadInputError,
    ConflictError,
    FortctlError,
    KeyPolicyError,
    KeyRejectedError,
)
from fortctl.model import KeyPair, Role
from fortctl.services.keys.results import NO_COPY_WARNING, Warnings, same_key
from fortctl.services.rotation.context import SETTLES_WITHIN_S, RotationContext
from fortctl.services.rotation.facts import IssueAttempts, KeyReference, RotationFacts
from fortctl.services.rotation.issue_key import KeyIssuer
from fortctl.services.rotation.operator_actions import create_actions, delete_old_actions
from fortctl.services.rotation.plan import Operation, RotationMode

# How long to wait for the new key's user stream before the old key is deleted (s).
HANDED_OVER_WITHIN_S = 5.0
# Binance does not document how soon all its servers accept a new key; a robot may stand still meanwhile.
KNOWN_TRIES, KNOWN_PAUSE_S = 10, 1.0
# Reasons that mean that a refused key is in use elsewhere: no action asks a person to delete it.
NOT_OURS_TO_DELETE = ("other_account", "shared_between_roles")
WORKING = ("running", "draining", "reconciling")


class KeySlot(Protocol):
    """Where a role's key is in use, and how a new one gets there."""

    role: Role

    def fingerprint(self) -> str | None:
        """Return the fingerprint of the key in use, or None."""

    async def replace(self, pair: KeyPair) -> Warnings:
        """Put a new key in use; return the warnings. Raises as :class:`KeyService` does."""


class SiteSlot:
    """The site's key, in the site's vault."""

    role = Role.SITE

    def __init__(self, context: RotationContext) -> None:
        self._vault, self._keys, self._replaces = context.deps.vault, context.deps.keys, replaces_old_key(context)
        self._allow = context.facts.allow

    def fingerprint(self) -> str | None:
        site = self._vault.site_key()
        return self._vault.fingerprint(site.pair) if site is not None else None

    async def replace(self, pair: KeyPair) -> Warnings:
        old = self._vault.site_key()
        added = await self._keys.add_site_key(
            pair,
            allow=(*self._allow, *(old.allow if old is not None else ())),
            replacing=self._replaces,
            force=False,
            retire=self._replaces,
        )
        return added.warnings


class RobotSlot:
    """The robot's key, in the robot's vault: named by its card, replaced by a delivery."""

    role = Role.ROBOT

    def __init__(self, context: RotationContext) -> None:
        self._keys, self._replaces = context.deps.keys, replaces_old_key(context)
        self._overlap = context.operation.mode is RotationMode.OVERLAP
        self._allow = context.facts.allow

    def fingerprint(self) -> str | None:
        card = self._keys.robot_card()
        return card.fingerprint if card is not None else None

    async def replace(self, pair: KeyPair) -> Warnings:
        added = await self._keys.add_robot_key(
            pair,
            allow=self._allow,
            replacing=self._replaces,
            force=False,
            site_copy=False,
            retire=self._replaces,
            overlap=self._overlap,
        )
        return added.warnings


def replaces_old_key(context: RotationContext) -> bool:
    """Return whether there is an old key: not when the issuer makes a role's first one."""
    return context.operation.mode is not RotationMode.ISSUE


class NewKeys:
    """The steps that get the new keys and put them in use.

    Args:
        context: the rotation.
        given: keys that were entered already.
        ask: whether a person may be asked for those that were not (``--begin`` asks nobody).
    """

    def __init__(self, context: RotationContext, given: dict[Role, KeyPair], *, ask: bool) -> None:
        self._context, self._deps = context, context.deps
        self._pairs = given
        self._ask = ask

    async def create(self, resumed: bool) -> RotationFacts:
        await self._obtain(self._context.roles)
        return self._context.facts

    async def store(self, resumed: bool) -> RotationFacts:
        await self._put_in_use(SiteSlot(self._context))
        return self._context.facts

    async def deliver(self, resumed: bool) -> RotationFacts:
        self._deps.client.ensure_running()
        if resumed and not self._deps.client.wait_until_idle(SETTLES_WITHIN_S):
            raise ConflictError(
                "the robot has not answered yet what became of the new key",
                hint="see 'fortctl robot status' and 'fortctl robot logs', then run 'fortctl keys rotate --resume'",
            )
        slot = RobotSlot(self._context)
        await self._put_in_use(slot)
        self._drop_stale_copy(slot.fingerprint())
        return self._context.facts

    async def _obtain(self, roles: Collection[Role]) -> None:
        """Get the new keys of some roles, from a person or from the issuer. Raises ``ActionRequiredError``."""
        missing = [role for role in roles if role not in self._pairs]
        if not missing:
            return
        if self._context.by_issuer:
            key_issuer = KeyIssuer(self._deps.vault, self._deps.keys, self._deps.client, self._deps.clock)
            async with self._context.issuer() as issuer:
                for role in missing:
                    self._pairs[role] = await key_issuer.make(
                        issuer, self._context.operation, role, self._note_issue, self._context.renew_lease
                    )
            return
        todo = create_actions(self._context.operation, missing)
        entered = self._deps.guide.keys(todo, missing) if self._ask else None
        if entered is None:
            if self._context.operation.step != "create":
                self._context.note(replace(self._context.facts, missing=tuple(missing)))
            raise ActionRequiredError(
                f"the rotation waits for a person: create the new {' and '.join(missing)} key at Binance",
                hint=todo[0].text,
                details={"actions": [action.to_json() for action in todo]},
                text="\n".join(f"- {action.text}" for action in todo),
            )
        self._pairs.update(entered)

    def _note_issue(self, role: Role, attempts: IssueAttempts) -> Operation:
        facts = self._context.facts
        return self._context.note(replace(facts, issue={**facts.issue, role: attempts}))

    def _drop_stale_copy(self, in_use: str | None) -> None:
        """Destroy a copy for reading that a crash left of the old key: the key is no longer in use."""
        vault = self._deps.vault
        copy = vault.robot_copy()
        if copy is not None and vault.fingerprint(copy.pair) != in_use:
            vault.destroy_robot_copy()
            self._context.warnings += (NO_COPY_WARNING,)

    async def _put_in_use(self, slot: KeySlot) -> None:
        """Put a role's new key in use, unless that was done before this process began."""
        context, role, vault = self._context, slot.role, self._deps.vault
        for attempt in itertools.count(1):
            new = context.facts.new.get(role)
            if new and slot.fingerprint() == new:
                if role in self._pairs:
                    _refuse_other_key(context.operation, role, vault.fingerprint(self._pairs[role]))
                return
            await self._obtain([role])
            pair = self._pairs[role]
            error = await self._try_to_use(slot, pair)
            if error is None:
                return
            del self._pairs[role]
            if context.by_issuer:
                # The issuer's new key may not be known to every server of the exchange yet.
                issued = pair.name in context.operation.issued_names()
                if not issued or not isinstance(error, KeyRejectedError) or attempt == KNOWN_TRIES:
                    raise error
                await self._deps.clock.sleep(KNOWN_PAUSE_S)
            elif not self._deps.guide.refused(error):
                context.note(replace(context.facts, missing=(role,)))
                raise error

    async def _try_to_use(self, slot: KeySlot, pair: KeyPair) -> FortctlError | None:
        """Put one key in use; return the error that refuses it, or None. Raises errors that are not about the key."""
        context, role = self._context, slot.role
        key = KeyReference(pair.name, pair.api_key.reveal()[-4:], self._deps.vault.fingerprint(pair))
        old = context.facts.old.get(role)
        if old is not None and key.fingerprint == old.fingerprint:
            return same_key(role)
        # Journaled before the key is sent, so that a resumed rotation recognises it in its place.
        facts = context.facts
        made = {**(facts.made or {}), role: key}
        context.note(replace(facts, new={**facts.new, role: key.fingerprint}, made=made))
        try:
            context.warnings += await slot.replace(pair)
        except (KeyRejectedError, KeyPolicyError, BadInputError) as refused:
            self._note_refused(role, refused)
            return refused
        context.note(replace(context.facts, missing=()))
        return None

    def _note_refused(self, role: Role, error: FortctlError) -> None:
        """Journal that a person's key was refused: it still exists at the exchange, and a person must delete it."""
        if self._context.by_issuer:
            return
        facts = self._context.facts
        made = dict(facts.made or {})
        key = made.pop(role)
        if error.details.get("reason") in NOT_OURS_TO_DELETE:
            self._context.note(replace(facts, made=made))
            return
        refused = {**facts.refused, role: (*facts.refused.get(role, ()), key)}
        self._context.note(replace(facts, made=made, refused=refused))
        error.hint += f"; or delete '{key.name}' (…{key.tail}) there, and enter another key"


def refuse_late_keys(
    operation: Operation, given: Mapping[Role, KeyPair], fingerprint_of: Callable[[KeyPair], str]
) -> None:
    """Refuse entered keys that a rotation can no longer use: the operator must not believe that one is in use.

    Raises:
        ConflictError: another new key is in use already.
    """
    for role, pair in given.items():
        if operation.is_done("store" if role is Role.SITE else "deliver"):
            _refuse_other_key(operation, role, fingerprint_of(pair))


def _refuse_other_key(operation: Operation, role: Role, entered: str) -> None:
    if entered == operation.facts.new.get(role):
        return
    made = (operation.facts.made or {}).get(role, KeyReference())
    raise ConflictError(
        f"the rotation {operation.id} has put another new {role} key in place already: '{made.name}'"
        f" (…{made.tail}); the key that was entered now is not used",
        hint="end this rotation first ('fortctl keys rotate --resume' without a key), then begin another for that key",
        details={"role": role.value, "reason": "another_key_in_place", "operation": operation.as_json()},
    )


def note_listed(context: RotationContext, roles: Collection[Role]) -> None:
    """Journal that the issuer's list names the old keys of some roles."""
    listed = tuple(sorted({*context.facts.listed, *roles}))
    if listed != context.facts.listed:
        context.note(replace(context.facts, listed=listed))


class OldKeys:
    """The steps that have the old keys deleted at the exchange and prove their deletion.

    Args:
        context: the rotation.
    """

    def __init__(self, context: RotationContext) -> None:
        self._context, self._deps = context, context.deps

    async def delete(self, resumed: bool) -> RotationFacts:
        if self._context.by_issuer:
            self._context.wait(HANDED_OVER_WITHIN_S, self._handed_over)
            async with self._context.issuer() as issuer:
                # A key that this list never named is not proved deleted when a later list does not name it.
                note_listed(
                    self._context, await self._deps.proofs.listed(issuer, self._context.operation, self._context.roles)
                )
                await self._deps.proofs.delete(issuer, self._context.operation)
            return self._context.facts
        # A person may have deleted it already; the next step proves that.
        await self._prove_or_ask(asked=resumed)
        return self._context.facts

    def _handed_over(self) -> bool:
        """Return whether the robot receives its orders' events with the new key, so that the log-on adds no gap."""
        if Role.ROBOT not in self._context.roles or self._context.operation.mode is not RotationMode.OVERLAP:
            return True
        status = self._deps.status_reader.status()
        return status.state not in WORKING or status.key_swap is None or status.key_swap.stream_up

    async def prove(self, resumed: bool) -> RotationFacts:
        if self._context.by_issuer:
            async with self._context.issuer() as issuer:
                alive = await self._deps.proofs.prove(
                    self._context.operation, self._context.roles, self._note_deleted, issuer
                )
            if alive:
                raise self._action_required(alive)
        else:
            await self._prove_or_ask(asked=True)
        # Where the exchange ends the old key's stream, the robot reconciles once more: that counts too.
        overlap = self._context.operation.mode is RotationMode.OVERLAP and Role.ROBOT in self._context.roles
        return self._context.with_trading_gap(self._deps.status_reader.status()) if overlap else self._context.facts

    async def _prove_or_ask(self, *, asked: bool) -> None:
        """Prove that the old keys are deleted; ask the person to delete the others. Raises ``ActionRequiredError``."""
        while True:
            alive = await self._deps.proofs.prove(
                self._context.operation, self._context.roles, self._note_deleted, None, patient=asked
            )
            if not alive:
                return
            if not self._deps.guide.deleted(delete_old_actions(self._context.operation, alive)):
                raise self._action_required(alive)
            asked = True

    def _note_deleted(self, role: Role, how: str | None) -> Operation:
        """Journal how the deletion of an old key was proved, or (None) that its retiring copy is destroyed."""
        facts = self._context.facts
        if how is None:
            return self._context.note(replace(facts, dropped=(*facts.dropped, role)))
        self._context.note(replace(facts, deleted={**facts.deleted, role: how}))
        if how == "dead_by_refusal":
            text = f"this exchange reports no more than that it refuses the old {role} key: that counts as deleted"
            self._context.warnings += (("DEATH_BY_REFUSAL", text),)
        return self._context.operation

    def _action_required(self, alive: Collection[Role]) -> ActionRequiredError:
        todo = delete_old_actions(self._context.operation, alive)
        return ActionRequiredError(
            f"the new key is in use, but the old {' and '.join(alive)} key is not proved deleted",
            hint=f"{todo[0].text}, then 'fortctl keys rotate --resume'",
            details={
                "actions": [action.to_json() for action in todo],
                "unproved": [role.value for role in alive],
            },
            text="\n".join(f"- {action.text}" for action in todo),
        )
