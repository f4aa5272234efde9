"""A paper exchange process for each foreign client; the client runs in a virtual environment of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.harness import Paper, Shell, serve_paper

TYPES = ("hmac", "ed25519", "rsa")


class Exchange:
    """A running paper exchange, and its account page."""

    def __init__(self, shell: Shell, paper: Paper) -> None:
        self.shell = shell
        self.url: str = paper.ready["url"]
        self.ws_url: str = paper.ready["ws_url"]

    def key(self, name: str = "bot", permissions: str = "reading,spot_trading", *more: str) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self.shell.paper_key(name, permissions, *more))
        return made

    def paper(self, *words: str) -> dict[str, Any]:
        return self.shell.ok("paper", *words)


def _exchange(tmp_path: Path, speed: str) -> Iterator[Exchange]:
    shell = Shell(tmp_path / "home")
    words = ("--market", "synthetic:3", "--speed", speed, "--start", "50%", "--limits", "real")
    paper = serve_paper(shell, *words)
    yield Exchange(shell, paper)
    paper.stop()


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Exchange]:
    """An exchange whose market stands still until the test lets it step."""
    for one in _exchange(tmp_path, "1"):
        one.paper("market", "pause")
        yield one


@pytest.fixture
def moving(tmp_path: Path) -> Iterator[Exchange]:
    """An exchange whose market moves, twenty times as fast as it did."""
    yield from _exchange(tmp_path, "20")
