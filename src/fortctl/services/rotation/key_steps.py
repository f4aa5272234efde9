"""The steps of a rotation that are about keys: new ones into their places, old ones out of the world."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from typing import Any

from fortctl.errors import (
    ActionRequiredError,
    BadInputError,
    ConflictError,
    FortctlError,
    KeyPolicyError,
    KeyRejectedError,
)
from fortctl.model import KeyPair, Role
from fortctl.services.keys.results import NO_COPY_WARNING, same_key
from fortctl.services.rotation import operator_actions as actions
from fortctl.services.rotation.context import SETTLES_WITHIN_S, RotationContext
from fortctl.services.rotation.issue_key import KeyIssuer
from fortctl.services.rotation.plan import Operation, RotationMode, issued_names

# How long the old key is left alive for its stream to be handed over; and the states in which that matters.
HANDED_OVER_WITHIN_S = 5.0
# How fast a new key is known everywhere is not documented (binance.md, section 12); a robot may stand still meanwhile.
KNOWN_TRIES, KNOWN_PAUSE_S = 10, 1.0
# Why a key is refused that is in use elsewhere: nobody is told to delete it.
NOT_OURS_TO_DELETE = ("other_account", "shared_between_roles")
WORKING = ("running", "draining", "reconciling")


class NewKeys:
    """Gets the new keys and puts them in place.

    Args:
        work: the rotation.
        given: keys that were entered already.
        ask: whether somebody may be asked for those that were not (``--begin`` asks nobody).
    """

    def __init__(self, work: RotationContext, given: dict[Role, KeyPair], *, ask: bool) -> None:
        self._work, self._tools = work, work.tools
        self._pairs = given
        self._ask = ask

    async def create(self, resumed: bool) -> dict[str, Any]:
        await self._obtain(self._work.roles)
        return {}

    async def store(self, resumed: bool) -> dict[str, Any]:
        custody = self._tools.custody

        def there() -> str | None:
            site = custody.site_key()
            return custody.fingerprint(site.pair) if site is not None else None

        async def take(pair: KeyPair) -> None:
            old = custody.site_key()
            allow, over = old.allow if old is not None else (), self._replaces
            taken = await self._tools.keys.take_site(pair, allow=allow, replacing=over, force=False, retire=over)
            self._work.warnings += taken.warnings

        await self._put_in_place(Role.SITE, there, take)
        return {}

    async def deliver(self, resumed: bool) -> dict[str, Any]:
        tools = self._tools
        tools.control.bring_up()
        if resumed and not tools.control.wait_until_idle(SETTLES_WITHIN_S):
            raise ConflictError(
                "the robot has not answered yet what became of the new key",
                hint="see 'fortctl robot status' and 'fortctl robot logs', then go on: 'fortctl keys rotate --resume'",
            )

        def there() -> str | None:
            card = tools.keys.robot_card()
            return card.fingerprint if card is not None else None

        async def take(pair: KeyPair) -> None:
            over, overlap = self._replaces, self._work.operation.mode is RotationMode.OVERLAP
            taken = await tools.keys.take_robot(
                pair, allow=(), replacing=over, force=False, site_copy=False, retire=over, overlap=overlap
            )
            self._work.warnings += taken.warnings

        await self._put_in_place(Role.ROBOT, there, take)
        self._drop_stale_copy(there())
        return {}

    async def _obtain(self, roles: Collection[Role]) -> None:
        """Get the new keys of some roles, from a person or from the issuer. Raises ``ActionRequiredError``."""
        missing = [role for role in roles if role not in self._pairs]
        if not missing:
            return
        if self._work.by_issuer:
            maker = KeyIssuer(self._tools.custody, self._tools.keys, self._tools.control, self._tools.clock)
            async with self._work.issuer() as issuer:
                for role in missing:
                    self._pairs[role] = await maker.make(
                        *(issuer, self._work.operation, role, self._note_issue, self._work.beat)
                    )
            return
        todo = actions.to_create(self._work.operation, missing)
        entered = self._tools.guide.keys(todo, missing) if self._ask else None
        if entered is None:
            if self._work.operation.step != "create":
                self._work.note(wants=[role.value for role in missing])
            raise ActionRequiredError(
                f"the rotation waits for a person: create the new {' and '.join(missing)} key at Binance",
                hint=todo[0]["text"],
                details={"actions": todo},
                text="\n".join(f"- {one['text']}" for one in todo),
            )
        self._pairs.update(entered)

    def _note_issue(self, role: Role, facts: Mapping[str, Any]) -> Operation:
        return self._work.note(issue={**self._work.operation.facts.get("issue", {}), role.value: dict(facts)})

    @property
    def _replaces(self) -> bool:
        return self._work.operation.mode is not RotationMode.ISSUE

    def _drop_stale_copy(self, shown: str | None) -> None:
        """Destroy a copy for reading that a crash has left of the old key: it reads nothing any more."""
        custody = self._tools.custody
        copy = custody.robot_copy()
        if copy is not None and custody.fingerprint(copy.pair) != shown:
            custody.destroy_robot_copy()
            self._work.warnings += (NO_COPY_WARNING,)

    async def _put_in_place(self, role: Role, there: Callable[[], str | None], take: Callable[[KeyPair], Any]) -> None:
        """Put a new key in the old one's place, unless that was done before this process began."""
        for attempt in itertools.count(1):
            new = self._work.operation.facts.get("new", {})
            if new.get(role.value) and there() == new[role.value]:
                if role in self._pairs:
                    _refuse_late(self._work.operation, role, self._tools.custody.fingerprint(self._pairs[role]))
                return
            await self._obtain([role])
            pair = self._pairs[role]
            shown = self._tools.custody.fingerprint(pair)
            if shown == self._work.operation.facts.get("old", {}).get(role.value, {}).get("fingerprint"):
                error: FortctlError = same_key(role)
            else:
                # Journaled before it is handed over: whoever comes after a crash knows it when it is in place.
                card = {"name": pair.name, "tail": pair.api_key.reveal()[-4:], "fingerprint": shown}
                made = {**self._work.operation.facts.get("made", {}), role.value: card}
                self._work.note(new={**new, role.value: shown}, made=made)
                try:
                    await take(pair)
                    self._work.note(wants=[])
                    return
                except (KeyRejectedError, KeyPolicyError, BadInputError) as refused:
                    error = refused
                    self._note_refused(role, refused)
            del self._pairs[role]
            if self._work.by_issuer:
                issued = pair.name in issued_names(self._work.operation)
                if not issued or not isinstance(error, KeyRejectedError) or attempt == KNOWN_TRIES:
                    raise error
                await self._tools.clock.sleep(KNOWN_PAUSE_S)
                continue
            if not self._tools.guide.refused(error):
                self._work.note(wants=[role.value])
                raise error

    def _note_refused(self, role: Role, error: FortctlError) -> None:
        """Journal that a key was refused: it lives on at the exchange, and somebody must delete it."""
        if self._work.by_issuer:
            return
        facts = self._work.operation.facts
        made = dict(facts["made"])
        card = made.pop(role.value)
        if error.details.get("reason") in NOT_OURS_TO_DELETE:
            self._work.note(made=made)
            return
        refused = facts.get("refused", {})
        self._work.note(made=made, refused={**refused, role.value: [*refused.get(role.value, ()), card]})
        error.hint += f"; or delete '{card['name']}' (…{card['tail']}) there, and hand another key over"


