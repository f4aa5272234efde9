"""A short name for an API key that reveals nothing of it. Pure."""

from __future__ import annotations

import hmac

from fortctl.secret import Secret


def fingerprint(api_key: Secret, key: bytes) -> str:
    """Return the first 12 hex digits of the API key's HMAC-SHA-256 under the home's fingerprint key.

    The key makes fingerprints of two homes incomparable, and a guessed API key impossible to test.
    """
    return hmac.digest(key, api_key.reveal_bytes(), "sha256").hex()[:12]
