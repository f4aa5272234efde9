"""What the demo proves, decided from data alone. Pure."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import quote

PIECE = 8


def placed(requests: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the requests that placed an order."""
    return [
        entry
        for entry in requests
        if (entry["method"], entry["path"]) == ("POST", "/api/v3/order") and entry["status"] == 200
    ]


def cancels(requests: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the client order ids that somebody cancelled on purpose."""
    return {
        str(entry["client_order_id"])
        for entry in requests
        if (entry["method"], entry["path"]) == ("DELETE", "/api/v3/order") and entry["status"] == 200
    }


def twice(requests: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the client order ids that the exchange accepted more than once."""
    counted = Counter(str(entry["client_order_id"]) for entry in placed(requests))
    return sorted(name for name, count in counted.items() if count > 1)


def difference(
    before: Sequence[Mapping[str, str]], after: Sequence[Mapping[str, str]], book: Mapping[str, str]
) -> dict[str, Decimal]:
    """Return, for each asset, by how much the exchange's balance differs from what the robot's book says.

    Args:
        before, after: balances at the exchange (``asset, free, locked``).
        book: what the robot booked for each asset since.
    """
    first, last = _totals(before), _totals(after)
    moved = {asset: Decimal(amount) for asset, amount in book.items()}
    zero = Decimal(0)
    found = {
        asset: last.get(asset, zero) - first.get(asset, zero) - moved.get(asset, zero)
        for asset in {*first, *last, *moved}
    }
    return {asset: amount for asset, amount in sorted(found.items()) if amount}


def _totals(balances: Sequence[Mapping[str, str]]) -> dict[str, Decimal]:
    return {row["asset"]: Decimal(row["free"]) + Decimal(row["locked"]) for row in balances}


def lost_orders(before: Iterable[str], after: Iterable[str], executed: Iterable[str]) -> list[str]:
    """Return the orders that were open before, and are neither open now nor executed since."""
    return sorted(set(before) - set(after) - set(executed))


def traces(secret: str, data: bytes) -> bool:
    """Return whether data holds a piece of a secret of eight characters or more: plain, hex, base64, URL, reversed."""
    forms = {secret, secret[::-1], quote(secret, safe=""), secret.encode().hex()}
    for form in forms:
        raw = form.encode()
        width = PIECE if form != secret.encode().hex() else 2 * PIECE
        if any(raw[at : at + width] in data for at in range(max(1, len(raw) - width + 1))):
            return True
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + secret.encode())[4:-4]
        if any(encoded[at : at + 12] in data for at in range(max(1, len(encoded) - 11))):
            return True
    return False
