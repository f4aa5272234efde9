"""A Secret has no way out but reveal()."""

from __future__ import annotations

import copy
import json
import logging
import pickle

import pytest

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


def test_log_records_are_redacted_with_their_arguments_and_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("test.redaction")
    caplog.handler.addFilter(RedactingFilter())
    try:
        raise ValueError("B2" * 32)
    except ValueError:
        log.exception("with %s", "C3" * 32)
    assert "C3C3" not in caplog.text and "<secret>" in caplog.text and "B2B2" not in caplog.text
