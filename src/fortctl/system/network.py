"""The address from which this host reaches the exchange, for a key's IP list (adapter)."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit


def local_address(url: str) -> str | None:
    """Return the local address of the route to a URL's host, or None if there is no route. No packet is sent.

    Behind a router this is an address of the local network; the exchange sees the router's.
    Source: connect(2): for a datagram socket it only chooses a route.
    """
    parts = urlsplit(url)
    try:
        addresses = socket.getaddrinfo(
            parts.hostname, parts.port or 443, type=socket.SOCK_DGRAM, flags=socket.AI_ADDRCONFIG
        )
        # The order is the one in which a connection tries them; Binance's IP lists accept IPv4 and IPv6.
        family, kind, protocol, _name, address = addresses[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except (OSError, IndexError, UnicodeError):
        return None
