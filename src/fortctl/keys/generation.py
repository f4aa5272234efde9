"""Key pairs made here, for Binance to know only the public half (faqs/api_key_types.md)."""

from __future__ import annotations

import json
import os

from fortctl.model import KeyType, PendingPair
from fortctl.secret import Secret

# Binance takes 2048 to 4096 bits; NIST SP 800-57 gives 3072 the strength of AES-128.
RSA_BITS = 3072


def generate_pending_key(kind: KeyType, now: int) -> PendingPair:
    """Make a key pair that waits for its API key. Raises ``ValueError``: HMAC keys are made by the exchange."""
    secret, public = generate_pair(kind)
    return PendingPair(os.urandom(4).hex(), kind, secret, public, now)


def pending_pair_to_record(pair: PendingPair) -> Secret:
    """Serialise a pending key pair for its vault record."""
    body = {
        "id": pair.id,
        "type": pair.type.value,
        "secret": pair.secret.reveal(),
        "public": pair.public,
        "made_at": pair.made_at,
    }
    return Secret(json.dumps(body, sort_keys=True))


def pending_pair_from_record(record: Secret) -> PendingPair:
    """Read back what :func:`pending_pair_to_record` wrote."""
    body = json.loads(record.reveal_bytes())
    return PendingPair(body["id"], KeyType(body["type"]), Secret(body["secret"]), body["public"], int(body["made_at"]))


def generate_pair(kind: KeyType) -> tuple[Secret, str]:
    """Make a key pair.

    Returns:
        The private half (PKCS#8 PEM), and the public half (SubjectPublicKeyInfo PEM) that Binance's page takes.

    Raises:
        ValueError: HMAC keys are made by the exchange.
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
