"""Accounts and keys of the paper exchange. Pure: no clock, no randomness of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from fortctl.errors import BadInputError

ZERO = Decimal(0)
# Fast API, "Create API key": at most 30 addresses for a key.
MOST_IPS = 30
# What a key with rights beyond reading gets where the request names no address.
LOOPBACK = ("127.0.0.1", "::1")
PERMISSIONS = (
    *("reading", "spot_trading", "withdrawals", "internal_transfer", "universal_transfer"),
    *("margin", "futures", "options", "fix_read", "fix_trade"),
)


@dataclass
class Account:
    """One account: balances by asset, split into free and locked.

    Attributes:
        email: the address by which the master's calls name a sub-account.
        master: the account whose sub-account this is, or None.
        pays_in_bnb: commissions are paid in BNB, at a discount, while there is enough.
        can_trade: the account as a whole may trade.
    """

    name: str
    uid: int
    free: dict[str, Decimal] = field(default_factory=dict)
    locked: dict[str, Decimal] = field(default_factory=dict)
    update_time: int = 0
    email: str = ""
    master: str | None = None
    pays_in_bnb: bool = False
    can_trade: bool = True

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
            "email": self.email,
            "master": self.master,
            "pays_in_bnb": self.pays_in_bnb,
            "can_trade": self.can_trade,
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Account:
        def amounts(name: str) -> dict[str, Decimal]:
            return {asset: Decimal(amount) for asset, amount in body[name].items()}

        more = {name: body[name] for name in ("email", "master", "pays_in_bnb", "can_trade") if name in body}
        return cls(body["name"], body["uid"], amounts("free"), amounts("locked"), body["update_time"], **more)


@dataclass
class ApiKey:
    """One key of an account.

    Attributes:
        secret: the HMAC secret; empty for key pairs.
        public_pem: the public half of an Ed25519 or RSA pair.
        ips: the addresses from which it is accepted; empty for all.
        trading_expires_at: when the trading right expires (ms), or None.
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

    @property
    def is_endangered(self) -> bool:
        """Whether Binance deletes such keys: it may do more than read, from any address (key form, April 2026)."""
        return not self.ips and reaches_beyond_reading(self.permissions)

    def row(self) -> dict[str, Any]:
        """Return the key without its secrets, and with the API key's last four characters only."""
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


def reaches_beyond_reading(permissions: Iterable[str]) -> bool:
    """Return whether one of these permissions allows more than to read."""
    return not set(permissions) <= {"reading", "fix_read"}


def check_permissions(permissions: list[str], ips: list[str]) -> tuple[str, ...]:
    """Return the permissions in the order of Binance's page.

    Raises:
        BadInputError: one is unknown, or withdrawals without an IP list (as on Binance's page), or there are too many
            addresses.
    """
    unknown = [name for name in permissions if name not in PERMISSIONS]
    if unknown or not permissions:
        raise BadInputError("a permission is missing or unknown", hint=f"choose from {', '.join(PERMISSIONS)}")
    if "withdrawals" in permissions and not ips:
        raise BadInputError("a key that may withdraw requires an IP list", hint="give --ip ADDRESS")
    if len(ips) > MOST_IPS:
        raise BadInputError(f"a key has at most {MOST_IPS} IP addresses", hint=f"{len(ips)} were given")
    return tuple(name for name in PERMISSIONS if name in permissions)


def read_public_key(pem: str) -> tuple[str, str] | None:
    """Return the type (``ed25519``, ``rsa``) and the normalized PEM of a public key, or None for any other text.

    RSA keys have 2048 to 4096 bits (faqs/api_key_types.md). The PEM header and footer may be missing, as on
    Binance's pages.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    text = pem.strip().replace("\\n", "\n")
    if not text.startswith("-----BEGIN"):
        text = f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----"
    try:
        public = serialization.load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None
    if isinstance(public, ed25519.Ed25519PublicKey):
        kind = "ed25519"
    elif isinstance(public, rsa.RSAPublicKey) and 2048 <= public.key_size <= 4096:
        kind = "rsa"
    else:
        return None
    normal = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return kind, normal.decode()
