"""One paper exchange server: the engine behind Binance's REST and WebSocket protocols (aiohttp, uvloop)."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from aiohttp import web

from fortctl.clock import SystemClock
from fortctl.paper import security
from fortctl.paper.accounts import ApiKey
from fortctl.paper.engine import Engine
from fortctl.paper.faults import Faults
from fortctl.paper.hub import Hub
from fortctl.paper.limits import Limits
from fortctl.paper.market import Tape, Trade
from fortctl.paper.market_calls import book_ticker
from fortctl.paper.pacing import Pacer
from fortctl.paper.parameters import Call, Context, check_parameters
from fortctl.paper.state import StateFile

REQUESTS_KEPT = 200_000
DEFAULT_ACCOUNT = "default"


@dataclass(frozen=True)
class ServerOptions:
    """How to serve; see ``fortctl paper serve --help``.

    Attributes:
        speed: market seconds a real second, or None for ``max``.
        start: share of the recording (0 to 1) that is history.
        limits: ``real``, ``scaled`` or ``off``.
    """

    tapes: dict[str, Tape]
    folder: Path
    host: str = "127.0.0.1"
    port: int = 8700
    speed: float | None = 1.0
    start: float = 0.0
    loop: bool = False
    limits: str = "real"
    fill_model: str = "through"
    state: Path | None = None
    request_log: Path | None = None


class PaperServer:
    """The running exchange: time, requests, the market's trades, and who hears of them."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.clock = SystemClock()
        self.engine = Engine(options.tapes, options.fill_model)
        self.hub = Hub()
        self.faults = Faults()
        self.limits = Limits(options.limits, options.speed or 1.0)
        self.pacer = Pacer(self, options.tapes, options.speed, options.start, options.loop)
        self.token = secrets.token_urlsafe(24)
        self.requests: deque[dict[str, Any]] = deque(maxlen=REQUESTS_KEPT)
        self.arrivals: dict[str, int] = defaultdict(int)
        self._arrived = asyncio.Event()
        self._sequence = 0
        self._log: TextIO | None = None
        self.state = StateFile(options.state) if options.state else None
        self.engine.emit = lambda account, kind, event: self.hub.tell_user(account, event)

    # -- time ------------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """Return the exchange's clock (ms)."""
        return self.clock.now_ms() + self.faults.clock_offset(self.clock.monotonic())

    # -- the market ------------------------------------------------------------------------------------------------

    def happen(self, symbol: str, trade: Trade, now: int) -> set[str]:
        """Let a recorded trade happen; return the accounts whose orders it changed."""
        touched = self.engine.trade(symbol, trade, now)
        self._tell_market(symbol, trade, now)
        if touched:
            self.save()
        return touched

    def _tell_market(self, symbol: str, trade: Trade, now: int) -> None:
        if not self.hub.markets:
            return
        low, price, quantity = symbol.lower(), f"{trade.price:.8f}", f"{trade.quantity:.8f}"
        event = {"e": "trade", "E": now, "s": symbol, "t": trade.id, "p": price, "q": quantity, "T": now}
        self.hub.tell_market(f"{low}@trade", {**event, "m": trade.buyer_is_maker, "M": True})
        if self.hub.markets.get(f"{low}@aggTrade"):
            one = {"e": "aggTrade", "E": now, "s": symbol, "a": trade.id, "p": price, "q": quantity}
            ids = {"f": trade.id, "l": trade.id, "T": now, "m": trade.buyer_is_maker, "M": True}
            self.hub.tell_market(f"{low}@aggTrade", {**one, **ids})
        if self.hub.markets.get(f"{low}@bookTicker"):
            best = book_ticker(Context(self.engine, now, None, []), {"symbol": symbol})
            short = {"bidPrice": "b", "bidQty": "B", "askPrice": "a", "askQty": "A"}
            shown = {"u": self.engine.books[symbol].update_id, "s": symbol}
            self.hub.tell_market(f"{low}@bookTicker", {**shown, **{short[k]: best[k] for k in short}})

    def arrived(self, account: str) -> None:
        """Note that an account has sent a request."""
        self.arrivals[account] += 1
        self._arrived.set()

    async def await_arrival(self, timeout: float) -> None:
        self._arrived.clear()
        try:
            async with asyncio.timeout(max(0.001, timeout)):
                await self._arrived.wait()
        except TimeoutError:
            pass

    # -- requests --------------------------------------------------------------------------------------------------

    def authenticate(
        self,
        call: Call,
        values: Mapping[str, str],
        api_key: str,
        address: str,
        payload: bytes,
        signature: str,
        *,
        sapi: bool,
        encoded: bool,
    ) -> ApiKey | None:
        """Return who asks; raises :class:`refusals.Refusal`. The order of the checks is security.py's decision."""
        if call.security == "NONE":
            return None
        key = security.find_key(self.engine.keys, api_key, address, sapi=sapi)
        self.arrived(key.account)
        now = self.now()
        security.check_time(values, now)
        security.check_signature(key, payload, signature, encoded=encoded)
        self.permit(call, key, now, sapi=sapi)
        return key

    def permit(self, call: Call, key: ApiKey, now: int, *, sapi: bool = False) -> None:
        security.check_permission(key, "reading", now, sapi=sapi)
        if call.security == "TRADE":
            security.check_permission(key, "spot_trading", now, sapi=sapi)

    def answer(self, call: Call, key: ApiKey | None, values: Mapping[str, str]) -> tuple[Any, dict[str, str]]:
        """Carry a call out; return its answer and headers. What it changed is durable before this returns."""
        headers = {}
        if call.orders and key is not None:
            tens, days = self.limits.count_order(key.account, self.clock.monotonic())
            headers = {"X-MBX-ORDER-COUNT-10S": str(tens), "X-MBX-ORDER-COUNT-1D": str(days)}
        check_parameters(call, values)
        context = Context(self.engine, self.now(), key, self.limits.info())
        answer = call.handler(context, values)
        if call.orders:
            self.pacer.begin()
        self.save()
        return answer, headers

    def save(self) -> None:
        """Make what changed durable (with ``--state``)."""
        if self.state is not None and self.engine.changed:
            self.state.save(self.engine, self.pacer.position)
        self.engine.changed.clear()

    def log_request(self, entry: dict[str, Any]) -> None:
        self._sequence += 1
        entry = {"seq": self._sequence, "time": self.now(), **entry}
        self.requests.append(entry)
        if self._log is not None:
            self._log.write(json.dumps(entry) + "\n")
            self._log.flush()

    # -- serving ---------------------------------------------------------------------------------------------------

    def default_deposits(self) -> dict[str, Decimal]:
        """Return what ``default`` begins with (contract.md): ≥ 1 BTC and 10,000 USDT, or the same worth."""
        found: dict[str, Decimal] = {}
        worth = {"BTC": Decimal(1), "ETH": Decimal(30), "BNB": Decimal(100)}
        for name, symbol in self.engine.symbols.items():
            last = self.engine.books[name].last
            price = last.price if last else Decimal(1)
            quote = worth.get(symbol.quote, Decimal(10_000))
            base = worth.get(symbol.base, (quote / price).to_integral_value())
            found[symbol.quote] = max(found.get(symbol.quote, Decimal(0)), quote)
            found[symbol.base] = max(found.get(symbol.base, Decimal(0)), base)
        return found

    def open_log(self) -> None:
        path = self.options.request_log
        if path is not None:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._log = open(descriptor, "a", encoding="utf-8")  # noqa: SIM115 (open for the server's whole life)

    def restore(self) -> bool:
        """Bring back what ``--state`` kept; True when there was something."""
        if self.state is None:
            return False
        position = self.state.restore(self.engine)
        if position is None:
            return False
        for name, trade in self.pacer.rows[:position]:
            self.engine.books[name].see(trade)
        self.pacer.position = position
        return True

    def ready(self, port: int) -> dict[str, Any]:
        host = self.options.host
        shown = f"[{host}]" if ":" in host else host
        return {
            "url": f"http://{shown}:{port}",
            "ws_url": f"ws://{shown}:{port}",
            "pid": os.getpid(),
            "symbols": list(self.engine.symbols),
        }

    def write_server_file(self, ready: dict[str, Any]) -> None:
        """Write ``HOME/paper/server.json`` (0600), which the other paper commands read."""
        folder = self.options.folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = folder / f".server.json.{os.getpid()}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            json.dump({**ready, "token": self.token}, stream)
        os.replace(temporary, folder / "server.json")

    def remove_server_file(self) -> None:
        path = self.options.folder / "server.json"
        try:
            if json.loads(path.read_text(encoding="utf-8"))["pid"] == os.getpid():
                path.unlink()
        except (OSError, ValueError, KeyError):
            pass


