"""What every stream needs: pauses between attempts to connect, rejections, and reading one frame."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp

from fortctl.exchange.decoding import MAX_FRAME_BYTES, UnreadableAnswerError, decode_json
from fortctl.exchange.http_answer import LONGEST_WAIT_S, MAX_MESSAGE, seconds
from fortctl.secret import redact

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0
# Binance refuses more than 300 connections in 5 minutes from one address (web-socket-api.md, "IP limits").
BUSY = (418, 429)
CONNECTION_ERRORS = (aiohttp.ClientError, OSError, TimeoutError, ValueError, asyncio.TimeoutError)


# Opens a WebSocket.
Dial = Callable[[], AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]]


class RequestRejectedError(Exception):
    """The exchange rejected a request, or ended the connection.

    Attributes:
        code: Binance's code, or None.
        wait_s: seconds that the exchange asks to wait, or None.
    """

    def __init__(self, code: int | None, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.wait_s = wait_s


class Backoff:
    """Growing pauses with jitter; a longer ``Retry-After`` replaces them."""

    def __init__(self) -> None:
        self._next = self._growing()

    def reset(self) -> None:
        """Begin again with the shortest pause."""
        self._next = self._growing()

    def pause_after(self, error: BaseException) -> float:
        """Return how many seconds to wait after an error."""
        pause = next(self._next)
        requested = retry_after(error)
        return pause if requested is None else max(pause, requested)

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
        wait_s = seconds(error.headers.get("Retry-After"))
        return LONGEST_PAUSE_S if wait_s is None else wait_s
    return None


def rejection_in(message: dict[str, Any], now_ms: int) -> RequestRejectedError | None:
    """Return the rejection in an answer of the WebSocket API, or None where the request was accepted."""
    status = message.get("status", 200)
    if status == 200:
        return None
    error = _object(message.get("error"))
    wait_s = None
    if status in BUSY:
        retry_at = _object(error.get("data")).get("retryAfter")
        wait_s = LONGEST_PAUSE_S
        if isinstance(retry_at, int) and not isinstance(retry_at, bool):
            wait_s = min(max(0.0, (retry_at - now_ms) / 1000), LONGEST_WAIT_S)
    code = error.get("code")
    text = redact(str(error.get("msg", "refused")))[:MAX_MESSAGE]
    return RequestRejectedError(code if isinstance(code, int) else None, text, wait_s)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def read_frame(message: aiohttp.WSMessage) -> dict[str, Any]:
    """Return a text frame's JSON object.

    Raises:
        RequestRejectedError: the connection ended.
        UnreadableAnswerError: the frame is not a JSON object.
    """
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise RequestRejectedError(None, f"the connection was closed ({message.type.name.lower()})")
    parsed = decode_json(message.data, "a frame", max_bytes=MAX_FRAME_BYTES)
    if not isinstance(parsed, dict):
        raise UnreadableAnswerError("a frame", "is not an object")
    return parsed
