"""The account page for a browser: one document that calls the admin API; served to this machine only."""

from __future__ import annotations

import ipaddress
import secrets
from importlib.resources import files

from aiohttp import web

from fortctl.paper.server.router import Router

LOCAL_NAMES = ("localhost",)


def refuse_strangers(request: web.BaseRequest, host: str) -> str | None:
    """Return why a request to the account page or the admin API is refused, or None.

    A request must come from this machine, name it by a local name or address (another name that resolves here is DNS
    rebinding), and come from the page itself if a browser sends it.

    Args:
        host: the address that the server listens on.
    """
    peer = request.remote or ""
    if not _loopback(peer):
        return "the account page is available on this machine only"
    named = request.headers.get("Host", "")
    name = named.rsplit(":", 1)[0] if not named.endswith("]") else named
    name = name.strip("[]").lower()
    if name not in LOCAL_NAMES and name != host and not _loopback(name):
        return "the Host header does not name this machine"
    origin = request.headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{named.lower()}":
        return "another web page sent this request"
    return None


def _loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


class AdminPage:
    """Serves the account page at ``/``.

    Args:
        host: the address that the server listens on.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._document = files("fortctl.paper.server").joinpath("admin_page.html").read_text(encoding="utf-8")

    def register(self, router: Router) -> None:
        router.serve("GET", "/", self._show)

    async def _show(self, request: web.BaseRequest) -> web.StreamResponse:
        why = refuse_strangers(request, self._host)
        if why is not None:
            return web.Response(status=403, text=why)
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self';"
            " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        text = self._document.replace("{{nonce}}", nonce)
        return web.Response(text=text, content_type="text/html", headers=headers)
