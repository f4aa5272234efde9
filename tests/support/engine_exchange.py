"""The exchange port straight over the paper exchange's engine: Binance's parameters and answers, without a socket.

A :class:`Network` lies between: the rotation's world delivers at once (:class:`support.rotation_world.Stage`), the
simulation's loses, delays and changes what passes (:mod:`simulation.network`).
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

from fortctl.exchange import parsing
from fortctl.exchange.decoding import UnreadableAnswerError
from fortctl.exchange.error_codes import classify
from fortctl.exchange.parsing import read
from fortctl.exchange.price_range import price_range
from fortctl.model import (
    AccountState,
    Fill,
    KeyPair,
    KeyRestrictions,
    MarketEvent,
    OrderRequest,
    OrderState,
    PriceRange,
    SymbolRules,
    UnreadableOrder,
    UserEvent,
)
from fortctl.paper.api import authentication, registry
from fortctl.paper.api.parameters import Context
from fortctl.paper.engine import errors
from fortctl.paper.engine.accounts import ApiKey
from fortctl.paper.engine.exchange import Engine
from fortctl.ports import Clock, ExchangeError, IssuedKey, Outcome
from fortctl.secret import Secret

# A trusted address of the keys that are restricted to one.
ADDRESS = "127.0.0.1"
WINDOW_MS = 5_000
PAGE = 1_000


def is_signed(method: str, path: str) -> bool:
    return bool(registry.CALLS[method, path].security != "NONE")


def admitted(
    engine: Engine, pair: KeyPair | None, method: str, path: str, values: Mapping[str, Any], now: int
) -> ApiKey | None:
    """Return the key of a request as the server finds it, or None where none is needed.

    Raises:
        BinanceError: the server refuses the request before it reads it.
    """
    if not is_signed(method, path):
        return None
    assert pair is not None
    sapi = path.startswith("/sapi")
    key = authentication.find_key(engine.state.keys, pair.api_key.reveal(), ADDRESS, sapi=sapi)
    authentication.check_time(values, now)
    # Nothing is signed here; a key pair's halves are not compared.
    if key.type == "hmac" and pair.secret.reveal() != key.secret:
        raise errors.BAD_SIGNATURE
    authentication.check_permission(key, "reading", now, sapi=sapi)
    if registry.CALLS[method, path].security == "TRADE":
        authentication.check_permission(key, "spot_trading", now, sapi=sapi)
    return key


def answer(engine: Engine, key: ApiKey | None, method: str, path: str, values: Mapping[str, Any], now: int) -> Any:
    """Return what the exchange answers to a request that was admitted. Raises BinanceError: what it refuses."""
    texts = {name: str(value) for name, value in values.items() if name not in ("timestamp", "recvWindow")}
    context = Context(engine, now, key, [], new_key=lambda: secrets.token_hex(32))
    return registry.CALLS[method, path].handler(context, texts)


def fault(refusal: errors.BinanceError) -> ExchangeError:
    """Return what the product's adapter makes of a refusal."""
    outcome = classify(refusal.status, refusal.code, refusal.message)
    return ExchangeError(outcome, refusal.message, code=refusal.code, http_status=refusal.status)


class Network(Protocol):
    """What lies between a client and the engine."""

    has_sapi: bool

    def client_clock(self) -> Clock:
        """Return the clock of the process that asks now."""

    async def send(self, pair: KeyPair | None, method: str, path: str, values: dict[str, Any]) -> Any:
        """Return the exchange's answer. Raises ExchangeError, as the adapter does."""

    def user_events(self, exchange: EngineExchange, pair: KeyPair) -> AsyncIterator[UserEvent]: ...

    def market_events(self, symbol: str) -> AsyncIterator[MarketEvent]: ...


