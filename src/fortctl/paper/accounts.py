"""Accounts and keys of the paper exchange. Pure: no clock, no randomness of its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from fortctl.errors import BadInput

ZERO = Decimal(0)
PERMISSIONS = (
    *("reading", "spot_trading", "withdrawals", "internal_transfer", "universal_transfer"),
    *("margin", "futures", "options", "fix_read", "fix_trade"),
)


@dataclass
class Account:
    """One account: balances by asset, split into free and locked."""

    name: str
    uid: int
    free: dict[str, Decimal] = field(default_factory=dict)
    locked: dict[str, Decimal] = field(default_factory=dict)
    update_time: int = 0

    def add(self, asset: str, amount: Decimal) -> None:
        self.free[asset] = self.free.get(asset, ZERO) + amount

    def lock(self, asset: str, amount: Decimal) -> None:
        self.free[asset] = self.free.get(asset, ZERO) - amount
        self.locked[asset] = self.locked.get(asset, ZERO) + amount

    def spend_locked(self, asset: str, amount: Decimal) -> None:
        self.locked[asset] = self.locked.get(asset, ZERO) - amount

    def assets(self) -> list[str]:
        return sorted({*self.free, *self.locked})

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "uid": self.uid,
            "free": {asset: str(amount) for asset, amount in self.free.items()},
            "locked": {asset: str(amount) for asset, amount in self.locked.items()},
            "update_time": self.update_time,
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Account:
        def amounts(name: str) -> dict[str, Decimal]:
            return {asset: Decimal(amount) for asset, amount in body[name].items()}

        return cls(body["name"], body["uid"], amounts("free"), amounts("locked"), body["update_time"])


@dataclass
class ApiKey:
    """One key of an account.

    Attributes:
        secret: the HMAC secret; empty for key pairs.
        public_pem: the public half of an Ed25519 or RSA pair.
        ips: addresses it is accepted from; empty: any.
        trading_expires_at: when the trading right lapses (ms), or None.
    """

    name: str
    account: str
    api_key: str
    type: str
    permissions: tuple[str, ...]
    created_at: int
    secret: str = ""
    public_pem: str = ""
    ips: tuple[str, ...] = ()
    trading_expires_at: int | None = None

    def may(self, permission: str, now: int) -> bool:
        if permission == "spot_trading" and self.trading_expires_at is not None and now >= self.trading_expires_at:
            return False
        return permission in self.permissions

    def shown(self) -> dict[str, Any]:
        """Return all of it but the secret halves; the API key's tail alone."""
        return {
            "name": self.name,
            "account": self.account,
            "type": self.type,
            "tail": self.api_key[-4:],
            "permissions": list(self.permissions),
            "ips": list(self.ips),
            "created_at": self.created_at,
            "trading_expires_at": self.trading_expires_at,
        }

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> ApiKey:
        return cls(**{**body, "permissions": tuple(body["permissions"]), "ips": tuple(body["ips"])})


def check_permissions(permissions: list[str], ips: list[str]) -> tuple[str, ...]:
    """Return the permissions in the order of Binance's page.

    Raises:
        BadInput: one is unknown, or withdrawals without an IP list (as on Binance's page).
    """
    unknown = [name for name in permissions if name not in PERMISSIONS]
    if unknown or not permissions:
        raise BadInput("a permission is unknown or none is given", hint=f"choose from {', '.join(PERMISSIONS)}")
    if "withdrawals" in permissions and not ips:
        raise BadInput("a key that may withdraw needs an IP list", hint="give --ip ADDRESS")
    return tuple(name for name in PERMISSIONS if name in permissions)
