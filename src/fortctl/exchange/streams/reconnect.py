"""How long a cut connection is left alone, and why it was cut: shared by every stream."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import aiohttp

from fortctl.exchange.decoding import MAX_FRAME_BYTES, UnreadableAnswerError, decode_json

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0
# A connection is refused at 300 attempts in 5 minutes and address (web-socket-api.md, "IP limits"): obeyed in any case.
BUSY = (418, 429)
CONNECTION_ERRORS = (aiohttp.ClientError, OSError, TimeoutError, ValueError, asyncio.TimeoutError)


class RequestRejectedError(Exception):
    """The exchange said no, or ended a connection.

    Attributes:
        code: Binance's code, or None.
        wait_s: seconds to leave it alone, where it said so.
    """

    def __init__(self, code: int | None, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.wait_s = wait_s


class Backoff:
    """Growing pauses with jitter; ``Retry-After`` goes before them."""

    def __init__(self) -> None:
        self._next = self._growing()

    def reset(self) -> None:
        self._next = self._growing()

    def after(self, error: BaseException) -> float:
        """Return how many seconds to wait after an error."""
        pause = next(self._next)
        said = retry_after(error)
        return pause if said is None else max(pause, said)

    @staticmethod
    def _growing() -> Iterator[float]:
        pause = FIRST_PAUSE_S
        while True:
            yield pause * random.uniform(0.5, 1.0)  # noqa: S311 (jitter, not a secret)
            pause = min(pause * 2, LONGEST_PAUSE_S)


def retry_after(error: BaseException) -> float | None:
    """Return the seconds that the exchange asked for, in an answer or in a handshake's ``Retry-After``."""
    if isinstance(error, RequestRejectedError):
        return error.wait_s
    if isinstance(error, aiohttp.WSServerHandshakeError) and error.status in BUSY and error.headers:
        try:
            return float(error.headers["Retry-After"])
        except (KeyError, ValueError):
            return LONGEST_PAUSE_S
    return None


def refusal(message: dict[str, Any], now_ms: int) -> RequestRejectedError | None:
    """Return what an answer of the WebSocket API refuses, or None when it does not."""
    status = message.get("status", 200)
    if status == 200:
        return None
    error = message.get("error") or {}
    wait_s = None
    if status in BUSY:
        at = (error.get("data") or {}).get("retryAfter")
        wait_s = max(0.0, (at - now_ms) / 1000) if isinstance(at, int) else LONGEST_PAUSE_S
    code = error.get("code")
    return RequestRejectedError(code if isinstance(code, int) else None, str(error.get("msg", "refused")), wait_s)


def read_frame(message: aiohttp.WSMessage) -> dict[str, Any]:
    """Return a text frame's JSON object. Raises :class:`RequestRejectedError` when the connection ended, ``ValueError``."""
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise RequestRejectedError(None, f"the connection was closed ({message.type.name.lower()})")
    parsed = decode_json(message.data, "a frame", max_bytes=MAX_FRAME_BYTES)
    if not isinstance(parsed, dict):
        raise UnreadableAnswerError("a frame", "is not an object")
    return parsed
