"""The life of a server: it begins, takes requests, says goodbye, ends."""

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
from fortctl.paper.server.admin_page import Page
from fortctl.paper.server.rest import Rest
from fortctl.paper.server.router import QuietAiohttpServer, Router
from fortctl.paper.server.server import DEFAULT_ACCOUNT, PaperServer, ServerOptions
from fortctl.paper.server.websocket import Sockets

ENDS_WITHIN_S, BACKLOG = 1.0, 1024


class RunningServer:
    """A server that takes requests.

    Attributes:
        server: the exchange.
        ready: url, ws_url, pid, symbols.
        replay: the task of the market's replay and the streams.
        http: makes the protocol of each connection; a second listener may share it.
    """

    def __init__(
        self, server: PaperServer, listening: asyncio.Server, http: QuietAiohttpServer, ready: dict[str, Any]
    ) -> None:
        self.server = server
        self.ready = ready
        self.http = http
        self.replay = asyncio.create_task(self._run())
        self._listening = listening

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.server.pacer.run(self.server.clock.monotonic))
            tasks.create_task(self.server.publish())

    async def stop(self) -> None:
        """Say goodbye on every socket, and end."""
        server = self.server
        self.replay.cancel()
        server.hub.shut_down(server.now())
        await asyncio.sleep(0.02)
        server.hub.cut_all(WSCloseCode.GOING_AWAY)
        server.remove_server_file()
        self._listening.close()
        # Who waits for the disk gets an answer.
        with suppress(errors.BinanceError, TimeoutError):
            async with asyncio.timeout(ENDS_WITHIN_S):
                await server.durable()
        self.http.pre_shutdown()
        await self.http.shutdown(ENDS_WITHIN_S)
        server.close()


async def start(options: ServerOptions) -> RunningServer:
    """Begin to serve; to be called in the event loop that then serves.

    Raises:
        OSError: the port cannot be used.
    """
    # Products of prices, quantities and rates are exact, also of large balances.
    getcontext().prec = 60
    server = PaperServer(options)
    server.open_log()
    rest = Rest(server)
    door = Router(rest.handle)
    Admin(server).open(door)
    Sockets(server).open(door)
    Page(options.host).open(door)
    now = server.now()
    if not server.restore():
        server.pacer.serve_history(now, server.clock.monotonic())
        server.engine.create_account(DEFAULT_ACCOUNT, server.default_deposits(), now)
        server.save()
    else:
        server.pacer.resume(server.clock.monotonic())
    logging.getLogger("aiohttp.server").addFilter(_ours)
    http = QuietAiohttpServer(door)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(http, options.host, options.port, backlog=BACKLOG)
    ready = server.ready(listening.sockets[0].getsockname()[1])
    server.write_server_file(ready)
    return RunningServer(server, listening, http, ready)


async def serve(options: ServerOptions, on_ready: Callable[[dict[str, Any]], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        options: how.
        on_ready: called with the ready document once requests are taken.
    """
    running = await start(options)
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    on_ready(running.ready)
    ending = asyncio.create_task(end.wait())
    try:
        done, _ = await asyncio.wait({running.replay, ending}, return_when=asyncio.FIRST_COMPLETED)
        if running.replay in done:
            running.replay.result()
    finally:
        ending.cancel()
        await running.stop()


def _ours(record: logging.LogRecord) -> bool:
    """Return whether a complaint of the web server is about us: what a client sends amiss fills no log."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | ConnectionError | web.RequestPayloadError)
