"""From which address this host reaches the exchange (adapter): what belongs on a key's IP list."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit


def local_address(url: str) -> str | None:
    """Return this host's address on its way to a URL's host, or None where there is no way. Sends nothing to it.

    Behind a router that is an address of the inner network; the exchange sees another one.
    Source: connect(2): a datagram socket is only given its route.
    """
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(
            parts.hostname, parts.port or 443, type=socket.SOCK_DGRAM, flags=socket.AI_ADDRCONFIG
        )
        # Binance's IP lists take IPv4 and IPv6 addresses; what a connection would take first is first here.
        family, kind, protocol, _name, where = found[0]
        with socket.socket(family, kind, protocol) as way:
            way.connect(where)
            return str(way.getsockname()[0])
    except (OSError, IndexError, UnicodeError):
        return None
