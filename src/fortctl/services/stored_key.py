"""A key as the site's vault holds it, and its record. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from fortctl.model import KeyPair, KeyRestrictions, KeyType
from fortctl.secret import Secret

if TYPE_CHECKING:
    from fortctl.model import KeyVerdict


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
    """

    pair: KeyPair
    added_at: int
    verified_at: int | None = None
    rejected_since: int | None = None
    uid: int | None = None
    restrictions: KeyRestrictions | None = None
    allow: tuple[str, ...] = ()

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
        )


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
    )
