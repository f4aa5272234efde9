"""The permissions and restrictions of an API key at the exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fortctl.model.drift import KeyRights
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

    def rights(self) -> KeyRights:
        """Return what the drift watch compares."""
        return KeyRights(self.permissions(), self.ip_restricted, self.trading_expires_at)

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
