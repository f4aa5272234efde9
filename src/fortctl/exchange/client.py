"""The exchange port over python-binance (adapter). No other module imports that library.

Import this module late: python-binance takes 0.4 s to import.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from fortctl.exchange import parsing
from fortctl.exchange.decoding import UnreadableAnswerError, rows
from fortctl.exchange.http_answer import read_answer
from fortctl.exchange.price_range import MINUTE, price_range
from fortctl.exchange.rate_limiter import BAN_SECONDS, CODE_ORDERS, RateLimiter, is_urgent, weight_of
from fortctl.exchange.signing import rest_payload, signer, with_signature
from fortctl.exchange.targets import ExchangeTarget
from fortctl.exchange.tls import tls_context
from fortctl.model import (
    AccountState,
    Fill,
    KeyPair,
    KeyRestrictions,
    MarketEvent,
    OrderRequest,
    OrderState,
    OrderType,
    PriceRange,
    SymbolRules,
    UnreadableOrder,
    UserEvent,
)
from fortctl.ports import ExchangeError, Outcome
from fortctl.system.clock import SystemClock

if TYPE_CHECKING:
    from fortctl.exchange.connection_pool import ConnectionPool

T = TypeVar("T")
_LOG = logging.getLogger("fortctl.exchange")
TIMEOUT_S = 10.0
RECV_WINDOW_MS = 5_000
PAGE = 1_000
# A call waits this long for request weight; a longer wait is raised, so that the caller can plan with it.
MAX_WAIT_S = 2.0
_CODE_CLOCK = -1021
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def _reserve_weight(limiter: RateLimiter, method: str, uri: str, fields: Mapping[str, Any]) -> None:
    """Wait until a request may leave. Raises ``ExchangeError`` (busy) after :data:`MAX_WAIT_S`."""
    weight, urgent = weight_of(method, uri, fields), is_urgent(method)
    while wait := limiter.reserve(weight, urgent=urgent):
        if wait > MAX_WAIT_S:
            message = f"Binance rate-limits this IP address; retry in {math.ceil(wait)} s"
            raise ExchangeError(Outcome.BUSY, message, retry_after=wait)
        await asyncio.sleep(wait)


def _make_client(
    target: ExchangeTarget, pair: KeyPair | None, clock: SystemClock, connections: ConnectionPool, limiter: RateLimiter
) -> Any:
    """Make python-binance's client for a target; the requests that it sends are built and signed here."""
    from aiohttp import ClientTimeout, DummyCookieJar
    from binance import AsyncClient
    from yarl import URL

    sign = signer(pair) if pair is not None else None
    context = tls_context(target.rest_url)

    class Client(AsyncClient):  # type: ignore[misc]
        API_URL = f"{target.rest_url}/api"
        MARGIN_API_URL = f"{target.rest_url}/sapi"
        WS_API_URL = target.ws_api_url

        async def _request(self, method: str, uri: str, signed: bool, force_params: bool = False, **given: Any) -> Any:
            """Send a call, in place of the library's own method.

            The library would overwrite the caller's timestamp and receive window, but an order's timestamp is fixed
            before the lease is checked (robot.md, rule 5). Its way to encode the fields also takes longer than all
            other work on an order (performance.md).
            """
            fields = given.get("data") or {}
            await _reserve_weight(limiter, method, uri, fields)
            if signed:
                assert sign is not None
                window = {"timestamp": clock.now_ms() + self.timestamp_offset, "recvWindow": RECV_WINDOW_MS}
                payload = with_signature(rest_payload({**window, **fields}), sign)
            else:
                payload = rest_payload(fields)
            if method == "get" or force_params:
                body: dict[str, Any] = {}
                uri = f"{uri}?{payload}" if payload else uri
            else:
                body = {"headers": _FORM, "data": payload.encode()}
            async with self.session.request(
                method.upper(), URL(uri, encoded=True), allow_redirects=False, ssl=context, **body
            ) as response:
                return await self._handle_response(response)

        async def _handle_response(self, response: Any) -> Any:
            connections.note_weight(response.headers)
            if connections.weight_used is not None:
                limiter.update(connections.weight_used)
            try:
                return await read_answer(response)
            except ExchangeError as fault:
                if fault.http_status in BAN_SECONDS and fault.code != CODE_ORDERS:
                    limiter.stop(fault.retry_after or BAN_SECONDS[fault.http_status])
                raise

    logging.getLogger("binance").setLevel(logging.CRITICAL)
    return Client(
        # The library gets no secret key, because it signs nothing.
        api_key=pair.api_key.reveal() if pair else None,
        loop=asyncio.get_running_loop(),
        session_params={
            "connector": connections.connector,
            "connector_owner": False,
            "timeout": ClientTimeout(total=TIMEOUT_S),
            "auto_decompress": False,
            "cookie_jar": DummyCookieJar(),
        },
    )


