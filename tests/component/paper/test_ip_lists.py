"""Keys as Binance has them in 2026: IP lists by default, at most 30 addresses, deletion of keys without a list."""

from __future__ import annotations

from typing import Any

import pytest

from fortctl.errors import BadInputError, FortctlError
from fortctl.paper.testing import PaperExchange
from support.paper_client import SignedClient

TRADING = ("reading", "spot_trading")
MANY = [f"203.0.113.{number}" for number in range(1, 32)]
SUB = "/sapi/v1/sub-account/subAccountApi"


def rows(exchange: PaperExchange) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in exchange.ask("keys/list")["keys"]}


def client(exchange: PaperExchange, name: str, **more: Any) -> SignedClient:
    return SignedClient(exchange.url, exchange.create_key(name, **more))


def test_a_key_that_may_do_more_than_read_gets_the_loopback_addresses(exchange: PaperExchange) -> None:
    trading = client(exchange, "trading")
    client(exchange, "reading", permissions=("reading",))
    client(exchange, "listed", ips=["203.0.113.7"])
    client(exchange, "any", ips=[])
    ips = {name: row["ips"] for name, row in rows(exchange).items()}
    assert ips == {"trading": ["127.0.0.1", "::1"], "reading": [], "listed": ["203.0.113.7"], "any": []}
    assert trading.ok("GET", "/sapi/v1/account/apiRestrictions")["ipRestrict"] is True
    trading.address = "127.0.0.2"
    assert trading.ask("GET", "account").code == -2015


def test_a_key_has_at_most_30_addresses(exchange: PaperExchange) -> None:
    exchange.create_key("thirty", ips=MANY[:30])
    for change in (lambda: exchange.create_key("more", ips=MANY), lambda: exchange.edit_key("thirty", ips=MANY)):
        with pytest.raises(BadInputError, match="at most 30"):
            change()
    exchange.create_account("sub", master="default", email="sub@paper.example")
    master = client(exchange, "master")
    named = {"email": "sub@paper.example", "status": "2", "canTrade": "true"}
    assert master.ask("POST", SUB, apiName="a", ipAddress=",".join(MANY), **named).status == 400
    made = master.ok("POST", SUB, apiName="a", ipAddress=",".join(MANY[:30]), **named)
    assert len(made["ipList"]) == 30


def test_unrestricted_keys_that_may_trade_are_deleted(exchange: PaperExchange) -> None:
    client(exchange, "before", ips=[])
    restricted, reading = client(exchange, "restricted"), client(exchange, "reading", permissions=("reading",))
    fault = exchange.fault("unrestricted-deleted")
    assert (fault["hits"], set(rows(exchange))) == (1, {"restricted", "reading"})
    after = client(exchange, "after", ips=[])
    assert "after" in rows(exchange), "a new key is deleted at its first request"
    assert after.ask("GET", "/sapi/v1/account/apiRestrictions").code == -2008
    assert restricted.ask("GET", "account").status == reading.ask("GET", "account").status == 200
    assert set(rows(exchange)) == {"restricted", "reading"}
    exchange.clear_faults()
    assert client(exchange, "later", ips=[]).ask("GET", "account").status == 200


def test_the_deletion_is_counted_like_any_fault(exchange: PaperExchange) -> None:
    for number in range(3):
        client(exchange, f"key-{number}", ips=[])
    exchange.fault("unrestricted-deleted", count=2)
    assert len(rows(exchange)) == 1
    with pytest.raises(FortctlError):
        exchange.ask("keys/delete", name="key-0")
