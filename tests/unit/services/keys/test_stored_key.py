"""The vault record of a key: what an older fortctl wrote is read, and it reads what is written today."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fortctl.model import KeyPair, KeyRestrictions, KeyType
from fortctl.secret import Secret
from fortctl.services.stored_key import StoredKey, decode_key, encode_key

FLAGS = ("ip_restricted", "reading", "spot_trading", "withdrawals", "internal_transfer", "universal_transfer")
MORE_FLAGS = ("margin", "futures", "options", "portfolio_margin", "fix_trade", "fix_read")
# The fields of a record before permissions that fortctl does not know were kept.
OLDER_FIELDS = {*FLAGS, *MORE_FLAGS, "created_at", "trading_expires_at"}

RIGHTS = KeyRestrictions(True, True, True, False, False, False, False, False, False, created_at=5)
KEY = StoredKey(
    pair=KeyPair("robot-1", KeyType.HMAC, Secret("a" * 64), Secret("s" * 64)),
    added_at=1,
    verified_at=2,
    rejected_since=None,
    uid=7,
    restrictions=RIGHTS,
)


def record_of(key: StoredKey) -> dict[str, object]:
    body: dict[str, object] = json.loads(encode_key(key).reveal_bytes())
    return body


def test_an_older_fortctl_reads_the_record() -> None:
    restrictions = record_of(KEY)["restrictions"]
    assert isinstance(restrictions, dict) and set(restrictions) == OLDER_FIELDS


@pytest.mark.parametrize("unknown", [(), ("enableNewThing",)])
def test_a_record_is_read_back(unknown: tuple[str, ...]) -> None:
    key = KEY._replace(restrictions=replace(RIGHTS, unknown=unknown))
    assert decode_key(encode_key(key)) == key


def test_a_record_without_restrictions() -> None:
    key = KEY._replace(restrictions=None)
    assert record_of(key)["restrictions"] is None and decode_key(encode_key(key)) == key
