"""Sealing to a recipient (HPKE, RFC 9180, hybrid ML-KEM-768 + X25519) and signing (Ed25519, RFC 8032)."""

from __future__ import annotations

import hmac

from fortctl.secret import Secret


def fingerprint(api_key: Secret, key: bytes) -> str:
    """Return the first 12 hex digits of HMAC-SHA-256 of the API key under the home's fingerprint key."""
    return hmac.digest(key, api_key.reveal_bytes(), "sha256").hex()[:12]
