"""Commands and receipts: what whoever can write the mailbox cannot do."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fortctl.canonical_json import canonical_json
from fortctl.errors import VaultDamagedError
from fortctl.keys.fingerprint import fingerprint
from fortctl.mailbox.crypto import Identity, RecipientKey, SealError, seal, unseal, verify
from fortctl.mailbox.messages import (
    Command,
    CommandRejectedError,
    open_command,
    read_receipt,
    seal_command,
    sign_receipt,
)
from fortctl.ports import MailboxRow
from fortctl.secret import Secret

OPERATOR, STRANGER, ROBOT = Identity.generate(), Identity.generate(), Identity.generate()
RECIPIENT = RecipientKey.generate()
NOW = 1_700_000_000_000
COMMAND = Command(
    *("default", ROBOT.id, OPERATOR.id, 7, "deliver-key", RECIPIENT.key_id, 3),
    *(NOW, NOW + 60_000, Secret('{"secret":"very secret"}')),
)
ROW = seal_command(COMMAND, OPERATOR, RECIPIENT.public_bytes())


def opened(row: MailboxRow, **changes: object) -> Command:
    options: dict[str, object] = {
        "operators": {OPERATOR.id: OPERATOR.public_bytes()},
        "recipient": lambda key_id: RECIPIENT if key_id == RECIPIENT.key_id else None,
        "account": "default",
        "robot_id": ROBOT.id,
        "now_ms": NOW + 1000,
        "last_number": 6,
    }
    return open_command(row, **{**options, **changes})  # type: ignore[arg-type]


def test_round_trip_and_nothing_in_clear() -> None:
    assert opened(ROW) == COMMAND
    assert b"very secret" not in ROW.envelope + (ROW.sealed or b"") + ROW.signature
    assert "very secret" not in repr(COMMAND)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"operators": {}}, "unpaired"),
        ({"operators": {OPERATOR.id: STRANGER.public_bytes()}}, "bad_signature"),
        ({"account": "other"}, "other_account"),
        ({"robot_id": "another"}, "other_robot"),
        ({"last_number": 7}, "replayed"),
        ({"now_ms": NOW + 60_001}, "expired"),
        ({"now_ms": NOW - 60_001}, "not_yet"),
        ({"recipient": lambda key_id: None}, "reseal"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(CommandRejectedError) as caught:
        opened(ROW, **changes)
    assert caught.value.reason == reason


def test_a_row_moved_to_another_number_or_account_is_refused() -> None:
    for moved in (ROW._replace(number=8), ROW._replace(account="other")):
        with pytest.raises(CommandRejectedError):
            opened(moved)


def test_a_strangers_signature_over_the_same_envelope_is_refused() -> None:
    with pytest.raises(CommandRejectedError, match="bad_signature"):
        opened(ROW._replace(signature=STRANGER.sign("command", ROW.envelope)))


def test_a_signature_for_another_purpose_is_refused() -> None:
    with pytest.raises(CommandRejectedError, match="bad_signature"):
        opened(ROW._replace(signature=OPERATOR.sign("receipt", ROW.envelope)))


@settings(max_examples=300, deadline=None)
@given(part=st.sampled_from(["envelope", "sealed", "signature"]), where=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_every_flipped_bit_is_refused(part: str, where: int, bit: int) -> None:
    data = bytearray(getattr(ROW, part))
    data[where % len(data)] ^= 1 << bit
    with pytest.raises(CommandRejectedError):
        opened(ROW._replace(**{part: bytes(data)}))


@settings(max_examples=200, deadline=None)
@given(envelope=st.binary(max_size=300), sealed=st.none() | st.binary(max_size=300))
def test_junk_is_refused_not_raised(envelope: bytes, sealed: bytes | None) -> None:
    with pytest.raises(CommandRejectedError):
        opened(MailboxRow("default", 7, envelope, sealed, b"x" * 64))


def test_the_context_is_bound() -> None:
    box = seal(Secret("hello"), RECIPIENT.public_bytes(), b"context")
    assert unseal(box, RECIPIENT, b"context").reveal() == "hello"
    with pytest.raises(SealError):
        unseal(box, RECIPIENT, b"another")
    with pytest.raises(SealError):
        unseal(box, RecipientKey.generate(), b"context")


def test_a_recipient_key_survives_storage() -> None:
    again = RecipientKey.from_private(RECIPIENT.private_bytes())
    assert again.key_id == RECIPIENT.key_id
    assert unseal(seal(Secret("x"), RECIPIENT.public_bytes(), b""), again, b"").reveal() == "x"


def test_receipts_are_the_robots() -> None:
    facts = {"account": "default", "number": 7, "kind": "start", "outcome": "applied", "generation": 3, "at": NOW}
    body, signature = sign_receipt(ROBOT, **facts, data={"a": 1}, error=None)  # type: ignore[arg-type]
    assert read_receipt(body, signature, ROBOT.public_bytes())["data"] == {"a": 1}
    with pytest.raises(VaultDamagedError):
        read_receipt(body.replace(b"applied", b"refused"), signature, ROBOT.public_bytes())
    with pytest.raises(VaultDamagedError):
        read_receipt(body, signature, STRANGER.public_bytes())


def test_a_purpose_is_bound_to_its_signature() -> None:
    mine = Identity.generate()
    assert verify(mine.public_bytes(), "card", b"x", mine.sign("card", b"x"))
    assert not verify(mine.public_bytes(), "receipt", b"x", mine.sign("card", b"x"))


def test_canonical_json_has_one_writing() -> None:
    assert canonical_json({"b": 1, "a": [True, None, "é"]}) == '{"a":[true,null,"é"],"b":1}'.encode()
    with pytest.raises(TypeError):
        canonical_json({"a": [1.5]})
    assert json.loads(canonical_json({"x": 2**60})) == {"x": 2**60}


def test_a_fingerprint_is_keyed() -> None:
    assert fingerprint(Secret("k"), b"1" * 32) != fingerprint(Secret("k"), b"2" * 32)
    assert len(fingerprint(Secret("k"), b"1" * 32)) == 12