class BinanceExchange:
    """One key's view of one Binance account; implements :class:`fortctl.ports.Exchange`.

    Args:
        target: the exchange's URLs.
        pair: the key, or None for public calls only.
        clock: the machine's clock.
        connections: shared by the accounts of this process; None: a pool of its own.
        account: a name that two keys of one account share.
        limiter: counts request weight together with other processes; None: counts alone.
    """

    def __init__(
        self,
        target: ExchangeTarget,
        pair: KeyPair | None,
        clock: SystemClock | None = None,
        *,
        connections: ConnectionPool | None = None,
        account: str = "",
        limiter: RateLimiter | None = None,
    ) -> None:
        self._target = target
        self._pair = pair
        self._clock = clock or SystemClock()
        self._client: Any = None
        self._closed = False
        self._unreadable: list[UnreadableOrder] = []
        self._shared = connections
        self._own: ConnectionPool | None = None
        self._account = account
        self._limiter = limiter or RateLimiter(None, target.rest_url, self._clock)

    async def server_time(self) -> int:
        return parsing.read(parsing.server_time, await self._call(self._client_or_raise().get_server_time()))

    async def symbol_rules(self, symbol: str) -> SymbolRules:
        info = await self._call(self._client_or_raise()._get("exchangeInfo", data={"symbol": symbol}))
        self._limiter.set_limit(parsing.weight_limit(info))
        return parsing.read(parsing.symbol_rules, info)

    async def last_price(self, symbol: str) -> Decimal:
        return parsing.read(
            parsing.last_price, await self._call(self._client_or_raise().get_symbol_ticker(symbol=symbol))
        )

    async def price_range(self, symbol: str, since: int) -> PriceRange | None:
        async def fetch(interval: str, first: int, last: int | None) -> list[Any]:
            end = {} if last is None else {"endTime": last}
            fields = {"symbol": symbol, "interval": interval, "startTime": first, "limit": PAGE, **end}
            try:
                page = await self._call(self._client_or_raise().get_klines(**fields))
            except ExchangeError as fault:
                # Not every target has candles of one second.
                if interval != "1s" or fault.outcome is not Outcome.REFUSED:
                    raise
                return await fetch("1m", first // MINUTE * MINUTE, last)
            return rows(page, "the list of candles")

        try:
            return await price_range(fetch, since)
        except UnreadableAnswerError as error:
            raise parsing.unreadable(error) from None

    async def account(self) -> AccountState:
        return parsing.read(
            parsing.account_state, await self._call_with_clock_retry(lambda: self._client_or_raise().get_account())
        )

    async def key_restrictions(self) -> KeyRestrictions:
        """Return the key's permissions. Raises ``ExchangeError`` (``REFUSED``) on a target without ``/sapi``."""
        if not self._target.has_sapi:
            raise ExchangeError(Outcome.REFUSED, "this exchange has no /sapi, so the key's permissions cannot be read")
        return parsing.read(
            parsing.restrictions,
            await self._call_with_clock_retry(lambda: self._client_or_raise().get_account_api_permissions()),
        )

    async def test_order(self, request: OrderRequest) -> None:
        await self._call_with_clock_retry(lambda: self._client_or_raise().create_test_order(**_fields(request)))

    async def place(self, request: OrderRequest, *, timestamp: int, recv_window: int) -> OrderState:
        fields = {**_fields(request), "timestamp": timestamp, "recvWindow": recv_window, "newOrderRespType": "RESULT"}
        order = parsing.read(
            parsing.order_state,
            await self._call(self._client_or_raise()._post("order", True, data=fields)),
            Outcome.UNKNOWN,
        )
        if (order.symbol, order.client_order_id) != (request.symbol, request.client_order_id):
            raise ExchangeError(Outcome.UNKNOWN, "the exchange's answer is about another order")
        return order

    async def cancel(self, symbol: str, client_order_id: str, *, order_id: int | None = None) -> OrderState:
        order_key = {"orderId": order_id} if order_id is not None else {"origClientOrderId": client_order_id}
        answer = await self._call_with_clock_retry(
            lambda: self._client_or_raise().cancel_order(symbol=symbol, **order_key)
        )
        return parsing.read(parsing.order_state, answer, Outcome.UNKNOWN)

    async def order(self, symbol: str, client_order_id: str, *, order_id: int | None = None) -> OrderState:
        order_key = {"orderId": order_id} if order_id is not None else {"origClientOrderId": client_order_id}
        answer = await self._call_with_clock_retry(
            lambda: self._client_or_raise().get_order(symbol=symbol, **order_key)
        )
        return parsing.read(parsing.order_state, answer)

    async def open_orders(self, symbol: str | None = None) -> tuple[OrderState, ...]:
        fields = {"symbol": symbol} if symbol else {}
        return self._readable(
            await self._call_with_clock_retry(lambda: self._client_or_raise().get_open_orders(**fields))
        )

    def _readable(self, listed: Any) -> tuple[OrderState, ...]:
        """Return the orders of a list; log an unreadable row once, and leave it out."""
        orders, unreadable = parsing.read(parsing.order_states, listed)
        for row in unreadable:
            if row not in self._unreadable:
                self._unreadable.append(row)
                _LOG.warning("ignored an unreadable order in the exchange's list: %s", row)
        del self._unreadable[:-PAGE]
        return orders

    def unreadable_orders(self) -> tuple[UnreadableOrder, ...]:
        return tuple(self._unreadable)

    async def all_orders(
        self, symbol: str, *, start_time: int | None = None, from_id: int | None = None
    ) -> tuple[OrderState, ...]:
        """Return all orders of a symbol, paged by order id."""
        found: list[OrderState] = []
        fields: dict[str, Any] = {"symbol": symbol, "limit": PAGE}
        if start_time is not None:
            fields["startTime"] = start_time
        else:
            fields["orderId"] = from_id or 0
        while True:
            page = dict(fields)
            listed = await self._call_with_clock_retry(lambda page=page: self._client_or_raise().get_all_orders(**page))
            orders = self._readable(listed)
            found += orders
            if len(listed) < PAGE:
                return tuple(found)
            fields = {"symbol": symbol, "limit": PAGE, "orderId": _next_page(fields, "orderId", orders)}

    async def previous_client_order_ids(self, symbol: str, order_id: int) -> tuple[str, ...]:
        """Read ``GET /api/v3/order/amendments``; no order can be amended often enough to fill a second page."""
        fields = {"symbol": symbol, "orderId": order_id}
        listed = await self._call_with_clock_retry(
            lambda: self._client_or_raise()._get("order/amendments", True, data=fields)
        )
        return parsing.read(parsing.previous_client_order_ids, listed)

    async def trades(self, symbol: str, *, order_id: int | None = None, from_id: int | None = None) -> tuple[Fill, ...]:
        found: list[Fill] = []
        next_id = from_id or 0
        while True:
            fields: dict[str, Any] = {"symbol": symbol, "limit": PAGE, "fromId": next_id}
            if order_id is not None:
                fields["orderId"] = order_id
            listed = await self._call_with_clock_retry(
                lambda fields=fields: self._client_or_raise().get_my_trades(**fields)
            )
            fills = parsing.read(parsing.fills, listed)
            found += fills
            if len(fills) < PAGE:
                return tuple(found)
            next_id = _next_page(fields, "fromId", fills)

    def user_events(self) -> AsyncIterator[UserEvent]:
        assert self._pair is not None
        streams = self._connections.user_streams(self._target.ws_api_url)
        return streams.events(self._pair, lambda: self._clock.now_ms() + self._offset, self._account)

    def market_events(self, symbol: str) -> AsyncIterator[MarketEvent]:
        url = f"{self._target.stream_url}/ws/{symbol.lower()}@trade"
        return self._connections.market_stream(url).events()

    async def close(self) -> None:
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.close_connection()
        own, self._own = self._own, None
        if own is not None:
            await own.close()

    # -- calling ---------------------------------------------------------------------------------------------------

    @property
    def _offset(self) -> int:
        return int(self._client.timestamp_offset) if self._client is not None else 0

    @property
    def _connections(self) -> ConnectionPool:
        if self._shared is not None:
            return self._shared
        if self._own is None:
            from fortctl.exchange.connection_pool import ConnectionPool

            self._own = ConnectionPool()
        return self._own

    def _client_or_raise(self) -> Any:
        if self._closed and self._pair is not None:
            # The key was replaced or forgotten, and its bytes may be overwritten by now.
            raise ExchangeError(Outcome.UNREACHABLE, "this key is no longer in use")
        if self._client is None:
            self._client = _make_client(self._target, self._pair, self._clock, self._connections, self._limiter)
        return self._client

    async def _call_with_clock_retry(self, call: Any) -> Any:
        """Make a signed call that may be repeated: on -1021 measure the exchange's clock once, and call again."""
        try:
            return await self._call(call())
        except ExchangeError as fault:
            if fault.code != _CODE_CLOCK:
                raise
        before = self._clock.now_ms()
        server_time = await self.server_time()
        self._client_or_raise().timestamp_offset = server_time - (before + self._clock.now_ms()) // 2
        return await self._call(call())

    async def _call(self, call: Awaitable[T]) -> T:
        """Await a call of the library. Raises ``ExchangeError`` in place of each exception of the library."""
        try:
            return await call
        except Exception as error:
            fault = _exchange_error(error)
            if fault is None:
                raise
            raise fault from None


def _exchange_error(error: Exception) -> ExchangeError | None:
    """Return a library's exception as an ``ExchangeError``; None where no call may end with it."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorError):
        # No connection was made, so the request never left.
        return ExchangeError(Outcome.UNREACHABLE, f"cannot connect to the exchange ({type(error).__name__})")
    if isinstance(error, (aiohttp.ClientError, TimeoutError, OSError)):
        return ExchangeError(Outcome.UNKNOWN, f"the connection to the exchange broke ({type(error).__name__})")
    if isinstance(error, (ValueError, KeyError, TypeError)):
        return ExchangeError(Outcome.UNKNOWN, f"the exchange's answer cannot be read ({type(error).__name__})")
    return None


def _next_page(fields: Mapping[str, Any], name: str, page: Sequence[OrderState] | Sequence[Fill]) -> int:
    """Return the number at which the next page begins. Raises ``ExchangeError`` if the list does not advance."""
    last = max((row.trade_id if isinstance(row, Fill) else row.order_id for row in page), default=-1)
    if last < fields.get(name, 0):
        raise ExchangeError(Outcome.UNREACHABLE, "the exchange sent the same page of a list twice")
    return last + 1


def _fields(request: OrderRequest) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "symbol": request.symbol,
        "side": request.side.value,
        "type": request.type.value,
        "quantity": f"{request.quantity:f}",
        "newClientOrderId": request.client_order_id,
    }
    if request.type is not OrderType.MARKET:
        fields["price"] = f"{request.price:f}"
    if request.type is OrderType.LIMIT:
        fields["timeInForce"] = "GTC"
    if request.self_trade_prevention:
        fields["selfTradePreventionMode"] = request.self_trade_prevention
    return fields