def refuse_late(operation: Operation, given: Mapping[Role, KeyPair], shown: Callable[[KeyPair], str]) -> None:
    """Refuse keys that a rotation cannot take any more: whoever entered one must not believe that it is in use.

    Args:
        shown: returns a key's fingerprint.

    Raises:
        ConflictError: another new key is in place already.
    """
    for role, pair in given.items():
        if operation.is_done("store" if role is Role.SITE else "deliver"):
            _refuse_late(operation, role, shown(pair))


def _refuse_late(operation: Operation, role: Role, shown: str) -> None:
    if shown == operation.facts.get("new", {}).get(role.value):
        return
    made = operation.facts.get("made", {}).get(role.value, {})
    raise ConflictError(
        f"the rotation {operation.id} has put another new {role} key in place already: '{made.get('name', '')}'"
        f" (…{made.get('tail', '')}); the key that was entered now is not taken",
        hint="end this rotation first ('fortctl keys rotate --resume' without a key), then begin another for that key",
        details={"role": role.value, "reason": "another_key_in_place", "operation": operation.as_json()},
    )


def note_listed(work: RotationContext, roles: Collection[Role]) -> None:
    """Journal that the issuer's list names the old keys of some roles."""
    known = work.operation.facts.get("listed", [])
    found = sorted({*known, *(role.value for role in roles)})
    if found != known:
        work.note(listed=found)