async def serve(options: ServerOptions, on_ready: Any) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        options: how.
        on_ready: called with the ready document once requests are taken.
    """
    from fortctl.paper.admin import Admin
    from fortctl.paper.rest import Rest
    from fortctl.paper.sockets import Sockets

    server = PaperServer(options)
    server.open_log()
    application = web.Application(client_max_size=1024 * 1024)
    sockets = Sockets(server)
    Admin(server).route(application)
    sockets.route(application)
    Rest(server).route(application)
    now = server.now()
    if not server.restore():
        server.pacer.serve_history(now, server.clock.monotonic())
        server.engine.create_account(DEFAULT_ACCOUNT, server.default_deposits(), now)
        server.save()
    else:
        server.pacer.resume(server.clock.monotonic())
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, options.host, options.port)
    await site.start()
    port = runner.addresses[0][1]
    ready = server.ready(port)
    server.write_server_file(ready)
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    replay = asyncio.create_task(server.pacer.run(server.clock.monotonic))
    on_ready(ready)
    ending = asyncio.create_task(end.wait())
    try:
        done, _ = await asyncio.wait({replay, ending}, return_when=asyncio.FIRST_COMPLETED)
        if replay in done:
            replay.result()
    finally:
        for task in (replay, ending):
            task.cancel()
        server.hub.shut_down(server.now())
        await asyncio.sleep(0.02)
        server.hub.cut_all()
        server.remove_server_file()
        await runner.cleanup()
        server.save()
