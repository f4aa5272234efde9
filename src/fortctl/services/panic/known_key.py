"""Keys that live at the exchange, as far as a panic knows them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fortctl.model import KeyPair
from fortctl.secret import Secret

ROLES = ("site", "robot")
# Purposes of erasure keys whose records are not keys of the exchange (yet).
NOT_AT_EXCHANGE = ("recipient", "pending")


@dataclass(frozen=True)
class KnownKey:
    """A key that lives at the exchange until somebody deletes it.

    Attributes:
        pair: the key itself, only where it could be read.
        listed: the issuer's list has named it.
    """

    role: str
    name: str
    tail: str = ""
    fingerprint: str = ""
    pair: KeyPair | None = field(default=None, repr=False)
    listed: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return what the latch, the audit log and the report say of the key; never the key itself."""
        text: dict[str, Any] = {"role": self.role, "name": self.name, "tail": self.tail}
        return {**text, "fingerprint": self.fingerprint, **({"listed": True} if self.listed else {})}

    def same_as(self, other: KnownKey) -> bool:
        """Return whether both describe one key; a locked vault gives only the name."""
        tails = {self.tail, other.tail} - {""}
        return (self.role, self.name) == (other.role, other.name) and len(tails) <= 1

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> KnownKey:
        """Read what :meth:`as_json` wrote; what is missing is empty."""
        role, name, tail, mark = (str(entry.get(part) or "") for part in ("role", "name", "tail", "fingerprint"))
        return cls(role, name, tail, mark, listed=bool(entry.get("listed")))


@dataclass(frozen=True)
class IssuedName:
    """A unique name under which an aborted rotation had a key made, or may have.

    Attributes:
        until_ms: until when the exchange may still make it (ms); 0: it was made.
        seen: the issuer's list has named it.
    """

    role: str
    name: str
    until_ms: int = 0
    seen: bool = False

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> IssuedName:
        """Read what :meth:`as_json` wrote; what is missing is empty."""
        role, name = str(entry.get("role") or ""), str(entry.get("name") or "")
        until_ms = entry.get("until_ms")
        return cls(role, name, until_ms if isinstance(until_ms, int) else 0, bool(entry.get("seen")))

    def as_json(self) -> dict[str, Any]:
        """Return what the latch says of the name."""
        return {"role": self.role, "name": self.name, "until_ms": self.until_ms, "seen": self.seen}


@dataclass(frozen=True)
class KeysRead:
    """What one place says of an account's keys.

    Attributes:
        keys: the keys that it names.
        unknown: the roles that may have had a key of which the place says nothing.
        fingerprint: makes the fingerprint of an API key, where the home's fingerprint key could be read.
    """

    keys: Sequence[KnownKey] = ()
    unknown: Collection[str] = ()
    fingerprint: Callable[[Secret], str] | None = None


def deduplicate(keys: Iterable[KnownKey]) -> list[KnownKey]:
    """Return each key once, in the form that says most of it."""
    unique: list[KnownKey] = []
    for key in sorted(keys, key=lambda key: (key.pair is None, not key.tail)):
        index = next((index for index, other in enumerate(unique) if key.same_as(other)), None)
        if index is None:
            unique.append(key)
        else:
            unique[index] = replace(unique[index], listed=unique[index].listed or key.listed)
    return unique
