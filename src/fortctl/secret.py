"""A string that cannot be printed, logged or copied by accident.

``Secret`` keeps its bytes in a ``bytearray`` that :meth:`Secret.wipe` overwrites. It has no useful ``repr``, refuses
to be formatted, concatenated, pickled, copied or JSON-encoded. Its value is read by :meth:`Secret.reveal` and
:meth:`Secret.reveal_bytes` only, which are easy to grep for. CPython may still keep copies of what they returned
(docs/security.md states what is not promised).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import logging

_MASK = "<secret>"


class Secret:
    """One secret value.

    Args:
        value: the secret as text (kept as UTF-8) or bytes.

    Raises:
        TypeError: on ``str()``, ``format()``, pickling, copying, JSON-encoding.
    """

    __slots__ = ("__weakref__", "_buffer")

    def __init__(self, value: str | bytes | bytearray) -> None:
        self._buffer = bytearray(value.encode("utf-8") if isinstance(value, str) else value)

    def reveal(self) -> str:
        """Return the secret as text."""
        return self._buffer.decode("utf-8")

    def reveal_bytes(self) -> bytes:
        """Return the secret as bytes."""
        return bytes(self._buffer)

    def wipe(self) -> None:
        """Overwrite the buffer with zeros and empty it."""
        for index in range(len(self._buffer)):
            self._buffer[index] = 0
        self._buffer.clear()

    def __len__(self) -> int:
        return len(self._buffer)

    def __bool__(self) -> bool:
        return bool(self._buffer)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        import hmac  # loads OpenSSL, which few commands need

        return hmac.compare_digest(self._buffer, other._buffer)

    __hash__ = None  # type: ignore[assignment]  # a hash would let others test guesses of the secret

    def __repr__(self) -> str:
        return _MASK

    def _refuse(self, *_: Any) -> NoReturn:
        raise TypeError("a Secret is never printed, formatted, copied or serialised")

    __str__ = _refuse
    __format__ = _refuse
    __reduce_ex__ = _refuse
    __copy__ = _refuse
    __deepcopy__ = _refuse
    __add__ = _refuse
    __iter__ = _refuse

    def __del__(self) -> None:
        if hasattr(self, "_buffer"):
            self.wipe()


# Matches Binance keys and secrets (64 alphanumerics, or more where an escape such as "\\n" touches them), private keys
# as PEM or as the bare base64 of PKCS#8 (RFC 8410 for Ed25519, RFC 5208 for RSA), and the parameters signature and
# apiKey. This filter is the second defence; the first is that a Secret cannot be formatted.
_SUSPECT = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|MC4CAQAwBQYDK2VwBCIE[A-Za-z0-9+/_-]*=*"
    r"|MII[A-Za-z0-9+/_-]{60,}=*"
    r"|[A-Za-z0-9]{64,}(?:[+/][A-Za-z0-9+/]*=*)?"
    r"|(?<=signature=)[^&\s\"']+"
    r"|(?<=apiKey=)[^&\s\"']+",
    re.DOTALL,
)


def redact(text: str) -> str:
    """Return *text* with everything that looks like key material masked."""
    return _SUSPECT.sub(_MASK, text)


class RedactingFilter:
    """A logging filter that redacts the final text of each record, including its exception text."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = redact(record.getMessage())
        record.args = ()
        if record.exc_info:
            import logging

            record.exc_text = record.exc_text or logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        # Another handler may have cached the exception text unredacted.
        record.exc_text = redact(record.exc_text) if record.exc_text else None
        return True


def install_redaction(handlers: Iterable[logging.Handler]) -> None:
    """Add the redacting filter to each handler."""
    for handler in handlers:
        handler.addFilter(RedactingFilter())
