"""Why a robot waits for a person: typed reasons, and which of them a start or ``robot resume`` settles. Pure.

A :class:`HoldReason` has a code, a subject and a text for people (``detail``). Rules compare codes, subjects, amounts;
no code takes the text apart. To add a reason, add a :class:`HoldCode` and let ``fortctl explain`` know it
(``services/robot/messages.py``). Journals of before 0.1.0 contain sentences (``CODE: text``), which
:func:`read_sentence` reads once, when the journal is replayed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any


class HoldCode(StrEnum):
    """Every code that a robot holds or pauses with; ``fortctl explain`` knows each."""

    GAP = "GAP"  # the break was longer than resume.max_gap
    DRIFT = "DRIFT"  # the price moved by more than resume.max_drift meanwhile
    UNKNOWN_ORDER = "UNKNOWN_ORDER"  # an open order with our prefix is not in the journal
    ROLLED_BACK = "ROLLED_BACK"  # the exchange reports less of an order than before
    BALANCE = "BALANCE"  # less can be sold than our cycles have bought
    ACCOUNT = "ACCOUNT"  # the key is another account's
    SYMBOL = "SYMBOL"  # the exchange does not trade the symbol any more
    OTHER_ROBOT = "OTHER_ROBOT"  # another robot's orders are open
    JOURNAL_BEHIND = "JOURNAL_BEHIND"  # the journal is older than what the robot wrote last
    BOOKS = "BOOKS"  # the exchange reports what the book cannot follow
    KEY_DRIFT = "KEY_DRIFT"  # the key got a right to move funds out of the account
    STRATEGY = "STRATEGY"  # the strategy failed or cannot be loaded
    PANIC = "PANIC"  # a panic stopped it
    # Pauses: nothing is placed until they end by themselves.
    DEADMAN = "DEADMAN"  # the mailbox was not reached for too long
    JOURNAL = "JOURNAL"  # the journal cannot be written
    DISK = "DISK"  # the disk is nearly full


# A break is over when a person starts the robot and no cycle had to live through it (robot.md, "Behaviour").
_CLEARED_BY_START = frozenset({HoldCode.GAP, HoldCode.DRIFT})
# What a person may accept. A break is another one each time; a wrong account or symbol stays wrong although a person
# accepts it.
_ACKNOWLEDGEABLE = frozenset({HoldCode.UNKNOWN_ORDER, HoldCode.ROLLED_BACK, HoldCode.BALANCE, HoldCode.OTHER_ROBOT})


@dataclass(frozen=True)
class HoldReason:
    """One reason.

    Attributes:
        code: a :class:`HoldCode`; a text where a journal of another version has one that is not known here.
        detail: the words for a person.
        subject: what it is about and what stays the same while numbers change: an order, a prefix, a symbol.
        amount, asset: how much of which asset is missing (``BALANCE``).
    """

    code: str
    detail: str
    subject: str = ""
    amount: Decimal | None = None
    asset: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"

    def as_json(self) -> dict[str, Any]:
        """Return what the journal keeps of it."""
        kept: dict[str, Any] = {"code": str(self.code), "detail": self.detail}
        if self.subject:
            kept["subject"] = self.subject
        if self.amount is not None:
            kept |= {"amount": f"{self.amount:f}", "asset": self.asset}
        return kept

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> HoldReason:
        """Read what :meth:`as_json` wrote."""
        amount = kept.get("amount")
        return cls(
            str(kept["code"]),
            str(kept["detail"]),
            str(kept.get("subject", "")),
            Decimal(amount) if amount is not None else None,
            str(kept.get("asset", "")),
        )


def read_sentence(sentence: str) -> HoldReason:
    """Return a reason that a journal of before 0.1.0 holds as ``CODE: words``.

    Where its words do not have the form that they had then, it has no subject: a person looks again.
    """
    code, _colon, detail = sentence.partition(": ")
    subject, amount, asset = "", None, ""
    if code == HoldCode.BALANCE:
        words = re.match(r"(\S+) (\S+) are missing;", detail)
        try:
            amount, asset = (Decimal(words[1]), words[2]) if words else (None, "")
        except InvalidOperation:
            amount = None
    elif code in (HoldCode.UNKNOWN_ORDER, HoldCode.ROLLED_BACK):
        subject = re.split(r"[ ;]", detail, maxsplit=1)[0]
    elif code == HoldCode.OTHER_ROBOT:
        prefix = re.match(r"orders named (\S+)… are open", detail)
        subject = prefix[1] if prefix else ""
    return HoldReason(code, detail or sentence, subject, amount, asset)


def codes(reasons: Iterable[HoldReason]) -> set[str]:
    """Return the codes of some reasons."""
    return {reason.code for reason in reasons}


def left_by_start(reasons: Iterable[HoldReason]) -> list[HoldReason]:
    """Return what still holds after a person's start with no cycle open."""
    return [reason for reason in reasons if reason.code not in _CLEARED_BY_START]


@dataclass(frozen=True)
class Acknowledged:
    """What a person has accepted with ``robot resume``.

    Attributes:
        subjects: (code, subject) pairs.
        missing: by asset, how much of a balance may be missing.
    """

    subjects: frozenset[tuple[str, str]] = frozenset()
    missing: Mapping[str, Decimal] = field(default_factory=dict)

    def with_reasons(self, reasons: Iterable[HoldReason]) -> Acknowledged:
        """Return these and more."""
        subjects, missing = set(self.subjects), dict(self.missing)
        for reason in reasons:
            if reason.amount is not None:
                missing[reason.asset] = reason.amount
            elif reason.code in _ACKNOWLEDGEABLE and reason.subject:
                subjects.add((str(reason.code), reason.subject))
        return Acknowledged(frozenset(subjects), missing)

    def covers(self, reason: HoldReason) -> bool:
        """Return whether a person has accepted this; less missing than they accepted is covered."""
        if reason.amount is not None:
            return reason.amount <= self.missing.get(reason.asset, Decimal(0))
        return (str(reason.code), reason.subject) in self.subjects
