"""A string that cannot leave by accident.

``Secret`` keeps its bytes in a ``bytearray`` that is overwritten by :meth:`Secret.wipe`. It has no useful
``repr``, and refuses to be formatted, concatenated, pickled, copied or JSON-encoded. The only way out is
:meth:`Secret.reveal`, which is easy to grep for. CPython may still keep copies of what ``reveal`` returned
(security.md states what is not promised).
"""

from __future__ import annotations

import hmac
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
        return hmac.compare_digest(self._buffer, other._buffer)

    __hash__ = None  # type: ignore[assignment]  # a hash of a secret is an oracle

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


# Anything that looks like a Binance key or secret (64 alphanumerics), a PEM body, a bare base64 block of that
# size, or a signature parameter. The filter is the second wall: the first is that no Secret can be formatted.
_SUSPECT = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<![A-Za-z0-9])[A-Za-z0-9]{64}(?![A-Za-z0-9])"
    r"|(?<=signature=)[^&\s\"']+"
    r"|(?<=apiKey=)[^&\s\"']+",
    re.DOTALL,
)


def redact(text: str) -> str:
    """Return text with everything that looks like key material replaced by a mask."""
    return _SUSPECT.sub(_MASK, text)


class RedactingFilter:
    """Redacts the final text of each record, its exception text included (a filter needs no base class)."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = redact(record.getMessage())
        record.args = ()
        if record.exc_info:
            import logging

            record.exc_text = record.exc_text or logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        # Another handler may have cached the text unredacted.
        record.exc_text = redact(record.exc_text) if record.exc_text else None
        return True


def install_redaction(handlers: Iterable[logging.Handler]) -> None:
    """Put the redacting filter on every handler given."""
    for handler in handlers:
        handler.addFilter(RedactingFilter())
