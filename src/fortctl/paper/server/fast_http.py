"""The short way of plain requests: one read, one answer, no framework; every other connection goes to aiohttp.

A request is plain when it is HTTP/1.1 to a known call, with at most one of each header that matters and a body whose
length is stated. What is not plain, what meets a fault, and WebSockets are handed over with all that has come, and the
connection stays there.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import cast

from aiohttp import web

from fortctl.paper.api.registry import CALLS
from fortctl.paper.engine import errors
from fortctl.paper.server.rest import LOGGED, HttpRequest, HttpResponse, Rest, not_kept
from fortctl.paper.server.server import PaperServer

BODY_LIMIT, HEAD_LIMIT, AHEAD_LIMIT = 64 * 1024, 8 * 1024, 128 * 1024
REQUEST_LINE = re.compile(rb"(GET|POST|PUT|DELETE) (/[!-~]*) HTTP/1\.1")
HEADER = re.compile(rb"([A-Za-z0-9-]+):[ \t]*([ -~]*?)[ \t]*")
HEADS_KEPT = 256
# Headers that change how a request is read: what bears one of them is not plain.
ODD = frozenset([b"transfer-encoding", b"upgrade", b"expect", b"content-encoding", b"connection", b"trailer"])
STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


class FastHttpProtocol(asyncio.Protocol):
    """One connection.

    Args:
        rest: answers its requests.
        server: whose requests they are.
        other: makes the protocol that takes the connection over when it is not plain.
        lanes: where the connection is listed while it is this protocol's.
    """

    def __init__(
        self, rest: Rest, server: PaperServer, other: Callable[[], asyncio.Protocol], lanes: set[FastHttpProtocol]
    ) -> None:
        self._rest = rest
        self._server = server
        self._other = other
        self._lanes = lanes
        self._taken: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._address = ""
        self._buffer = b""
        # An answer is under way, or the client does not read the answers.
        self._busy = self._blocked = False
        self._held = self._ending = False

    # -- asyncio's side --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        self._lanes.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lanes.discard(self)
        self._transport, self._buffer = None, b""
        if self._taken is not None:
            self._taken.connection_lost(exc)

    def pause_writing(self) -> None:
        self._blocked = True
        if self._taken is not None:
            self._taken.pause_writing()

    def resume_writing(self) -> None:
        self._blocked = False
        if self._taken is not None:
            self._taken.resume_writing()
        else:
            self._next()

    def eof_received(self) -> bool | None:
        return self._taken.eof_received() if self._taken is not None else None

    def data_received(self, data: bytes) -> None:
        if self._taken is not None:
            self._taken.data_received(data)
            return
        self._buffer = self._buffer + data if self._buffer else data
        if not self._busy and not self._blocked:
            self._next()
        elif not self._held and len(self._buffer) > AHEAD_LIMIT and self._transport is not None:
            # One who sends on without waiting for answers is not read until they are out.
            self._held = True
            self._transport.pause_reading()

    def close(self) -> None:
        """End the connection, after the answer that is under way."""
        self._ending = True
        if self._transport is not None and not self._busy:
            self._transport.close()

    # -- requests --------------------------------------------------------------------------------------------------

    def _next(self) -> None:
        """Answer the next request, if one is there as a whole."""
        if self._transport is None or self._busy or self._blocked or not self._buffer:
            return
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or end > HEAD_LIMIT or self._server.faults.set_faults:
            self._hand_over()
            return
        asked = _read(self._buffer[:end], self._address)
        if asked is None:
            self._hand_over()
            return
        request, length = asked
        whole = end + 4 + length
        if len(self._buffer) < whole:
            return
        request.body = self._buffer[end + 4 : whole].decode("utf-8", "surrogateescape")
        self._buffer = self._buffer[whole:]
        self._busy = True
        self._serve(request)

    def _serve(self, asked: HttpRequest) -> None:
        try:
            reply = self._rest.answer(asked)
        except Exception:
            logging.getLogger("fortctl.paper").exception("a request could not be answered")
            reply = not_kept(asked, errors.INTERNAL)
        commit = self._server.commit()
        if commit is None:
            self._send(asked, reply)
        else:
            commit.add_done_callback(lambda done: self._kept(asked, reply, done))

    def _kept(self, asked: HttpRequest, reply: HttpResponse, done: asyncio.Future[None]) -> None:
        """What the request changed is on disk, or cannot be kept."""
        failed = errors.INTERNAL if done.cancelled() else done.exception()
        self._send(asked, not_kept(asked, errors.INTERNAL) if failed is not None else reply)

    def _send(self, asked: HttpRequest, reply: HttpResponse) -> None:
        entry, transport = asked.entry, self._transport
        entry["status"] = reply.status
        self._server.log_request(entry, len(asked.path) + len(asked.query) + len(asked.body))
        self._busy = False
        if transport is None or transport.is_closing():
            return
        lines = [f"{name}: {value}\r\n" for name, value in reply.headers.items()]
        head = f"{STATUS_LINES[reply.status]}{''.join(lines)}Content-Length: {len(reply.body)}\r\nDate: "
        transport.write(b"".join((head.encode(), _date(self._server.seconds()), reply.body)))
        if self._ending:
            transport.close()
            return
        if self._held and len(self._buffer) <= AHEAD_LIMIT:
            self._held = False
            transport.resume_reading()
        if self._buffer:
            # The others have their turn first.
            asyncio.get_running_loop().call_soon(self._next)

    def _hand_over(self) -> None:
        transport, buffer = self._transport, self._buffer
        assert transport is not None
        self._lanes.discard(self)
        self._buffer = b""
        if self._held:
            self._held = False
            transport.resume_reading()
        self._taken = self._other()
        self._taken.connection_made(transport)
        if self._blocked:
            self._taken.pause_writing()
        self._taken.data_received(buffer)


def _read(head: bytes, address: str) -> tuple[HttpRequest, int] | None:
    """Return a request without its body, and the body's length; None when it is not plain."""
    first, _, rest = head.partition(b"\r\n")
    line = REQUEST_LINE.fullmatch(first)
    headers = _headers(rest)
    if line is None or headers is None:
        return None
    method, target = line[1].decode(), line[2].decode()
    path, _, query = target.partition("?")
    if (method, path) not in CALLS or "#" in target:
        return None
    length, api_key, unit = headers
    entry = {"method": method, "path": path[:LOGGED], "via": "rest"}
    return HttpRequest(method, path, query, "", api_key, unit, address, entry), length