class EngineExchange:
    """Implements ``ports.Exchange``; a signed call that has no effect is stamped here, and asked again after -1021."""

    def __init__(self, network: Network, pair: KeyPair | None) -> None:
        self._network = network
        self._pair = pair
        self._offset_ms = 0

    def stamp(self) -> dict[str, Any]:
        return {"timestamp": self._network.client_clock().now_ms() + self._offset_ms, "recvWindow": WINDOW_MS}

    async def ask(self, method: str, path: str, **values: Any) -> Any:
        """Make a call."""
        if not is_signed(method, path) or "timestamp" in values:
            return await self._network.send(self._pair, method, path, values)
        for last in (False, True):
            try:
                return await self._network.send(self._pair, method, path, {**values, **self.stamp()})
            except ExchangeError as refused:
                if refused.code != -1021 or last:
                    raise
            self._offset_ms = await self.server_time() - self._network.client_clock().now_ms()
        raise AssertionError

    async def server_time(self) -> int:
        return read(parsing.server_time, await self.ask("GET", "/api/v3/time"))

    async def symbol_rules(self, symbol: str) -> SymbolRules:
        return read(parsing.symbol_rules, await self.ask("GET", "/api/v3/exchangeInfo", symbol=symbol))

    async def last_price(self, symbol: str) -> Decimal:
        return read(parsing.last_price, await self.ask("GET", "/api/v3/ticker/price", symbol=symbol))

    async def price_range(self, symbol: str, since: int) -> PriceRange | None:
        async def ask(interval: str, first: int, last: int | None) -> Any:
            until = {} if last is None else {"endTime": str(last)}
            wanted = {"symbol": symbol, "interval": interval, "startTime": str(first), "limit": "1000", **until}
            return await self.ask("GET", "/api/v3/klines", **wanted)

        try:
            return await price_range(ask, since)
        except UnreadableAnswerError as error:
            raise parsing.unreadable(error) from None

    async def account(self) -> AccountState:
        return read(parsing.account_state, await self.ask("GET", "/api/v3/account"))

    async def key_restrictions(self) -> KeyRestrictions:
        if not self._network.has_sapi:
            raise ExchangeError(Outcome.REFUSED, "this target has no /sapi: the key's rights cannot be asked for")
        return read(parsing.restrictions, await self.ask("GET", "/sapi/v1/account/apiRestrictions"))

    async def test_order(self, request: OrderRequest) -> None:
        await self.ask("POST", "/api/v3/order/test", **_fields(request))

    async def place(self, request: OrderRequest, *, timestamp: int, recv_window: int) -> OrderState:
        fields = {**_fields(request), "newOrderRespType": "RESULT", "timestamp": timestamp, "recvWindow": recv_window}
        return read(parsing.order_state, await self.ask("POST", "/api/v3/order", **fields), Outcome.UNKNOWN)

    async def cancel(self, symbol: str, client_order_id: str, *, order_id: int | None = None) -> OrderState:
        named = {"orderId": order_id} if order_id is not None else {"origClientOrderId": client_order_id}
        answered = await self.ask("DELETE", "/api/v3/order", symbol=symbol, **named)
        return read(parsing.order_state, answered, Outcome.UNKNOWN)

    async def order(self, symbol: str, client_order_id: str, *, order_id: int | None = None) -> OrderState:
        named = {"orderId": order_id} if order_id is not None else {"origClientOrderId": client_order_id}
        return read(parsing.order_state, await self.ask("GET", "/api/v3/order", symbol=symbol, **named))

    async def open_orders(self, symbol: str | None = None) -> tuple[OrderState, ...]:
        rows = await self.ask("GET", "/api/v3/openOrders", **({"symbol": symbol} if symbol else {}))
        return read(parsing.order_states, rows)[0]

    def unreadable_orders(self) -> tuple[UnreadableOrder, ...]:
        return ()

    async def all_orders(
        self, symbol: str, *, start_time: int | None = None, from_id: int | None = None
    ) -> tuple[OrderState, ...]:
        found: list[OrderState] = []
        first = from_id or 0
        while True:
            rows = await self.ask("GET", "/api/v3/allOrders", symbol=symbol, orderId=first, limit=PAGE)
            found += read(parsing.order_states, rows)[0]
            if len(rows) < PAGE:
                return tuple(found)
            first = found[-1].order_id + 1

    async def previous_client_order_ids(self, symbol: str, order_id: int) -> tuple[str, ...]:
        rows = await self.ask("GET", "/api/v3/order/amendments", symbol=symbol, orderId=order_id)
        return read(parsing.previous_client_order_ids, rows)

    async def trades(self, symbol: str, *, order_id: int | None = None, from_id: int | None = None) -> tuple[Fill, ...]:
        found: list[Fill] = []
        first = from_id or 0
        while True:
            values = {"symbol": symbol, "fromId": first, "limit": PAGE}
            if order_id is not None:
                values["orderId"] = order_id
            rows = await self.ask("GET", "/api/v3/myTrades", **values)
            found += read(parsing.fills, rows)
            if len(rows) < PAGE:
                return tuple(found)
            first = found[-1].trade_id + 1

    def user_events(self) -> AsyncIterator[UserEvent]:
        assert self._pair is not None
        return self._network.user_events(self, self._pair)

    def market_events(self, symbol: str) -> AsyncIterator[MarketEvent]:
        return self._network.market_events(symbol)

    async def close(self) -> None:
        return None


def _fields(request: OrderRequest) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "symbol": request.symbol,
        "side": request.side.value,
        "type": request.type.value,
        "quantity": f"{request.quantity:f}",
        "price": f"{request.price:f}",
        "newClientOrderId": request.client_order_id,
    }
    if request.type.value == "LIMIT":
        fields["timeInForce"] = "GTC"
    if request.self_trade_prevention:
        fields["selfTradePreventionMode"] = request.self_trade_prevention
    return fields


class EngineIssuer:
    """Implements ``ports.KeyIssuer`` straight over the engine: the keys of one sub-account."""

    def __init__(self, network: Network, master: KeyPair, email: str) -> None:
        self._exchange = EngineExchange(network, master)
        self.email = email

    async def create(
        self, name: str, public_key: str, permissions: Collection[str], addresses: Sequence[str]
    ) -> IssuedKey:
        values = {"email": self.email, "apiName": name, "status": 2 if addresses else 1, "publicKey": public_key}
        values |= {"ipAddress": ",".join(addresses)} if addresses else {}
        trade = {"canTrade": "true"} if "spot_trading" in permissions else {}
        made = await self._exchange.ask("POST", "/sapi/v2/sub-account/subAccountApi", **values, **trade)
        return IssuedKey(made["apiName"], Secret(made["apiKey"]))

    async def list_keys(self) -> tuple[IssuedKey, ...]:
        asked = await self._exchange.ask("GET", "/sapi/v1/sub-account/subAccountApi", email=self.email)
        return tuple(IssuedKey(row["apiName"], Secret(row["apikey"])) for row in asked["rows"])

    async def addresses(self, api_key: Secret) -> tuple[str, ...]:
        values = {"email": self.email, "subAccountApiKey": api_key.reveal()}
        asked = await self._exchange.ask("GET", "/sapi/v1/sub-account/subAccountApi/ipRestriction", **values)
        return tuple(asked["ipList"]) if str(asked["ipRestrict"]).lower() == "true" else ()

    async def delete(self, api_key: Secret) -> None:
        values = {"email": self.email, "subAccountApiKey": api_key.reveal()}
        await self._exchange.ask("DELETE", "/sapi/v1/sub-account/subAccountApi", **values)

    async def close(self) -> None:
        return None
