"""Faults on demand: which requests they hit, how often, and what they do. Pure."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import Any

from fortctl.errors import BadInput, NotFound

CODES = {
    -1000: ("An unknown error occurred while processing the request.", 500),
    -1001: ("Internal error; unable to process your request. Please try again.", 500),
    -1003: ("Too many requests queued.", 429),
    -1006: ("An unexpected response was received from the message bus. Execution status unknown.", 500),
    -1007: ("Timeout waiting for response from backend server. Send status unknown; execution status unknown.", 500),
    -1015: ("Too many new orders; current limit is 50 orders per 10 SECOND.", 429),
    -1021: ("Timestamp for this request is outside of the recvWindow.", 400),
    -2015: ("Invalid API-key, IP, or permissions for action.", 401),
}
HTTP = (403, 418, 429, 500, 502, 503)
# name → what it does
KINDS = {
    **{f"http-{status}": f"answer HTTP {status}" for status in HTTP},
    **{f"code{code}": text for code, (text, _status) in CODES.items()},
    "executed-1007": "execute the request, then answer -1007",
    "slow": "answer after some seconds (slow:2.5)",
    "cut-before": "cut the connection before the request is read",
    "cut-after-execute": "execute the request, then cut the connection",
    "cut-body": "cut the connection in the middle of the answer",
    "wrong-type": "answer as text/html",
    "truncated": "answer half of the JSON",
    "ws-cut": "cut every WebSocket now",
    "clock-offset": "run the exchange's clock ahead by milliseconds (clock-offset:5000)",
    "maintenance": "answer every request with 503",
}


@dataclass
class Fault:
    """One fault that is set.

    Attributes:
        kind, value: what it does.
        method, path: which requests it hits (``*`` and shell patterns).
        after: requests to let pass first.
        left: how often it still hits, or None for always.
        until: when it ends (seconds, monotonic), or None.
        hits: the requests that it hit.
    """

    id: int
    kind: str
    value: float
    method: str
    path: str
    after: int
    left: int | None
    until: float | None
    hits: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            name: getattr(self, name) for name in ("id", "kind", "value", "method", "path", "after", "left", "hits")
        }


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
    ) -> Fault:
        """Set a fault. Raises ``BadInput`` for an unknown kind."""
        name, _colon, value = kind.partition(":")
        if name not in KINDS:
            raise BadInput("there is no such fault", hint=f"choose from {', '.join(KINDS)}")
        try:
            number = float(value or 1.0)
        except ValueError:
            raise BadInput("a fault's value is a number", hint="for example slow:2.5") from None
        fault = Fault(self._next, name, number, method.upper(), path, after, count, until)
        self._next += 1
        self.set_faults.append(fault)
        return fault

    def clear(self, fault_id: int | None = None) -> int:
        """Clear one fault, or all; return how many."""
        found = [fault for fault in self.set_faults if fault_id in (None, fault.id)]
        if fault_id is not None and not found:
            raise NotFound(f"there is no fault {fault_id}", hint="see 'fortctl paper fault list'")
        self.set_faults = [fault for fault in self.set_faults if fault not in found]
        return len(found)

    def hit(self, method: str, path: str, now: float) -> Fault | None:
        """Return the fault that a request meets, and count it."""
        for fault in self.set_faults:
            if fault.kind in ("clock-offset", "ws-cut") or not self._meets(fault, method, path, now):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            if fault.left is not None:
                if fault.left <= 0:
                    continue
                fault.left -= 1
            fault.hits += 1
            return fault
        return None

    def clock_offset(self, now: float) -> int:
        """Return by how many ms the exchange's clock runs ahead."""
        live = [fault for fault in self.set_faults if fault.kind == "clock-offset" and _lasts(fault, now)]
        return int(sum(fault.value for fault in live))

    @staticmethod
    def _meets(fault: Fault, method: str, path: str, now: float) -> bool:
        return (
            _lasts(fault, now) and fnmatch.fnmatchcase(method, fault.method) and fnmatch.fnmatchcase(path, fault.path)
        )


def _lasts(fault: Fault, now: float) -> bool:
    return fault.until is None or now < fault.until
