"""Faults on demand: what they hit, how often, and what they do. Pure."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import Any

from fortctl.errors import BadInputError, NotFoundError

# Binance's pages fix no status of a 5xx's code; for a time-out the older ones say 504.
CODES = {
    -1000: ("An unknown error occurred while processing the request.", 500),
    -1001: ("Internal error; unable to process your request. Please try again.", 500),
    -1003: ("Too many requests queued.", 429),
    -1006: ("An unexpected response was received from the message bus. Execution status unknown.", 500),
    -1007: ("Timeout waiting for response from backend server. Send status unknown; execution status unknown.", 504),
    -1008: ("Server is currently overloaded with other requests. Please try again in a few minutes.", 503),
    -1015: ("Too many new orders; current limit is 50 orders per 10 SECOND.", 429),
    -1021: ("Timestamp for this request is outside of the recvWindow.", 400),
    -2015: ("Invalid API-key, IP, or permissions for action.", 401),
    -9000: ("Unsupported operation", 400),
}
HTTP = (403, 404, 418, 429, 500, 502, 503)
SILENT, AT_ONCE, LATE_S = -1.0, 0.0, 30.0
WORDS = {"at-once": AT_ONCE, "late": LATE_S, "silent": SILENT}
# family → name → what it does. A request meets one fault of each family; an event one of EVENT.
REQUEST = {
    **{f"http-{status}": f"answer HTTP {status}" for status in HTTP},
    **{f"code{code}": text for code, (text, _status) in CODES.items()},
    "executed-1007": "execute the request, then answer -1007",
    "slow": "answer after some seconds (slow:2.5)",
    "cut-before": "cut the connection before the request is read",
    "cut-after-execute": "execute the request, then cut the connection",
    "cut-body": "cut the connection in the middle of the answer",
    "wrong-type": "answer as text/html",
    "truncated": "answer half of the JSON",
    "maintenance": "answer every request with 503",
}
KEY = {
    "key-deleted": "the key is as if deleted",
    "ip-changed": "the address is not on the key's list",
    "permission-taken": "the key may not trade",
    "key-expired": "the key's trading right has lapsed",
    "trading-disabled": "the account may not trade",
}
EVENT = {
    "event-delayed": "send the event some seconds late (event-delayed:2)",
    "event-doubled": "send the event twice",
    "event-reordered": "send the event after the next one",
    "event-dropped": "send nothing",
}
SERVER = {
    "ws-cut": "cut every WebSocket now",
    "ws-stalled": "send nothing on any WebSocket, and keep it open",
    "clock-offset": "run the exchange's clock ahead by milliseconds (clock-offset:5000)",
    "clock-drift": "let the exchange's clock gain milliseconds every second (clock-drift:50)",
    "keys-full": "a master makes no more keys of its sub-accounts",
    "disk-full": "keep nothing more in --state",
    "revoked-stream": "when a key is deleted, its open user streams end at-once, late (or after N s), or go on silent",
}
FAMILIES = {"request": REQUEST, "key": KEY, "event": EVENT, "server": SERVER}
KINDS = {name: text for family in FAMILIES.values() for name, text in family.items()}


@dataclass
class Fault:
    """One fault that is set.

    Attributes:
        kind, value: what it does.
        method, path: what it hits (``*`` and shell patterns): an HTTP method and a path, ``WS`` and a method of the
            WebSocket API, ``EVENT`` and an event's type or stream.
        after: hits to let pass first.
        left: how often it still hits, or None for always.
        until: when it ends (seconds, monotonic), or None.
        since: when it was set (seconds, monotonic).
        hits: how often it hit.
        last: what it hit last.
    """

    id: int
    kind: str
    value: float
    method: str
    path: str
    after: int
    left: int | None
    until: float | None
    since: float = 0.0
    hits: int = 0
    last: str = ""

    def as_json(self) -> dict[str, Any]:
        names = ("id", "kind", "value", "method", "path", "after", "left", "hits", "last")
        return {name: getattr(self, name) for name in names}


class Faults:
    """The faults of one server."""

    def __init__(self) -> None:
        self.set_faults: list[Fault] = []
        self._next = 1

    def set(
        self,
        kind: str,
        *,
        method: str = "*",
        path: str = "*",
        after: int = 0,
        count: int | None = None,
        until: float | None = None,
        since: float = 0.0,
    ) -> Fault:
        """Set a fault. Raises ``BadInputError`` for an unknown kind."""
        name, _colon, value = kind.partition(":")
        if name not in KINDS:
            raise BadInputError("there is no such fault", hint=f"choose from {', '.join(KINDS)}")
        try:
            number = WORDS[value] if name == "revoked-stream" and value in WORDS else float(value or 1.0)
        except ValueError:
            raise BadInputError("a fault's value is a number", hint="for example slow:2.5") from None
        if not abs(number) < 1e12:
            raise BadInputError("a fault's value is a number of reasonable size", hint="for example slow:2.5")
        if name == "revoked-stream":
            # It is a choice, not a sum: the last one counts.
            self.set_faults = [fault for fault in self.set_faults if fault.kind != name]
        fault = Fault(self._next, name, number, method.upper(), path, after, count, until, since)
        self._next += 1
        self.set_faults.append(fault)
        return fault

    def clear(self, fault_id: int | None = None) -> int:
        """Clear one fault, or all; return how many."""
        found = [fault for fault in self.set_faults if fault_id in (None, fault.id)]
        if fault_id is not None and not found:
            raise NotFoundError(f"there is no fault {fault_id}", hint="see 'fortctl paper fault list'")
        self.set_faults = [fault for fault in self.set_faults if fault not in found]
        return len(found)

    def hit(self, family: str, method: str, path: str, now: float) -> Fault | None:
        """Return the fault of a family that something meets, and count it."""
        for fault in self.set_faults:
            if fault.kind not in FAMILIES[family] or not _matches(fault, method, path, now):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            if fault.left is not None:
                if fault.left <= 0:
                    continue
                fault.left -= 1
            fault.hits += 1
            fault.last = f"{method} {path}"
            return fault
        return None

    def in_force(self, kind: str, now: float) -> Fault | None:
        """Return a fault of the server's own, such as ``ws-stalled``, while it lasts."""
        return next((fault for fault in self.set_faults if fault.kind == kind and _is_active(fault, now)), None)

    def consume(self, kind: str, now: float, what: str) -> bool:
        """Return whether a fault of the server's own strikes here, and count it."""
        fault = self.in_force(kind, now)
        if fault is None or (fault.left is not None and fault.left <= 0):
            return False
        fault.left = fault.left - 1 if fault.left is not None else None
        fault.hits += 1
        fault.last = what
        return True

    def clock_offset(self, now: float) -> int:
        """Return by how many ms the exchange's clock runs ahead."""
        offset = 0.0
        for fault in self.set_faults:
            if fault.kind == "clock-offset" and _is_active(fault, now):
                offset += fault.value
            elif fault.kind == "clock-drift" and _is_active(fault, now):
                offset += fault.value * (now - fault.since)
        return int(offset)


def _matches(fault: Fault, method: str, path: str, now: float) -> bool:
    return (
        _is_active(fault, now) and fnmatch.fnmatchcase(method, fault.method) and fnmatch.fnmatchcase(path, fault.path)
    )


def _is_active(fault: Fault, now: float) -> bool:
    return fault.until is None or now < fault.until
