"""The TLS contexts of connections to an exchange (adapter).

A context that :func:`ssl.create_default_context` makes obeys the environment: ``SSLKEYLOGFILE`` writes the session keys
to a file, and ``SSL_CERT_FILE`` replaces the trusted authorities. Anyone who can set a service's environment variables
could then read its API keys. Connections to Binance therefore use a context that reads neither variable. A private
exchange (a URL of the operator's own) may use its own authority in ``SSL_CERT_FILE``; no session key is ever logged.
"""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

_BINANCE = (".binance.com", ".binance.vision", ".binance.us")


def tls_context(url: str) -> ssl.SSLContext:
    """Return the verifying context for connections to *url*; the process has at most two."""
    host = urlsplit(url).hostname or ""
    return _system_context() if host.endswith(_BINANCE) else _environment_context()


@cache
def _system_context() -> ssl.SSLContext:
    """Trust the authorities that OpenSSL was built with, else certifi's list; ignore the environment."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    paths = ssl.get_default_verify_paths()
    file, folder = Path(paths.openssl_cafile), Path(paths.openssl_capath)
    if file.is_file() or folder.is_dir():
        context.load_verify_locations(
            cafile=str(file) if file.is_file() else None, capath=str(folder) if folder.is_dir() else None
        )
    else:
        import certifi

        context.load_verify_locations(cafile=certifi.where())
    return context


@cache
def _environment_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_default_verify_paths()
    return context
