"""The connections that all accounts of one process share (adapter).

A connector and a TLS context for each account would cost a megabyte an account (performance.md).
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

# Binance pings every 20 s and cuts a silent peer after 60 s, so a longer silence means a dead connection.
SILENCE_S = 60.0
# Long enough that most orders find an open connection and need no handshake.
KEEP_IDLE_S = 45.0
# Above this, requests wait for a free connection instead of opening one (55 KiB of TLS state each).
MAX_REQUEST_CONNECTIONS = 128
HANDSHAKE_TIMEOUT_S = 15.0


class ThreadedResolver(AbstractResolver):
    """Looks host names up in a thread that ends with the answer; the event loop's own resolver threads never end.

    A robot overwrites a forgotten key only while it has a single thread (decision 0020).
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = await run_in_own_thread(
            socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=int(address[1]), family=kind, proto=proto, flags=numeric
            )
            for kind, _type, proto, _name, address in addresses
        ]

    async def close(self) -> None:
        return


async def _refuse_redirects(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Follow no redirect of a handshake: signed requests would go to an address that somebody else chose."""
    answer = await handler(request)
    if 300 <= answer.status < 400:
        answer.close()
        raise aiohttp.ClientError(f"HTTP {answer.status}: fortctl follows no redirect")
    return answer


class ConnectionPool:
    """One process's connections to exchanges; create it on the event loop that uses it, and close it.

    Attributes:
        connector: for REST requests.
        weight_used: the request weight that this address has used in this minute, as Binance last stated it.
    """

    def __init__(self) -> None:
        self.connector = aiohttp.TCPConnector(
            limit=MAX_REQUEST_CONNECTIONS, keepalive_timeout=KEEP_IDLE_S, resolver=ThreadedResolver()
        )
        # Streams stay open, and must not use up the request connections.
        self._sockets = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, resolver=ThreadedResolver()),
            timeout=aiohttp.ClientTimeout(total=None, connect=HANDSHAKE_TIMEOUT_S),
            middlewares=(_refuse_redirects,),
        )
        self.weight_used: int | None = None
        self._streams: dict[str, UserStreamPool] = {}
        self._markets: dict[str, MarketStream] = {}

    def note_weight(self, headers: Mapping[str, str]) -> None:
        """Read ``X-MBX-USED-WEIGHT-1M`` (rest-api.md, "IP Limits")."""
        used = headers.get("X-MBX-USED-WEIGHT-1M", "")
        if used.isdecimal():
            self.weight_used = int(used)

    def socket(self, url: str) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
        """Open a WebSocket."""
        return self._sockets.ws_connect(
            url, heartbeat=SILENCE_S / 2, max_msg_size=MAX_FRAME_BYTES, ssl=tls_context(url)
        )

    def user_streams(self, url: str) -> UserStreamPool:
        """Return the pool of user data streams at a WebSocket API."""
        pool = self._streams.get(url)
        if pool is None:
            pool = self._streams[url] = UserStreamPool(lambda: self.socket(url))
        return pool

    def market_stream(self, url: str) -> MarketStream:
        """Return the stream of one symbol's public trades."""
        stream = self._markets.get(url)
        if stream is None:
            stream = self._markets[url] = MarketStream(lambda: self.socket(url))
        return stream

    async def close(self) -> None:
        """Close every stream and connection."""
        for market in self._markets.values():
            market.close()
        for pool in self._streams.values():
            await pool.close()
        self._streams.clear()
        await self._sockets.close()
        await self.connector.close()
