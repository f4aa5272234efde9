"""Request weights and order counts (rest-api.md, "LIMITS"). Pure: the time is an argument."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from fortctl.paper.engine.errors import BinanceError

WEIGHT_LIMIT, ORDERS_10S, ORDERS_DAY = 6000, 50, 160_000
CONNECTIONS_5M = 300
SAPI_LIMIT = 180_000
FIRST_BAN_S, LONGEST_BAN_S = 120, 259_200
TOLERATED = 10
MODES = ("real", "scaled", "off")
# By how much a first fill as taker or maker reduces the order counts (sample of faqs/order_count_decrement.md).
GIVES_BACK = {False: 1, True: 5}


class Limits:
    """Counts in clock-aligned windows, per address and per account.

    Args:
        mode: ``real``, ``scaled`` (windows run in market time) or ``off`` (count, never refuse).
        speed: market seconds for each real second, for ``scaled``.
    """

    def __init__(self, mode: str, speed: float) -> None:
        self.mode = mode
        self._speed = speed if mode == "scaled" else 1.0
        self._weight: dict[tuple[str, int], int] = defaultdict(int)
        self._orders: dict[tuple[str, str, int], int] = defaultdict(int)
        self._connections: dict[tuple[str, int], int] = defaultdict(int)
        self._over: dict[str, int] = defaultdict(int)
        self._banned: dict[str, float] = {}

        self._info = self._rows()

    def info(self) -> list[dict[str, Any]]:
        """Return the limits in force, as ``exchangeInfo`` states them."""
        return self._info

    def _rows(self) -> list[dict[str, Any]]:
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

    # -- weights -----------------------------------------------------------------------------------------------------

    def _window(self, now: float, seconds: float) -> int:
        return int(now * self._speed // seconds)

    def spend(self, address: str, weight: int, now: float, pool: str = "") -> int:
        """Count a request's weight; return the weight used in the window.

        Args:
            pool: which count: "" for the address's own, else a prefix for ``/sapi``.

        Raises:
            RateLimitedError: 429 over the limit, 418 after ten more requests.
        """
        if self.mode != "off" and self._banned.get(address, 0) > now:
            raise self._ban(address, now)
        key = (pool + address, self._window(now, 60))
        used = self._weight[key] = self._weight[key] + weight
        if len(self._weight) > 10_000:
            self._weight = defaultdict(int, {key: used})
        limit = SAPI_LIMIT if pool else WEIGHT_LIMIT
        if self.mode != "off" and used > limit:
            self._over[address] += 1
            if self._over[address] > TOLERATED:
                length = min(FIRST_BAN_S * 2 ** (self._over[address] - TOLERATED - 1), LONGEST_BAN_S)
                self._banned[address] = now + length
                raise self._ban(address, now)
            text = (
                f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE."
                " Please use WebSocket Streams for live updates to avoid polling the API."
            )
            raise _limited(-1003, text, 429, 60 / self._speed - now % (60 / self._speed))
        return used

    def refund(self, address: str, weight: int, now: float) -> int:
        """Subtract the weight of a successful call that is free; return the weight used."""
        key = (address, self._window(now, 60))
        self._weight[key] = max(0, self._weight[key] - weight)
        return self._weight[key]

    def used(self, address: str, now: float) -> int:
        return self._weight.get((address, self._window(now, 60)), 0)

    def connect(self, address: str, now: float) -> None:
        """Count a WebSocket connection. Raises :class:`RateLimitedError` beyond 300 in 5 minutes for an address."""
        if self.mode == "off":
            return
        window = self._window(now, 300)
        self._connections = defaultdict(int, {k: v for k, v in self._connections.items() if k[1] == window})
        self._connections[address, window] += 1
        if self._connections[address, window] > CONNECTIONS_5M:
            raise _limited(-1003, "Too many requests queued.", 429, 300 / self._speed)

    # -- order counts ------------------------------------------------------------------------------------------------

    def _order_keys(self, account: str, now: float) -> tuple[tuple[str, str, int], tuple[str, str, int]]:
        return (account, "10s", self._window(now, 10)), (account, "1d", self._window(now, 86_400))

    def count_orders(self, account: str, count: int, now: float) -> None:
        """Count orders. Raises ``BinanceError`` (-1015) over the limit."""
        keys = self._order_keys(account, now)
        if self.mode != "off":
            for key, limit, words in zip(keys, (ORDERS_10S, ORDERS_DAY), ("10 SECOND", "1 DAY"), strict=True):
                if self._orders[key] + count > limit:
                    text = f"Too many new orders; current limit is {limit} orders per {words}."
                    raise _limited(-1015, text, 429, 10 / self._speed)
        for key in keys:
            self._orders[key] += count
        if len(self._orders) > 10_000:
            self._orders = defaultdict(int, {key: self._orders[key] for key in keys})

    def give_back(self, account: str, maker: bool, now: float) -> None:
        """Reduce an account's order counts by what an order's first fill gives back."""
        for key in self._order_keys(account, now):
            if key in self._orders:
                self._orders[key] = max(0, self._orders[key] - GIVES_BACK[maker])

    def order_counts(self, account: str, now: float) -> tuple[int, int]:
        """Return the counts of 10 s and of the day."""
        tens, days = self._order_keys(account, now)
        return self._orders.get(tens, 0), self._orders.get(days, 0)

    def order_rows(self, account: str, now: float) -> list[dict[str, Any]]:
        """Return an account's order limits with their counts (``rateLimit/order``)."""
        rows = [row for row in self.info() if row["rateLimitType"] == "ORDERS"]
        return [{**row, "count": count} for row, count in zip(rows, self.order_counts(account, now), strict=True)]

    def _ban(self, address: str, now: float) -> BinanceError:
        until = self._banned[address]
        return _limited(-1003, ban_text(int(until * 1000)), 418, until - now)


def ban_text(until: int) -> str:
    """Return the text of a ban; ``until`` in ms (errors.md, -1003)."""
    return (
        f"Way too much request weight used; IP banned until {until}."
        " Please use WebSocket Streams for live updates to avoid bans."
    )


class RateLimitedError(BinanceError):
    """A refusal with the seconds after which to retry."""

    retry_after: int = 1


def _limited(code: int, text: str, status: int, seconds: float) -> RateLimitedError:
    refusal = RateLimitedError(code, text, status)
    refusal.retry_after = max(1, int(seconds) + 1)
    return refusal
