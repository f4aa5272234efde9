"""Exchange identities over an untrusted mailbox, confirmed by a short code that a person compares. Pure.

The operator commits to its identity and a random number before it sees the robot's, and reveals them afterwards; the
code covers both identities, both numbers, the account and the exchange. An attacker who swaps an identity has one try,
which succeeds with a probability of 2⁻⁴⁰ (the commitment scheme of ZRTP, RFC 6189 section 4.4, and of Bluetooth's
numeric comparison). Specified in docs/sealed-mailbox.md, "Pairing".
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from fortctl.canonical_json import canonical_json
from fortctl.errors import ConflictError
from fortctl.mailbox.crypto import low_order

NONCE_BYTES = 32
_CODE_BITS = 40


@dataclass(frozen=True)
class PairingShare:
    """What one side contributes to a pairing.

    Attributes:
        session: distinguishes this pairing from others.
        public: the identity's public key (32 bytes, Ed25519).
        nonce: 32 random bytes.
    """

    session: str
    public: bytes
    nonce: bytes

    def as_bytes(self) -> bytes:
        """Return the share as canonical JSON."""
        return canonical_json(
            {
                "session": self.session,
                "public": base64.b64encode(self.public).decode(),
                "nonce": base64.b64encode(self.nonce).decode(),
            }
        )


def commitment(operator: PairingShare) -> bytes:
    """Return the operator's first message, which commits it to its share."""
    digest = hashlib.sha256(b"fortctl/1/pairing commitment\0" + operator.as_bytes()).hexdigest()
    return canonical_json({"session": operator.session, "commitment": digest})


def read_commitment(body: bytes) -> tuple[str, str]:
    """Return the session and the commitment. Raises ``ConflictError`` if the message is malformed."""
    fields = _fields(body)
    try:
        return str(fields["session"]), str(fields["commitment"])
    except KeyError:
        raise _malformed() from None


def read_share(body: bytes) -> PairingShare:
    """Return the other side's share. Raises ``ConflictError`` if it is malformed."""
    fields = _fields(body)
    try:
        half = PairingShare(
            str(fields["session"]),
            base64.b64decode(fields["public"], validate=True),
            base64.b64decode(fields["nonce"], validate=True),
        )
    except (KeyError, TypeError, ValueError):
        raise _malformed() from None
    if len(half.public) != 32 or len(half.nonce) != NONCE_BYTES or low_order(half.public):
        raise _malformed()
    return half


def matches_commitment(operator: PairingShare, committed: str) -> bool:
    """Return whether the operator's share is the one that it committed to."""
    return read_commitment(commitment(operator))[1] == committed


def comparison_code(account: str, exchange: str, operator: PairingShare, robot: PairingShare) -> str:
    """Return the code that both sides show: eight characters of base32 (RFC 4648)."""
    covered = canonical_json([account, exchange, operator.as_bytes().decode(), robot.as_bytes().decode()])
    digest = hashlib.sha256(b"fortctl/1/pairing code\0" + covered).digest()
    text = base64.b32encode(digest[: _CODE_BITS // 8]).decode()
    return f"{text[:4]}-{text[4:]}"


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
        json.dumps(fields, ensure_ascii=False).encode()  # rejects lone surrogates, which UTF-8 cannot encode
    except (ValueError, RecursionError):
        raise _malformed() from None
    if not isinstance(fields, dict):
        raise _malformed()
    return fields


def _malformed() -> ConflictError:
    return ConflictError(
        "the pairing message in the mailbox is malformed", hint="start again with 'fortctl robot pair'"
    )
