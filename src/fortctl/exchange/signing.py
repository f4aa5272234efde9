"""Sign what is sent to Binance. Source: faqs/api_key_types.md; rest-api.md and web-socket-api.md, "Signed request"."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from fortctl.model import KeyPair, KeyType

_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch


def sign(pair: KeyPair, payload: bytes) -> str:
    """Return the signature of a payload: hex for HMAC-SHA-256, base64 for Ed25519 and RSA (PKCS#1 v1.5, SHA-256)."""
    return signer(pair)(payload)


def signer(pair: KeyPair) -> Callable[[bytes], str]:
    """Return a function that signs payloads with a key; it parses a private key once."""
    if pair.type is KeyType.HMAC:
        return lambda payload: hmac.digest(pair.secret.reveal_bytes(), payload, hashlib.sha256).hex()
    from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(pair.secret.reveal_bytes(), password=None)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        ed25519_key = key
        return lambda payload: base64.b64encode(ed25519_key.sign(payload)).decode()
    assert isinstance(key, rsa.RSAPrivateKey)
    rsa_key = key
    return lambda payload: base64.b64encode(rsa_key.sign(payload, padding.PKCS1v15(), SHA256())).decode()


def rest_payload(fields: Mapping[str, Any]) -> str:
    """Return the fields of a REST call as they are sent and signed: ``name=value`` pairs, values percent-encoded."""
    return "&".join(f"{name}={_encoded(str(value))}" for name, value in fields.items() if value is not None)


def _encoded(value: str) -> str:
    # Most values, as in every order, need no encoding; the check is faster than quote().
    return value if _UNRESERVED(value) else quote(value, safe="")


def with_signature(payload: str, sign: Callable[[bytes], str]) -> str:
    """Return a REST payload with its signature appended."""
    return f"{payload}&signature={quote(sign(payload.encode()), safe='')}"


def socket_payload(parameters: Mapping[str, str | int]) -> bytes:
    """Return the bytes to sign on the WebSocket API: all parameters sorted by name, UTF-8, not percent-encoded."""
    return "&".join(f"{name}={parameters[name]}" for name in sorted(parameters)).encode()
