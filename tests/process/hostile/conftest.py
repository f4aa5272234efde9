"""A worker's paper exchange for all hostile tests: it outlives them, without a traceback, and starts again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.hostile_client import Exchange, Keys


@pytest.fixture(scope="session")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    folder = tmp_path_factory.mktemp("hostile")
    words = ("--market", "synthetic:3", "--start", "20%", "--limits", "off", "--state", str(folder / "state.db"))
    one = Exchange(folder, *words, "--request-log", str(folder / "requests.jsonl"))
    yield one
    one.restarts()
    one.stop()


@pytest.fixture(scope="session")
def keys(exchange: Exchange) -> Keys:
    exchange.page("accounts/create", name="sub", master="default", email="sub@paper.example")
    rights = ["reading", "spot_trading"]
    return Keys(
        exchange.page("keys/create", name="h", permissions=rights),
        exchange.page("keys/create", name="e", permissions=rights, type="ed25519"),
        exchange.page("keys/create", name="s", permissions=rights, account="sub"),
    )


@pytest.fixture(autouse=True)
def survives(exchange: Exchange) -> Iterator[None]:
    """After each test here the server answers, and has said nothing bad."""
    exchange.new_errors()
    yield
    exchange.check()
