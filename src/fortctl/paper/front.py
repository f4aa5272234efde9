"""What stands before the exchange: nginx's own pages, and no word about the web server beneath.

The pages are those of nginx; the answer to a plain GET of a WebSocket's path (400, nothing in it) was seen of
``stream.binance.com``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
NAME = "nginx"
PAGE = "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n</body>\r\n</html>\r\n"


def page(status: int) -> bytes:
    """Return nginx's page for a status."""
    return PAGE.format(f"{status} {HTTPStatus(status).phrase}").encode()


def refused(status: int) -> web.Response:
    """Return nginx's answer to what is no request at all; the connection ends with it."""
    response = web.Response(body=page(status), status=status, headers={"Content-Type": "text/html", "Server": NAME})
    response.force_close()
    return response


class _Connection(RequestHandler):
    """A connection whose refusals are nginx's, not aiohttp's."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        # It logs, and raises when an answer is on its way already.
        super().handle_error(request, status, exc, message)
        return refused(status)


class FrontServer(web.Server):
    """aiohttp's server, in nginx's clothes.

    Args:
        handler: answers the requests.
    """

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler, access_log=None)

    def __call__(self) -> RequestHandler:
        # None turns the access log off, which the signature does not say.
        return _Connection(self, loop=asyncio.get_running_loop(), access_log=None)  # type: ignore[arg-type]
