"""The routes of the server: a table of paths, then REST for every other path; and errors that look like nginx's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web
from aiohttp.web_protocol import RequestHandler


class Router:
    """Calls the handler of a request's path.

    It replaces aiohttp's router, which costs more than the look-up that each order needs.

    Args:
        otherwise: handles every path that is not in the table (REST).
    """

    def __init__(self, otherwise: Handler) -> None:
        self._exact: dict[tuple[str, str], Handler] = {}
        self._under: list[tuple[str, Handler]] = []
        self._otherwise = otherwise

    def serve(self, method: str, path: str, handler: Handler) -> None:
        self._exact[method, path] = handler

    def serve_under(self, prefix: str, handler: Handler) -> None:
        """Serve GET of a path and of everything under it."""
        self._under.append((prefix, handler))

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        handler = self._exact.get((request.method, path))
        if handler is None and request.method == "GET" and not path.startswith(("/api/", "/sapi/")):
            handler = next((h for prefix, h in self._under if path == prefix or path.startswith(prefix + "/")), None)
        response = await (handler or self._otherwise)(request)
        if not response.prepared:
            response.headers["Server"] = NAME
        return response


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
NAME = "nginx"
PAGE = "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n</body>\r\n</html>\r\n"


def page(status: int) -> bytes:
    """Return nginx's page for a status."""
    return PAGE.format(f"{status} {HTTPStatus(status).phrase}").encode()


def refused(status: int) -> web.Response:
    """Return nginx's answer to malformed HTTP; the connection ends with it."""
    response = web.Response(body=page(status), status=status, headers={"Content-Type": "text/html", "Server": NAME})
    response.force_close()
    return response


class _Connection(RequestHandler):
    """A connection whose error pages are nginx's, not aiohttp's."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        # It logs the error, and raises if the answer has begun.
        super().handle_error(request, status, exc, message)
        return refused(status)


class QuietAiohttpServer(web.Server):
    """aiohttp's server without an access log, whose error pages are nginx's.

    Args:
        handler: answers the requests.
    """

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler, access_log=None)

    def __call__(self) -> RequestHandler:
        # None turns the access log off, which aiohttp's annotation does not allow.
        return _Connection(self, loop=asyncio.get_running_loop(), access_log=None)  # type: ignore[arg-type]
