"""Exchange identities over a mailbox that nobody trusts, with a short code that a person compares. Pure.

The operator commits to its identity and a random number before it sees the robot's, and reveals them afterwards; the
code covers both identities, both numbers, the account and the exchange. Whoever swaps an identity on the way has one
try, and passes with a chance of 2⁻⁴⁰ (the commitment scheme of ZRTP, RFC 6189 section 4.4, and of Bluetooth's numeric
comparison). Specified in docs/sealed-mailbox.md, "Pairing".
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
    """One side's part.

    Attributes:
        session: names this pairing among others that were begun.
        public: the identity's public key (32 bytes, Ed25519).
        nonce: 32 random bytes.
    """

    session: str
    public: bytes
    nonce: bytes

    def as_bytes(self) -> bytes:
        return canonical_json(
            {
                "session": self.session,
                "public": base64.b64encode(self.public).decode(),
                "nonce": base64.b64encode(self.nonce).decode(),
            }
        )


def commitment(operator: PairingShare) -> bytes:
    """Return what the operator says first: it can reveal nothing else afterwards."""
    digest = hashlib.sha256(b"fortctl/1/pairing commitment\0" + operator.as_bytes()).hexdigest()
    return canonical_json({"session": operator.session, "commitment": digest})


def read_commitment(body: bytes) -> tuple[str, str]:
    """Return the session and the commitment. Raises ``ConflictError``: malformed."""
    fields = _fields(body)
    try:
        return str(fields["session"]), str(fields["commitment"])
    except KeyError:
        raise _malformed() from None


def read_share(body: bytes) -> PairingShare:
    """Return the other side's part. Raises ``ConflictError``: malformed."""
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
    """Return whether what the operator reveals is what it committed to."""
    return read_commitment(commitment(operator))[1] == committed


def comparison_code(account: str, exchange: str, operator: PairingShare, robot: PairingShare) -> str:
    """Return the code that both sides show: eight letters and digits that are hard to mistake (RFC 4648 base32)."""
    covered = canonical_json([account, exchange, operator.as_bytes().decode(), robot.as_bytes().decode()])
    digest = hashlib.sha256(b"fortctl/1/pairing code\0" + covered).digest()
    text = base64.b32encode(digest[: _CODE_BITS // 8]).decode()
    return f"{text[:4]}-{text[4:]}"


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
        json.dumps(fields, ensure_ascii=False).encode()  # half a surrogate pair has no UTF-8
    except (ValueError, RecursionError):
        raise _malformed() from None
    if not isinstance(fields, dict):
        raise _malformed()
    return fields


def _malformed() -> ConflictError:
    return ConflictError(
        "what lies in the mailbox for this pairing is malformed", hint="begin again: 'fortctl robot pair'"
    )
