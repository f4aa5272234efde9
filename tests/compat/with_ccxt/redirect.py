"""How ccxt is pointed at a paper exchange: its base URLs, and nothing else (docs/paper-exchange.md)."""

from __future__ import annotations

from typing import Any

SYMBOL = "BTC/USDT"


def options(url: str, ws_url: str, made: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return ccxt's settings."""
    api = {
        "public": f"{url}/api/v3",
        "private": f"{url}/api/v3",
        "sapi": f"{url}/sapi/v1",
        "sapiV2": f"{url}/sapi/v2",
        "sapiV3": f"{url}/sapi/v3",
        "sapiV4": f"{url}/sapi/v4",
        "fapiPublic": f"{url}/fapi/v1",
        "dapiPublic": f"{url}/dapi/v1",
        "ws": {"spot": f"{ws_url}/stream", "ws-api": {"spot": f"{ws_url}/ws-api/v3"}},
    }
    settings: dict[str, Any] = {
        "urls": {"api": api},
        "enableRateLimit": False,
        "options": {"fetchMarkets": {"types": ["spot"]}, "fetchMargins": False, "fetchCurrencies": False},
        **more,
    }
    if made is not None:
        settings["apiKey"] = made["api_key"]
        settings["secret"] = made.get("secret_key") or made["private_key"]
    return settings
