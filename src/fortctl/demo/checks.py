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
    """Return the client order ids, and the exchange's numbers, that somebody cancelled orders by."""
    return {
        str(name)
        for entry in requests
        if (entry["method"], entry["path"]) == ("DELETE", "/api/v3/order") and entry["status"] == 200
        for name in (entry["client_order_id"], entry["query"].get("orderId"))
        if name is not None
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


def writings(secret: str) -> set[bytes]:
    """Return every piece of a secret of eight characters: plain, reversed, URL-encoded, hex, base64."""
    raw = secret.encode()
    found: set[bytes] = set()
    for form, width in (
        (raw, PIECE),
        (raw[::-1], PIECE),
        (quote(secret, safe="").encode(), PIECE),
        (raw.hex().encode(), 2 * PIECE),
        (raw.hex().upper().encode(), 2 * PIECE),
        # Eight characters fill 12 of base64, less what they share with their neighbours.
        *((base64.b64encode(bytes(offset) + raw)[4:-4], 12) for offset in range(3)),
    ):
        found.update(form[at : at + width] for at in range(max(1, len(form) - width + 1)))
    return found


def traces(secret: str, data: bytes) -> bool:
    """Return whether data holds a piece of a secret of eight characters or more, in any of its :func:`writings`."""
    return any(piece in data for piece in writings(secret))
