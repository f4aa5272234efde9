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


ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PLAIN = pem(ED25519)
PUBLIC = (
    ED25519.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)


@pytest.mark.parametrize(
    "written",
    [
        PLAIN.replace("\n", " "),
        PLAIN.replace("\n", ""),
        PLAIN.replace("\n", "\\n"),
        PLAIN.replace("\n", "\\r\\n"),
        PLAIN.replace("\n", "\r\n"),
        "\n\n  " + PLAIN.replace("\n", "\n   ") + "\n",
        PUBLIC + PLAIN,
        PLAIN + PUBLIC,
        "Bag Attributes\n    localKeyID: 01 02\nKey Attributes: <No Attributes>\n" + PLAIN,
        "# the robot's key\n" + PLAIN + "# end\n",
        '"' + PLAIN + '"',
    ],
)
def test_private_key_is_accepted_however_the_pem_was_copied(written: str) -> None:
    pair = entered(secret_key=None, private_key=written)
    assert (pair.secret, pair.type) == (Secret(PLAIN), KeyType.ED25519)


def unlocked(text: str, passphrase: str = "pass") -> KeyPair:
    fields = {"name": "x", "api_key": "A" * 64, "private_key": text}
    given_key = parse_input(json.dumps(fields).encode())
    return check_key(given_key, name=None, key_type=None, default_name="k", passphrase=lambda: Secret(passphrase))


RSA = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    ("encoding", "layout", "key"),
    [
        (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, ED25519),
        (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, RSA),
        (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, ED25519),
    ],
)
@pytest.mark.parametrize("password", [None, b"pass"])
def test_private_key_is_accepted_in_every_form_that_the_library_reads(
    encoding: serialization.Encoding,
    layout: serialization.PrivateFormat,
    key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey,
    password: bytes | None,
) -> None:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    try:
        written = key.private_bytes(encoding, layout, lock).decode()
    except Exception as error:  # an encrypted OpenSSH key needs the package bcrypt
        pytest.skip(type(error).__name__)
    assert unlocked(written).secret == Secret(pem(key))
    if password:
        with pytest.raises(BadInputError, match=r"passphrase does not open|cannot be read here"):
            unlocked(written, "another")
        with pytest.raises(BadInputError, match="private_key is encrypted"):
            entered(secret_key=None, private_key=written)


# The frame of an encrypted OpenSSH key, with zeros for its contents.
ENCRYPTED_OPENSSH = """-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAAAAEAAAAzAAAA
C3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAkAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
-----END OPENSSH PRIVATE KEY-----"""


def test_private_key_in_an_unreadable_form_names_the_command_that_converts_it() -> None:
    with pytest.raises(BadInputError) as refused:
        unlocked(ENCRYPTED_OPENSSH)
    assert "openssl pkcs8 -topk8" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"api_key": "A" * 30 + "\u200b" + "A" * 34}, r"api_key contains invisible characters \(U\+200B\)"),
        ({"api_key": "A" * 30 + "\u202e\u0000" + "A" * 32}, r"\(U\+0000, U\+202E\)"),
        ({"secret_key": None, "private_key": PLAIN.replace("M", "M\u2060", 1)}, r"private_key contains .* \(U\+2060\)"),
        ({"secret_key": None, "private_key": PUBLIC}, "holds a public key only"),
        ({"secret_key": None, "private_key": PLAIN + PLAIN}, "more than one private key"),
        ({"secret_key": None, "private_key": PLAIN.replace("M", "*", 1)}, "other characters inside"),
    ],
)
def test_pasted_key_says_what_is_wrong_with_it(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        entered(**changes)


def test_repeated_json_name_is_refused_at_every_depth() -> None:
    key = '{"name": "x", "api_key": "' + "A" * 64 + '", "api_key": "' + "B" * 64 + '"}'
    for data in (key, f'{{"ok": true, "data": {key}}}', f'{{"site": {key}}}'):
        with pytest.raises(BadInputError, match="the same name twice"):
            parse_input_by_role(data.encode())
