"""User and market streams on aiohttp (adapter). Ours, since python-binance's does not subscribe again after a cut.

Each is an endless generator: it connects, subscribes, says ``StreamUp``, yields events; when it is cut or refused it
says ``StreamDown``, waits with growing pauses, and does it all again. Source: web-socket-api.md,
web-socket-streams.md, user-data-stream.md.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import aiohttp

from fortctl.exchange import parsing
from fortctl.exchange.signing import sign, socket_payload
from fortctl.model import KeyPair, MarketEvent, PublicTrade, StreamDown, StreamUp, UserEvent

RECV_WINDOW_MS = 5_000
ANSWER_WITHIN_S = 10.0
# Binance pings every 20 s and cuts a silent peer after 60 s; silence beyond that means a dead connection.
SILENCE_S = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0


class _Refused(Exception):
    def __init__(self, code: int | None, message: str) -> None:
        super().__init__(message)
        self.code = code


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE_S
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 (jitter, not a secret)
        pause = min(pause * 2, LONGEST_PAUSE_S)


async def user_events(url: str, pair: KeyPair, now_ms: Callable[[], int]) -> AsyncIterator[UserEvent]:
    """Yield an account's events.

    Args:
        url: the WebSocket API's URL.
        pair: the key to subscribe with (``userDataStream.subscribe.signature``; any key type).
        now_ms: the exchange's time.
    """
    pauses = _pauses()
    while True:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(url, heartbeat=SILENCE_S / 2, max_msg_size=0) as socket,
            ):
                await _subscribe(socket, pair, now_ms())
                pauses = _pauses()
                yield StreamUp()
                async with aclosing(_read_user(socket)) as events:
                    async for event in events:
                        yield event
        except _Refused as refused:
            yield StreamDown(str(refused), refused.code)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            yield StreamDown(type(error).__name__)
        await asyncio.sleep(next(pauses))


async def _subscribe(socket: aiohttp.ClientWebSocketResponse, pair: KeyPair, now: int) -> None:
    parameters: dict[str, str | int] = {
        "apiKey": pair.api_key.reveal(),
        "recvWindow": RECV_WINDOW_MS,
        "timestamp": now,
    }
    parameters["signature"] = sign(pair, socket_payload(parameters))
    request = {"id": "subscribe", "method": "userDataStream.subscribe.signature", "params": parameters}
    await socket.send_json(request)
    while True:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            answer = await _receive(socket)
        if answer.get("id") == "subscribe" or answer.get("status") not in (None, 200):
            break
    _raise_refusal(answer)


async def _read_user(socket: aiohttp.ClientWebSocketResponse) -> AsyncGenerator[UserEvent, None]:
    while True:
        message = await _receive(socket)
        # A key that turned invalid is told once, with a null id (web-socket-api.md, "session.logon").
        _raise_refusal(message)
        event = message.get("event") or {}
        match event.get("e"):
            case "executionReport":
                yield parsing.order_update(event)
            case "outboundAccountPosition":
                yield parsing.balance_update(event)
            case "eventStreamTerminated" | "serverShutdown":
                raise _Refused(None, str(event["e"]))


def _raise_refusal(message: dict[str, Any]) -> None:
    if message.get("status", 200) != 200:
        error = message.get("error") or {}
        raise _Refused(error.get("code"), str(error.get("msg", "refused")))


async def _receive(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    message = await socket.receive()
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise _Refused(None, f"the connection was closed ({message.type.name.lower()})")
    parsed: dict[str, Any] = json.loads(message.data)
    return parsed


async def market_events(url: str, symbol: str) -> AsyncIterator[MarketEvent]:
    """Yield a symbol's public trades.

    Args:
        url: before ``/ws``.
    """
    pauses = _pauses()
    while True:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(f"{url}/ws/{symbol.lower()}@trade", heartbeat=SILENCE_S / 2) as socket,
            ):
                pauses = _pauses()
                yield StreamUp()
                while True:
                    trade = await _receive(socket)
                    if trade.get("e") == "trade":
                        yield PublicTrade(trade["s"], Decimal(trade["p"]), Decimal(trade["q"]), int(trade["T"]))
        except _Refused as refused:
            yield StreamDown(str(refused), refused.code)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            yield StreamDown(type(error).__name__)
        await asyncio.sleep(next(pauses))
