"""One paper exchange server: the engine behind Binance's REST and WebSocket protocols (aiohttp, uvloop)."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import string
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from fortctl.paper.api import authentication, market, sub_accounts
from fortctl.paper.api.parameters import Call, Context, check_parameters
from fortctl.paper.engine import errors
from fortctl.paper.engine.accounts import ApiKey
from fortctl.paper.engine.exchange import Engine
from fortctl.paper.engine.market_data import Recording, Trade
from fortctl.paper.engine.rate_limits import Limits
from fortctl.paper.faults import Faults
from fortctl.paper.server.market_streams import Publisher
from fortctl.paper.server.replay import Replay
from fortctl.paper.server.state_file import StateFile
from fortctl.paper.server.state_writer import StateWriter
from fortctl.paper.server.subscriptions import SubscriptionHub
from fortctl.system.clock import SystemClock

REQUESTS_KEPT, LOG_BYTES, ENTRY_BYTES = 100_000, 64 * 1024 * 1024, 600
DEFAULT_ACCOUNT = "default"
PUBLISH_S, PLACE_S = 0.1, 1.0
DAY_S = 86_400.0
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class ServerOptions:
    """How to serve; see ``fortctl paper serve --help``.

    Attributes:
        speed: market seconds a real second, or None for ``max``.
        start: share of the recording (0 to 1) that is history.
        limits: ``real``, ``scaled`` or ``off``.
        socket_life: seconds after which a WebSocket is closed.
    """

    tapes: dict[str, Recording]
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
    socket_life: float = DAY_S


class PaperServer:
    """The running exchange: time, requests, the market's trades, and who hears of them."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.clock = SystemClock()
        self.engine = Engine(options.tapes, options.fill_model)
        self.faults = Faults()
        self.hub = SubscriptionHub(self.faults, self.clock.monotonic)
        self.publisher = Publisher(self.engine, self.hub)
        self.hub.on_unsubscribed = self.publisher.forget
        self.limits = Limits(options.limits, options.speed or 1.0)
        self.pacer = Replay(self, options.tapes, options.speed, options.start, options.loop)
        self.token = secrets.token_urlsafe(24)
        self.requests: deque[dict[str, Any]] = deque()
        self._sizes: deque[int] = deque()
        self.arrivals: dict[str, int] = defaultdict(int)
        self._arrived = asyncio.Event()
        self._sequence = self._log_size = 0
        self._log: TextIO | None = None
        self.keeper = StateWriter(self, StateFile(options.state)) if options.state else None
        self.engine.emit = self._emit
        self.engine.key_dropped = lambda key: self.hub.revoke(key.api_key, self.now)
        self.engine.first_fill = lambda account, maker: self.limits.give_back(account, maker, self.seconds())

    # -- time ------------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """Return the exchange's clock (ms)."""
        now = self.clock.now_ms()
        return now + self.faults.clock_offset(self.clock.monotonic()) if self.faults.set_faults else now

    def seconds(self) -> float:
        """Return the time of the limits' windows, which no clock fault moves (s since the epoch)."""
        return self.clock.now_ms() / 1000

    # -- the market ------------------------------------------------------------------------------------------------

    def happen(self, symbol: str, trade: Trade, now: int) -> set[str]:
        """Let a recorded trade happen; return the accounts whose orders it changed."""
        touched = self.engine.trade(symbol, trade, now)
        if self.hub.markets:
            self.publisher.happened(symbol, trade, now)
        if self.engine.changed:
            self.save()
        return touched

    async def publish(self) -> None:
        """Tell the paced streams, and keep the market's place, until the server ends."""
        kept = self.clock.monotonic()
        while True:
            await asyncio.sleep(PUBLISH_S)
            if self.hub.markets:
                self.publisher.tick(self.now())
            if self.clock.monotonic() - kept >= PLACE_S:
                kept = self.clock.monotonic()
                self.save(place=True)

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
        fault: str = "",
    ) -> ApiKey | None:
        """Return who asks; raises :class:`errors.BinanceError`. The order of the checks is security.py's decision.

        Args:
            fault: a fault of the family ``key`` that the request meets.
        """
        if call.security == "NONE":
            return None
        keys: Mapping[str, ApiKey] = {} if fault == "key-deleted" else self.engine.keys
        key = authentication.find_key(keys, api_key, "" if fault == "ip-changed" else address, sapi=sapi)
        if fault == "ip-changed":
            raise authentication.bad_key(sapi)
        self.arrived(key.account)
        now = self.now()
        authentication.check_time(values, now)
        authentication.check_signature(key, payload, signature, encoded=encoded)
        self.permit(call, key, now, sapi=sapi, fault=fault)
        return key

    def permit(self, call: Call, key: ApiKey, now: int, *, sapi: bool = False, fault: str = "") -> None:
        authentication.check_permission(key, "reading", now, sapi=sapi)
        if call.security == "TRADE":
            authentication.check_permission(key, "spot_trading", now, sapi=sapi)
            if fault in ("permission-taken", "key-expired"):
                raise authentication.bad_key(sapi)
            if fault == "trading-disabled":
                raise errors.MAY_NOT_TRADE

    def answer(
        self, call: Call, key: ApiKey | None, values: Mapping[str, str], address: str = "", fault: str = ""
    ) -> Any:
        """Carry a call out; return its answer. What it changed is durable when :meth:`durable` returns."""
        over: errors.BinanceError | None = None
        if call.orders and key is not None:
            try:
                self.limits.count_orders(key.account, call.orders, self.seconds())
            except errors.BinanceError as refusal:
                if call.over is None:
                    raise
                over = refusal
        check_parameters(call, values)
        makes_key = call.handler in (sub_accounts.create, sub_accounts.create_v2)
        if makes_key and self.faults.strikes("keys-full", self.clock.monotonic(), "a sub-account's new key"):
            raise errors.KEYS_FULL
        context = self.context(key, address)
        try:
            answer = (
                call.handler(context, values) if over is None or call.over is None else call.over(context, values, over)
            )
        finally:
            # A refusal may have changed something all the same: a cancel-replace that half succeeded.
            self.save()
        if call.orders:
            self.pacer.begin()
        elif call.handler is market.depth:
            self.publisher.served(values["symbol"], answer)
        if fault and isinstance(answer, dict):
            answer = _under_fault(fault, answer)
        return answer

    def context(self, key: ApiKey | None, address: str = "") -> Context:
        def counts() -> list[dict[str, Any]]:
            return self.limits.order_rows(key.account, self.seconds()) if key is not None else []

        return Context(self.engine, self.now(), key, self.limits.info(), counts, address, new_api_key)

    # -- what is kept (with --state) -------------------------------------------------------------------------------

    def save(self, *, place: bool = False) -> None:
        """Have what changed written with the next commit, which everything of this turn of the loop shares.

        Args:
            place: also when nothing changed but the market's place.
        """
        if self.keeper is None:
            self.engine.changed.clear()
        else:
            self.keeper.save(place=place)

    def commit(self) -> asyncio.Future[None] | None:
        """Return what an answer has to wait for: the commit of all that it may tell; None when nothing is to come."""
        return self.keeper.commit() if self.keeper is not None else None

    async def durable(self) -> None:
        """Wait until what was changed is on disk.

        Raises:
            Refusal: it cannot be kept; HTTP 500, which tells nobody that the request did not happen.
        """
        commit = self.commit()
        if commit is not None:
            await asyncio.shield(commit)

    def _emit(self, account: str, kind: str, event: dict[str, Any]) -> None:
        if self.keeper is None:
            self.hub.tell_user(account, event)
        else:
            self.keeper.hold(account, event)

    def log_request(self, entry: dict[str, Any], size: int | None = None) -> None:
        """Write a request down.

        Args:
            size: at most how many characters its path and parameters have, where that is known.
        """
        self._sequence += 1
        entry = {"seq": self._sequence, "time": self.now(), **entry}
        self.requests.append(entry)
        self._sizes.append(ENTRY_BYTES + size if size is not None else _size(entry))
        self._log_size += self._sizes[-1]
        while self._log_size > LOG_BYTES or len(self.requests) > REQUESTS_KEPT:
            self.requests.popleft()
            self._log_size -= self._sizes.popleft()
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
        if self.keeper is None:
            return False
        position = self.keeper.state.restore(self.engine)
        if position is None:
            return False
        self.pacer.restore(position, self.now())
        return True

    def close(self) -> None:
        """Write what is left, and close the files."""
        if self.keeper is not None:
            self.keeper.close()
        if self._log is not None:
            self._log.close()

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


def new_api_key() -> str:
    """Return 64 random letters and digits, as Binance's keys and secrets are."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(64))


def _size(entry: dict[str, Any]) -> int:
    """Return about how much memory an entry of the request log takes."""
    return (
        ENTRY_BYTES
        + len(entry["path"])
        + sum(len(name) + len(value) for name, value in (entry.get("query") or {}).items())
    )


def _under_fault(fault: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer about the key or the account as it looks under a fault of the family ``key``."""
    if fault in ("permission-taken", "key-expired") and "enableSpotAndMarginTrading" in answer:
        return {**answer, "enableSpotAndMarginTrading": False}
    if fault == "trading-disabled" and "canTrade" in answer:
        return {**answer, "canTrade": False}
    return answer
