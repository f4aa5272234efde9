"""What a robot without an accepted key can say: since when, why, how the price went, what probably filled. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from fortctl.robot.book import Book
from fortctl.times import rfc3339

HUNDRED = Decimal(100)


class KeyLoss:
    """One loss of the key.

    Args:
        since: when it was confirmed (exchange's clock, ms).
        price: the last price then.
        reason: why, as far as it is known.
        code: the exchange's code.
    """

    def __init__(self, since: int, price: Decimal | None, reason: str, code: int | None) -> None:
        self.since = since
        self.price = price
        self.reason = reason
        self.code = code
        self.lowest = self.highest = price

    def see(self, price: Decimal) -> None:
        """Follow the market."""
        self.lowest = price if self.lowest is None else min(self.lowest, price)
        self.highest = price if self.highest is None else max(self.highest, price)
        if self.price is None:
            self.price = price

    def describe(self, price: Decimal | None, book: Book) -> dict[str, Any]:
        """Return the status's ``key_loss{…}``."""
        drift = None
        if price is not None and self.price:
            drift = f"{(price - self.price) / self.price * HUNDRED:.3f}"
        through = [
            order.client_order_id
            for order in book.unsettled()
            if not order.final and self._traded_through(order.leg, order.price)
        ]
        return {
            "since": rfc3339(self.since),
            "code": self.code,
            "reason": self.reason,
            "price_then": f"{self.price:f}" if self.price is not None else None,
            "price_now": f"{price:f}" if price is not None else None,
            "drift_percent": drift,
            "probably_filled": through,
        }

    def _traded_through(self, leg: str, price: Decimal) -> bool:
        if self.lowest is None or self.highest is None:
            return False
        return self.lowest < price if leg == "buy" else self.highest > price
