"""Request weights and order counts (rest-api.md, "LIMITS"). Pure: the window's clock is handed in."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from fortctl.paper.refusals import Refusal

WEIGHT_LIMIT, ORDERS_10S, ORDERS_DAY = 6000, 50, 160_000
FIRST_BAN_S, LONGEST_BAN_S = 120, 259_200
MODES = ("real", "scaled", "off")


class Limits:
    """Counts in clock-aligned windows, per address and per account.

    Args:
        mode: ``real``, ``scaled`` (windows run in market time) or ``off`` (counted, never refused).
        speed: market seconds a real second, for ``scaled``.
    """

    def __init__(self, mode: str, speed: float) -> None:
        self.mode = mode
        self._speed = speed if mode == "scaled" else 1.0
        self._weight: dict[tuple[str, int], int] = defaultdict(int)
        self._orders: dict[tuple[str, str, int], int] = defaultdict(int)
        self._over: dict[str, int] = defaultdict(int)
        self._banned: dict[str, float] = {}

    def info(self) -> list[dict[str, Any]]:
        """Return the limits in force, as ``exchangeInfo`` states them."""
        factor = 1000 if self.mode == "off" else 1
        rows = (
            ("REQUEST_WEIGHT", "MINUTE", 1, WEIGHT_LIMIT),
            ("ORDERS", "SECOND", 10, ORDERS_10S),
            ("ORDERS", "DAY", 1, ORDERS_DAY),
            ("RAW_REQUESTS", "MINUTE", 5, 300_000),
        )
        return [
            {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit * factor}
            for kind, interval, number, limit in rows
        ]

    def spend(self, address: str, weight: int, now: float) -> int:
        """Count a request's weight; return what is used of the window.

        Raises:
            Refusal: 429 over the limit, 418 for going on after that; ``retry_after`` is set on it.
        """
        window = int(now * self._speed // 60)
        if self.mode != "off" and self._banned.get(address, 0) > now:
            raise self._ban(address, now)
        key = (address, window)
        self._weight[key] += weight
        used = self._weight[key]
        if len(self._weight) > 10_000:
            self._weight = defaultdict(int, {key: used})
        if self.mode != "off" and used > WEIGHT_LIMIT:
            self._over[address] += 1
            if self._over[address] > 10:
                length = min(FIRST_BAN_S * 2 ** (self._over[address] - 11), LONGEST_BAN_S)
                self._banned[address] = now + length
                raise self._ban(address, now)
            text = (
                f"Too much request weight used; current limit is {WEIGHT_LIMIT} request weight per 1 MINUTE."
                " Please use WebSocket Streams for live updates to avoid polling the API."
            )
            raise _limited(-1003, text, 429, 60 / self._speed - now % (60 / self._speed))
        return used

    def count_order(self, account: str, now: float) -> tuple[int, int]:
        """Count an order; return the counts of 10 s and of the day. Raises ``Refusal`` over the limit."""
        at = now * self._speed
        keys = ((account, "10s", int(at // 10)), (account, "1d", int(at // 86_400)))
        if self.mode != "off":
            for key, limit, words in zip(keys, (ORDERS_10S, ORDERS_DAY), ("10 SECOND", "1 DAY"), strict=True):
                if self._orders[key] >= limit:
                    text = f"Too many new orders; current limit is {limit} orders per {words}."
                    raise _limited(-1015, text, 429, 10 / self._speed)
        for key in keys:
            self._orders[key] += 1
        return self._orders[keys[0]], self._orders[keys[1]]

    def _ban(self, address: str, now: float) -> Refusal:
        until = self._banned[address]
        text = (
            f"Way too much request weight used; IP banned until {int(until * 1000)}."
            " Please use WebSocket Streams for live updates to avoid bans."
        )
        return _limited(-1003, text, 418, until - now)


class Limited(Refusal):
    """A refusal that says when to come back (seconds)."""

    retry_after: int = 1


def _limited(code: int, text: str, status: int, seconds: float) -> Limited:
    refusal = Limited(code, text, status)
    refusal.retry_after = max(1, int(seconds) + 1)
    return refusal
