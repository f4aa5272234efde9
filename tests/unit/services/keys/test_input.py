"""What is entered: traps are told in words, and nothing of the input is ever repeated."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from fortctl.errors import BadInputError
from fortctl.model import KeyPair, KeyType, Role
from fortctl.secret import Secret
from fortctl.services.keys.input import EnteredKey, check_key, parse_input, parse_input_by_role

GOOD = {"name": "x", "api_key": "A" * 64, "secret_key": "B" * 64}


def entered(**changes: object) -> KeyPair:
    fields = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return check_key(parse_input(json.dumps(fields).encode()), name=None, key_type=None, default_name="site key")


def pem(key: object, password: bytes | None = None) -> str:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    data = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)  # type: ignore[attr-defined]
    return str(data.decode())


def test_good_ones() -> None:
    assert entered().type is KeyType.HMAC
    assert entered(name=None).name == "site key"
    assert entered(secret_key=None, private_key=pem(ed25519.Ed25519PrivateKey.generate())).type is KeyType.ED25519
    assert entered(secret_key=None, private_key=pem(rsa.generate_private_key(65537, 2048))).type is KeyType.RSA


def test_two_writings_of_one_private_key_are_one_key() -> None:
    key = rsa.generate_private_key(65537, 2048)
    older = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    new, old = (entered(secret_key=None, private_key=text).secret for text in (pem(key), older.decode()))
    assert new.reveal() == old.reveal()


@pytest.mark.parametrize(
    "changes",
    [
        {"api_key": None},
        {"secret_key": None},
        {"api_key": ""},
        {"api_key": 5},
        {"api_key": "A" * 63 + " "},
        {"secret_key": '"' + "B" * 64},
        {"secret_key": "-----BEGIN PRIVATE KEY-----"},
        {"secret_key": "B" * 32 + "\n" + "B" * 31},
        {"secret_key": "A" * 64},
        {"name": "x" * 65},
        {"name": "a\nb"},
        {"private_key": "x"},
        {"secret_key": None, "private_key": "no pem"},
        {"secret_key": None, "private_key": pem(ec.generate_private_key(ec.SECP256R1()))},
        {"secret_key": None, "private_key": pem(rsa.generate_private_key(65537, 1024))},
        {"secret_key": None, "private_key": pem(ed25519.Ed25519PrivateKey.generate(), b"locked")},
        {"type": "ed25519"},
        {"type": "dsa"},
    ],
)
def test_bad_ones_are_refused_without_repeating_them(changes: dict[str, object]) -> None:
    with pytest.raises(BadInputError) as caught:
        entered(**changes)
    shown = json.dumps(caught.value.as_json())
    assert "AAAAAAAA" not in shown and "BBBBBBBB" not in shown


@given(st.binary(max_size=200))
def test_any_bytes_give_a_key_or_bad_input(data: bytes) -> None:
    try:
        assert isinstance(parse_input(data), EnteredKey)
    except BadInputError as error:
        assert error.exit_code == 2


def test_the_envelope_of_paper_keys_create_is_taken_and_a_byte_order_mark() -> None:
    good = EnteredKey("x", Secret("A" * 64), Secret("B" * 64))
    envelope = {"ok": True, "data": GOOD}
    assert parse_input(json.dumps(envelope).encode()) == good
    assert parse_input(b"\xef\xbb\xbf" + json.dumps(GOOD).encode()) == good
    assert parse_input_by_role(json.dumps(GOOD).encode()) == {None: good}
    both = {"site": GOOD, "robot": envelope}
    assert parse_input_by_role(json.dumps(both).encode()) == {Role.SITE: good, Role.ROBOT: good}
    for bad in (b"[" * 100_000, b'{"api_key": "\\ud800"}'):
        with pytest.raises(BadInputError):
            parse_input(bad)
    with pytest.raises(BadInputError, match="robot must be a JSON object"):
        parse_input_by_role(b'{"robot": 5}')
