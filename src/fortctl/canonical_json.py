"""Sealing to a recipient (HPKE, RFC 9180, hybrid ML-KEM-768 + X25519) and signing (Ed25519, RFC 8032)."""

from __future__ import annotations

import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Return the one writing of a JSON value that signatures cover: sorted keys, no spaces, UTF-8.

    Raises:
        TypeError: the value holds a float (two programs may write it differently), or what JSON does not know.
    """
    _refuse_floats(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise TypeError("a float has no canonical writing")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)
