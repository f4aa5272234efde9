"""The account page: what it is served with, whom it refuses, and that no secret is shown a second time."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fortctl.paper.testing import PaperExchange, in_process
from support.harness import Shell, serve_paper
from support.paper_client import Answer, SignedClient


@pytest.fixture(scope="module")
def exchange() -> Iterator[PaperExchange]:
    with in_process(market=["synthetic:3"]) as one:
        one.pause()
        yield one


def token(exchange: PaperExchange) -> str:
    found: str = json.loads((exchange.folder / "server.json").read_text())["token"]
    return found


def admin(exchange: PaperExchange, what: str, body: Any = None, **headers: str) -> Answer:
    named = {"X-Paper-Token": token(exchange), **{name.replace("_", "-"): value for name, value in headers.items()}}
    return SignedClient(exchange.url).raw("POST", f"/paper-admin/{what}", json.dumps(body or {}).encode(), named)


class Ids(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name.startswith("on") or name == "style":
                self.handlers.append(name)
            if name in ("src", "href"):
                self.sources.append(value or "")


def test_the_document(exchange: PaperExchange, tmp_path: Path) -> None:
    answers = [SignedClient(exchange.url).raw("GET", "/") for _ in range(2)]
    policies = [answer.headers["content-security-policy"] for answer in answers]
    assert policies[0] != policies[1] and "default-src 'none'" in policies[0] and "unsafe" not in policies[0]
    assert answers[0].headers["cache-control"] == "no-store"
    text = answers[0].body.decode()
    nonce = re.search(r"nonce-([^']+)'", policies[0])
    assert nonce is not None and text.count(f'nonce="{nonce[1]}"') == 2 and "{{" not in text
    found = Ids()
    found.feed(text)
    assert len(set(found.ids)) == len(found.ids) and not found.handlers and not found.sources
    script = text.split("<script")[1].split(">", 1)[1].split("</script>")[0]
    used = set(re.findall(r"""(?:\$|on|fill|options)\("([a-z-]+)\"""", script))
    assert used <= set(found.ids), used - set(found.ids)
    assert "innerHTML" not in script and "http" not in script
    node = shutil.which("node")
    if node:
        (tmp_path / "page.js").write_text(script)
        subprocess.run([node, "--check", str(tmp_path / "page.js")], check=True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:1"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"X_Paper_Token": "wrong"}, 403),
        ({"X_Paper_Token": ""}, 403),
    ],
)
def test_who_is_refused(exchange: PaperExchange, headers: dict[str, str], status: int) -> None:
    assert admin(exchange, "keys/list", **headers).status == status
    if "X_Paper_Token" not in headers:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        assert SignedClient(exchange.url).raw("GET", "/", headers=named).status == status


def test_a_secret_is_shown_once(exchange: PaperExchange) -> None:
    made = admin(exchange, "keys/create", {"name": "once", "permissions": ["reading", "spot_trading"]}).body["data"]
    client = SignedClient(exchange.url, made)
    client.ok("POST", "order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
    pages = [SignedClient(exchange.url).raw("GET", "/").body.decode()]
    for what in ("keys/list", "accounts/list", "orders/list", "fault/list", "requests", "market"):
        body = {"action": "status"} if what == "market" else {}
        answer = admin(exchange, what, body)
        assert answer.status == 200, what
        pages.append(json.dumps(answer.body))
    assert not [page for page in pages if made["secret_key"] in page or made["api_key"] in page]
    orders = admin(exchange, "orders/list", {"limit": 1}).body["data"]["orders"]
    assert [(one["side"], one["status"], one["executed"]) for one in orders] == [("BUY", "FILLED", "0.00100000")]
    assert admin(exchange, "orders/list", {"open": True}).body["data"]["orders"] == []


def test_the_link(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "home")
    nobody = shell.run("paper", "page")
    assert (nobody.code, nobody.error["code"]) == (10, "EXCHANGE_UNREACHABLE")
    paper = serve_paper(shell, "--market", "synthetic:3")
    try:
        link = shell.ok("paper", "page")["url"]
        assert re.fullmatch(re.escape(paper.ready["url"]) + r"/#token=[\w-]{20,}", link)
    finally:
        paper.stop()
