"""Keys: their roles, types and permissions, the secret halves, and the card that may be shown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fortctl.secret import Secret


class Role(StrEnum):
    SITE = "site"
    ROBOT = "robot"


class KeyType(StrEnum):
    HMAC = "hmac"
    ED25519 = "ed25519"
    RSA = "rsa"


@dataclass(frozen=True)
class KeyPair:
    """A named API key with the half that signs.

    Attributes:
        name: the name given to the key in the Binance account.
        type: HMAC, Ed25519 or RSA.
        api_key: the public identifier, treated as a secret all the same.
        secret: the HMAC secret key, or the private key as PEM.
    """

    name: str
    type: KeyType
    api_key: Secret
    secret: Secret


# What --allow accepts besides permissions: a key although the exchange does not say what it may do.
UNKNOWN_RIGHTS = "unknown_rights"

# The names used by --allow, `paper keys create --permissions` and every JSON output.
PERMISSIONS: tuple[str, ...] = (
    "reading",
    "spot_trading",
    "withdrawals",
    "internal_transfer",
    "universal_transfer",
    "margin",
    "futures",
    "options",
    "portfolio_margin",
    "fix_trade",
    "fix_read",
)


@dataclass(frozen=True)
class PendingPair:
    """A key pair that was made here and whose API key is still to come.

    Attributes:
        id: names it among others that were made.
        secret: the private half (PEM); it never leaves the vault that it lies in.
        public: the public half (PEM), to be registered at the exchange.
        made_at: milliseconds since the epoch.
    """

    id: str
    type: KeyType
    secret: Secret
    public: str
    made_at: int


@dataclass(frozen=True)
class KeyCard:
    """All of a key that is ever shown (the ``key{…}`` object of the contract)."""

    role: Role
    name: str
    type: KeyType
    fingerprint: str
    tail: str
    status: str
    permissions: tuple[str, ...] = ()
    ip_restricted: bool | None = None
    held_by: tuple[str, ...] = ()
    created_at: int | None = None
    verified_at: int | None = None
    expires_at: int | None = None
    rejected_since: int | None = None
