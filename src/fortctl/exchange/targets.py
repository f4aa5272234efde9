"""The URLs of an exchange target. Sources: rest-api.md, web-socket-api.md, testnet/general-info.md of Binance."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fortctl.errors import ConfigError, ExchangeUnreachableError
from fortctl.system.files import read_regular


@dataclass(frozen=True)
class ExchangeTarget:
    """The base URLs of one target.

    Attributes:
        rest_url: before ``/api/v3`` and ``/sapi``.
        ws_api_url: the whole WebSocket API URL.
        stream_url: before ``/ws`` and ``/stream``.
        has_sapi: ``/sapi`` exists there (the testnet has none).
    """

    name: str
    rest_url: str
    ws_api_url: str
    stream_url: str
    has_sapi: bool = True


_NAMED = {
    "live": ExchangeTarget(
        "live",
        "https://api.binance.com",
        "wss://ws-api.binance.com:443/ws-api/v3",
        "wss://stream.binance.com:9443",
    ),
    "testnet": ExchangeTarget(
        "testnet",
        "https://testnet.binance.vision",
        "wss://ws-api.testnet.binance.vision/ws-api/v3",
        "wss://stream.testnet.binance.vision",
        has_sapi=False,
    ),
    "us": ExchangeTarget(
        "us",
        "https://api.binance.us",
        "wss://ws-api.binance.us:443/ws-api/v3",
        "wss://stream.binance.us:9443",
    ),
}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def canonical_target(text: str) -> str:
    """Return the canonical name of a target, as vault records store it.

    Raises:
        ConfigError: *text* is neither a known name nor an acceptable URL (https, or http on loopback).
    """
    if text in _NAMED or text == "paper":
        return text
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
        parts = urlsplit("")
    is_loopback_http = parts.scheme == "http" and host in _LOOPBACK
    if not host or not (parts.scheme == "https" or is_loopback_http) or parts.query or parts.fragment or parts.username:
        raise ConfigError(
            "the exchange must be live, testnet, us, paper or an https URL",
            hint="http is allowed on loopback only, because a key must not travel unencrypted",
        )
    bracketed = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{bracketed}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def resolve(text: str, home: Path) -> ExchangeTarget:
    """Return the base URLs of a target; ``paper`` is read from the running server's ``server.json``.

    Raises:
        ConfigError: *text* is not a target.
        ExchangeUnreachableError: no paper exchange has been started in this home.
    """
    name = canonical_target(text)
    if name in _NAMED:
        return _NAMED[name]
    return _from_url(name, _paper_url(home) if name == "paper" else name)


def _from_url(name: str, url: str) -> ExchangeTarget:
    socket = "ws" + url.removeprefix("http")
    return ExchangeTarget(name, url, f"{socket}/ws-api/v3", socket)


def _paper_url(home: Path) -> str:
    path = home / "paper" / "server.json"
    try:
        url = str(json.loads(read_regular(path))["url"])
    except FileNotFoundError:
        raise ExchangeUnreachableError(
            "no paper exchange is running in this home", hint="start one with 'fortctl paper serve'"
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{path} cannot be read", hint="start the paper exchange again") from None
    if urlsplit(url).hostname not in _LOOPBACK:
        raise ConfigError(
            "the paper exchange of this home is not on a loopback address", hint="remove HOME/paper/server.json"
        )
    return url
