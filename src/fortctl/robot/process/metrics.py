"""A robot's metrics: their names and kinds, and Prometheus' text format. Pure, except for the counters.

Source: Prometheus, "Exposition formats", text format 0.0.4. A library of its own would cost 9 MiB and 50 ms for these
hundred lines (decision 0013).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fortctl.model import DriftKind
from fortctl.robot.core.events import Event
from fortctl.robot.core.filters import format_money
from fortctl.robot.core.lifecycle import DERIVED
from fortctl.robot.core.reconciliation import LastContact
from fortctl.robot.core.status import RobotFacts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = tuple(name for name, _holds in DERIVED)
JOURNAL_BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

Value = int | float | Decimal
Sample = tuple[Mapping[str, str], Value]


@dataclass(frozen=True)
class Family:
    """One metric: ``name`` without the prefix, ``gauge`` or ``counter``, one line of help."""

    name: str
    kind: str
    help: str

    @property
    def full_name(self) -> str:
        return f"fortctl_robot_{self.name}" if not self.name.startswith("process_") else self.name


INFO = Family("info", "gauge", "1, with the version and what is traded.")
STATE = Family("state", "gauge", "1 for the state that the robot is in, 0 for every other.")
KEY_AGE = Family("key_age_seconds", "gauge", "Since the key was stored; absent without a key.")
KEY_DRIFT = Family("key_drift", "gauge", "Differences, by kind, between what its key may do and what was accepted.")
RIGHTS_AGE = Family(
    "key_rights_age_seconds", "gauge", "Since the exchange last said what its key may do; absent before the first time."
)
LAST_EVENT = Family(
    "last_event_age_seconds", "gauge", "Since the last event of its own orders; absent before the first."
)
HEARD = Family("heard_age_seconds", "gauge", "Since the exchange last answered a signed request or its stream spoke.")
STUCK = Family("stuck_seconds", "gauge", "For how long the worker has not moved although it should have.")
ORDERS_OPEN = Family("orders_open", "gauge", "Its orders that are open at the exchange, as far as it knows.")
ORDERS = Family("orders_total", "counter", "Orders that it made durable, since the process began.")
FILLS = Family("fills_total", "counter", "Trades of its orders that it booked, since the process began.")
EVENTS = Family("journal_events_total", "counter", "Events that it wrote into the journal, since the process began.")
CYCLES = Family("cycles", "gauge", "Cycles that are open (with inventory), and that are held (without a sell).")
CLOSED = Family("cycles_closed", "gauge", "Cycles that were closed, ever.")
PROFIT = Family("realised_profit", "gauge", "What its closed cycles earned, net of commissions.")
WEIGHT = Family("request_weight_used", "gauge", "Request weight of this address in this minute, as last reported.")
HOLD = Family("hold_reasons", "gauge", "Reasons that hold it for a person.")
INCIDENTS = Family("incidents", "gauge", "Incident files that nobody has deleted yet.")
JOURNAL = Family("journal_append_seconds", "histogram", "How long a durable write into the journal took.")
MEMORY = Family("process_resident_memory_bytes", "gauge", "Resident memory.")
CPU = Family("process_cpu_seconds_total", "counter", "Processor time, user and system.")
STARTED = Family("process_start_time_seconds", "gauge", "When the process began, Unix time.")
FAMILIES = (
    *(INFO, STATE, KEY_AGE, KEY_DRIFT, RIGHTS_AGE, LAST_EVENT, HEARD, STUCK, ORDERS_OPEN, ORDERS, FILLS, EVENTS),
    *(CYCLES, CLOSED, PROFIT, WEIGHT, HOLD, INCIDENTS, JOURNAL, MEMORY, CPU, STARTED),
)


@dataclass
class Meter:
    """Counts what a process did, and how long its journal took."""

    kinds: Counter[str] = field(default_factory=Counter)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(JOURNAL_BUCKETS) + 1))
    seconds: float = 0.0

    def wrote(self, events: Sequence[Event], seconds: float) -> None:
        self.kinds.update(event.kind for event in events)
        self.buckets[bisect_left(JOURNAL_BUCKETS, seconds)] += 1
        self.seconds += seconds


class MeteredJournal:
    """A journal whose writes are counted and timed; everything else is the journal's own.

    Args:
        journal: as :class:`fortctl.robot.core.EventJournal`.
        meter: what counts.
        monotonic: seconds.
    """

    def __init__(self, journal: Any, meter: Meter, monotonic: Callable[[], float]) -> None:
        self._journal = journal
        self._meter = meter
        self._monotonic = monotonic

    def append(self, events: Sequence[Event]) -> None:
        began = self._monotonic()
        self._journal.append(events)
        self._meter.wrote(events, self._monotonic() - began)

    def keep_contact(self, contact: LastContact) -> None:
        self._journal.keep_contact(contact)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


@dataclass(frozen=True)
class Reading:
    """What is read from a robot at one moment; times in seconds.

    Attributes:
        facts: what the robot knows.
        key_age, rights_age: None where there is none.
        weight: None before the exchange reported one.
        process: resident bytes, processor seconds, Unix time of the start.
    """

    account: str
    version: str
    facts: RobotFacts
    key_age: float | None
    rights_age: float | None
    weight: int | None
    incidents: int
    process: tuple[int, float, float]


def exposition(reading: Reading, meter: Meter) -> str:
    """Return everything as Prometheus reads it."""
    lines: list[str] = []
    for family, samples in _samples(reading, meter):
        lines += _family(family, reading.account, samples)
    lines += _histogram(reading.account, meter)
    return "\n".join(lines) + "\n"


def _samples(reading: Reading, meter: Meter) -> Iterator[tuple[Family, list[Sample]]]:
    facts = reading.facts
    yield INFO, [({"version": reading.version, "symbol": facts.symbol}, 1)]
    yield STATE, [({"state": state}, int(state == facts.state)) for state in STATES]
    yield KEY_AGE, _one(reading.key_age)
    drifted = [drift.kind for drift in facts.key.drift]
    yield KEY_DRIFT, [({"kind": kind.value}, drifted.count(kind)) for kind in DriftKind]
    yield RIGHTS_AGE, _one(reading.rights_age)
    yield LAST_EVENT, _one(facts.last_event_age)
    yield HEARD, _one(facts.heard_age)
    yield STUCK, _one(facts.stuck)
    yield ORDERS_OPEN, _one(facts.orders_open)
    yield ORDERS, _one(meter.kinds["intended"])
    yield FILLS, _one(meter.kinds["booked"])
    yield EVENTS, _one(sum(meter.kinds.values()))
    yield CYCLES, [({"state": "open"}, facts.cycles.open), ({"state": "held"}, facts.cycles.held)]
    yield CLOSED, _one(facts.cycles.closed)
    yield PROFIT, [({"asset": facts.profit_asset}, Decimal(format_money(facts.profit)))]
    yield WEIGHT, _one(reading.weight)
    yield HOLD, _one(len(facts.hold))
    yield INCIDENTS, _one(reading.incidents)
    for family, value in zip((MEMORY, CPU, STARTED), reading.process, strict=True):
        yield family, _one(value)


def _one(value: Value | None) -> list[Sample]:
    return [] if value is None else [({}, value)]


def _family(family: Family, account: str, samples: Iterable[Sample]) -> list[str]:
    name = family.full_name
    lines = [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
    return lines + [f"{name}{_labels({'account': account, **labels})} {_number(value)}" for labels, value in samples]


def _histogram(account: str, meter: Meter) -> list[str]:
    name = JOURNAL.full_name
    lines, total = [f"# HELP {name} {JOURNAL.help}", f"# TYPE {name} histogram"], 0
    for bound, count in zip((*JOURNAL_BUCKETS, math.inf), meter.buckets, strict=True):
        total += count
        lines.append(f"{name}_bucket{_labels({'account': account, 'le': _number(bound)})} {total}")
    labels = _labels({"account": account})
    return [*lines, f"{name}_sum{labels} {_number(meter.seconds)}", f"{name}_count{labels} {total}"]


def _labels(labels: Mapping[str, str]) -> str:
    shown = []
    for name, value in labels.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        shown.append(f'{name}="{escaped}"')
    return "{" + ",".join(shown) + "}"


def _number(value: Value) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if value == math.inf:
        return "+Inf"
    # In full: nine digits of a Unix time are tens of seconds off.
    return str(value) if isinstance(value, int) else f"{Decimal(repr(value)):f}".removesuffix(".0")
