"""Sign what is sent to Binance. Source: faqs/api_key_types.md; rest-api.md and web-socket-api.md, "Signed request"."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

from fortctl.model import KeyPair, KeyType


def sign(pair: KeyPair, payload: bytes) -> str:
    """Return the signature of a payload: hex for HMAC-SHA-256, base64 for Ed25519 and RSA (PKCS#1 v1.5, SHA-256)."""
    if pair.type is KeyType.HMAC:
        return hmac.new(pair.secret.reveal_bytes(), payload, hashlib.sha256).hexdigest()
    from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(pair.secret.reveal_bytes(), password=None)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return base64.b64encode(key.sign(payload)).decode()
    assert isinstance(key, rsa.RSAPrivateKey)
    return base64.b64encode(key.sign(payload, padding.PKCS1v15(), SHA256())).decode()


def socket_payload(parameters: Mapping[str, str | int]) -> bytes:
    """Return what is signed on the WebSocket API: every parameter, sorted by name, raw UTF-8, not percent-encoded."""
    return "&".join(f"{name}={parameters[name]}" for name in sorted(parameters)).encode()
