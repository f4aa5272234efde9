"""Where Prometheus asks: one page over HTTP/1.1, off unless the configuration names an address (adapter).

It says nothing secret, takes nothing in, and answers one request a connection; one that is not for it, too long or
too slow is hung up on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from fortctl.preferences import Address
from fortctl.robot.metrics import CONTENT_TYPE

_LONGEST_REQUEST = 8 * 1024
_WITHIN_S = 5.0
_MOST_AT_ONCE = 16


class MetricsEndpoint:
    """Serves ``/metrics``.

    Args:
        page: makes the text.
    """

    def __init__(self, page: Callable[[], str]) -> None:
        self._page = page
        self._server: asyncio.Server | None = None
        self._address: Address | None = None
        self._open = 0

    async def move(self, address: Address | None) -> None:
        """Listen at another address, or nowhere. Raises ``OSError`` where that cannot be; then it listens nowhere."""
        if address == self._address and (self._server is not None) == (address is not None):
            return
        await self.close()
        if address is not None:
            self._server = await asyncio.start_server(self._serve, address.host, address.port, limit=_LONGEST_REQUEST)
            self._address = address

    @property
    def port(self) -> int | None:
        """The port it listens at."""
        return None if self._server is None else int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        server, self._server, self._address = self._server, None, None
        if server is not None:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= _MOST_AT_ONCE:
                async with asyncio.timeout(_WITHIN_S):
                    writer.write(self._answer(await reader.readuntil(b"\r\n\r\n")))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked went away, or asked for something else
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


def _response(status: str, text: str, *, body: bool = True) -> bytes:
    data = text.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(data)}\r\n"
        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (data if body else b"")
