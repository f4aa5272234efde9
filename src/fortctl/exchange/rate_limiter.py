"""The request weight that one IP address may spend, shared by all processes of a home (rest-api.md, "IP Limits").

The weight of a request is known before it leaves, so fortctl stays below the limit instead of waiting for a refusal.
Reads leave a part of the minute's limit free for orders and cancels. Once Binance has refused a request (429, 418), no
process of the home sends another one before ``Retry-After`` is over. The arithmetic is pure; :class:`RateLimiter` adds
the store and the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fortctl.errors import FortctlError
from fortctl.ports import Clock

MINUTE_MS = 60_000
# Assumed until the exchange has stated its limit (``exchangeInfo``, "rateLimits").
DEFAULT_LIMIT = 6_000
NOT_STATED, NO_LIMIT = -1, 0
# The part of the limit that only urgent requests (orders and cancels) may use.
URGENT_SHARE = 0.15
# Binance's longest ban lasts three days; a longer one is an error in the numbers.
LONGEST_STOP_S = 3 * 86_400.0
# Without a Retry-After: until the next minute, or the shortest ban.
BAN_SECONDS = {429: 60.0, 418: 120.0}
# -1015 (too many orders) limits the account, not the address.
CODE_ORDERS = -1015

# By method and end of the path; a function where the fields decide. Successful orders and cancels weigh 0.
_WEIGHTS: dict[tuple[str, str], int | Callable[[Mapping[str, Any]], int]] = {
    ("GET", "/ping"): 1,
    ("GET", "/time"): 1,
    ("GET", "/exchangeInfo"): 20,
    ("GET", "/ticker/price"): lambda fields: 2 if "symbol" in fields else 4,
    ("GET", "/account"): 20,
    ("GET", "/order"): 4,
    ("GET", "/openOrders"): lambda fields: 6 if "symbol" in fields else 80,
    ("GET", "/allOrders"): 20,
    ("GET", "/myTrades"): lambda fields: 5 if "orderId" in fields else 20,
    ("POST", "/order"): 0,
    ("DELETE", "/order"): 0,
    ("POST", "/order/test"): 1,
    ("GET", "/apiRestrictions"): 1,
}
_UNKNOWN_REQUEST_WEIGHT = 20


def weight_of(method: str, path: str, fields: Mapping[str, Any]) -> int:
    """Return the weight of a request; an unknown request counts as a heavy one.

    Args:
        path: the URL's path, without the query.
    """
    end = path.split("/api/v3", 1)[-1] if "/api/v3" in path else "/" + path.rsplit("/", 1)[-1]
    weight = _WEIGHTS.get((method.upper(), end), _UNKNOWN_REQUEST_WEIGHT)
    return weight if isinstance(weight, int) else weight(fields)


def is_urgent(method: str) -> bool:
    """Return whether a request may use :data:`URGENT_SHARE`: those that place or cancel."""
    return method.upper() in ("POST", "DELETE")


@dataclass(frozen=True)
class WeightUsage:
    """The request weight that an address has used.

    Attributes:
        minute: the minute since the epoch to which ``used`` belongs.
        used: the weight used in that minute.
        stopped_until: no request may leave before this time (ms since the epoch); 0: no stop.
        stated_limit: weight a minute that the exchange allows; :data:`NO_LIMIT`, or :data:`NOT_STATED`.
    """

    minute: int = 0
    used: int = 0
    stopped_until: int = 0
    stated_limit: int = NOT_STATED

    @property
    def limit(self) -> int | None:
        """The weight allowed in a minute; None: no limit."""
        return DEFAULT_LIMIT if self.stated_limit == NOT_STATED else self.stated_limit or None

    def in_minute_of(self, now_ms: int) -> WeightUsage:
        """Return the usage in the current minute, which is 0 when a new minute has begun."""
        minute = now_ms // MINUTE_MS
        return self if minute == self.minute else replace(self, minute=minute, used=0)


def stop_remaining_s(usage: WeightUsage, now_ms: int) -> float:
    """Return for how many seconds no request may leave; 0 when there is no stop."""
    stopped_ms = min(usage.stopped_until - now_ms, int(LONGEST_STOP_S * 1000))
    return stopped_ms / 1000 if stopped_ms > 0 else 0.0


def reserve(usage: WeightUsage, now_ms: int, weight: int, *, urgent: bool) -> tuple[WeightUsage, float]:
    """Count a request, if it may leave now.

    Returns:
        The usage with the request, and 0.0; or the usage without it, and the seconds that it must wait.
    """
    usage = usage.in_minute_of(now_ms)
    if stopped := stop_remaining_s(usage, now_ms):
        return usage, stopped
    limit = usage.limit
    available = limit if urgent or limit is None else int(limit * (1 - URGENT_SHARE))
    if available is not None and weight and usage.used + weight > available:
        return usage, (MINUTE_MS - now_ms % MINUTE_MS) / 1000
    return replace(usage, used=usage.used + weight), 0.0


# The fields of :class:`WeightUsage`, in order.
Row = tuple[int, int, int, int]


class WeightStore(Protocol):
    """Keeps one :class:`WeightUsage` a target. Raises ``FortctlError`` only."""

    def read(self, target: str) -> Row: ...

    def change(self, target: str, change: Callable[[Row], Row]) -> None: ...


class RateLimiter:
    """Counts the request weight of one exchange together with the other processes of the home.

    A store that fails never stops a request: this process then counts alone.

    Args:
        store: shared by the processes; None: count alone.
        target: the exchange's base URL.
    """

    def __init__(self, store: WeightStore | None, target: str, clock: Clock) -> None:
        self._store = store
        self._target = target
        self._clock = clock
        self._own_usage = WeightUsage()

    def reserve(self, weight: int, *, urgent: bool) -> float:
        """Count a request and return 0.0; or return the seconds that it must wait, without counting it."""
        now = self._clock.now_ms()
        if weight == 0:
            return stop_remaining_s(self._read(), now)
        waits: list[float] = []

        def count(usage: WeightUsage) -> WeightUsage:
            after, wait = reserve(usage, now, weight, urgent=urgent)
            waits.append(wait)
            return after

        self._change(count)
        return waits[-1]

    def update(self, used: int) -> None:
        """Raise the count to what the exchange has counted in this minute (``X-MBX-USED-WEIGHT-1M``).

        The exchange also counts other programs on this address. A smaller number is ignored, because requests of this
        home may still be on their way.
        """
        now = self._clock.now_ms()
        if used > self._read().in_minute_of(now).used:
            self._change(lambda usage: replace(usage.in_minute_of(now), used=max(used, usage.in_minute_of(now).used)))

    def set_limit(self, limit: int | None) -> None:
        """Store the limit that the exchange states; None: it states none."""
        stated = NO_LIMIT if limit is None else limit
        if self._read().stated_limit != stated:
            self._change(lambda usage: replace(usage, stated_limit=stated))

    def stop(self, seconds: float) -> None:
        """Let no process send a request before these seconds are over (``Retry-After``)."""
        until = self._clock.now_ms() + int(min(seconds, LONGEST_STOP_S) * 1000)
        self._change(lambda usage: replace(usage, stopped_until=max(until, usage.stopped_until)))

    def _read(self) -> WeightUsage:
        if self._store is not None:
            try:
                return WeightUsage(*self._store.read(self._target))
            except FortctlError:
                self._store = None
        return self._own_usage

    def _change(self, change: Callable[[WeightUsage], WeightUsage]) -> None:
        self._own_usage = change(self._own_usage)
        if self._store is not None:
            try:
                self._store.change(self._target, lambda row: _row(change(WeightUsage(*row))))
            except FortctlError:
                self._store = None


def _row(usage: WeightUsage) -> Row:
    return usage.minute, usage.used, usage.stopped_until, usage.stated_limit
