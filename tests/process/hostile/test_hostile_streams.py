"""Hostile subscribers, floods, and a crowd of connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import time

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.hostile_client import (
    CAMPAIGN,
    MOST_MIB,
    PING,
    SYMBOL,
    Exchange,
    Raw,
    anything,
    examples,
    frame,
    request,
    texts,
)

# -- market streams ----------------------------------------------------------------------------------------------------

names = st.one_of(
    st.sampled_from(
        [
            *(
                f"btcusdt@{kind}"
                for kind in ("trade", "aggTrade", "bookTicker", "depth", "depth5@100ms", "kline_1M", "ticker")
            ),
            *(
                "btcusdt@kline_1m@+08:00",
                "!miniTicker@arr",
                "!ticker_1h@arr",
                "!",
                "@",
                "btcusdt@",
                "@trade",
                "BTCUSDT@trade",
            ),
            *(
                "btcusdt@depth99999999999",
                "btcusdt@depth5@1ms",
                "btcusdt@kline_",
                "btcusdt@ticker_1y",
                "btcusdt@depth@x@y",
            ),
            *(
                "²²²@trade",
                "btcusdt@depth²",
                "a" * 100,
                "a" * 101,
                "\x00",
                "btcusdt@kline_1s@",
                "!ticker_@arr",
                "serverShutdown",
            ),
        ]
    ),
    texts,
)


@given(data=st.data())
@examples(120)
def test_any_subscription(exchange: Exchange, data: st.DataObject) -> None:
    with Raw(
        exchange, data.draw(st.sampled_from(["/ws", "/stream", "/ws/btcusdt@trade/!", "/stream?streams=%00/@"]))
    ) as one:
        for number in range(1, 4):
            method = data.draw(
                st.one_of(
                    st.sampled_from(["SUBSCRIBE", "SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS"]),
                    st.sampled_from(["SET_PROPERTY", "GET_PROPERTY", "subscribe", ""]),
                    anything,
                )
            )
            params = data.draw(
                st.one_of(
                    st.lists(names, max_size=6), st.tuples(st.just("combined"), anything), st.lists(anything), anything
                )
            )
            document = {"id": number, "method": method, "params": params}
            if data.draw(st.integers(0, 9)) == 0:
                del document[data.draw(st.sampled_from(["id", "method", "params"]))]
            one.send(json.dumps(document))
            answer = one.answer()
            while answer is not None and not ({"result", "error"} & set(answer)):
                answer = one.answer()
            assert answer is not None, f"cut without an answer to {document}"
    exchange.check()


def test_more_streams_than_there_may_be(exchange: Exchange) -> None:
    with Raw(exchange, "/ws") as one:
        one.send(json.dumps({"id": 1, "method": "SUBSCRIBE", "params": [f"btcusdt@x{n}" for n in range(2000)]}))
        answer = one.answer()
        assert answer is not None and "error" in answer
        one.send(json.dumps({"id": 2, "method": "LIST_SUBSCRIPTIONS"}))
        assert one.answer()["result"] == []
    with Raw(exchange, "/stream?streams=" + "/".join(f"a{n}" for n in range(1200))) as one:
        one.send(json.dumps({"id": 2, "method": "LIST_SUBSCRIPTIONS"}))
        assert len(one.answer()["result"]) <= 1024


def test_streams_of_those_who_left_are_forgotten(exchange: Exchange) -> None:
    """Invented streams cost memory only as long as somebody listens to them."""
    sizes = []
    for turn in range(12):
        with contextlib.ExitStack() as stack:
            for number in range(5):
                one = stack.enter_context(Raw(exchange, "/ws"))
                invented = [f"btcusdt@{turn}x{number}x{n}".ljust(100, "y") for n in range(1024)]
                one.send(json.dumps({"id": 1, "method": "SUBSCRIBE", "params": invented}))
                assert one.answer() == {"result": None, "id": 1}
            # Longer than the publisher's pace.
            time.sleep(0.11)
        if turn >= 2:
            sizes.append(exchange.mib())
    assert sizes[-1] - sizes[0] < 8, sizes


# -- floods ------------------------------------------------------------------------------------------------------------


def test_a_flood_starves_nobody(exchange: Exchange) -> None:
    """While one client sends requests without end, the others get their answers."""
    heavy = frame(b'{"id":1,"method":"klines","params":{"symbol":"BTCUSDT","interval":"1s","limit":1000}}')
    with Raw(exchange) as flooding:
        flooding.socket.setblocking(False)
        until, pings = time.monotonic() + 2, 0
        rest = b""
        while time.monotonic() < until:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                while True:
                    rest = rest or heavy * 100
                    rest = rest[flooding.socket.send(rest) :]
            answer = exchange.ask(request("GET", b"/api/v3/ping"))
            assert answer.status == 200
            pings += 1
        assert pings
        assert exchange.mib() < MOST_MIB


def test_who_never_reads_is_cut(exchange: Exchange) -> None:
    """Its answers pile up to a bound; then it is let go."""
    with Raw(exchange, "/ws-api/v3") as api_, Raw(exchange, "/ws") as streams:
        streams.send(
            json.dumps({"id": 1, "method": "SUBSCRIBE", "params": [f"a{n}".ljust(100, "b") for n in range(1024)]})
        )
        flood = {
            api_.socket: frame(b'{"id":1,"method":"trades.recent","params":{"symbol":"BTCUSDT","limit":1000}}') * 200,
            streams.socket: frame(b'{"id":1,"method":"LIST_SUBSCRIPTIONS"}') * 200,
        }
        rest = dict.fromkeys(flood, b"")
        for one in flood:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.settimeout(0.05)
        until = time.monotonic() + 240
        while rest and time.monotonic() < until:
            for one in list(rest):
                try:
                    rest[one] = rest[one] or flood[one]
                    rest[one] = rest[one][one.send(rest[one]) :]
                except TimeoutError:
                    # It takes no more for now: it waits for the reader.
                    assert exchange.ask(request("GET", b"/api/v3/ping")).status == 200
                except ConnectionError:
                    del rest[one]
            assert exchange.mib() < MOST_MIB
        assert not rest, "a client that never reads is still connected"


def test_pings_without_end(exchange: Exchange) -> None:
    with Raw(exchange, "/ws-api/v3") as one:
        one.socket.settimeout(0.2)
        with contextlib.suppress(TimeoutError, ConnectionError):
            for _ in range(200):
                one.socket.sendall(frame(b"p" * 125, PING) * 100)
        assert exchange.ask(request("GET", b"/api/v3/ping")).status == 200
    assert exchange.mib() < MOST_MIB


# -- all at once -------------------------------------------------------------------------------------------------------

# The whole crowd comes in a campaign (make fuzz): it costs half a minute of processor time.
IDLE, BUSY = (1000, 200) if CAMPAIGN else (250, 50)


@pytest.mark.story
def test_many_idle_connections_and_some_busy_ones(exchange: Exchange) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * (IDLE + BUSY):
        pytest.skip("too few files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * (IDLE + BUSY)), hard))
    asyncio.run(asyncio.wait_for(_crowd(exchange), 120))
    assert exchange.mib() < MOST_MIB


async def _crowd(exchange: Exchange) -> None:
    url = exchange.paper.ready["url"]
    paths = ["/ws-api/v3", "/ws", "/stream?streams=btcusdt@trade/btcusdt@depth@100ms"]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        idle = []
        for start in range(0, IDLE, 50):
            opening = [session.ws_connect(url + paths[(start + n) % len(paths)], autoping=False) for n in range(50)]
            idle += await asyncio.gather(*opening)
        sockets = await asyncio.gather(*(session.ws_connect(url + "/ws-api/v3") for _ in range(BUSY)))

        async def busy(one: aiohttp.ClientWebSocketResponse) -> None:
            for number in range(20):
                method = ("depth", "ticker.price", "trades.recent", "nope")[number % 4]
                values = {"symbol": SYMBOL, "limit": 5} if number % 2 == 0 else {"symbol": SYMBOL}
                await one.send_json({"id": number, "method": method, "params": values})
                answer = await one.receive_json()
                assert answer["id"] == number and answer["status"] in (200, 400), answer

        async def pings() -> None:
            for _ in range(50):
                async with session.get(url + "/api/v3/ping") as answer:
                    assert (answer.status, await answer.json()) == (200, {})

        await asyncio.gather(pings(), *(busy(one) for one in sockets))
        assert all(not one.closed for one in idle)
        await asyncio.gather(*(one.close() for one in (*idle[:100], *sockets)))
