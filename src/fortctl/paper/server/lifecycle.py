"""Start and stop a server: listen, serve until a signal, close every connection."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from decimal import getcontext
from typing import Any

from aiohttp import WSCloseCode, web
from aiohttp.http_exceptions import HttpProcessingError

from fortctl.paper.engine import errors
from fortctl.paper.server.admin_api import Admin
from fortctl.paper.server.admin_page import AdminPage
from fortctl.paper.server.rest import Rest
from fortctl.paper.server.router import QuietAiohttpServer, Router
from fortctl.paper.server.server import PaperServer, ServerOptions
from fortctl.paper.server.websocket import WebSockets

ENDS_WITHIN_S, BACKLOG = 1.0, 1024


class RunningServer:
    """A server that takes requests.

    Attributes:
        server: the exchange.
        ready: url, ws_url, pid, symbols.
        background: the task of the replay and of the paced streams.
        http: makes the protocol of each connection; a second listener may share it.
    """

    def __init__(
        self, server: PaperServer, listening: asyncio.Server, http: QuietAiohttpServer, ready: dict[str, Any]
    ) -> None:
        self.server = server
        self.ready = ready
        self.http = http
        self.background = asyncio.create_task(self._run())
        self._listening = listening

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.server.replay.run(self.server.clock.monotonic))
            tasks.create_task(self.server.publish())

    async def stop(self) -> None:
        """Send ``serverShutdown`` on every WebSocket, answer what is being written, close."""
        server = self.server
        self.background.cancel()
        server.hub.announce_shutdown(server.now())
        await asyncio.sleep(0.02)
        server.hub.cut_all(WSCloseCode.GOING_AWAY)
        server.remove_server_file()
        self._listening.close()
        # Requests that wait for the disk get their answers.
        with suppress(errors.BinanceError, TimeoutError):
            async with asyncio.timeout(ENDS_WITHIN_S):
                await server.durable()
        self.http.pre_shutdown()
        await self.http.shutdown(ENDS_WITHIN_S)
        server.close()


async def start(options: ServerOptions) -> RunningServer:
    """Start a server in the running event loop.

    Raises:
        OSError: the port cannot be used.
    """
    # Products of prices, quantities and rates must be exact, also those of large balances.
    getcontext().prec = 60
    server = PaperServer(options)
    router = Router(Rest(server).handle)
    Admin(server).register(router)
    WebSockets(server).register(router)
    AdminPage(options.host).register(router)
    server.open()
    logging.getLogger("aiohttp.server").addFilter(_is_our_fault)
    http = QuietAiohttpServer(router)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(http, options.host, options.port, backlog=BACKLOG)
    ready = server.ready_document(listening.sockets[0].getsockname()[1])
    server.write_server_file(ready)
    return RunningServer(server, listening, http, ready)


async def serve(options: ServerOptions, on_ready: Callable[[dict[str, Any]], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        options: how to serve.
        on_ready: called with the ready document once the server takes requests.
    """
    running = await start(options)
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    on_ready(running.ready)
    ending = asyncio.create_task(end.wait())
    try:
        done, _ = await asyncio.wait({running.background, ending}, return_when=asyncio.FIRST_COMPLETED)
        if running.background in done:
            running.background.result()
    finally:
        ending.cancel()
        await running.stop()


def _is_our_fault(record: logging.LogRecord) -> bool:
    """Return whether an error that aiohttp logs is ours; malformed requests and cut connections are the client's."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | ConnectionError | web.RequestPayloadError)
