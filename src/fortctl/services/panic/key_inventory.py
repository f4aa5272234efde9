"""What a panic knows of an account's keys: what it could read, what earlier panics noted, what is proved dead. Pure.

All of it but the keys themselves goes into the latch, so that a panic that is run again still knows what lives at the
exchange; an action stays until what it is about is settled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fortctl.ports import IssuedKey
from fortctl.secret import Secret
from fortctl.services.panic.report import ROLES, KeysRead, KnownKey, deduplicate, nameless

# How long the exchange may still make a key that was asked for (ms): the issuer's receive window, and a second.
KEY_IN_FLIGHT_MS = 6_000


@dataclass(frozen=True)
class IssuedName:
    """A unique name under which a rotation that was ended had a key made, or may have.

    Attributes:
        until_ms: until when the exchange may still make it (ms); 0: it was made.
        seen: the issuer's list named it.
    """

    role: str
    name: str
    until_ms: int = 0
    seen: bool = False

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> IssuedName:
        """Read back what the latch says."""
        role, name = str(entry.get("role") or ""), str(entry.get("name") or "")
        until_ms = entry.get("until_ms")
        return cls(role, name, until_ms if isinstance(until_ms, int) else 0, bool(entry.get("seen")))

    def as_json(self) -> dict[str, Any]:
        return {"role": self.role, "name": self.name, "until_ms": self.until_ms, "seen": self.seen}


class KeyInventory:
    """One account's keys, as far as they are known.

    Attributes:
        keys: every key that something tells of.
        gone: those that are proved dead.
        unknown: the roles of which nothing tells which key there was; all of them until something was read.
        issued: names that a rotation had journaled, until their keys are gone or can come no more.
        queued: when keys were sent to the robot that it never took up (RFC 3339).
        orders_done: nothing of the robot's is left at the exchange.
    """

    def __init__(self, account: str) -> None:
        self._account = account
        self.keys: list[KnownKey] = []
        self.gone: list[KnownKey] = []
        self.unknown: set[str] = set(ROLES)
        self.issued: list[IssuedName] = []
        self.queued: set[str] = set()
        self.orders_done = False
        self._settled: set[str] = set()
        self._listed = False
        self._mark: Callable[[Secret], str] | None = None

    # -- taking in -------------------------------------------------------------------------------------------------

    def take(self, read: KeysRead, facts: Mapping[str, Any]) -> None:
        """Take in what was read, and what an earlier panic, or one beside this one, has noted."""
        self._mark = read.mark
        self.unknown = set(read.unknown)
        self.queued |= set(read.queued)
        self.add(*read.keys)
        self._recall(facts)

    def _recall(self, facts: Mapping[str, Any]) -> None:
        self.add(*(KnownKey.from_json(entry) for entry in facts.get("keys", ())))
        self.unknown |= set(facts.get("unknown", ())) & set(ROLES)
        self.queued |= {str(at) for at in facts.get("queued", ())}
        self.expect(IssuedName.from_json(entry) for entry in facts.get("issued", ()))

    def add(self, *keys: KnownKey) -> None:
        """Take in keys that are told of."""
        self.keys = deduplicate([*self.keys, *keys])

    def expect(self, names: Iterable[IssuedName]) -> None:
        """Take in names under which a key may live, or may yet come to be."""
        known = {one.name for one in self.issued} | self._settled
        for one in names:
            if one.name not in known:
                self.issued.append(one)
                known.add(one.name)

    # -- the issuer's list -----------------------------------------------------------------------------------------

    def same(self, issued: IssuedKey, key: KnownKey) -> bool:
        """Return whether an issued key is this one for certain: a name and four characters are not enough."""
        if key.pair is not None:
            return key.pair.api_key.reveal() == issued.api_key.reveal()
        return bool(self._mark and key.fingerprint and self._mark(issued.api_key) == key.fingerprint)

    def is_ours(self, issued: IssuedKey) -> bool:
        """Return whether this home held an issued key, or a rotation of its had it made."""
        return any(one.name == issued.name for one in self.issued) or any(self.same(issued, key) for key in self.keys)

    def cancels(self, issued: IssuedKey) -> bool:
        """Return whether orders could be cancelled with an issued key of ours."""
        return "spot_trading" in issued.permissions or any(
            key.role == "robot" and self.same(issued, key) for key in self.keys
        )

    def heard(self, listed: Collection[IssuedKey], now_ms: int) -> None:
        """Take in the issuer's list: what it named before and names no longer is gone, what it never named is not."""
        self._listed = True
        keys = []
        for key in self.keys:
            there = any(self.same(one, key) for one in listed)
            if key.listed and not there and not any(key.same_as(one) for one in self.gone):
                self.gone.append(key)
            keys.append(replace(key, listed=key.listed or there))
        self.keys = keys
        names = {one.name for one in listed}
        left = []
        for one in self.issued:
            if one.name in names:
                left.append(replace(one, seen=True))
            elif one.seen or now_ms >= one.until_ms:
                self._settled.add(one.name)
            else:
                left.append(one)
        self.issued = left

    def mark_deleted(self, keys: Iterable[KnownKey]) -> None:
        """Note keys as proved dead."""
        self.gone += keys

    # -- telling ---------------------------------------------------------------------------------------------------

    def alive(self) -> list[KnownKey]:
        """Return the keys that are not proved dead."""
        return [key for key in self.keys if not any(key.same_as(one) for one in self.gone)]

    def nameless(self) -> list[str]:
        """Return the roles of which nothing tells which key lives at the exchange."""
        return [role for role in ROLES if role in self.unknown and all(key.role != role for key in self.keys)]

    def unprovable(self) -> list[str]:
        """Return what may live and nothing can be asked about, in words."""
        named = {key.name for key in self.alive()}
        return [
            *(f"the {role} key, which nothing names" for role in self.nameless()),
            *(one.name for one in self.issued if one.name not in named),
            *(f"the key that was sent at {at}" for at in sorted(self.queued)),
        ]

    def noted(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the latch's facts with all this, and with what another panic has put there meanwhile."""
        self._recall(facts)
        self.orders_done = self.orders_done or bool(facts.get("orders_done"))
        return {
            **facts,
            "orders_done": self.orders_done,
            "keys": [key.as_json() for key in self.alive()],
            "unknown": self.nameless(),
            "issued": [one.as_json() for one in self.issued],
            "queued": sorted(self.queued),
        }

    def actions(self) -> list[dict[str, Any]]:
        """Return what a person must do about the keys."""
        base = {"what": "delete_key_at_exchange", "account": self._account}
        page = "on Binance's API management page"
        alive = self.alive()
        told = []
        for key in alive:
            shown = f" (…{key.tail})" if key.tail else ""
            why = "" if key.listed or not self._listed else ": the issuer's list does not name it for certain"
            told.append({**base, **key.as_json(), "text": f"delete the {key.role} key '{key.name}'{shown} {page}{why}"})
        for one in self.issued:
            if all(one.name != key.name for key in alive):
                text = f"delete the {one.role} key '{one.name}' {page}, if it is there: a rotation had it made"
                told.append({**base, "role": one.role, "name": one.name, "text": text})
        for at in sorted(self.queued):
            text = f"delete {page} the robot key that was sent to the robot at {at} and that it never took up"
            told.append({**base, "role": "robot", "queued_at": at, "text": text})
        return [*told, *nameless(self._account, self.nameless())]


def names_to_expect(names: Mapping[str, Sequence[str]], until_ms: int) -> list[IssuedName]:
    """Return the names that a rotation journaled, by role, as what may still come to be."""
    return [IssuedName(role, name, until_ms) for role, several in names.items() for name in several]
