"""Which part of the server answers a request: one look-up, then REST."""

from __future__ import annotations

from aiohttp import web

from fortctl.paper.front import NAME, Handler


class Door:
    """Hands a request to who serves its path.

    A table of our own instead of the framework's router: every order goes through it.

    Args:
        otherwise: who serves every path that is not in the table (REST).
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
        found = self._exact.get((request.method, path))
        if found is None and request.method == "GET" and not path.startswith(("/api/", "/sapi/")):
            found = next((one for prefix, one in self._under if path == prefix or path.startswith(prefix + "/")), None)
        response = await (found or self._otherwise)(request)
        if not response.prepared:
            response.headers["Server"] = NAME
        return response
