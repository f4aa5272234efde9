"""Reasons to hold: which of them a start clears, and which a person's look excuses. Pure.

A reason reads ``CODE: what stays true of it; what changes with the market``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation

BALANCE, SYMBOL, OTHER_ROBOT, JOURNAL_BEHIND = "BALANCE", "SYMBOL", "OTHER_ROBOT", "JOURNAL_BEHIND"
# A break is over when a person starts the robot, where no cycle had to live through it (robot.md, "held").
_CLEARED_BY_START = ("GAP", "DRIFT")
# What a person may have looked at and let be. A break is another one each time; an account or a symbol that is not
# the right one stays so, whoever looks.
_EXCUSABLE = ("UNKNOWN_ORDER", "ROLLED_BACK", BALANCE, OTHER_ROBOT)


def code_of(reason: str) -> str:
    """Return a reason's code."""
    return reason.partition(":")[0]


def left_by_start(reasons: Sequence[str]) -> list[str]:
    """Return what still holds after a person's start with no cycle open."""
    return [reason for reason in reasons if code_of(reason) not in _CLEARED_BY_START]


class Acknowledged:
    """What a person has looked at.

    Args:
        seen: what stays true of each reason.
        missing: by asset, how much of a balance may be missing.
    """

    def __init__(self, seen: frozenset[str] = frozenset(), missing: Mapping[str, Decimal] | None = None) -> None:
        self._seen = seen
        self._missing = dict(missing or {})

    def and_(self, reasons: Iterable[str]) -> Acknowledged:
        """Return these and more."""
        seen, missing = set(self._seen), dict(self._missing)
        for reason in reasons:
            lack = _lack(reason)
            if lack is not None:
                missing[lack[1]] = lack[0]
            elif code_of(reason) in _EXCUSABLE:
                seen.add(_lasting(reason))
        return Acknowledged(frozenset(seen), missing)

    def covers(self, reason: str) -> bool:
        """Return whether a person has seen what a reason says; less missing than they saw is no news."""
        lack = _lack(reason)
        if lack is not None:
            return lack[0] <= self._missing.get(lack[1], Decimal(0))
        return _lasting(reason) in self._seen


def _lasting(reason: str) -> str:
    return reason.partition(";")[0]


def _lack(reason: str) -> tuple[Decimal, str] | None:
    """Return amount and asset of a ``BALANCE: 5 XRP are missing; …``."""
    words = reason.split(maxsplit=3)
    if code_of(reason) != BALANCE or len(words) < 3:
        return None
    try:
        return Decimal(words[1]), words[2]
    except InvalidOperation:
        # A journal of before says it in other words: a person looks again.
        return None