@lru_cache(HEADS_KEPT)
def _headers(rest: bytes) -> tuple[int, str, str | None] | None:
    """Return the body's length, the API key and the time unit, or None when the headers are not plain.

    A client sends the same headers again and again: what they say is remembered.
    """
    found: dict[bytes, bytes] = {}
    for one in rest.split(b"\r\n"):
        match = HEADER.fullmatch(one)
        if match is None:
            return None
        name = match[1].lower()
        if name in found or (name in ODD and not (name == b"connection" and match[2].lower() == b"keep-alive")):
            return None
        found[name] = match[2]
    length = found.get(b"content-length", b"0")
    if not (length.isdigit() and len(length) <= 5) or int(length) > BODY_LIMIT or b"host" not in found:
        return None
    unit = found.get(b"x-mbx-time-unit")
    return int(length), found.get(b"x-mbx-apikey", b"").decode(), unit.decode() if unit is not None else None


class _Clock:
    """The header's date, made once a second."""

    second, text = 0, b""


def _date(now: float) -> bytes:
    second = int(now)
    if second != _Clock.second:
        _Clock.second, _Clock.text = second, f"{formatdate(second, usegmt=True)}\r\n\r\n".encode()
    return _Clock.text


class FastHttpServer:
    """Makes the protocol of each connection: a lane that leads to aiohttp's server where it has to.."""

    def __init__(self, rest: Rest, server: PaperServer, other: web.Server) -> None:
        self._rest, self._server, self._aiohttp = rest, server, other
        self._lanes: set[FastHttpProtocol] = set()

    def __call__(self) -> FastHttpProtocol:
        return FastHttpProtocol(self._rest, self._server, self._aiohttp, self._lanes)

    async def shutdown(self, timeout: float) -> None:
        """End every connection; who waits for an answer gets it, within the time-out (s)."""
        for lane in list(self._lanes):
            lane.close()
        # What was answered in this turn of the loop goes out.
        await asyncio.sleep(0)
        self._aiohttp.pre_shutdown()
        await self._aiohttp.shutdown(timeout)
