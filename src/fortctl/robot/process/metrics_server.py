"""Serve the metrics page to Prometheus over HTTP/1.1, if the configuration names an address (adapter).

It says nothing secret, takes nothing in, and answers one request a connection; one that is not for it, too long or
too slow is hung up on.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

from fortctl.config.settings import Address
from fortctl.robot.process.metrics import CONTENT_TYPE
from fortctl.system.threads import run_in_own_thread

_LONGEST_REQUEST = 8 * 1024
_WITHIN_S = 5.0
_MOST_AT_ONCE = 16
# A name may stand for an address of a kind that this host has none of.
_NOT_HERE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class MetricsServer:
    """Serves ``/metrics``.

    Args:
        page: returns the page's text.
        log: the robot's log.
    """

    def __init__(self, page: Callable[[], str], log: logging.Logger) -> None:
        self._page = page
        self._log = log
        self._servers: list[asyncio.Server] = []
        self._address: Address | None = None
        self._open = 0

    async def listen(self, address: Address | None) -> None:
        """Listen at an address, or nowhere; an address that cannot be used is logged, and stops no robot."""
        try:
            await self.move(address)
        except OSError as error:
            self._log.error("metrics: cannot listen at %s: %s", address, error.strerror or type(error).__name__)

    async def move(self, address: Address | None) -> None:
        """Listen at another address, or nowhere. Raises ``OSError``: it cannot be used, and nothing listens."""
        if address == self._address and bool(self._servers) == (address is not None):
            return
        await self.close()
        if address is None:
            return
        try:
            for listening in await _bound(address):
                self._servers.append(await asyncio.start_server(self._serve, sock=listening, limit=_LONGEST_REQUEST))
        except OSError:
            await self.close()
            raise
        self._address = address

    @property
    def port(self) -> int | None:
        """The port it listens at."""
        return int(self._servers[0].sockets[0].getsockname()[1]) if self._servers else None

    async def close(self) -> None:
        servers, self._servers, self._address = self._servers, [], None
        for server in servers:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= _MOST_AT_ONCE:
                async with asyncio.timeout(_WITHIN_S):
                    writer.write(self._answer(await reader.readuntil(b"\r\n\r\n")))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client went away, or asked for something else
        finally:
            self._open -= 1
            with contextlib.suppress(OSError):
                writer.close()

    def _answer(self, request: bytes) -> bytes:
        words = request.split(b"\r\n", 1)[0].split(b" ")
        target = words[1].split(b"?", 1)[0] if len(words) == 3 else b""
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response("400 Bad Request", "no HTTP\n")
        if target != b"/metrics":
            return _response("404 Not Found", "ask for /metrics\n")
        if words[0] not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", "ask with GET\n")
        text = self._page()
        return _response("200 OK", text, body=words[0] == b"GET")


async def _bound(address: Address) -> list[socket.socket]:
    """Return a socket for each address that a host name stands for, bound. Raises ``OSError``.

    The event loop would ask its own resolver even what a numeric address means, in threads that stay for ever: a
    robot overwrites memory as its only thread (decision 0020).
    """
    found = await run_in_own_thread(
        socket.getaddrinfo, address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    made: list[socket.socket] = []
    absent: OSError | None = None
    for family, _kind, _proto, _name, where in dict.fromkeys(found):
        try:
            made.append(_one(family, where))
        except OSError as error:
            if error.errno not in _NOT_HERE:
                for one in made:
                    one.close()
                raise
            absent = error
    if not made and absent is not None:
        raise absent
    return made


def _one(family: int, where: Any) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(where)
    except OSError:
        made.close()
        raise
    return made


def _response(status: str, text: str, *, body: bool = True) -> bytes:
    data = text.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(data)}\r\n"
        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (data if body else b"")
