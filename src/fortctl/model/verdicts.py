"""What the exchange says about a key, and what fortctl makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fortctl.model.keys import PERMISSIONS


@dataclass(frozen=True)
class KeyRestrictions:
    """What ``GET /sapi/v1/account/apiRestrictions`` says of the calling key.

    Attributes:
        created_at, trading_expires_at: milliseconds since the epoch; None: not stated.
        unknown: permissions that are switched on and that fortctl does not know, under Binance's names.
    """

    ip_restricted: bool
    reading: bool
    spot_trading: bool
    withdrawals: bool
    internal_transfer: bool
    universal_transfer: bool
    margin: bool
    futures: bool
    options: bool
    portfolio_margin: bool = False
    fix_trade: bool = False
    fix_read: bool = False
    created_at: int | None = None
    trading_expires_at: int | None = None
    unknown: tuple[str, ...] = ()

    def permissions(self) -> tuple[str, ...]:
        """Return the permissions that are switched on, in the order of :data:`PERMISSIONS`, then the unknown ones."""
        return (*(name for name in PERMISSIONS if getattr(self, name)), *self.unknown)

    def to_json(self) -> dict[str, Any]:
        """Return what vault records and receipts hold."""
        fields = asdict(self)
        # An older fortctl, which shares the vault or reads the receipt, refuses a field that it does not know.
        unknown = fields.pop("unknown")
        return fields | ({"unknown": list(unknown)} if unknown else {})

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> KeyRestrictions:
        """Read what :meth:`to_json` wrote. Raises TypeError for another field."""
        return cls(**{**fields, "unknown": tuple(fields.get("unknown", ()))})


@dataclass(frozen=True)
class PolicyVerdict:
    """How a key's permissions compare with its role.

    Attributes:
        ok: nothing is missing and nothing is in excess.
        missing: permissions that the role requires and the key lacks.
        excess: permissions that the key has and the role forbids, except those accepted with ``--allow``.
        warnings: ``(code, message)`` pairs, for example an unrestricted IP list.
        lapsed: the trading permission is missing because it has expired.
    """

    ok: bool
    missing: tuple[str, ...] = ()
    excess: tuple[str, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()
    lapsed: bool = False


@dataclass(frozen=True)
class KeyVerdict:
    """The result of verifying a key at the exchange.

    Attributes:
        accepted: the exchange accepts the key for signed reading.
        reason: ``ok``, or why not (``unknown_key``, ``wrong_secret``, ``malformed_key``, ``refused``,
            ``other_account``, ``shared_between_roles``, ``policy`` …).
        restrictions: the key's permissions; None where the target does not tell them.
        policy: their comparison with the role; None where they are not known.
        uid: the account's number at the exchange, where the key was accepted.
        latency_ms: round trip of the signed call.
        clock_skew_ms: the exchange's clock minus the local clock.
        exchange_code, http_status, exchange_message: the exchange's answer to a rejected key.
        details: certainty and evidence of a rejection.
        can_trade: the account may trade (which says nothing about the key).
        warnings: ``(code, message)`` pairs, the policy's among them.
        rights_unknown: why the exchange did not say what the key may do, although it could; empty where it did, where
            the target has no such call, and where a person accepted that (``--allow unknown_rights``).
    """

    accepted: bool
    reason: str
    restrictions: KeyRestrictions | None = None
    policy: PolicyVerdict | None = None
    uid: int | None = None
    latency_ms: float | None = None
    clock_skew_ms: float | None = None
    exchange_code: int | None = None
    http_status: int | None = None
    exchange_message: str = ""
    details: dict[str, str] = field(default_factory=dict)
    can_trade: bool = True
    warnings: tuple[tuple[str, str], ...] = ()
    rights_unknown: str = ""
