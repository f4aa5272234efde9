"""Generate key pairs whose private half never leaves fortctl (Ed25519, RSA).

The public half is registered at Binance, which answers with the API key (faqs/api_key_types.md). Until then the pair is
*pending*, and lies in a vault record.
"""

from __future__ import annotations

import json
import os

from fortctl.model import KeyType, PendingPair
from fortctl.secret import Secret

# Binance accepts 2048 to 4096 bits; NIST SP 800-57 gives 3072 the strength of AES-128.
RSA_BITS = 3072


def generate_pending_key(kind: KeyType, now: int) -> PendingPair:
    """Generate a key pair that waits for its API key. Raises ``ValueError`` for HMAC, whose keys the exchange makes."""
    secret, public = generate_pair(kind)
    return PendingPair(os.urandom(4).hex(), kind, secret, public, now)


def pending_pair_to_record(pair: PendingPair) -> Secret:
    """Return the content of a pending key pair's vault record (JSON)."""
    fields = {
        "id": pair.id,
        "type": pair.type.value,
        "secret": pair.secret.reveal(),
        "public": pair.public,
        "made_at": pair.made_at,
    }
    return Secret(json.dumps(fields, sort_keys=True))


def pending_pair_from_record(record: Secret) -> PendingPair:
    """Return the key pair in a record that :func:`pending_pair_to_record` made."""
    fields = json.loads(record.reveal_bytes())
    secret = Secret(fields["secret"])
    return PendingPair(fields["id"], KeyType(fields["type"]), secret, fields["public"], int(fields["made_at"]))


def generate_pair(kind: KeyType) -> tuple[Secret, str]:
    """Generate a key pair.

    Returns:
        The private half (PKCS#8 PEM), and the public half (SubjectPublicKeyInfo PEM) to register at Binance.

    Raises:
        ValueError: *kind* is HMAC, whose keys the exchange makes.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    private: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    if kind is KeyType.ED25519:
        private = ed25519.Ed25519PrivateKey.generate()
    elif kind is KeyType.RSA:
        private = rsa.generate_private_key(65537, RSA_BITS)
    else:
        raise ValueError("an HMAC key is made by the exchange")
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Secret(pem), public.decode()
