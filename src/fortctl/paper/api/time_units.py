"""Times in microseconds for clients that request them (``X-MBX-TIME-UNIT``, ``timeUnit``). Pure.

The exchange's clock has milliseconds: further digits are zeros, and nines at the end of a span, as at Binance.
"""

from __future__ import annotations

from typing import Any

MILLI, MICRO = "MILLISECOND", "MICROSECOND"
_POINTS = frozenset(
    [
        *("time", "updateTime", "transactTime", "transactionTime", "workingTime", "serverTime", "openTime"),
        *("trailingTime", "createTime", "connectedSince", "authorizedSince"),
    ]
)
_ENDS = frozenset(("closeTime",))
# Which of an event's one-letter fields are times.
_EVENTS = {
    "trade": "ET",
    "aggTrade": "ET",
    "kline": "E",
    "depthUpdate": "E",
    "24hrMiniTicker": "E",
    "24hrTicker": "EOC",
    "1hTicker": "EOC",
    "4hTicker": "EOC",
    "1dTicker": "EOC",
    "avgPrice": "ET",
    "executionReport": "ETOWD",
    "outboundAccountPosition": "Eu",
    "balanceUpdate": "ET",
    "listStatus": "ET",
    "eventStreamTerminated": "E",
    "serverShutdown": "E",
}


def unit_of(value: str | None) -> bool | None:
    """Return whether a time unit is microseconds, or None for an unknown unit."""
    if value is None:
        return False
    return {MILLI: False, MICRO: True}.get(value.upper())


def answer_in_micros(answer: Any, *, klines: bool = False) -> Any:
    """Return an answer with its times in µs."""
    if klines and isinstance(answer, list):
        return [[row[0] * 1000, *row[1:6], row[6] * 1000 + 999, *row[7:]] for row in answer]
    if isinstance(answer, list):
        return [answer_in_micros(item) for item in answer]
    if not isinstance(answer, dict):
        return answer
    converted = {}
    for name, value in answer.items():
        if name in _POINTS and isinstance(value, int) and value > 0:
            converted[name] = value * 1000
        elif name in _ENDS and isinstance(value, int):
            converted[name] = value * 1000 + 999
        elif name == "T" and isinstance(value, int):
            converted[name] = value * 1000
        else:
            converted[name] = answer_in_micros(value)
    return converted


def event_in_micros(event: Any) -> Any:
    """Return an event with its times in µs."""
    if isinstance(event, list):
        return [event_in_micros(item) for item in event]
    times = _EVENTS.get(event.get("e", ""), "")
    converted = {
        name: value * 1000 if name in times and isinstance(value, int) else value for name, value in event.items()
    }
    if event.get("e") == "kline":
        candle = event["k"]
        converted["k"] = {**candle, "t": candle["t"] * 1000, "T": candle["T"] * 1000 + 999}
    return converted
