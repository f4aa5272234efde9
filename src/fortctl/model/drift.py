"""What a key may do as far as it is watched, and how that differs from what a person accepted (its drift)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple


class KeyRights(NamedTuple):
    """What a key may do, from where and until when, as the exchange said at one moment.

    Attributes:
        permissions: the permissions that are switched on.
        expires_at: when the trading permission ends (ms since the epoch); None: not stated.
    """

    permissions: tuple[str, ...]
    ip_restricted: bool
    expires_at: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what journals and cards hold."""
        return {
            "permissions": list(self.permissions),
            "ip_restricted": self.ip_restricted,
            "expires_at": self.expires_at,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> KeyRights:
        """Read what :meth:`to_json` wrote."""
        return cls(tuple(fields["permissions"]), bool(fields["ip_restricted"]), fields["expires_at"])


class DriftKind(StrEnum):
    """How a key's rights at the exchange differ from those that a person accepted."""

    RIGHT_ADDED = "right_added"
    RIGHT_REMOVED = "right_removed"
    IP_LIST_LIFTED = "ip_list_lifted"
    IP_LIST_SET = "ip_list_set"
    EXPIRY_CHANGED = "expiry_changed"
    EXPIRY_NEAR = "expiry_near"


class Drift(NamedTuple):
    """One difference.

    Attributes:
        permission: the permission that appeared or went; empty for the other kinds.
        detail: the words for a person.
    """

    kind: DriftKind
    detail: str
    permission: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what journals, cards and results hold."""
        return {"kind": self.kind.value, "permission": self.permission or None, "detail": self.detail}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Drift:
        """Read what :meth:`to_json` wrote."""
        return cls(DriftKind(fields["kind"]), str(fields["detail"]), str(fields["permission"] or ""))
