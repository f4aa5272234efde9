"""Faults on demand: which requests or events they apply to, how often, and what they do. Pure."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import Any

from fortctl.errors import BadInputError, NotFoundError

# Binance's pages state no HTTP status for these 5xx codes; the older ones say 504 for a time-out.
CODES = {
    -1000: ("An unknown error occurred while processing the request.", 500),
    -1001: ("Internal error; unable to process your request. Please try again.", 500),
    -1003: ("Too many requests queued.", 429),
    -1006: ("An unexpected response was received from the message bus. Execution status unknown.", 500),
    -1007: ("Timeout waiting for response from backend server. Send status unknown; execution status unknown.", 504),
    -1008: ("Server is currently overloaded with other requests. Please try again in a few minutes.", 503),
    -1015: ("Too many new orders; current limit is 50 orders per 10 SECOND.", 429),
    -1021: ("Timestamp for this request is outside of the recvWindow.", 400),
    -2013: ("Order does not exist.", 400),
    -2015: ("Invalid API-key, IP, or permissions for action.", 401),
    -9000: ("Unsupported operation", 400),
}
HTTP = (403, 404, 418, 429, 500, 502, 503)
SILENT, AT_ONCE, LATE_S = -1.0, 0.0, 30.0
WORDS = {"at-once": AT_ONCE, "late": LATE_S, "silent": SILENT}
# What ``endless`` sends at most: as the body of an answer, and as one frame of a WebSocket.
ENDLESS_BYTES, ENDLESS_FRAME_BYTES = 64 * 1024 * 1024, 8 * 1024 * 1024
DEEP_LEVELS = 100_000
_ADDRESS = re.compile(r"https?://[!-~]{1,2000}", re.ASCII)
# The server's encoder writes at most 254 levels; a row of an answer stands some levels deep.
MERGE_LEVELS = 200
# family → name → what it does. At most one fault of each family applies to a request, and one of EVENT and one of
# ANSWER to an event.
REQUEST = {
    **{f"http-{status}": f"answer HTTP {status}" for status in HTTP},
    **{f"code{code}": text for code, (text, _status) in CODES.items()},
    "executed-1007": "execute the request, then answer -1007",
    "order-twin": "execute an order twice, under one client order id; two of it are open then",
    "slow": "answer after some seconds (slow:2.5)",
    "cut-before": "cut the connection before the request is read",
    "cut-after-execute": "execute the request, then cut the connection",
    "cut-body": "cut the connection in the middle of the answer",
    "wrong-type": "answer as text/html",
    "truncated": "answer half of the JSON",
    "maintenance": "answer every request with 503",
}
HTTP_REQUEST = {"redirect": "redirect to another address with 307 and execute nothing (redirect:http://127.0.0.1:9000)"}
ANSWER = {
    "answer": "change what is answered or sent: merge fields, drop fields, replace the body or the status",
    "endless": f"answer with a body that does not end (it is cut after {ENDLESS_BYTES >> 20} MiB)",
    "deep": f"answer with JSON of {DEEP_LEVELS:,} levels",
}
LIST = {"empty": "answer an empty list (open orders, trades); other answers stay as they are"}
KEY = {
    "key-deleted": "refuse the key as if it were deleted",
    "ip-changed": "refuse the address as if it were not on the key's IP list",
    "permission-taken": "refuse to trade as if the key lacked the permission",
    "key-expired": "refuse to trade as if the key's trading right had lapsed",
    "trading-disabled": "refuse to trade as if the account were disabled",
}
EVENT = {
    "event-delayed": "send the event some seconds late (event-delayed:2)",
    "event-doubled": "send the event twice",
    "event-reordered": "send the event after the next one",
    "event-dropped": "do not send the event",
}
SERVER = {
    "ws-cut": "cut every WebSocket now",
    "ws-stalled": "keep every WebSocket open and send nothing",
    "clock-offset": "run the exchange's clock ahead by milliseconds (clock-offset:5000)",
    "clock-drift": "let the exchange's clock gain milliseconds every second (clock-drift:50)",
    "unrestricted-deleted": "delete keys that may do more than read and have no IP list, now and at a request",
    "keys-full": "refuse more keys of sub-accounts: the limit is reached",
    "disk-full": "fail every write of the state file",
    "revoked-stream": "end the open user streams of a deleted key at-once, late (or after N s), or never (silent)",
}
FAMILIES = {
    "request": REQUEST,
    "http": HTTP_REQUEST,
    "answer": ANSWER,
    "list": LIST,
    "key": KEY,
    "event": EVENT,
    "server": SERVER,
}
KINDS = {name: text for family in FAMILIES.values() for name, text in family.items()}


@dataclass(frozen=True)
class AnswerChange:
    """What the fault ``answer`` does to an answer or an event.

    Attributes:
        merge: fields that an object, or each object of a list, gets.
        drop: fields that it loses.
        body: what replaces the whole document, whether it is JSON or not.
        status: what replaces the HTTP status.
    """

    merge: dict[str, Any]
    drop: tuple[str, ...] = ()
    body: str | None = None
    status: int | None = None

    def __bool__(self) -> bool:
        return bool(self.merge or self.drop) or self.body is not None or self.status is not None

    def apply(self, document: Any) -> Any:
        """Return the changed document; bytes where a body replaces it, which is sent as it is."""
        if self.body is not None:
            return self.body.encode()
        if isinstance(document, list):
            return [self._changed(row) for row in document]
        return self._changed(document)

    def _changed(self, row: Any) -> Any:
        if not isinstance(row, dict):
            return row
        return {name: value for name, value in row.items() if name not in self.drop} | self.merge

    def as_json(self) -> dict[str, Any]:
        return {"merge": self.merge, "drop": list(self.drop), "body": self.body, "status": self.status}


@dataclass
class Fault:
    """One fault.

    Attributes:
        kind, value: what it does.
        method, path: what it applies to (``*`` and shell patterns): an HTTP method and a path, ``WS`` and a method of
            the WebSocket API, ``EVENT`` and an event's type or stream.
        after: how many matches are let through first.
        left: how many more matches it applies to, or None for all.
        until: when it ends (monotonic seconds), or None.
        since: when it was set (monotonic seconds).
        hits: how many matches it has applied to.
        last: the last of them.
        location: where ``redirect`` sends a client.
        change: what ``answer`` changes.
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
    location: str = ""
    change: AnswerChange | None = None

    def as_json(self) -> dict[str, Any]:
        names = ("id", "kind", "value", "method", "path", "after", "left", "hits", "last")
        document = {name: getattr(self, name) for name in names}
        if self.location:
            document["location"] = self.location
        if self.change is not None:
            document["change"] = self.change.as_json()
        return document