class OldKeys:
    """Has the old keys deleted at the exchange, and proves them dead.

    Args:
        work: the rotation.
    """

    def __init__(self, work: RotationContext) -> None:
        self._work, self._tools = work, work.tools

    async def delete(self, resumed: bool) -> dict[str, Any]:
        if self._work.by_issuer:
            self._work.wait(HANDED_OVER_WITHIN_S, self._handed_over)
            async with self._work.issuer() as issuer:
                # A key that this list does not name yet is not proved dead by its silence later.
                note_listed(self._work, await self._tools.proofs.listed(issuer, self._work.operation, self._work.roles))
                await self._tools.proofs.delete(issuer, self._work.operation)
            return {}
        # A person may have done it already; whether it is so, the next step proves.
        await self._proved_or_asked(asked=resumed)
        return {}

    def _handed_over(self) -> bool:
        """Whether the robot hears its orders with the new key: the log-on is no part of the trading gap then."""
        if Role.ROBOT not in self._work.roles or self._work.operation.mode is not RotationMode.OVERLAP:
            return True
        status = self._tools.watch.status()
        swap = status.get("key_swap")
        return status["state"] not in WORKING or swap is None or bool(swap.get("heard", True))

    async def prove(self, resumed: bool) -> dict[str, Any]:
        if self._work.by_issuer:
            async with self._work.issuer() as issuer:
                alive = await self._tools.proofs.prove(self._work.operation, self._work.roles, self._note_dead, issuer)
            if alive:
                raise self._action_required(alive)
        else:
            await self._proved_or_asked(asked=True)
        # Where the exchange ends the old key's stream, the robot makes its books agree once more: that counts too.
        overlap = self._work.operation.mode is RotationMode.OVERLAP and Role.ROBOT in self._work.roles
        return self._work.trading_gap(self._tools.watch.status()) if overlap else {}

    async def _proved_or_asked(self, *, asked: bool) -> None:
        """Prove the old keys dead; where they live, ask the person to delete them. Raises ``ActionRequiredError``."""
        while True:
            alive = await self._tools.proofs.prove(
                self._work.operation, self._work.roles, self._note_dead, None, patient=asked
            )
            if not alive:
                return
            if not self._tools.guide.deleted(actions.to_delete(self._work.operation, alive)):
                raise self._action_required(alive)
            asked = True

    def _note_dead(self, role: Role, how: str | None) -> Operation:
        if how is None:
            return self._work.note(dropped=[*self._work.operation.facts.get("dropped", ()), role.value])
        self._work.note(dead={**self._work.operation.facts.get("dead", {}), role.value: how})
        if how == "dead_by_refusal":
            text = f"this exchange tells no more than that it refuses the old {role} key: that counts as its death"
            self._work.warnings += (("DEATH_BY_REFUSAL", text),)
        return self._work.operation

    def _action_required(self, alive: Collection[Role]) -> ActionRequiredError:
        todo = actions.to_delete(self._work.operation, alive)
        return ActionRequiredError(
            f"the new key is in use, but the old {' and '.join(alive)} key is not proved dead",
            hint=f"{todo[0]['text']}, then 'fortctl keys rotate --resume'",
            details={"actions": todo, "unproved": [role.value for role in alive]},
            text="\n".join(f"- {one['text']}" for one in todo),
        )
