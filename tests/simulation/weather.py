"""What can go wrong between a robot and the exchange, drawn from one seed. Each fault is Binance's own."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field
from typing import Any

from fortctl.exchange.error_codes import classify
from fortctl.ports import ExchangeError, Outcome

# Before the exchange reads a request: nothing is executed.
NOT_EXECUTED = {
    "unreachable": "no connection is made",
    "cut-before": "the request is lost on its way",
    "http-403": "the firewall refuses it",
    "http-418": "the address is banned for some seconds",
    "http-429": "too many requests",
    "http-502": "a gateway fails, without Binance's body",
    "code-1000": "an unknown error, before anything was done",
    "code-1008": "the exchange is overloaded",
    "code-1015": "too many new orders",
    "code-1021": "the clock is said to be off",
}
# The request is executed, or may be.
EXECUTED = {
    "cut-after": "the answer is lost",
    "executed-1007": "executed, and answered with a time-out inside Binance",
    "truncated": "executed, and the answer cannot be read",
    "delayed": "the request arrives seconds later, when nobody waits any more, or too late for its receive window",
}
STREAM = {
    "event-dropped": "an event is never sent",
    "event-doubled": "it is sent twice",
    "event-late": "it comes seconds late, after later ones",
    "stream-cut": "the connection breaks; a new one is made after a while",
    "stream-stalled": "the connection stays open and silent",
}
# Whatever the exchange did, it answers in a shape that nobody expected.
ODD = {"odd-answer": "executed, and answered with a field dropped, of another type, or with a value nobody knows"}
KINDS = {**NOT_EXECUTED, **EXECUTED, **STREAM, **ODD}
# What takes a field's place. Never a value that could be true: the exchange is odd here, it does not lie.
_NAMES = frozenset(
    {"commissionAsset", "asset", "symbol", "clientOrderId", "origClientOrderId", "baseAsset", "quoteAsset"}
)
_ODD_VALUES: tuple[Any, ...] = (None, {}, "", "PENDING_REVIEW", "NaN", "1e999999999", -1, 1.5, [[[]]])
_ANSWERS: dict[str, tuple[int, int | None, str]] = {
    "http-403": (403, None, "HTTP 403 without Binance's body"),
    "http-418": (418, -1003, "Too many requests queued."),
    "http-429": (429, -1003, "Too many requests queued."),
    "http-502": (502, None, "HTTP 502 without Binance's body"),
    "code-1000": (500, -1000, "An unknown error occurred while processing the request."),
    "code-1008": (503, -1008, "Server is currently overloaded with other requests."),
    "code-1015": (429, -1015, "Too many new orders; current limit is 50 orders per 10 SECOND."),
    "code-1021": (400, -1021, "Timestamp for this request is outside of the recvWindow."),
    "executed-1007": (504, -1007, "Timeout waiting for response from backend server."),
    "maintenance": (503, -1016, "This service is under maintenance."),
}


@dataclass
class Weather:
    """How often what goes wrong.

    Attributes:
        chance: where every draw comes from.
        rates: fault → probability, of each request or each event.
        latency: shortest and longest way of a packet, in seconds; 0: no network at all.
        invisible_ms: for how long an accepted order may be answered with -2013.
        down: maintenance: every request is refused with 503.
    """

    chance: random.Random = field(default_factory=lambda: random.Random(0))
    rates: dict[str, float] = field(default_factory=dict)
    latency: tuple[float, float] = (0.0, 0.0)
    invisible_ms: int = 0
    down: bool = False

    def way(self) -> float:
        return self.chance.uniform(*self.latency) if self.latency[1] else 0.0

    def strikes(self, kinds: dict[str, str]) -> str:
        """Return the fault that something meets, or nothing."""
        if not self.rates:
            return ""
        roll = self.chance.random()
        for kind in kinds:
            roll -= self.rates.get(kind, 0.0)
            if roll < 0:
                return kind
        return ""

    def changed(self, document: Any) -> Any:
        """Return an answer in which one field of one object is dropped or has an odd value."""
        odd = self.chance.choice(_ODD_VALUES)
        if not isinstance(document, dict | list) or not document or self.chance.random() < 0.2:
            return odd
        document = copy.deepcopy(document)
        place: Any = document
        while isinstance(place, list):
            place = self.chance.choice(place)
            if not isinstance(place, dict | list) or not place:
                return odd
        name = self.chance.choice(sorted(place))
        if self.chance.random() < 0.5:
            del place[name]
        else:
            place[name] = None if name in _NAMES else odd
        return document

    def clear(self) -> None:
        self.rates, self.invisible_ms, self.down = {}, 0, False


def fault_of(kind: str) -> ExchangeError:
    """Return what the robot's adapter makes of a fault."""
    if kind == "unreachable":
        return ExchangeError(Outcome.UNREACHABLE, "no connection")
    if kind in _ANSWERS:
        status, code, text = _ANSWERS[kind]
        wait = 2.0 if status in (418, 429) else None
        return ExchangeError(classify(status, code, text), text, code=code, http_status=status, retry_after=wait)
    return ExchangeError(Outcome.UNKNOWN, f"the connection broke ({kind})")
