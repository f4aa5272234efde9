"""What a panic knows of an account's keys: what it read, what earlier panics noted, what is proved deleted. Pure.

Everything but the keys themselves goes into the latch file, so that a panic that is run again still knows which keys
live at the exchange. An action for a person stays until the key that it names is settled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from fortctl.ports import IssuedKey
from fortctl.secret import Secret
from fortctl.services.panic.actions import Action, ActionKind, delete_unnamed
from fortctl.services.panic.known_key import ROLES, IssuedName, KeysRead, KnownKey, deduplicate
from fortctl.services.panic.latch_facts import LatchFacts

# How long the exchange may still make a key that was requested (ms): the issuer's receive window, and a second.
KEY_IN_FLIGHT_MS = 6_000


class KeyInventory:
    """One account's keys, as far as they are known.

    Attributes:
        account: whose keys they are.
        keys: every key that anything names.
        deleted: the keys that are proved deleted.
        unknown: the roles of which nothing says which key they had; all of them until the vaults were read.
        issued: names that a rotation journaled, until their keys are gone or can no longer be made.
        queued: when keys were sent to the robot that it never accepted (RFC 3339).
        orders_done: no order of the robot is left at the exchange.
        vaults_read: ``unknown`` says what the vaults leave open.
    """

    def __init__(self, account: str) -> None:
        self.account = account
        self.keys: list[KnownKey] = []
        self.deleted: list[KnownKey] = []
        self.unknown: set[str] = set(ROLES)
        self.issued: list[IssuedName] = []
        self.queued: set[str] = set()
        self.orders_done = False
        self.vaults_read = False
        self._settled: set[str] = set()
        self._list_received = False
        self._fingerprint: Callable[[Secret], str] | None = None

    # -- what was read ---------------------------------------------------------------------------------------------

    def add_read(self, read: KeysRead) -> None:
        """Add what the vaults and the mailbox say; from here on ``unknown`` is what they leave open."""
        self._fingerprint = read.fingerprint
        self.vaults_read = True
        self.unknown = set(read.unknown)
        self.add_keys(*read.keys)

    def add_noted(self, facts: LatchFacts) -> None:
        """Add what an earlier panic noted in the latch, or one that runs beside this one."""
        self.add_keys(*facts.keys)
        self.unknown |= facts.unknown
        self.queued |= facts.queued
        self.add_pending_names(facts.issued)
        self.orders_done = self.orders_done or facts.orders_done

    def add_keys(self, *keys: KnownKey) -> None:
        self.keys = deduplicate([*self.keys, *keys])

    def add_pending_names(self, names: Iterable[IssuedName]) -> None:
        """Add names under which a key may live, or may yet be made."""
        known = {entry.name for entry in self.issued} | self._settled
        for entry in names:
            if entry.name not in known:
                self.issued.append(entry)
                known.add(entry.name)

    # -- the issuer's list -----------------------------------------------------------------------------------------

    def is_same(self, issued: IssuedKey, key: KnownKey) -> bool:
        """Return whether an issued key is this one for certain: a name and four characters are not enough."""
        if key.pair is not None:
            return key.pair.api_key.reveal() == issued.api_key.reveal()
        return bool(self._fingerprint and key.fingerprint and self._fingerprint(issued.api_key) == key.fingerprint)

    def is_ours(self, issued: IssuedKey) -> bool:
        """Return whether this home held an issued key, or one of its rotations had it made."""
        return any(entry.name == issued.name for entry in self.issued) or any(
            self.is_same(issued, key) for key in self.keys
        )

    def can_cancel_orders(self, issued: IssuedKey) -> bool:
        """Return whether the robot's orders may be cancelled with an issued key of ours."""
        return "spot_trading" in issued.permissions or any(
            key.role == "robot" and self.is_same(issued, key) for key in self.keys
        )

    def update_from_list(self, listed: Collection[IssuedKey], now_ms: int) -> None:
        """Add what the issuer's list says: a key that it named and names no longer is deleted.

        A key that the list never named stays as it was: the list may be another sub-account's.
        """
        self._list_received = True
        keys = []
        for key in self.keys:
            is_listed = any(self.is_same(issued, key) for issued in listed)
            if key.listed and not is_listed and not self._is_deleted(key):
                self.deleted.append(key)
            keys.append(replace(key, listed=key.listed or is_listed))
        self.keys = keys
        names = {issued.name for issued in listed}
        pending = []
        for entry in self.issued:
            if entry.name in names:
                pending.append(replace(entry, seen=True))
            elif entry.seen or now_ms >= entry.until_ms:
                self._settled.add(entry.name)
            else:
                pending.append(entry)
        self.issued = pending

    def mark_deleted(self, keys: Iterable[KnownKey]) -> None:
        """Note keys as proved deleted."""
        self.deleted += keys

    # -- reporting -------------------------------------------------------------------------------------------------

    def alive(self) -> list[KnownKey]:
        """Return the keys that are not proved deleted."""
        return [key for key in self.keys if not self._is_deleted(key)]

    def _is_deleted(self, key: KnownKey) -> bool:
        return any(key.same_as(other) for other in self.deleted)

    def unnamed_roles(self) -> list[str]:
        """Return the roles of which nothing says which key lives at the exchange."""
        return [role for role in ROLES if role in self.unknown and all(key.role != role for key in self.keys)]

    def unprovable(self) -> list[str]:
        """Return, as text, what may live and cannot be asked about."""
        named = {key.name for key in self.alive()}
        return [
            *(f"the {role} key, which nothing names" for role in self.unnamed_roles()),
            *(entry.name for entry in self.issued if entry.name not in named),
            *(f"the key that was sent at {at}" for at in sorted(self.queued)),
        ]

    def snapshot(self) -> KeyInventory:
        """Return a copy that another thread may use: no list or set is shared."""
        other = copy(self)
        other.keys, other.deleted, other.issued = list(self.keys), list(self.deleted), list(self.issued)
        other.unknown, other.queued, other._settled = set(self.unknown), set(self.queued), set(self._settled)
        return other

    def merged_into(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the latch's facts with this inventory added, and what another panic has noted there meanwhile.

        Until the vaults were read, only what can be added is written: which keys there are is not known yet.
        """
        self.add_noted(LatchFacts.from_json(facts))
        added = {
            **facts,
            "orders_done": self.orders_done,
            "issued": [entry.as_json() for entry in self.issued],
            "queued": sorted(self.queued),
        }
        if not self.vaults_read:
            return added
        return {**added, "keys": [key.as_json() for key in self.alive()], "unknown": self.unnamed_roles()}

    def actions(self) -> list[Action]:
        """Return what a person must do about the keys."""
        page = "on Binance's API management page"
        alive = self.alive()
        return [
            *(self._delete_known(key, page) for key in alive),
            *(
                Action(
                    ActionKind.DELETE_KEY,
                    self.account,
                    f"delete the {entry.role} key '{entry.name}' {page}, if it is there: a rotation had it made",
                    role=entry.role,
                    name=entry.name,
                )
                for entry in self.issued
                if all(entry.name != key.name for key in alive)
            ),
            *(
                Action(
                    ActionKind.DELETE_KEY,
                    self.account,
                    f"delete {page} the robot key that was sent to the robot at {at} and that it never accepted",
                    role="robot",
                    queued_at=at,
                )
                for at in sorted(self.queued)
            ),
            *delete_unnamed(self.account, self.unnamed_roles()),
        ]

    def _delete_known(self, key: KnownKey, page: str) -> Action:
        tail = f" (…{key.tail})" if key.tail else ""
        doubt = "" if key.listed or not self._list_received else ": the issuer's list does not name it for certain"
        text = f"delete the {key.role} key '{key.name}'{tail} {page}{doubt}"
        return Action(ActionKind.DELETE_KEY, self.account, text, role=key.role, name=key.name, key=key)


def pending_names(names: Mapping[str, Sequence[str]], until_ms: int) -> list[IssuedName]:
    """Return the names that a rotation journaled, by role, as keys that may yet be made until *until_ms*."""
    return [IssuedName(role, name, until_ms) for role, several in names.items() for name in several]
