"""One paper exchange server: time, authentication, rate limits, faults and storage around the engine.

The protocols (:mod:`.rest`, :mod:`.websocket_api`, :mod:`.admin_api`) stand above it: they parse a request, have it
authenticated and executed here, and wait until its effect is durable before they answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from fortctl.paper.api import authentication, market, sub_accounts
from fortctl.paper.api.parameters import Call, Context, check_parameters
from fortctl.paper.engine import errors
from fortctl.paper.engine.accounts import ApiKey
from fortctl.paper.engine.exchange import Engine
from fortctl.paper.engine.market_data import Recording
from fortctl.paper.engine.rate_limits import Limits
from fortctl.paper.engine.trades.table import Trade
from fortctl.paper.faults import Faults
from fortctl.paper.server.market_streams import Publisher
from fortctl.paper.server.replay import Arrivals, Replay
from fortctl.paper.server.request_log import RequestLog
from fortctl.paper.server.state_file import StateFile
from fortctl.paper.server.state_writer import StateWriter
from fortctl.paper.server.subscriptions import SubscriptionHub
from fortctl.system.clock import SystemClock

DEFAULT_ACCOUNT = "default"
PUBLISH_S, SAVE_POSITION_S = 0.1, 1.0
DAY_S = 86_400.0
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class ServerOptions:
    """How to serve; see ``fortctl paper serve --help``.

    Attributes:
        speed: market seconds for each real second, or None for ``max``.
        start: share of the recording (0 to 1) that is history.
        limits: ``real``, ``scaled`` or ``off``.
        socket_life: seconds after which a WebSocket is closed.
        progress: is called with a line of text while a long history is replayed.
    """

    recordings: dict[str, Recording]
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
    progress: Callable[[str], None] = lambda text: None


class PaperServer:
    """The running exchange.

    Attributes:
        token: the admin token; the shell commands read it from ``server.json``.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.clock = SystemClock()
        self.engine = Engine(options.recordings, options.fill_model)
        self.faults = Faults()
        self.hub = SubscriptionHub(self.faults, self.clock.monotonic)
        self.publisher = Publisher(self.engine.state, self.hub)
        self.hub.on_unsubscribed = self.publisher.forget
        self.limits = Limits(options.limits, options.speed or 1.0)
        self.token = secrets.token_urlsafe(24)
        self.log = RequestLog(self.now)
        self.arrivals = Arrivals()
        self.replay = Replay(
            options.recordings,
            speed=options.speed,
            start=options.start,
            loop=options.loop,
            engine=self.engine,
            apply_trade=self.apply_trade,
            now=self.now,
            hub=self.hub,
            arrivals=self.arrivals,
            commit=self.commit,
            progress=options.progress,
        )
        self.state_writer = self._make_state_writer(options.state) if options.state is not None else None
        listeners = self.engine.listeners
        listeners.on_user_event = self._on_user_event
        listeners.on_key_deleted = lambda key: self.hub.on_key_deleted(key.api_key, self.now)
        listeners.on_first_fill = lambda account, maker: self.limits.give_back(account, maker, self.seconds())

    def _make_state_writer(self, path: Path) -> StateWriter:
        def disk_full() -> bool:
            faults, now = self.faults, self.clock.monotonic()
            return bool(faults.entries) and faults.consume("disk-full", now, "a write of the state")

        return StateWriter(
            StateFile(path),
            self.engine.state,
            position=lambda: self.replay.position,
            send_event=self.hub.send_to_user,
            disk_full=disk_full,
        )

    # -- time --------------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """Return the exchange's clock (ms)."""
        now = self.clock.now_ms()
        return now + self.faults.clock_offset(self.clock.monotonic()) if self.faults.entries else now

    def seconds(self) -> float:
        """Return the time of the limits' windows, which no clock fault moves (s since the epoch)."""
        return self.clock.now_ms() / 1000

    # -- the market --------------------------------------------------------------------------------------------------

    def apply_trade(self, symbol: str, trade: Trade, now: int) -> set[str]:
        """Let a recorded trade happen; return the accounts whose orders it changed."""
        touched = self.engine.apply_trade(symbol, trade, now)
        if self.hub.markets:
            self.publisher.publish_trade(symbol, trade, now)
        if self.engine.state.changed:
            self.save()
        return touched

    def place_twin(self, answer: Any) -> None:
        """Place an order once more, under the client order id that an answer names (the fault ``order-twin``)."""
        if isinstance(answer, dict) and (order := self.engine.state.orders.get(answer.get("orderId", 0))) is not None:
            self.engine.order_manager.place_twin(order, self.now())
            self.save()

    async def publish(self) -> None:
        """Publish the paced streams every 100 ms and store the replay's position every second, until cancelled."""
        saved = self.clock.monotonic()
        while True:
            await asyncio.sleep(PUBLISH_S)
            if self.hub.markets:
                self.publisher.tick(self.now())
            if self.clock.monotonic() - saved >= SAVE_POSITION_S:
                saved = self.clock.monotonic()
                self.save(position=True)

    # -- requests ----------------------------------------------------------------------------------------------------

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
        """Authenticate and authorize a request; return its key, or None if the call needs none.

        Args:
            values: the parameters.
            payload: what was signed.
            encoded: the signature is percent-encoded.
            fault: a fault of the family ``key`` that applies to the request.

        Raises:
            BinanceError: the key, the address, the time, the signature or a permission is refused, in the order of
                :mod:`fortctl.paper.api.authentication`.
        """
        if call.security == "NONE":
            return None
        keys: Mapping[str, ApiKey] = {} if fault == "key-deleted" else self.engine.state.keys
        if self.faults.entries and api_key in keys:
            self.delete_unrestricted([keys[api_key]])
        key = authentication.find_key(keys, api_key, "" if fault == "ip-changed" else address, sapi=sapi)
        if fault == "ip-changed":
            raise authentication.bad_key(sapi)
        self.arrivals.add(key.account)
        now = self.now()
        authentication.check_time(values, now)
        authentication.check_signature(key, payload, signature, encoded=encoded)
        self.authorize(call, key, now, sapi=sapi, fault=fault)
        return key

    def delete_unrestricted(self, keys: Sequence[ApiKey]) -> None:
        """Delete those keys that Binance deletes by itself, where the fault ``unrestricted-deleted`` is set."""
        for key in filter(lambda key: key.is_endangered, keys):
            if self.faults.consume("unrestricted-deleted", self.clock.monotonic(), f"the key {key.name}"):
                self.engine.remove_key(key)
                self.save()

    def authorize(self, call: Call, key: ApiKey, now: int, *, sapi: bool = False, fault: str = "") -> None:
        """Check that a key may make a call. Raises :class:`errors.BinanceError`."""
        authentication.check_permission(key, "reading", now, sapi=sapi)
        if call.security == "TRADE":
            authentication.check_permission(key, "spot_trading", now, sapi=sapi)
            if fault in ("permission-taken", "key-expired"):
                raise authentication.bad_key(sapi)
            if fault == "trading-disabled":
                raise errors.MAY_NOT_TRADE

    def execute(
        self, call: Call, key: ApiKey | None, values: Mapping[str, str], address: str = "", fault: str = ""
    ) -> Any:
        """Execute a call and return its answer; its effect is durable when :meth:`durable` returns."""
        over: errors.BinanceError | None = None
        if call.orders and key is not None:
            try:
                self.limits.count_orders(key.account, call.orders, self.seconds())
            except errors.BinanceError as refusal:
                if call.over_limit is None:
                    raise
                over = refusal
        check_parameters(call, values)
        makes_key = call.handler in (sub_accounts.create, sub_accounts.create_v2)
        if makes_key and self.faults.consume("keys-full", self.clock.monotonic(), "a sub-account's new key"):
            raise errors.KEYS_FULL
        context = self.context(key, address)
        try:
            answer = (
                call.handler(context, values)
                if over is None or call.over_limit is None
                else call.over_limit(context, values, over)
            )
        finally:
            # A refused call may have changed something: a cancel-replace that half succeeded.
            self.save()
        if call.orders:
            self.replay.begin()
        elif call.handler is market.depth:
            self.publisher.note_snapshot(values["symbol"], answer)
        if fault and isinstance(answer, dict):
            answer = _under_fault(fault, answer)
        return answer

    def context(self, key: ApiKey | None, address: str = "") -> Context:
        def counts() -> list[dict[str, Any]]:
            return self.limits.order_rows(key.account, self.seconds()) if key is not None else []

        return Context(self.engine, self.now(), key, self.limits.info(), counts, address, new_api_key)

    # -- storage (with --state) --------------------------------------------------------------------------------------

    def save(self, *, position: bool = False) -> None:
        """Have what changed written with the next commit.

        Args:
            position: also when only the replay has advanced.
        """
        if self.state_writer is None:
            self.engine.state.changed.clear()
        else:
            self.state_writer.save(position=position)

    def commit(self) -> asyncio.Future[None] | None:
        """Return the commit that an answer has to wait for, or None if all that it may state is durable."""
        return self.state_writer.commit() if self.state_writer is not None else None

    async def durable(self) -> None:
        """Wait until everything that changed is on disk.

        Raises:
            BinanceError: it cannot be written: HTTP 500, after which the client cannot know the outcome.
        """
        commit = self.commit()
        if commit is not None:
            await asyncio.shield(commit)

    def _on_user_event(self, account: str, kind: str, event: dict[str, Any]) -> None:
        if self.state_writer is None:
            self.hub.send_to_user(account, event)
        else:
            self.state_writer.send_when_durable(account, event)

    # -- serving -----------------------------------------------------------------------------------------------------

    def default_deposits(self) -> dict[str, Decimal]:
        """Return the deposits of the account ``default``: ≥ 1 BTC and 10,000 USDT, or their value."""
        deposits: dict[str, Decimal] = {}
        worth = {"BTC": Decimal(1), "ETH": Decimal(30), "BNB": Decimal(100)}
        for name, symbol in self.engine.state.symbols.items():
            last = self.engine.state.books[name].last
            price = last.price if last else Decimal(1)
            quote = worth.get(symbol.quote, Decimal(10_000))
            base = worth.get(symbol.base, (quote / price).to_integral_value())
            deposits[symbol.quote] = max(deposits.get(symbol.quote, Decimal(0)), quote)
            deposits[symbol.base] = max(deposits.get(symbol.base, Decimal(0)), base)
        return deposits

    def open(self) -> None:
        """Open the request log, and restore the state file or begin with an empty state."""
        if self.options.request_log is not None:
            self.log.open(self.options.request_log)
        now, monotonic = self.now(), self.clock.monotonic()
        position = self.state_writer.restore() if self.state_writer is not None else None
        if position is not None:
            self.replay.restore(position, now)
            self.replay.resume(monotonic)
            return
        self.replay.serve_history(now, monotonic)
        self.engine.create_account(DEFAULT_ACCOUNT, self.default_deposits(), now)
        self.save()

    def close(self) -> None:
        """Write what is left, and close the files."""
        if self.state_writer is not None:
            self.state_writer.close()
        self.log.close()

    def ready_document(self, port: int) -> dict[str, Any]:
        """Return what ``paper serve`` prints once it takes requests."""
        host = self.options.host
        name = f"[{host}]" if ":" in host else host
        return {
            "url": f"http://{name}:{port}",
            "ws_url": f"ws://{name}:{port}",
            "pid": os.getpid(),
            "symbols": list(self.engine.state.symbols),
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


def _under_fault(fault: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer about the key or the account as a fault of the family ``key`` changes it."""
    if fault in ("permission-taken", "key-expired") and "enableSpotAndMarginTrading" in answer:
        return {**answer, "enableSpotAndMarginTrading": False}
    if fault == "trading-disabled" and "canTrade" in answer:
        return {**answer, "canTrade": False}
    return answer
