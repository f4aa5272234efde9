"""Whoever has the admin token may change everything, but must not be able to break the server."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.hostile_client import SYMBOL, Exchange, anything, examples, fine, request, texts

# -- the admin page ----------------------------------------------------------------------------------------------------

ADMIN: dict[str, tuple[str, ...]] = {
    "accounts/create": ("name", "deposits", "master", "email"),
    "accounts/list": (),
    "accounts/edit": ("name", "pays_in_bnb", "can_trade"),
    "keys/create": ("name", "permissions", "type", "public_key", "ips", "account", "expires_in"),
    "keys/edit": ("name", "permissions", "ips", "expires_in"),
    "keys/delete": ("name",),
    "keys/list": (),
    "deposit": ("account", "asset", "amount"),
    "market": ("action", "count", "percent"),
    "symbols/edit": ("symbol", "changes"),
    "fault/set": ("kind", "method", "path", "after", "count", "for"),
    "fault/clear": ("id",),
    "fault/list": (),
    "requests": ("since",),
}
ADMIN_GOOD: dict[str, list[Any]] = {
    "name": ["victim", "sub"],
    "permissions": [["reading"]],
    "type": ["hmac", "ed25519"],
    "asset": ["USDT", "XXX"],
    "amount": ["1", "0.5"],
    "action": ["status", "pause", "resume"],
    "symbol": [SYMBOL],
    "kind": ["event-doubled", "key-expired"],
    "method": ["NONE"],
    "path": ["/none"],
    "account": ["sub"],
    "changes": [{"status": "TRADING"}],
}
LARGE = [10**30, -(10**30), 2**63, 2**64, 1e308, -1e308, 1e-308, 0, -1, float("inf"), float("-inf"), float("nan")]
ODD_AMOUNTS = [
    "1e400",
    "-1e400",
    "1e999999",
    "1e999999999999999999",
    "1e-999999999",
    "NaN",
    "sNaN",
    "Infinity",
    "-0",
    "1e20",
]
SETTINGS = [
    *("status", "maker", "stp_default", "icebergAllowed", "TRAILING_DELTA.minTrailingAboveDelta", "LOT_SIZE.stepSize"),
    *("LOT_SIZE.filterType", "PERCENT_PRICE_BY_SIDE.bidMultiplierUp", "MAX_POSITION.maxPosition", "NOTIONAL.nope", "."),
    *("PRICE_FILTER.tickSize", "MAX_NUM_ORDERS.maxNumOrders", "NOTIONAL.avgPriceMins", "MAX_NUM_ORDERS.filterType"),
]
symbol_changes = st.dictionaries(
    st.sampled_from(SETTINGS), st.one_of(st.sampled_from([*ODD_AMOUNTS, "9" * 40, "-1", ""]), texts), max_size=2
)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    """A server of its own: whoever has the token may change everything, so what is asked afterwards is asked there."""
    folder = tmp_path_factory.mktemp("victim")
    one = Exchange(folder, "--market", "synthetic:4", "--limits", "off", "--state", str(folder / "state.db"))
    one.page("accounts/create", name="victim")
    yield one
    one.restarts()
    one.stop()


def unharmed(victim: Exchange) -> None:
    """Everything that everybody reads can still be read."""
    for path in (b"/api/v3/exchangeInfo", b"/api/v3/ticker/24hr", b"/api/v3/depth?symbol=BTCUSDT"):
        assert victim.ask(request("GET", path)).status == 200
    for name in ("accounts/list", "keys/list", "fault/list"):
        assert victim.admin(name, {}).status == 200, name
    victim.check()


@given(data=st.data())
@examples(250)
def test_any_admin_request(victim: Exchange, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([*ADMIN, *ADMIN, "nowhere"]), "endpoint")
    body: dict[str, Any] = {}
    for part in ADMIN.get(name, ()):
        kind = data.draw(st.integers(0, 5))
        if kind == 0 or (kind == 1 and part == "kind"):
            continue
        if kind < 4 and part in ADMIN_GOOD:
            body[part] = data.draw(st.sampled_from(ADMIN_GOOD[part]), part)
        elif part in ("amount", "deposits", "changes") and kind != 5:
            odd = {"amount": st.sampled_from(ODD_AMOUNTS), "changes": symbol_changes}
            deposits = st.dictionaries(texts, st.sampled_from(ODD_AMOUNTS), max_size=2)
            body[part] = data.draw(odd.get(part, deposits), part)
        else:
            body[part] = data.draw(st.one_of(st.sampled_from(LARGE), anything), part)
    if data.draw(st.integers(0, 19)) == 0:
        body[data.draw(st.text(max_size=10))] = data.draw(anything)
    # json.dumps writes what it must not, such as Infinity: all the better.
    sent = json.dumps(body).encode("utf-8", "replace")
    fine(victim.admin(name, sent), (name, sent))
    if name in ("symbols/edit", "fault/set", "deposit", "accounts/create"):
        unharmed(victim)


ADMIN_CASES: list[tuple[str, Any]] = [
    ("keys/create", {"name": "e1", "permissions": ["reading"], "expires_in": 1e308}),
    ("keys/create", {"name": "e2", "permissions": ["reading"], "expires_in": float("inf")}),
    ("keys/create", {"name": "p", "permissions": ["reading"], "type": "rsa", "public_key": "\x00" * 100}),
    ("deposit", {"asset": "AAA", "amount": "1e999999999999999999"}),
    ("deposit", {"asset": "AAB", "amount": "1e999999"}),
    ("deposit", {"asset": "USDT", "amount": "1e-999999999"}),
    ("accounts/create", {"name": "rich", "deposits": {"USDT": "1e400"}}),
    ("fault/set", {"kind": "event-doubled", "after": 10**30}),
    ("fault/set", {"kind": "event-doubled", "count": 10**30}),
    ("fault/set", {"kind": "slow:1e400"}),
    ("fault/set", {"kind": "event-doubled", "path": "[" * 10_000}),
    ("fault/set", {"kind": "event-doubled", "path": "*a" * 5_000}),
    ("fault/set", {"kind": "event-doubled", "for": 1e308}),
    ("market", {"action": "step", "count": 0}),
    ("market", {"action": "jump", "percent": float("nan")}),
    ("requests", {"since": 10**30}),
    ("symbols/edit", {"symbol": SYMBOL, "changes": {"TRAILING_DELTA.minTrailingAboveDelta": "9" * 40}}),
    ("symbols/edit", {"symbol": SYMBOL, "changes": {"PERCENT_PRICE_BY_SIDE.bidMultiplierUp": "1e999999"}}),
    ("symbols/edit", {"symbol": SYMBOL, "changes": {"LOT_SIZE.stepSize": "1e-999999"}}),
    ("symbols/edit", {"symbol": SYMBOL, "changes": {"LOT_SIZE.maxQty": "1e999999"}}),
    ("symbols/edit", {"symbol": SYMBOL, "changes": {"LOT_SIZE.filterType": "1"}}),
]


@pytest.mark.parametrize("case", ADMIN_CASES, ids=lambda case: f"{case[0]} {json.dumps(case[1])[:60]}")
def test_admin_case(victim: Exchange, case: tuple[str, Any]) -> None:
    """A refusal or a success, and in both cases everything goes on: markets, orders, the account, the lists."""
    name, body = case
    try:
        fine(victim.admin(name, json.dumps(body).encode()), case)
        key = victim.page("keys/create", name=f"k{time.time_ns()}", permissions=["reading", "spot_trading"])
        order = b"symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&price=30000&quantity=0.001&"
        for method, path, query in (("POST", b"/api/v3/order/test", order), ("GET", b"/api/v3/account", b"")):
            payload = query + b"timestamp=%d" % (time.time_ns() // 1_000_000)
            signature = hmac.new(key["secret_key"].encode(), payload, hashlib.sha256).hexdigest().encode()
            target = path + b"?" + payload + b"&signature=" + signature
            answer = victim.ask(request(method, target, b"", b"X-MBX-APIKEY: " + key["api_key"].encode()))
            fine(answer, (case, path))
            assert len(answer.body) < 100_000
        unharmed(victim)
    finally:
        victim.admin("fault/clear", {})


def test_hostile_tokens(victim: Exchange) -> None:
    for token in (b"", b"\xff\xfe", b"x" * 5000, "ключ".encode(), victim.token[:-1].encode()):
        sent = request("POST", b"/paper-admin/keys/list", b"{}", b"X-Paper-Token: " + token)
        assert victim.ask(sent).status == 403
    for body in (b"", b"null", b"[]", b"[" * 100_000, b"\xff", b'{"a":1e400}', b'{"name":"\\ud800"}', b'{"since":NaN}'):
        for name in ADMIN:
            assert victim.admin(name, body).status in (400, 422), (name, body[:50])
    victim.check()
