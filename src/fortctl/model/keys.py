"""API keys: roles, types, names of permissions, pairs, and the card that is all of a key that is ever shown."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from fortctl.secret import Secret

if TYPE_CHECKING:
    from fortctl.model.drift import Drift


class Role(StrEnum):
    """What a key is for: ``site`` reads, ``robot`` reads and trades."""

    SITE = "site"
    ROBOT = "robot"


class KeyType(StrEnum):
    """How a key signs (Binance, faqs/api_key_types.md)."""

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
# And a key that may trade and works from any IP address.
IP_UNRESTRICTED = "ip_unrestricted"

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


def reads_only(permissions: Collection[str]) -> bool:
    """Return whether a key with these permissions can only read."""
    return set(permissions) <= {"reading", "fix_read"}


@dataclass(frozen=True)
class PendingPair:
    """A key pair that fortctl generated, and that waits for its API key.

    Attributes:
        id: 8 hex digits, distinguishes it from other pending pairs.
        secret: the private half (PEM); it never leaves its vault.
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
    """All of a key that is ever shown (the ``key{…}`` object of ``--json``).

    Attributes:
        tail: the last four characters of the API key.
        held_by: the vaults that hold it (``site``, ``robot``).
        created_at, verified_at, expires_at, rejected_since: milliseconds since the epoch; None: unknown or never.
        permissions_at: when the exchange last said what the key may do; None: never, or an older fortctl asked.
        drift: how that differs from what a person accepted.
    """

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
    permissions_at: int | None = None
    drift: tuple[Drift, ...] = ()
