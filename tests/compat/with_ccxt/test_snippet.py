"""The snippet of docs/paper-exchange.md for this client."""

from __future__ import annotations

from typing import Any

from compat.snippets import run_snippet


def test_the_snippet(exchange: Any) -> None:
    assert run_snippet("ccxt", exchange) == "closed"
