"""Key cards and verdicts as JSON, between site and robot and in results. Pure.

Signed documents contain no floats, because two programs may write the same float differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fortctl.errors import ExchangeAnswer
from fortctl.model import KeyCard, KeyType, Role

if TYPE_CHECKING:
    from fortctl.model import KeyVerdict


def key_card_to_json(card: KeyCard) -> dict[str, Any]:
    """Return a key card as the robot publishes it (times in milliseconds since the epoch)."""
    return {
        "role": card.role.value,
        "name": card.name,
        "type": card.type.value,
        "fingerprint": card.fingerprint,
        "tail": card.tail,
        "status": card.status,
        "permissions": list(card.permissions),
        "ip_restricted": card.ip_restricted,
        "held_by": list(card.held_by),
        "created_at": card.created_at,
        "verified_at": card.verified_at,
        "expires_at": card.expires_at,
        "rejected_since": card.rejected_since,
    }


def key_card_from_json(fields: Mapping[str, Any]) -> KeyCard:
    """Return the key card of a document that :func:`key_card_to_json` made."""
    return KeyCard(
        role=Role(fields["role"]),
        name=fields["name"],
        type=KeyType(fields["type"]),
        fingerprint=fields["fingerprint"],
        tail=fields["tail"],
        status=fields["status"],
        permissions=tuple(fields["permissions"]),
        ip_restricted=fields["ip_restricted"],
        held_by=tuple(fields["held_by"]),
        created_at=fields["created_at"],
        verified_at=fields["verified_at"],
        expires_at=fields["expires_at"],
        rejected_since=fields.get("rejected_since"),
    )


def verdict_to_json(role: Role, verdict: KeyVerdict) -> dict[str, Any]:
    """Return one entry of ``results[]`` of ``keys verify``; milliseconds are whole numbers."""
    policy, restrictions = verdict.policy, verdict.restrictions
    rights = (
        {
            name: getattr(restrictions, name)
            for name in restrictions.__dataclass_fields__
            if name != "unknown" and not name.endswith("_at")
        }
        | dict.fromkeys(restrictions.unknown, True)
        if restrictions
        else {}
    )
    return {
        "role": role.value,
        "accepted": verdict.accepted,
        "reason": verdict.reason,
        "certainty": verdict.details.get("certainty", "certain"),
        "why": verdict.details.get("why"),
        "seen_from": verdict.details.get("seen_from"),
        "policy": {
            "ok": policy.ok if policy else None,
            "missing": list(policy.missing) if policy else [],
            "excess": list(policy.excess) if policy else [],
            "lapsed": policy.lapsed if policy else False,
        },
        "permissions": rights,
        "latency_ms": None if verdict.latency_ms is None else round(verdict.latency_ms),
        "clock_skew_ms": None if verdict.clock_skew_ms is None else round(verdict.clock_skew_ms),
        "exchange": (
            ExchangeAnswer(verdict.http_status, verdict.exchange_code, verdict.exchange_message).as_json()
            if verdict.exchange_code is not None
            else None
        ),
    }
