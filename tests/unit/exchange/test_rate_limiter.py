"""Request weight is known before a request leaves, shared by processes, and a stop is obeyed to the second."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from fortctl.exchange.client import BinanceExchange
from fortctl.exchange.rate_limiter import (
    MINUTE_MS,
    URGENT_SHARE,
    RateLimiter,
    WeightUsage,
    is_urgent,
    reserve,
    weight_of,
)
from fortctl.exchange.targets import ExchangeTarget
from fortctl.model import KeyPair, KeyType
from fortctl.ports import ExchangeError, Outcome
from fortctl.secret import Secret
from fortctl.store.request_weight import MIGRATIONS, RequestWeightStore
from fortctl.store.sqlite import connect
from support.clock import FakeClock

START = 1_700_000_000_000 // MINUTE_MS * MINUTE_MS


requests = st.lists(
    st.tuples(st.integers(0, 20_000), st.sampled_from([0, 1, 4, 6, 20, 80]), st.booleans()), max_size=200
)


@given(wanted=requests, limit=st.integers(100, 1_000))
def test_no_minute_spends_more_than_the_limit_and_reading_leaves_the_urgent_part(
    wanted: list[tuple[int, int, bool]], limit: int
) -> None:
    spent, now = WeightUsage(stated_limit=limit), START
    used: dict[int, int] = {}
    read: dict[int, int] = {}
    for pause, weight, urgent in wanted:
        now += pause
        spent, wait = reserve(spent, now, weight, urgent=urgent)
        minute = now // MINUTE_MS
        if wait:
            assert 0 < wait <= 60 and weight
            room = limit if urgent else int(limit * (1 - URGENT_SHARE))
            assert used.get(minute, 0) + weight > room, "refused although there was room"
            assert (now + wait * 1000) // MINUTE_MS == minute + 1
        else:
            used[minute] = used.get(minute, 0) + weight
            read[minute] = read.get(minute, 0) + (0 if urgent else weight)
    assert all(one <= limit for one in used.values())
    assert all(one <= limit * (1 - URGENT_SHARE) for one in read.values())


@given(seconds=st.integers(1, 100_000), at=st.integers(0, 200_000), urgent=st.booleans())
def test_a_stop_lasts_to_the_second_for_whatever_kind(seconds: int, at: int, urgent: bool) -> None:
    clock = FakeClock(START)
    limiter = RateLimiter(None, "x", clock)
    limiter.stop(seconds)
    clock.ms += at * 1000
    wait = limiter.reserve(0, urgent=urgent)
    assert wait == max(0, seconds - at)


def test_processes_share_what_is_used_and_a_stop(tmp_path: Path) -> None:
    clock = FakeClock(START)
    one, two = (RateLimiter(RequestWeightStore(tmp_path / "weights.sqlite"), "https://a", clock) for _ in range(2))
    other = RateLimiter(RequestWeightStore(tmp_path / "weights.sqlite"), "https://b", clock)
    one.set_limit(100)
    assert two.reserve(86, urgent=False) > 0, "what one has learnt, the others know"
    assert one.reserve(80, urgent=False) == 0
    assert two.reserve(10, urgent=False) > 0 and two.reserve(15, urgent=True) == 0
    two.update(100)
    assert one.reserve(1, urgent=True) > 0
    clock.ms += MINUTE_MS
    assert one.reserve(10, urgent=False) == 0
    two.stop(7)
    assert one.reserve(0, urgent=True) == 7.0 and other.reserve(0, urgent=True) == 0
    clock.ms += 6_999
    assert one.reserve(0, urgent=True) == 0.001
    clock.ms += 1
    assert one.reserve(0, urgent=True) == 0


def test_limits_are_the_exchanges_own_and_what_is_assumed_ends_with_them(tmp_path: Path) -> None:
    """A hundred robots start at once at an exchange without limits: none waits for what it only assumed."""
    robots = [
        RateLimiter(RequestWeightStore(tmp_path / "weights.sqlite"), "http://paper", FakeClock(START))
        for _ in range(100)
    ]
    assert robots[0].reserve(20, urgent=False) == 0
    robots[0].set_limit(None)
    assert not [robot for robot in robots for _ in range(5) if robot.reserve(20, urgent=False)]
    robots[1].set_limit(500)
    assert robots[2].reserve(20, urgent=False) > 0, "it has limits from now on"


def test_a_store_of_before_is_read_on(tmp_path: Path) -> None:
    """Weights were kept without a limit once."""
    path = tmp_path / "weights.sqlite"
    connect(path, MIGRATIONS[:1]).execute("INSERT INTO weight VALUES ('x', ?, 5990, 0)", (START // MINUTE_MS,))
    limiter = RateLimiter(RequestWeightStore(path), "x", FakeClock(START))
    assert limiter.reserve(20, urgent=True) > 0, "what is assumed holds until the exchange has stated its own"
    limiter.set_limit(12_000)
    assert limiter.reserve(20, urgent=True) == 0


@pytest.mark.parametrize("how", ["damaged", "folder gone"])
def test_a_store_that_cannot_be_used_stops_no_request(tmp_path: Path, how: str) -> None:
    path = tmp_path / "weights.sqlite"
    if how == "damaged":
        path.write_bytes(b"no database" * 100)
    limiter = RateLimiter(
        RequestWeightStore(path if how == "damaged" else tmp_path / "gone" / "weights.sqlite"), "x", FakeClock(START)
    )
    limiter.set_limit(100)
    assert limiter.reserve(50, urgent=False) == 0
    assert limiter.reserve(50, urgent=False) > 0, "it still counts"


def test_what_requests_weigh() -> None:
    base = "https://api.binance.com/api/v3"
    assert weight_of("get", f"{base}/openOrders", {"symbol": "X"}) == 6
    assert weight_of("get", f"{base}/openOrders", {}) == 80
    assert weight_of("get", f"{base}/myTrades", {"orderId": 1}) == 5
    assert weight_of("post", f"{base}/order", {}) == weight_of("delete", f"{base}/order", {}) == 0
    assert weight_of("get", "https://api.binance.com/sapi/v1/account/apiRestrictions", {}) == 1
    assert weight_of("get", f"{base}/something", {}) == 20
    assert is_urgent("delete") and is_urgent("post") and not is_urgent("get")


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def refusing() -> AsyncIterator[tuple[str, list[str], list[web.Response]]]:
    """A server that answers from a list, and notes what reached it."""
    seen: list[str] = []
    answers: list[web.Response] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(f"{request.method} {request.path}")
        return answers.pop(0)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    yield f"http://127.0.0.1:{port}", seen, answers
    await runner.cleanup()


def _refusal(status: int, code: int, **headers: str) -> web.Response:
    return web.json_response(
        {"code": code, "msg": "no"}, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


@pytest.mark.parametrize("status", [429, 418])
async def test_no_request_leaves_before_retry_after_is_over(
    tmp_path: Path, refusing: tuple[str, list[str], list[web.Response]], status: int
) -> None:
    url, seen, answers = refusing
    clock = FakeClock(START)
    pair = KeyPair("k", KeyType.HMAC, Secret("k" * 64), Secret("s" * 64))
    target = ExchangeTarget("x", url, "ws://127.0.0.1:1/ws-api/v3", "ws://127.0.0.1:1")
    first, second = (
        BinanceExchange(target, pair, clock, limiter=RateLimiter(RequestWeightStore(tmp_path / "w.sqlite"), url, clock))
        for _ in range(2)
    )
    answers.append(_refusal(status, -1003, Retry_After="9"))
    with pytest.raises(ExchangeError) as told:
        await first.server_time()
    assert (told.value.outcome, told.value.retry_after) == (Outcome.BUSY, 9.0)
    for after in (0, 5_000, 1_999):
        clock.ms += after
        for exchange in (first, second):
            with pytest.raises(ExchangeError) as stopped:
                await exchange.cancel("XRPETH", "mine")
            assert stopped.value.outcome is Outcome.BUSY
            assert stopped.value.retry_after == pytest.approx((START + 9_000 - clock.ms) / 1000)
    assert len(seen) == 1
    clock.ms = START + 9_000
    answers.append(web.json_response({"serverTime": 7}, headers={"X-MBX-USED-WEIGHT-1M": "5990"}))
    assert await second.server_time() == 7
    with pytest.raises(ExchangeError) as full:
        await first.account()
    assert full.value.outcome is Outcome.BUSY and len(seen) == 2, "another process was told of the weight"
    for exchange in (first, second):
        await exchange.close()


async def test_too_many_orders_stop_orders_and_not_the_address(
    tmp_path: Path, refusing: tuple[str, list[str], list[web.Response]]
) -> None:
    url, _seen, answers = refusing
    target = ExchangeTarget("x", url, "ws://127.0.0.1:1/ws-api/v3", "ws://127.0.0.1:1")
    exchange = BinanceExchange(target, KeyPair("k", KeyType.HMAC, Secret("k" * 64), Secret("s" * 64)), FakeClock(START))
    answers += [_refusal(429, -1015, Retry_After="9"), web.json_response({"serverTime": 7})]
    with pytest.raises(ExchangeError):
        await exchange.cancel("XRPETH", "mine")
    assert await exchange.server_time() == 7
    await exchange.close()


def test_a_shorter_retry_after_does_not_lift_a_longer_one() -> None:
    """A ban of two minutes stands, whatever another process is answered in the meantime."""
    clock = FakeClock(START)
    limiter = RateLimiter(None, "x", clock)
    limiter.stop(120)
    limiter.stop(1)
    clock.ms += 119_000
    assert limiter.reserve(0, urgent=True) == 1
    clock.ms += 1_000
    assert limiter.reserve(0, urgent=True) == 0
