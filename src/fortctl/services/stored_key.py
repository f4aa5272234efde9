"""A key as the site's vault holds it, and its record. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from fortctl.model import KeyPair, KeyRestrictions, KeyRights, KeyType
from fortctl.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Collection

    from fortctl.model import Drift, KeyVerdict


class StoredKey(NamedTuple):
    """A key as the site's vault holds it.

    Attributes:
        pair: the key itself.
        added_at: when it was stored (ms).
        verified_at: when the exchange last accepted it (ms), or None.
        rejected_since: when the exchange first refused it after that (ms), or None.
        uid: the account's number at the exchange.
        restrictions: its rights when last asked.
        allow: rights that the operator accepted although the role forbids them.
        restrictions_at: when the exchange last said what the key may do (ms), or None.
        accepted: its rights when a person entered it; None: as last asked.
    """

    pair: KeyPair
    added_at: int
    verified_at: int | None = None
    rejected_since: int | None = None
    uid: int | None = None
    restrictions: KeyRestrictions | None = None
    allow: tuple[str, ...] = ()
    restrictions_at: int | None = None
    accepted: KeyRights | None = None

    @classmethod
    def entered(
        cls,
        pair: KeyPair,
        now: int,
        uid: int | None,
        restrictions: KeyRestrictions | None,
        allow: Collection[str],
    ) -> StoredKey:
        """Return a key that a person has just entered and the exchange accepted: its rights are accepted."""
        known_at = now if restrictions is not None else None
        return cls(pair, now, now, None, uid, restrictions, tuple(allow), known_at, _rights(restrictions))

    @property
    def drift(self) -> tuple[Drift, ...]:
        """How what the key may do differs from what a person accepted."""
        if self.accepted is None or self.restrictions is None:
            return ()
        from fortctl.keys.drift import compare_rights

        return compare_rights(self.accepted, self.restrictions.rights())

    @property
    def status(self) -> str:
        if self.rejected_since is not None:
            return "rejected"
        return "ok" if self.verified_at is not None else "unverified"

    def with_verdict(self, verdict: KeyVerdict, now: int) -> StoredKey:
        """Return the key as it stands after the exchange was asked."""
        if not verdict.accepted:
            return self._replace(rejected_since=self.rejected_since or now)
        return self._replace(
            verified_at=now,
            rejected_since=None,
            uid=verdict.uid if verdict.uid is not None else self.uid,
            restrictions=verdict.restrictions or self.restrictions,
            restrictions_at=now if verdict.restrictions is not None else self.restrictions_at,
            # Keys that an older fortctl stored: what it knew of their rights was accepted.
            accepted=self.accepted or _rights(self.restrictions or verdict.restrictions),
        )

    def accepting(self) -> StoredKey:
        """Return the key with its present rights accepted, because a person entered it (again)."""
        return self._replace(accepted=_rights(self.restrictions))


def _rights(restrictions: KeyRestrictions | None) -> KeyRights | None:
    return restrictions.rights() if restrictions is not None else None


def encode_key(key: StoredKey) -> Secret:
    """Serialise a key for its vault record."""
    body = {
        "name": key.pair.name,
        "type": key.pair.type.value,
        "api_key": key.pair.api_key.reveal(),
        "secret": key.pair.secret.reveal(),
        "added_at": key.added_at,
        "verified_at": key.verified_at,
        "rejected_since": key.rejected_since,
        "uid": key.uid,
        "restrictions": key.restrictions.to_json() if key.restrictions is not None else None,
        "allow": list(key.allow),
        "restrictions_at": key.restrictions_at,
        "accepted": key.accepted.to_json() if key.accepted is not None else None,
    }
    return Secret(json.dumps(body, sort_keys=True))


def decode_key(record: Secret) -> StoredKey:
    """Read back what :func:`encode_key` wrote."""
    body = json.loads(record.reveal_bytes())
    pair = KeyPair(body["name"], KeyType(body["type"]), Secret(body["api_key"]), Secret(body["secret"]))
    restrictions = KeyRestrictions.from_json(body["restrictions"]) if body["restrictions"] else None
    return StoredKey(
        pair=pair,
        added_at=body["added_at"],
        verified_at=body["verified_at"],
        rejected_since=body["rejected_since"],
        uid=body["uid"],
        restrictions=restrictions,
        allow=tuple(body["allow"]),
        restrictions_at=body.get("restrictions_at"),
        accepted=KeyRights.from_json(body["accepted"]) if body.get("accepted") else None,
    )
