"""What all accounts of one process share: one TLS context, one connector, few WebSocket-API connections (adapter).

A connector and a TLS context of each account's own cost a megabyte an account (performance.md); here they cost nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from fortctl.exchange.decoding import MAX_FRAME_BYTES
from fortctl.exchange.streams.market import MarketStream
from fortctl.exchange.streams.user_pool import UserStreamPool
from fortctl.exchange.tls import tls_context
from fortctl.system.threads import run_in_own_thread

# Binance pings every 20 s and cuts a silent peer after 60 s; silence beyond that means a dead connection.
SILENCE_S = 60.0
# What is idle longer is closed: the next order must not pay for a handshake more often than it has to.
KEEP_IDLE_S = 45.0
# Requests of many accounts wait for one another rather than open a connection each (55 KiB of TLS apiece).
MOST_REQUESTS_AT_ONCE = 128
HANDSHAKE_WITHIN_S = 15.0


class ThreadedResolver(AbstractResolver):
    """Looks host names up in a thread that ends with its answer: the event loop's own threads for it stay for ever."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await run_in_own_thread(
            socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(
                hostname=host, host=str(where[0]), port=int(where[1]), family=kind, proto=proto, flags=numeric
            )
            for kind, _type, proto, _name, where in found
        ]

    async def close(self) -> None:
        return


async def _refuse_redirects(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Let no handshake be redirected: what is sent next would go to an address that somebody else chose."""
    answer = await handler(request)
    if 300 <= answer.status < 400:
        answer.close()
        raise aiohttp.ClientError(f"HTTP {answer.status}: fortctl follows no redirect")
    return answer


class ConnectionPool:
    """Made on the event loop that uses it; closed by who made it."""

    def __init__(self) -> None:
        # aiohttp keeps one verifying TLS context for the whole process, and every connector uses that one.
        self.connector = aiohttp.TCPConnector(
            limit=MOST_REQUESTS_AT_ONCE, keepalive_timeout=KEEP_IDLE_S, resolver=ThreadedResolver()
        )
        # Streams are open for ever and must not take the requests' places.
        self._sockets = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, resolver=ThreadedResolver()),
            timeout=aiohttp.ClientTimeout(total=None, connect=HANDSHAKE_WITHIN_S),
            middlewares=(_refuse_redirects,),
        )
        # What this address has used of its request weight in this minute, as the exchange last told it.
        self.weight_used: int | None = None
        self._streams: dict[str, UserStreamPool] = {}
        self._markets: dict[str, MarketStream] = {}

    def note_weight(self, headers: Mapping[str, str]) -> None:
        """Read ``X-MBX-USED-WEIGHT-1M`` (rest-api.md, "IP Limits")."""
        told = headers.get("X-MBX-USED-WEIGHT-1M", "")
        if told.isdecimal():
            self.weight_used = int(told)

    def socket(self, url: str) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
        """Open a WebSocket."""
        return self._sockets.ws_connect(
            url, heartbeat=SILENCE_S / 2, max_msg_size=MAX_FRAME_BYTES, ssl=tls_context(url)
        )

    def user_streams(self, url: str) -> UserStreamPool:
        """Return what carries the user streams of every account at a WebSocket API."""
        found = self._streams.get(url)
        if found is None:
            found = self._streams[url] = UserStreamPool(lambda: self.socket(url))
        return found

    def market_stream(self, url: str) -> MarketStream:
        """Return one symbol's public trades, whoever listens."""
        found = self._markets.get(url)
        if found is None:
            found = self._markets[url] = MarketStream(lambda: self.socket(url))
        return found

    async def close(self) -> None:
        for market in self._markets.values():
            market.close()
        for streams in self._streams.values():
            await streams.close()
        self._streams.clear()
        await self._sockets.close()
        await self.connector.close()
