"""The arguments of commands: the bytes that are sealed, read back as the same value; a secret shows nowhere."""

from __future__ import annotations

import base64
import json

import pytest

from fortctl.errors import BadInputError, UsageError
from fortctl.mailbox.home_anchor import HomeAnchor
from fortctl.mailbox.payloads import (
    PAYLOADS,
    CommandPayload,
    ConfigureRobot,
    DeliverKey,
    DrainCycles,
    ForgetKey,
    GenerateKey,
    Hello,
    PairOperator,
    ProveRetired,
    ResumeTrading,
    ShowPending,
    StartTrading,
    StopTrading,
    UnpairOperator,
    VerifyKey,
    decode_anchor,
    decode_payload,
    encode_payload,
)
from fortctl.model import KeyType
from fortctl.secret import Secret

ANCHOR = HomeAnchor(4, 12, "ab" * 32)
KEY = b"F" * 32
BASE = {
    "name": "robot-1",
    "api_key": "A" * 64,
    "allow": ["margin"],
    "elsewhere": {"7": "other"},
    "uid": 9,
    "fingerprint_key": base64.b64encode(KEY).decode(),
}


def delivery(**changes: object) -> DeliverKey:
    fields = {"allow": ("margin",), "elsewhere": {7: "other"}, "uid": 9, **changes}
    return DeliverKey("robot-1", Secret("A" * 64), Secret(KEY), **fields)  # type: ignore[arg-type]


OWN = {"type": KeyType.HMAC, "secret": Secret("B" * 64)}
OWN_JSON = {"type": "hmac", "secret": "B" * 64}
# What version 0.1.0 seals for each kind, beside "site".
SEALED: list[tuple[CommandPayload, dict[str, object]]] = [
    (delivery(**OWN), {**BASE, **OWN_JSON}),
    (delivery(), {**BASE, "pending": None}),
    (delivery(**OWN, retire=True), {**BASE, **OWN_JSON, "retire": True, "overlap": False}),
    (delivery(**OWN, retire=True, overlap=True), {**BASE, **OWN_JSON, "retire": True, "overlap": True}),
    (delivery(**OWN, retire=True, check_only=True), {**BASE, **OWN_JSON, "retire": True, "look": True}),
    (GenerateKey(KeyType.ED25519), {"type": "ed25519"}),
    (PairOperator("0" * 16, b"p" * 32), {"operator_id": "0" * 16, "public": base64.b64encode(b"p" * 32).decode()}),
    (UnpairOperator("0" * 16), {"operator_id": "0" * 16}),
    (ProveRetired(), {}),
    (ProveRetired(drop=True), {"drop": True}),
    (StopTrading(cancel_orders=True), {"cancel_orders": True}),
    (StopTrading(), {"cancel_orders": False}),
    (ConfigureRobot({"symbol": "XRPETH", "levels": 8}), {"symbol": "XRPETH", "levels": 8}),
    *((kind(), {}) for kind in (ShowPending, ForgetKey, VerifyKey, StartTrading, DrainCycles, ResumeTrading, Hello)),
]


@pytest.mark.parametrize(("payload", "fields"), SEALED, ids=lambda value: getattr(value, "kind", ""))
def test_payload_round_trip_keeps_wire_format(payload: CommandPayload, fields: dict[str, object]) -> None:
    sealed = encode_payload(payload, ANCHOR)
    assert json.loads(sealed.reveal_bytes()) == {**fields, "site": [4, 12, "ab" * 32]}
    assert decode_payload(payload.kind, sealed) == payload
    assert decode_anchor(sealed) == ANCHOR
    assert not any(secret.reveal() in repr(payload) for secret in payload.secrets())


def test_every_kind_has_a_sealed_sample() -> None:
    assert {payload.kind for payload, _fields in SEALED} == set(PAYLOADS)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("deliver-key", "{}"),
        ("deliver-key", '{"name": "x", "api_key": 5, "allow": [], "fingerprint_key": ""}'),
        ("generate-key", '{"type": "dsa"}'),
        ("pair-operator", '{"operator_id": "0", "public": 7}'),
        ("deliver-key", '{"elsewhere": []}'),
    ],
)
def test_payload_with_wrong_fields_is_bad_input(kind: str, text: str) -> None:
    with pytest.raises(BadInputError):
        decode_payload(kind, Secret(text))


def test_unknown_kind_is_usage_error() -> None:
    with pytest.raises(UsageError, match="knows no command 'dance'"):
        decode_payload("dance", Secret("{}"))


@pytest.mark.parametrize("text", ["{}", '{"site": 5}', '{"site": [1]}', '{"site": ["x", 1, ""]}'])
def test_anchor_missing_or_malformed_is_none(text: str) -> None:
    assert decode_anchor(Secret(text)) is None
