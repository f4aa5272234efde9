"""Key cards and verdicts as JSON, between site and robot and in results. Pure.

Signed documents contain no floats, because two programs may write the same float differently.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fortctl.errors import ExchangeAnswer
from fortctl.model import Drift, KeyCard, KeyType, Role

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
        "permissions_at": card.permissions_at,
        "drift": [drift.to_json() for drift in card.drift],
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
        permissions_at=fields.get("permissions_at"),
        drift=tuple(Drift.from_json(drift) for drift in fields.get("drift", ())),
    )


def warnings_from_json(rows: Iterable[Sequence[Any]]) -> tuple[tuple[str, str], ...]:
    """Return ``(code, message)`` pairs of another process."""
    return tuple((str(code), str(message)) for code, message in rows)


@dataclass(frozen=True)
class KeyCheck:
    """One entry of ``results[]`` of ``keys verify``: a verdict without secrets, as site and robot exchange it.

    Attributes:
        accepted, reason: as in :class:`fortctl.model.KeyVerdict`.
        certainty, why, seen_from: the evidence of a rejection.
        policy_ok: whether the permissions fit the role; None where they are not known.
        missing, excess, lapsed: as in :class:`fortctl.model.PolicyVerdict`.
        permissions: by name, whether the key has it; also whether it is restricted to IP addresses.
        latency_ms, clock_skew_ms: whole milliseconds.
        exchange: the exchange's answer to a rejected key.
        drift: how what the key may do differs from what a person accepted.
    """

    role: Role
    accepted: bool
    reason: str
    certainty: str
    why: str | None
    seen_from: str | None
    policy_ok: bool | None
    missing: tuple[str, ...]
    excess: tuple[str, ...]
    lapsed: bool
    permissions: Mapping[str, object]
    latency_ms: int | None
    clock_skew_ms: int | None
    exchange: ExchangeAnswer | None
    drift: tuple[Drift, ...] = ()

    @classmethod
    def of(cls, role: Role, verdict: KeyVerdict, drift: tuple[Drift, ...] = ()) -> KeyCheck:
        """Return what is reported of a verdict."""
        policy, restrictions = verdict.policy, verdict.restrictions
        rights: dict[str, object] = (
            {
                name: getattr(restrictions, name)
                for name in restrictions.__dataclass_fields__
                if name != "unknown" and not name.endswith("_at")
            }
            | dict.fromkeys(restrictions.unknown, True)
            if restrictions
            else {}
        )
        return cls(
            role=role,
            accepted=verdict.accepted,
            reason=verdict.reason,
            certainty=verdict.certainty,
            why=verdict.why,
            seen_from=verdict.seen_from,
            policy_ok=policy.ok if policy else None,
            missing=policy.missing if policy else (),
            excess=policy.excess if policy else (),
            lapsed=policy.lapsed if policy else False,
            permissions=rights,
            latency_ms=None if verdict.latency_ms is None else round(verdict.latency_ms),
            clock_skew_ms=None if verdict.clock_skew_ms is None else round(verdict.clock_skew_ms),
            exchange=(
                ExchangeAnswer(verdict.http_status, verdict.exchange_code, verdict.exchange_message)
                if verdict.exchange_code is not None
                else None
            ),
            drift=drift,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the entry of ``results[]``."""
        return {
            "role": self.role.value,
            "accepted": self.accepted,
            "reason": self.reason,
            "certainty": self.certainty,
            "why": self.why,
            "seen_from": self.seen_from,
            "policy": {
                "ok": self.policy_ok,
                "missing": list(self.missing),
                "excess": list(self.excess),
                "lapsed": self.lapsed,
            },
            "permissions": dict(self.permissions),
            "latency_ms": self.latency_ms,
            "clock_skew_ms": self.clock_skew_ms,
            "exchange": self.exchange.as_json() if self.exchange is not None else None,
            "drift": [one.to_json() for one in self.drift],
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> KeyCheck:
        """Read what :meth:`to_json` wrote."""
        policy, answer = fields["policy"], fields.get("exchange")
        return cls(
            role=Role(fields["role"]),
            accepted=bool(fields["accepted"]),
            reason=str(fields["reason"]),
            certainty=str(fields.get("certainty", "certain")),
            why=fields.get("why"),
            seen_from=fields.get("seen_from"),
            policy_ok=policy["ok"],
            missing=tuple(policy["missing"]),
            excess=tuple(policy["excess"]),
            lapsed=bool(policy.get("lapsed")),
            permissions=fields["permissions"],
            latency_ms=fields.get("latency_ms"),
            clock_skew_ms=fields.get("clock_skew_ms"),
            exchange=ExchangeAnswer(answer["http_status"], answer["code"], answer["message"]) if answer else None,
            drift=tuple(Drift.from_json(one) for one in fields.get("drift", ())),
        )