class Faults:
    """The faults of one server.

    Attributes:
        entries: the faults that are set; empty nearly always, which callers check before anything else.
    """

    def __init__(self) -> None:
        self.entries: list[Fault] = []
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
        change: AnswerChange | None = None,
    ) -> Fault:
        """Set a fault. Raises ``BadInputError`` for an unknown kind, and for a value or a change that does not fit."""
        name, _colon, value = kind.partition(":")
        if name not in KINDS:
            raise BadInputError("there is no such fault", hint=f"choose from {', '.join(KINDS)}")
        _check_change(name, change)
        location = ""
        if name == "redirect":
            if not _ADDRESS.fullmatch(value):
                raise BadInputError("a redirect needs an address", hint="for example redirect:http://127.0.0.1:9000")
            location, value = value, ""
        try:
            number = WORDS[value] if name == "revoked-stream" and value in WORDS else float(value or 1.0)
        except ValueError:
            raise BadInputError("a fault's value must be a number", hint="for example slow:2.5") from None
        if not abs(number) < 1e12:
            raise BadInputError("a fault's value is a number of reasonable size", hint="for example slow:2.5")
        if name == "revoked-stream":
            # It is a choice, not a sum: the last one counts.
            self.entries = [fault for fault in self.entries if fault.kind != name]
        fault = Fault(
            *(self._next, name, number, method.upper(), path, after, count, until, since),
            location=location,
            change=change if name == "answer" else None,
        )
        self._next += 1
        self.entries.append(fault)
        return fault

    def clear(self, fault_id: int | None = None) -> int:
        """Clear one fault, or all; return how many. Raises ``NotFoundError``."""
        cleared = [fault for fault in self.entries if fault_id in (None, fault.id)]
        if fault_id is not None and not cleared:
            raise NotFoundError(f"there is no fault {fault_id}", hint="see 'fortctl paper fault list'")
        self.entries = [fault for fault in self.entries if fault not in cleared]
        return len(cleared)

    def match(self, family: str, method: str, path: str, now: float) -> Fault | None:
        """Return the fault of a family that applies to a request or event, and count it."""
        for fault in self.entries:
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

    def active(self, kind: str, now: float) -> Fault | None:
        """Return the active fault of a kind without a pattern, such as ``ws-stalled``."""
        return next((fault for fault in self.entries if fault.kind == kind and _is_active(fault, now)), None)

    def consume(self, kind: str, now: float, what: str) -> bool:
        """Return whether a fault of a kind without a pattern applies, and count it; ``what`` describes the match."""
        fault = self.active(kind, now)
        if fault is None or (fault.left is not None and fault.left <= 0):
            return False
        fault.left = fault.left - 1 if fault.left is not None else None
        fault.hits += 1
        fault.last = what
        return True

    def clock_offset(self, now: float) -> int:
        """Return how far the exchange's clock is ahead (ms)."""
        offset = 0.0
        for fault in self.entries:
            if fault.kind == "clock-offset" and _is_active(fault, now):
                offset += fault.value
            elif fault.kind == "clock-drift" and _is_active(fault, now):
                offset += fault.value * (now - fault.since)
        return int(offset)


def deep_body() -> bytes:
    """Return the JSON that ``deep`` answers."""
    return b"[" * DEEP_LEVELS + b"]" * DEEP_LEVELS


def _check_change(name: str, change: AnswerChange | None) -> None:
    if name != "answer":
        if change:
            raise BadInputError(
                "only the fault answer changes an answer", hint="without --merge, --drop, --body, --status"
            )
        return
    if not change:
        raise BadInputError("the fault answer needs a change", hint="give --merge, --drop, --body or --status")
    levels, values = 0, list[Any]([change.merge])
    while values:
        levels += 1
        values = [child for value in values for child in _children(value)]
    if levels > MERGE_LEVELS:
        raise BadInputError(f"the fields to merge have more than {MERGE_LEVELS} levels")


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _matches(fault: Fault, method: str, path: str, now: float) -> bool:
    return (
        _is_active(fault, now) and fnmatch.fnmatchcase(method, fault.method) and fnmatch.fnmatchcase(path, fault.path)
    )


def _is_active(fault: Fault, now: float) -> bool:
    return fault.until is None or now < fault.until
