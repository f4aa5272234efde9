"""Coverage-guided fuzzing (atheris) of what reads requests: heads, parameters, every handler (``make fuzz-guided``).

The signature and the clock are taken as right, so that the bytes come as far as the engine. An input is a failure when
the answer is a 5xx or no JSON where it says so, when anything but a refusal is raised, when money appears or vanishes.
"""

from __future__ import annotations

import sys
import tempfile
from decimal import Decimal, getcontext
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fortctl.paper"]):
    import orjson

    from fortctl.paper.api import authentication
    from fortctl.paper.api.registry import CALLS, METHODS
    from fortctl.paper.engine.accounts import ApiKey
    from fortctl.paper.engine.errors import BinanceError
    from fortctl.paper.engine.market_data import Recording
    from fortctl.paper.engine.symbols import symbol_of
    from fortctl.paper.engine.trades.table import Trade
    from fortctl.paper.server import websocket, websocket_api
    from fortctl.paper.server.rest import HttpRequest, Rest
    from fortctl.paper.server.server import PaperServer, ServerOptions

NOW, KEY = 1_700_000_000_000, "k" * 64
SYMBOL = symbol_of("BTCUSDT", Decimal("0.01"), Decimal("0.001"))
TRADES = tuple(Trade(n, Decimal(100 + n % 7), Decimal(2), NOW + n * 900, n % 2 == 0) for n in range(1, 200))
PLAUSIBLE = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "1",
    "price": "90",
    "interval": "1m",
    "limit": "5",
    "orderId": "1",
    "cancelReplaceMode": "STOP_ON_FAILURE",
    "newQty": "0.5",
    "aboveType": "STOP_LOSS",
    "belowType": "LIMIT_MAKER",
    "abovePrice": "110",
    "fromId": "1",
    "windowSize": "1h",
}


def fresh() -> tuple[PaperServer, Rest]:
    """Return an exchange with one account and a history."""
    options = ServerOptions({SYMBOL.name: Recording(SYMBOL, TRADES)}, Path(tempfile.gettempdir()), limits="off")
    server = PaperServer(options)
    server.replay.jump_to(150, NOW)
    server.engine.create_account("default", {"USDT": Decimal(10_000), "BTC": Decimal(10)}, NOW)
    server.engine.add_key(ApiKey("k", "default", KEY, "hmac", ("reading", "spot_trading"), NOW, secret="s"))
    return server, Rest(server)


class Target:
    """One exchange for many inputs; a new one now and then."""

    def __init__(self) -> None:
        self.server, self.rest = fresh()
        self.count = 0

    def __call__(self, data: bytes) -> None:
        self.count += 1
        if self.count % 2000 == 0:
            self.server, self.rest = fresh()
        kind, data = data[:1], data[1:]
        if kind == b"j":
            self.json(data)
        else:
            self.http(data)
        if self.count % 100 == 0:
            self.money()

    def http(self, data: bytes) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        words = head.partition(b"\r\n")[0].decode("utf-8", "surrogateescape").split(" ")
        if len(words) != 3 or not words[1].startswith("/"):
            return
        path, _, query = words[1].partition("?")
        text = body.decode("utf-8", "surrogateescape")
        entry = {"method": words[0], "path": path, "via": "rest"}
        asked = HttpRequest(words[0], path, query, text, KEY, None, "127.0.0.1", entry)
        reply = self.rest.answer(asked)
        assert reply.status < 500, (reply, asked)
        if reply.headers["Content-Type"].startswith("application/json"):
            orjson.loads(reply.body)

    def json(self, data: bytes) -> None:
        try:
            document = orjson.loads(data)
        except ValueError:
            return
        websocket.stream_problem(document, document.get("params", [])) if isinstance(document, dict) else None
        try:
            method, given = websocket_api.read_request(document)
            values = websocket_api._texts(given)
            authentication.socket_payload(given)
            if method in METHODS:
                self.server.execute(CALLS[METHODS[method]], self.server.engine.state.keys[KEY], values)
        except BinanceError as refusal:
            orjson.dumps(refusal.body())

    def money(self) -> None:
        for asset in ("USDT", "BTC"):
            accounts = self.server.engine.state.accounts.values()
            total = sum(one.free.get(asset, Decimal(0)) + one.locked.get(asset, Decimal(0)) for one in accounts)
            assert total == 0, f"{total} {asset} out of nowhere"


def seeds(folder: Path) -> None:
    """Write one plausible request of each call."""
    for number, ((method, path), call) in enumerate(CALLS.items()):
        names = [*call.required, *(name for name in call.optional if name in PLAUSIBLE)]
        query = "&".join(f"{name}={PLAUSIBLE.get(name, '1')}" for name in names) + "&timestamp=1&signature=1"
        (folder / f"http-{number}").write_bytes(f"h{method} {path}?{query} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    for number, (method, route) in enumerate(METHODS.items()):
        given = {name: PLAUSIBLE.get(name, "1") for name in CALLS[route].required}
        (folder / f"json-{number}").write_bytes(b"j" + orjson.dumps({"id": 1, "method": method, "params": given}))


def main() -> None:
    getcontext().prec = 60
    authentication.check_time = lambda parameters, now: None  # type: ignore[assignment]
    authentication.check_signature = lambda *given, **named: None  # type: ignore[assignment]
    with tempfile.TemporaryDirectory(prefix="fortctl-fuzz-") as folder:
        seeds(Path(folder))
        atheris.Setup([*sys.argv, "-max_len=2000", folder], Target())
        atheris.Fuzz()


if __name__ == "__main__":
    main()
