"""The request weight that one address may spend, shared by all processes of a home (rest-api.md, "IP Limits").

What a request weighs is known before it leaves, so that the exchange need not say no: reading keeps a part of the
minute's limit free for orders and cancels. Once the exchange has said no (429, 418), nothing leaves before
``Retry-After`` is over, whichever process was told. The arithmetic is pure; :class:`RateLimiter` adds numbers and clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fortctl.errors import FortctlError
from fortctl.ports import Clock

MINUTE_MS = 60_000
# Until the exchange has stated its own (``exchangeInfo``, "rateLimits") to any process of this home.
LIMIT = 6_000
NOT_STATED, NO_LIMIT = -1, 0
# Orders, cancels and what else is urgent find this part of the limit free, however much is read.
KEPT_FREE = 0.15
# A longer ban than Binance's longest (three days) is a mistake in the numbers, not a ban.
LONGEST_STOP_S = 3 * 86_400.0
# Without a Retry-After: until the next minute, or the shortest ban.
BAN_SECONDS = {429: 60.0, 418: 120.0}
# Too many *orders* is the account's limit, not the address's.
CODE_ORDERS = -1015

# By method and the end of the path; a function where the fields decide. Successful orders and cancels weigh 0.
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
_UNKNOWN = 20


def weight_of(method: str, path: str, fields: Mapping[str, Any]) -> int:
    """Return what a request weighs; an unknown one counts as a heavy one.

    Args:
        path: of the URL, without the query.
    """
    end = path.split("/api/v3", 1)[-1] if "/api/v3" in path else "/" + path.rsplit("/", 1)[-1]
    weight = _WEIGHTS.get((method.upper(), end), _UNKNOWN)
    return weight if isinstance(weight, int) else weight(fields)


def is_urgent(method: str) -> bool:
    """Return whether a request may take the part that is kept free: whatever places or cancels."""
    return method.upper() in ("POST", "DELETE")


@dataclass(frozen=True)
class Spent:
    """What an address has spent.

    Attributes:
        minute: the clock's minute (epoch) that ``used`` is of.
        used: weight in that minute.
        stopped_until: nothing leaves before (ms); 0: never told to stop.
        most: weight a minute that the exchange allows; :data:`NO_LIMIT`, or :data:`NOT_STATED`.
    """

    minute: int = 0
    used: int = 0
    stopped_until: int = 0
    most: int = NOT_STATED

    @property
    def limit(self) -> int | None:
        """Weight a minute; None: no limit."""
        return LIMIT if self.most == NOT_STATED else self.most or None

    def at(self, now_ms: int) -> Spent:
        """Return it as it stands now: a new minute begins with nothing."""
        minute = now_ms // MINUTE_MS
        return self if minute == self.minute else replace(self, minute=minute, used=0)


def stopped_for(spent: Spent, now_ms: int) -> float:
    """Return for how many seconds nothing may leave; 0 when it may."""
    stopped_ms = min(spent.stopped_until - now_ms, int(LONGEST_STOP_S * 1000))
    return stopped_ms / 1000 if stopped_ms > 0 else 0.0


def ask(spent: Spent, now_ms: int, weight: int, *, urgent: bool) -> tuple[Spent, float]:
    """Return what is spent after a request, and 0; or what is spent, and the seconds that it must wait."""
    spent = spent.at(now_ms)
    if stopped := stopped_for(spent, now_ms):
        return spent, stopped
    limit = spent.limit
    room = limit if urgent or limit is None else int(limit * (1 - KEPT_FREE))
    if room is not None and weight and spent.used + weight > room:
        return spent, (MINUTE_MS - now_ms % MINUTE_MS) / 1000
    return replace(spent, used=spent.used + weight), 0.0


Row = tuple[int, int, int, int]


class Numbers(Protocol):
    """Where the numbers lie. Raises ``FortctlError`` only."""

    def read(self, target: str) -> Row: ...

    def change(self, target: str, change: Callable[[Row], Row]) -> None: ...


class RateLimiter:
    """One exchange's weight, as every process of this home spends it.

    A store that cannot be used never stops a request: this process then counts alone.

    Args:
        numbers: the shared store, or None to count alone.
        target: the exchange's base URL.
    """

    def __init__(self, numbers: Numbers | None, target: str, clock: Clock) -> None:
        self._numbers = numbers
        self._target = target
        self._clock = clock
        self._alone = Spent()

    def ask(self, weight: int, *, urgent: bool) -> float:
        """Count a request, and return 0; or the seconds that it must wait, uncounted."""
        now = self._clock.now_ms()
        if weight == 0:
            return stopped_for(self._read(), now)
        waits: list[float] = []

        def spend(spent: Spent) -> Spent:
            after, wait = ask(spent, now, weight, urgent=urgent)
            waits.append(wait)
            return after

        self._change(spend)
        return waits[-1]

    def update(self, used: int) -> None:
        """Take what the exchange says this address has used in this minute (``X-MBX-USED-WEIGHT-1M``).

        It knows of other programs on this address. Where it says less than is counted here, the rest may be on its way.
        """
        now = self._clock.now_ms()
        if used > self._read().at(now).used:
            self._change(lambda spent: replace(spent.at(now), used=max(used, spent.at(now).used)))

    def learn(self, limit: int | None) -> None:
        """Take the limit that the exchange states; None: it states none."""
        most = NO_LIMIT if limit is None else limit
        if self._read().most != most:
            self._change(lambda spent: replace(spent, most=most))

    def stop(self, seconds: float) -> None:
        """Let nothing leave, from any process, before these seconds are over (``Retry-After``)."""
        until = self._clock.now_ms() + int(min(seconds, LONGEST_STOP_S) * 1000)
        self._change(lambda spent: replace(spent, stopped_until=max(until, spent.stopped_until)))

    def _read(self) -> Spent:
        if self._numbers is not None:
            try:
                return Spent(*self._numbers.read(self._target))
            except FortctlError:
                self._numbers = None
        return self._alone

    def _change(self, change: Callable[[Spent], Spent]) -> None:
        self._alone = change(self._alone)
        if self._numbers is not None:
            try:
                self._numbers.change(self._target, lambda row: _row(change(Spent(*row))))
            except FortctlError:
                self._numbers = None


def _row(spent: Spent) -> Row:
    return spent.minute, spent.used, spent.stopped_until, spent.most
