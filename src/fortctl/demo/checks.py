"""What the demo proves, decided from data alone. Pure."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import quote

PIECE = 8


@dataclass(frozen=True)
class Request:
    """One request in the paper exchange's log.

    Attributes:
        status: the HTTP status of its answer.
        client_order_id: the name of the order that it is about, or None.
        order_id: the number of that order as the request names it, or None.
        time: when the exchange received it (ms).
    """

    method: str
    path: str
    status: int
    client_order_id: str | None = None
    order_id: str | None = None
    time: int = 0

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Request:
        """Read an entry of ``requests[]`` of ``paper requests``."""
        return cls(
            method=entry["method"],
            path=entry["path"],
            status=entry["status"],
            client_order_id=entry.get("client_order_id"),
            order_id=(entry.get("query") or {}).get("orderId"),
            time=entry.get("time", 0),
        )

    def is_accepted(self, method: str) -> bool:
        """Return whether this is an order call of a method that the exchange accepted."""
        return (self.method, self.path, self.status) == (method, "/api/v3/order", 200)


@dataclass(frozen=True)
class Holding:
    """One balance at the exchange."""

    asset: str
    free: Decimal
    locked: Decimal

    @classmethod
    def from_json(cls, row: Mapping[str, str]) -> Holding:
        """Read an entry of ``balances[]`` of ``account balances``."""
        return cls(row["asset"], Decimal(row["free"]), Decimal(row["locked"]))


def placed(requests: Iterable[Request]) -> list[Request]:
    """Return the requests that placed an order."""
    return [request for request in requests if request.is_accepted("POST")]


def cancelled(requests: Iterable[Request]) -> set[str]:
    """Return the client order ids, and the exchange's numbers, in the requests that cancelled an order."""
    return {
        name
        for request in requests
        if request.is_accepted("DELETE")
        for name in (request.client_order_id, request.order_id)
        if name is not None
    }


def repeated(requests: Iterable[Request]) -> list[str]:
    """Return the client order ids that the exchange accepted more than once."""
    counted = Counter(str(request.client_order_id) for request in placed(requests))
    return sorted(name for name, count in counted.items() if count > 1)


def difference(before: Sequence[Holding], after: Sequence[Holding], book: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Return, for each asset, by how much the exchange's balance differs from the robot's book.

    Args:
        before, after: the balances at the exchange.
        book: what the robot booked for each asset since.
    """
    first, last = _totals(before), _totals(after)
    zero = Decimal(0)
    differences = {
        asset: last.get(asset, zero) - first.get(asset, zero) - book.get(asset, zero)
        for asset in {*first, *last, *book}
    }
    return {asset: amount for asset, amount in sorted(differences.items()) if amount}


def _totals(holdings: Sequence[Holding]) -> dict[str, Decimal]:
    return {holding.asset: holding.free + holding.locked for holding in holdings}


def lost_orders(before: Iterable[str], after: Iterable[str], executed: Iterable[str]) -> list[str]:
    """Return the orders that were open before, and are neither open now nor executed since."""
    return sorted(set(before) - set(after) - set(executed))


def encoded_pieces(secret: str) -> set[bytes]:
    """Return every piece of eight characters of a secret: plain, reversed, URL-encoded, hex, base64."""
    raw = secret.encode()
    pieces: set[bytes] = set()
    for form, width in (
        (raw, PIECE),
        (raw[::-1], PIECE),
        (quote(secret, safe="").encode(), PIECE),
        (raw.hex().encode(), 2 * PIECE),
        (raw.hex().upper().encode(), 2 * PIECE),
        # Eight characters fill 12 of base64, less what they share with their neighbours.
        *((base64.b64encode(bytes(offset) + raw)[4:-4], 12) for offset in range(3)),
    ):
        pieces.update(form[start : start + width] for start in range(max(1, len(form) - width + 1)))
    return pieces


def contains_secret(secret: str, data: bytes) -> bool:
    """Return whether data contains one of the :func:`encoded_pieces` of a secret."""
    return any(piece in data for piece in encoded_pieces(secret))
