"""A Secret has no way out but reveal()."""

from __future__ import annotations

import base64
import copy
import json
import logging
import pickle

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from fortctl.secret import RedactingFilter, Secret, redact


@pytest.mark.parametrize(
    "leak",
    [str, "{}".format, lambda s: f"{s}", pickle.dumps, copy.copy, copy.deepcopy, json.dumps, list,
     lambda s: "x" + s, hash],
)  # fmt: skip
def test_it_cannot_leave_by_accident(leak) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TypeError):
        leak(Secret("hush"))


def test_repr_tells_nothing() -> None:
    assert "hush" not in repr([Secret("hush")])


def test_reveal_wipe_and_equality() -> None:
    secret = Secret("hush")
    assert secret.reveal() == "hush" and secret == Secret("hush") and secret != Secret("hush!")
    secret.wipe()
    assert len(secret) == 0 and not secret


@pytest.mark.parametrize(
    "text",
    [
        "key " + "A1" * 32,
        "signature=abcdef0123&x=1",
        "-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----",
        "apiKey=short&b=2",
    ],
)
def test_redaction(text: str) -> None:
    shown = redact(text)
    for piece in ("A1A1A1A1", "abcdef0123", "MC4CAQ", "=short"):
        assert piece not in shown


ED25519_BODY = "MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"


@pytest.mark.parametrize("secret", ["A1" * 32, ED25519_BODY])
@pytest.mark.parametrize("before", ["", "\\n", "\\t", "\\r\\n", '\\"', "\\u003d", "%3D", "=", "x", '{"secret_key": "'])
@pytest.mark.parametrize("after", ["", "\\n", '"}', "%0A", "&x=1", "\n"])
def test_redact_masks_a_key_that_an_escape_touches(secret: str, before: str, after: str) -> None:
    assert secret[:40] not in redact(before + secret + after) and secret[-40:] not in redact(before + secret + after)


def test_redact_masks_every_private_key_without_its_frame() -> None:
    for number in range(40):
        key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes([number, 255 - number]) * 16)
        layout = (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        body = base64.b64encode(key.private_bytes(*layout)).decode()
        assert redact(f"key={body}.") == "key=<secret>."
    body = base64.b64encode(rsa.generate_private_key(65537, 2048).private_bytes(*layout)).decode()
    assert redact(f"key: {body}") == "key: <secret>"


def test_redact_leaves_fingerprints_and_public_keys_alone() -> None:
    public = base64.b64encode(
        ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).decode()
    for text in ("c47721a8f341", public, "-----BEGIN PUBLIC KEY-----", "robot-1 (…i5Jb)"):
        assert redact(text) == text


def test_log_records_are_redacted_with_their_arguments_and_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("test.redaction")
    caplog.handler.addFilter(RedactingFilter())
    try:
        raise ValueError("B2" * 32)
    except ValueError:
        log.exception("with %s", "C3" * 32)
    assert "C3C3" not in caplog.text and "<secret>" in caplog.text and "B2B2" not in caplog.text
