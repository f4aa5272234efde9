"""Signatures against the documented vectors, targets, and how each answer is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fortctl.errors import ConfigError, ExchangeUnreachable
from fortctl.exchange.codes import classify
from fortctl.exchange.signing import sign, socket_payload
from fortctl.exchange.targets import pin, resolve
from fortctl.model import KeyPair, KeyType
from fortctl.ports import Outcome
from fortctl.secret import Secret

# The documentation's own example key (api_key_types.md, rest-api.md, web-socket-api.md).
API = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
HMAC = KeyPair(
    "doc", KeyType.HMAC, Secret(API), Secret("NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j")
)
PEM = (
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIIJEYWtGBrhACmb9Dvy+qa8WEf0lQOl1s4CLIAB9m89u\n"
    "-----END PRIVATE KEY-----\n"
)
ED25519 = KeyPair("doc", KeyType.ED25519, Secret(API), Secret(PEM))
REST = "side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
WIDE = "１２３４５６"


@pytest.mark.parametrize(
    ("pair", "payload", "signature"),
    [
        (HMAC, f"symbol=LTCBTC&{REST}".encode(), "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
        (
            HMAC,
            f"symbol=%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96&{REST}".encode(),
            "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3",
        ),
        (
            ED25519,
            b"A\x01EXAMPLE\x01SPOT\x011\x0120240627-11:17:25.223",
            "4MHXelVVcpkdwuLbl6n73HQUXUf1dse2PCgT1DYqW9w8AVZ1RACFGM+5UdlGPrQHrgtS3CvsRURC1oj73j8gCA==",
        ),
        (
            ED25519,
            b"symbol=BTCUSDT&side=SELL&type=LIMIT&timeInForce=GTC&quantity=1&price=0.2&timestamp=1668481559918"
            b"&recvWindow=5000",
            "inDT086KVIP8vgUfw5sV3VTkescWztiAGlf4x8FLKHM4NInsn0c1kYVLoGMO8cyjfR6vmTku2YQE0gtfVVlfCw==",
        ),
    ],
)
def test_documented_rest_vectors(pair: KeyPair, payload: bytes, signature: str) -> None:
    assert sign(pair, payload) == signature


@pytest.mark.parametrize(
    ("values", "signature"),
    [
        (
            {"symbol": "BTCUSDT", "side": "SELL", "price": "52000.00", "quantity": "0.01000000", "recvWindow": 100},
            "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
        ),
        (
            {"symbol": WIDE, "side": "BUY", "price": "0.10000000", "quantity": "1.00000000", "recvWindow": 5000},
            "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd",
        ),
    ],
)
def test_documented_socket_vectors(values: dict[str, str | int], signature: str) -> None:
    whole = {"apiKey": API, "timeInForce": "GTC", "timestamp": 1645423376532, "type": "LIMIT", **values}
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
        (400, -2010, "This action is disabled on this account.", Outcome.REFUSED),
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
    assert pin(pin(text)) == pin(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "http://example.org", "ftp://x", "https://u:p@x.org", "https://x.org?a=1", "https://", "http://x:99999"],
)
def test_bad_targets_get_no_key(text: str) -> None:
    with pytest.raises(ConfigError):
        pin(text)


def test_paper_needs_a_server_on_loopback(tmp_path: Path) -> None:
    with pytest.raises(ExchangeUnreachable):
        resolve("paper", tmp_path)
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "server.json").write_text('{"url": "http://10.0.0.1:1"}')
    with pytest.raises(ConfigError):
        resolve("paper", tmp_path)
    (tmp_path / "paper" / "server.json").write_text('{"url": "http://127.0.0.1:1234"}')
    assert resolve("paper", tmp_path).ws_api_url == "ws://127.0.0.1:1234/ws-api/v3"


def test_targets_and_codes_import_no_vendor() -> None:
    script = "import sys, fortctl.exchange.targets, fortctl.exchange.codes; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"aiohttp", "binance", "pydantic", "asyncio"} & set(loaded)
