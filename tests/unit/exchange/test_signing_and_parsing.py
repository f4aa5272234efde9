"""Signatures against the documented vectors, targets, and how each answer is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fortctl.errors import ConfigError, ExchangeUnreachableError
from fortctl.exchange.client import BinanceExchange
from fortctl.exchange.error_codes import classify
from fortctl.exchange.signing import sign, socket_payload
from fortctl.exchange.targets import ExchangeTarget, canonical_target, resolve
from fortctl.model import KeyPair, KeyType
from fortctl.ports import ExchangeError, Outcome
from fortctl.secret import Secret
from support.signature_vectors import HMAC, REST_VECTORS, SOCKET_COMMON, SOCKET_VECTORS


@pytest.mark.parametrize(
    ("pair", "payload", "signature"),
    REST_VECTORS,
)
def test_documented_rest_vectors(pair: KeyPair, payload: bytes, signature: str) -> None:
    assert sign(pair, payload) == signature


@pytest.mark.parametrize(
    ("values", "signature"),
    SOCKET_VECTORS,
)
def test_documented_socket_vectors(values: dict[str, str | int], signature: str) -> None:
    whole = {**SOCKET_COMMON, **values}
    assert sign(HMAC, socket_payload(whole)) == signature


@pytest.mark.parametrize(
    ("status", "code", "message", "outcome"),
    [
        (401, -2015, "", Outcome.KEY_REFUSED),
        (400, -2008, "", Outcome.KEY_REFUSED),
        (400, -1022, "", Outcome.KEY_REFUSED),
        (401, None, "", Outcome.KEY_REFUSED),
        (403, None, "", Outcome.BUSY),
        (418, -1003, "", Outcome.BUSY),
        (429, None, "", Outcome.BUSY),
        (429, -1015, "", Outcome.BUSY),
        (500, None, "", Outcome.UNKNOWN),
        (502, None, "", Outcome.UNKNOWN),
        (504, -1007, "", Outcome.UNKNOWN),
        (503, -1016, "This service is under maintenance.", Outcome.UNKNOWN),
        (503, -2015, "", Outcome.UNKNOWN),
        (400, -1006, "", Outcome.UNKNOWN),
        (400, -1021, "", Outcome.CLOCK),
        (400, -2013, "", Outcome.ABSENT),
        (400, -2011, "Unknown order sent.", Outcome.ABSENT),
        (400, -2010, "Duplicate order sent.", Outcome.DUPLICATE),
        (400, -2010, "Order would immediately match and take.", Outcome.WOULD_TAKE),
        (400, -2010, "Account has insufficient balance for requested action.", Outcome.NO_FUNDS),
        (400, -2010, "This action is disabled on this account.", Outcome.KEY_REFUSED),
        (400, -1013, "Filter failure: LOT_SIZE", Outcome.REFUSED),
        (400, -9999, "new code", Outcome.REFUSED),
        (200, None, "no JSON", Outcome.UNKNOWN),
    ],
)
def test_how_answers_are_read(status: int, code: int | None, message: str, outcome: Outcome) -> None:
    assert classify(status, code, message) is outcome


def test_a_transient_answer_is_never_a_lost_key() -> None:
    for status in (418, 429, 500, 502, 503, 504, 403):
        assert classify(status, None, "") is not Outcome.KEY_REFUSED


@pytest.mark.parametrize("text", ["live", "testnet", "us", "paper", "https://example.org/x", "http://127.0.0.1:8700"])
def test_pins_are_stable(text: str) -> None:
    assert canonical_target(canonical_target(text)) == canonical_target(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "http://example.org", "ftp://x", "https://u:p@x.org", "https://x.org?a=1", "https://", "http://x:99999"],
)
def test_bad_targets_get_no_key(text: str) -> None:
    with pytest.raises(ConfigError):
        canonical_target(text)


def test_paper_needs_a_server_on_loopback(tmp_path: Path) -> None:
    with pytest.raises(ExchangeUnreachableError):
        resolve("paper", tmp_path)
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "server.json").write_text('{"url": "http://10.0.0.1:1"}')
    with pytest.raises(ConfigError):
        resolve("paper", tmp_path)
    (tmp_path / "paper" / "server.json").write_text('{"url": "http://127.0.0.1:1234"}')
    assert resolve("paper", tmp_path).ws_api_url == "ws://127.0.0.1:1234/ws-api/v3"


def test_targets_and_codes_import_no_vendor() -> None:
    script = "import sys, fortctl.exchange.targets, fortctl.exchange.error_codes; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"aiohttp", "binance", "pydantic", "asyncio"} & set(loaded)


async def test_call_after_close_raises_unreachable() -> None:
    """The secret may be overwritten by then: a caller that still holds the exchange gets an error, not a crash."""
    target = ExchangeTarget("x", "http://127.0.0.1:1", "ws://127.0.0.1:1/ws-api/v3", "ws://127.0.0.1:1")
    exchange = BinanceExchange(target, KeyPair("k", KeyType.ED25519, Secret("k" * 64), Secret("\0" * 119)))
    await exchange.close()
    with pytest.raises(ExchangeError, match="no longer in use") as told:
        await exchange.order("BTCUSDT", "fc-1")
    assert told.value.outcome is Outcome.UNREACHABLE
