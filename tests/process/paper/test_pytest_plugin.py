"""The paper exchange as others would use it in their tests: a project of its own, in a pytest run of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.harness import WAIT_S, clean_environment

THEIR_TESTS = """
import json, urllib.request
import pytest

pytest_plugins = ["fortctl.paper.testing"]


def price(exchange):
    with urllib.request.urlopen(f"{exchange.rest_url}/v3/ticker/price?symbol=BTCUSDT") as answer:
        return float(json.load(answer)["price"])


def test_in_this_process(paper_exchange):
    assert paper_exchange.symbols == ["BTCUSDT"] and price(paper_exchange) > 0
    key = paper_exchange.create_key("bot", type="ed25519")
    assert key["private_key"].startswith("-----BEGIN PRIVATE KEY")
    paper_exchange.fault("http-502", path="/api/v3/ticker/*", count=1)
    with pytest.raises(urllib.error.HTTPError):
        price(paper_exchange)
    assert [one["hits"] for one in paper_exchange.faults()] == [1]
    paper_exchange.edit_symbol("BTCUSDT", status="HALT")
    paper_exchange.delete_key("bot")
    assert paper_exchange.requests()[-1]["path"] == "/api/v3/ticker/price"


@pytest.mark.paper_exchange(market=["synthetic:5"], speed="max")
def test_as_marked(paper_exchange):
    before = paper_exchange.market()["position"]
    assert paper_exchange.step(3)["position"] == before + 3


@pytest.mark.paper_exchange(market=["synthetic:5"], speed="10")
def test_as_a_process(paper_exchange_process):
    assert price(paper_exchange_process) > 0
    assert paper_exchange_process.market()["speed"] == 10


def test_nothing_of_the_robot_is_loaded(paper_exchange):
    import sys
    assert not [name for name in sys.modules if name.startswith(("fortctl.robot", "fortctl.vault", "binance"))]
"""


def test_a_foreign_project_uses_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_bot.py").write_text(THEIR_TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "test_bot.py"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout + done.stderr
