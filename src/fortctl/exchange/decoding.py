"""Decode the answers of an exchange. Pure. No other module of fortctl parses them.

Every answer is untrusted: a broken proxy, a maintenance page or a new version of the interface may send anything. So
nothing that is read here has an unbounded size, and no unchecked value reaches the rest of the program:

- :func:`decode_json` bounds the bytes and the depth of a document before it parses it.
- :class:`Answer` reads named fields of one JSON object. A field that is required and missing, has another type, or
  lies outside its bounds raises :class:`UnreadableAnswerError`, which names the field and never quotes its value.
- Unknown fields, filters and enum values are ignored, because Binance adds some every few months.

The caller decides what an unreadable answer means: *unknown* for a call that may have had an effect (it is looked up),
*unreachable* for a read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import orjson

# exchangeInfo of every symbol has about 15 MB, a page of 1,000 orders half a megabyte.
MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_FRAME_BYTES = 4 * 1024 * 1024
# The deepest answer of Binance (a list of orders with their reports) has seven levels.
MAX_DEPTH = 32
MAX_TEXT = 4_096
# Binance sends at most 8 decimals and amounts below 10^20.
MAX_NUMBER_TEXT = 64
MAX_EXPONENT = 40
MAX_INTEGER = 2**63 - 1
# Times are milliseconds since the epoch; microseconds, or a year beyond 2200, are a fault of the sender.
MAX_TIME_MS = 7_258_118_400_000

_DECIMAL = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{\]}]')
_OPENING = (b"[", b"{")
_CLOSING = (b"]", b"}")


class UnreadableAnswerError(ValueError):
    """An answer cannot be read.

    Attributes:
        field: the field at fault, as a path (``order.price``), or what the whole answer is.
        reason: what is wrong with it, without its value.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field
        self.reason = reason


def decode_json(data: bytes | str, what: str = "the answer", *, max_bytes: int = MAX_ANSWER_BYTES) -> Any:
    """Return the JSON document in *data*.

    Args:
        data: the bytes as they came, already unpacked.
        what: what to call the document in an error.
        max_bytes: the most bytes it may have.

    Raises:
        UnreadableAnswerError: it is too large or too deep, or it is not JSON.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if len(raw) > max_bytes:
        raise UnreadableAnswerError(what, f"has more than {max_bytes} bytes")
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(raw) > MAX_DEPTH:
        raise UnreadableAnswerError(what, f"is nested more than {MAX_DEPTH} levels deep")
    try:
        return orjson.loads(raw)
    except ValueError:
        raise UnreadableAnswerError(what, "is not JSON") from None


def _depth(raw: bytes) -> int:
    """Return how deep arrays and objects are nested, counting no further than one level beyond the limit."""
    depth = deepest = 0
    for match in _STRUCTURE.finditer(raw):
        token = match[0]
        if token in _OPENING:
            depth += 1
            deepest = max(deepest, depth)
            if deepest > MAX_DEPTH:
                break
        elif token in _CLOSING:
            depth -= 1
    return deepest


class Answer:
    """One JSON object of an answer, read field by field.

    Args:
        value: what was decoded.
        what: what to call it in an error (``order``).

    Raises:
        UnreadableAnswerError: the value is not a JSON object.
    """

    __slots__ = ("_fields", "what")

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, Mapping):
            raise UnreadableAnswerError(what, "is not an object")
        self._fields: Mapping[str, Any] = value
        self.what = what

    def __contains__(self, name: str) -> bool:
        return self._fields.get(name) is not None

    def names(self) -> Iterator[str]:
        """Yield the names of all fields."""
        return iter(self._fields)

    def error(self, name: str, reason: str) -> UnreadableAnswerError:
        """Return the error to raise for a field."""
        return UnreadableAnswerError(f"{self.what}.{name}", reason)

    def _value(self, name: str) -> Any:
        value = self._fields.get(name)
        if value is None:
            raise self.error(name, "is missing")
        return value

    def text(self, name: str) -> str:
        """Return a text that is not empty, of at most 4,096 characters."""
        value = self._value(name)
        if not isinstance(value, str) or not value:
            raise self.error(name, "is not a text")
        if len(value) > MAX_TEXT:
            raise self.error(name, f"has more than {MAX_TEXT} characters")
        return value

    def optional_text(self, name: str) -> str:
        """Return a text, or an empty one where the field is missing, null or empty."""
        return self.text(name) if self._fields.get(name) not in (None, "") else ""

    def integer(self, name: str, *, least: int = 0, most: int = MAX_INTEGER) -> int:
        """Return a whole number between two bounds."""
        value = self._value(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(name, "is not a whole number")
        if not least <= value <= most:
            raise self.error(name, f"is not between {least} and {most}")
        return value

    def time(self, name: str) -> int:
        """Return a time in milliseconds since the epoch."""
        return self.integer(name, most=MAX_TIME_MS)

    def optional_time(self, name: str) -> int | None:
        """Return a time in milliseconds since the epoch, or None where the field is missing, null or 0."""
        return self.time(name) or None if name in self else None

    def decimal(self, name: str) -> Decimal:
        """Return a finite number of bounded size; Binance sends numbers as texts."""
        value = self._value(name)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.error(name, "is not a number")
        text = str(value) if isinstance(value, str) or abs(value) <= MAX_INTEGER else ""
        if len(text) > MAX_NUMBER_TEXT or not _DECIMAL.fullmatch(text):
            raise self.error(name, "is not a number")
        number = Decimal(text)
        if number and abs(number.adjusted()) > MAX_EXPONENT:
            raise self.error(name, "is out of bounds")
        return number

    def optional_decimal(self, name: str) -> Decimal:
        """Return a number, or 0 where the field is missing, null or an empty text."""
        return self.decimal(name) if self._fields.get(name) not in (None, "") else Decimal(0)

    def amount(self, name: str) -> Decimal:
        """Return a number that is not negative."""
        number = self.decimal(name)
        if number < 0:
            raise self.error(name, "is negative")
        return number

    def flag(self, name: str) -> bool:
        """Return a boolean."""
        value = self._value(name)
        if not isinstance(value, bool):
            raise self.error(name, "is neither true nor false")
        return value

    def answer(self, name: str) -> Answer:
        """Return an object below this one."""
        return Answer(self._value(name), f"{self.what}.{name}")

    def answers(self, name: str, what: str) -> list[Answer]:
        """Return a list of objects, each called *what*."""
        return answers(self._value(name), f"{self.what}.{name}", what)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts; empty where the field is missing. What is not a text is left out."""
        value = self._fields.get(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise self.error(name, "is not a list")
        return tuple(item for item in value if isinstance(item, str) and 0 < len(item) <= MAX_TEXT)


def rows(value: object, what: str) -> list[Any]:
    """Return *value*, which must be a list. Raises ``UnreadableAnswerError``."""
    if not isinstance(value, list):
        raise UnreadableAnswerError(what, "is not a list")
    return value


def answers(value: object, what: str, each: str) -> list[Answer]:
    """Return a list of objects, each called *each*. Raises ``UnreadableAnswerError``."""
    return [Answer(item, each) for item in rows(value, what)]
