"""What a receipt reports: read as it was written, and as older robots wrote it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fortctl.canonical_json import canonical_json
from fortctl.errors import ExchangeAnswer
from fortctl.keys.serialization import KeyCheck, key_card_to_json
from fortctl.mailbox.receipts import (
    KeyChecked,
    KeyDelivered,
    KeyForgotten,
    PairWaiting,
    Reconfigured,
    RetiredKey,
    TradingStopped,
)
from fortctl.model import KeyCard, KeyRestrictions, KeyType, KeyVerdict, PolicyVerdict, RobotOrder, Role
from fortctl.ports import ExchangeError, Outcome

CARD = KeyCard(Role.ROBOT, "robot-1", KeyType.ED25519, "0123456789ab", "wxyz", "ok", held_by=("robot",), created_at=1)
ORDER = RobotOrder("fc01234567-1-b1", 7, "BUY", "0.5", "10", "0", "NEW")
REFUSED = KeyVerdict(
    False,
    "unknown_key",
    policy=PolicyVerdict(False, missing=("spot_trading",)),
    latency_ms=12.6,
    exchange_code=-2015,
    http_status=401,
    exchange_message="Invalid API-key",
    certainty="likely",
    why="it said so",
)
RESTRICTIONS = KeyRestrictions(
    reading=True,
    spot_trading=True,
    ip_restricted=False,
    withdrawals=False,
    internal_transfer=False,
    universal_transfer=False,
    margin=False,
    futures=False,
    options=False,
)
WARNINGS = (("CODE", "text"),)

REPORTS: dict[str, Any] = {
    "delivered": KeyDelivered(CARD, 5, RESTRICTIONS, WARNINGS, unchanged=True),
    "delivered, permissions unknown": KeyDelivered(CARD, 5),
    "pair": PairWaiting("id", "PEM"),
    "no pair": PairWaiting(),
    "forgotten": KeyForgotten("0123456789ab", (ORDER,)),
    "checked": KeyChecked(KeyCheck.of(Role.ROBOT, REFUSED), WARNINGS),
    "no retired key": RetiredKey("none"),
    "retired key": RetiredKey("alive", "0123456789ab", "robot-1", -2015),
    "stopped": TradingStopped(("a",), (ORDER,), ("b",), checked=False, key="ok"),
    "reconfigured": Reconfigured(False, WARNINGS),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_is_read_as_it_was_written(name: str) -> None:
    report = REPORTS[name]
    assert type(report).from_json(json.loads(canonical_json(report.to_json()))) == report


def test_a_fault_is_read_as_it_was_written() -> None:
    fault = ExchangeError(Outcome.UNREACHABLE, "no answer", code=-1, http_status=503)
    read = TradingStopped.from_json(TradingStopped(fault=fault).to_json()).fault
    assert read is not None and read.as_json() == fault.as_json()


def test_what_an_older_robot_does_not_report_has_a_default() -> None:
    assert TradingStopped.from_json({"cancelled": [], "orders_left": []}) == TradingStopped()
    assert Reconfigured.from_json({}) == Reconfigured(True, ())
    assert KeyDelivered.from_json({"key": key_card_to_json(CARD), "uid": 5}) == KeyDelivered(CARD, 5)
    assert RetiredKey.from_json({"state": "none", "fingerprint": ""}) == RetiredKey("none")


def test_the_fields_of_a_verdict_are_those_of_the_contract() -> None:
    assert KeyCheck.of(Role.SITE, REFUSED).to_json() == {
        "role": "site",
        "accepted": False,
        "reason": "unknown_key",
        "certainty": "likely",
        "why": "it said so",
        "seen_from": None,
        "policy": {"ok": False, "missing": ["spot_trading"], "excess": [], "lapsed": False},
        "permissions": {},
        "latency_ms": 13,
        "clock_skew_ms": None,
        "exchange": ExchangeAnswer(401, -2015, "Invalid API-key").as_json(),
        "drift": [],
    }
