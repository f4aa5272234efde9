"""What a panic notes in the latch file, so that a panic that is run again still knows it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fortctl.services.panic.known_key import ROLES, IssuedName, KnownKey


@dataclass(frozen=True)
class LatchFacts:
    """The fields of the latch file that a panic reads (:mod:`fortctl.robot.storage.latch` refuses misshapen ones).

    Attributes:
        at_ms: when the first panic of this latch began (ms), or None where the file does not say.
        keys: the keys that were not proved deleted.
        unknown: the roles of which nothing says which key they had.
        issued: the names under which an aborted rotation may have had keys made.
        queued: when keys were sent to the robot that it never accepted (RFC 3339).
        orders_done: no order of the robot is left at the exchange.
    """

    at_ms: int | None = None
    keys: tuple[KnownKey, ...] = ()
    unknown: frozenset[str] = frozenset()
    issued: tuple[IssuedName, ...] = ()
    queued: frozenset[str] = frozenset()
    orders_done: bool = False

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> LatchFacts:
        """Read the latch file's facts; what is missing is empty."""
        at_ms = facts.get("at_ms")
        return cls(
            at_ms=at_ms if isinstance(at_ms, int) else None,
            keys=tuple(KnownKey.from_json(entry) for entry in facts.get("keys", ())),
            unknown=frozenset(facts.get("unknown", ())) & frozenset(ROLES),
            issued=tuple(IssuedName.from_json(entry) for entry in facts.get("issued", ())),
            queued=frozenset(str(at) for at in facts.get("queued", ())),
            orders_done=bool(facts.get("orders_done")),
        )
