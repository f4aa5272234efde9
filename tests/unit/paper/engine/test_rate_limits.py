"""Weights, order counts and bans, with the time handed in (rest-api.md, "LIMITS"; faqs/order_count_decrement.md)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fortctl.paper.engine import rate_limits
from fortctl.paper.engine.rate_limits import Limits, RateLimitedError

MINUTE = 1_700_000_040.0


def refused(call: Callable[..., object], *given: object) -> RateLimitedError:
    with pytest.raises(RateLimitedError) as caught:
        call(*given)
    return caught.value


def test_weights_are_counted_by_address_in_the_minutes_of_the_clock() -> None:
    one = Limits("real", 1.0)
    assert one.spend("a", 6000, MINUTE) == 6000 and one.spend("b", 1, MINUTE) == 1
    over = refused(one.spend, "a", 1, MINUTE + 20)
    assert (over.status, over.code, over.retry_after) == (429, -1003, 41)
    assert over.message.startswith("Too much request weight used; current limit is 6000 request weight per 1 MINUTE.")
    assert one.spend("a", 1, MINUTE + 60) == 1
    assert one.spend("a", 170_000, MINUTE, "uid:") == 170_000, "what /sapi counts is counted apart"


def test_going_on_after_429_is_a_ban_that_grows_to_three_days() -> None:
    one, now, lengths = Limits("real", 1.0), MINUTE, []
    one.spend("a", 6000, now)
    for _ in range(rate_limits.TOLERATED):
        assert refused(one.spend, "a", 1, now).status == 429
    while len(lengths) < 14:
        ban = refused(one.spend, "a", 6001, now)
        assert ban.status == 418 and ban.message.startswith("Way too much request weight used; IP banned until ")
        again = refused(one.spend, "a", 1, now + 1)
        assert (again.status, again.retry_after) == (418, ban.retry_after - 1), "a request does not make it longer"
        assert one.spend("b", 1, now) > 0, "it is the address that is banned"
        lengths.append(ban.retry_after - 1)
        now += ban.retry_after
    assert lengths[:4] == [120, 240, 480, 960] and lengths[-1] == 259_200
    assert one.spend("a", 1, now) > 0, "a ban ends"


def test_orders_are_counted_by_account_and_fills_give_back() -> None:
    one = Limits("real", 1.0)
    one.count_orders("a", 50, MINUTE)
    over = refused(one.count_orders, "a", 1, MINUTE + 3)
    assert (over.status, over.code, over.retry_after) == (429, -1015, 11)
    assert over.message == "Too many new orders; current limit is 50 orders per 10 SECOND."
    one.count_orders("b", 1, MINUTE)
    one.give_back("a", False, MINUTE)
    one.give_back("a", True, MINUTE)
    assert one.order_counts("a", MINUTE) == (44, 44)
    one.count_orders("a", 6, MINUTE)
    assert [row["count"] for row in one.order_rows("a", MINUTE + 10)] == [0, 50]


def test_connections_are_counted_by_address() -> None:
    one = Limits("real", 1.0)
    for _ in range(300):
        one.connect("a", MINUTE)
    assert refused(one.connect, "a", MINUTE).status == 429
    one.connect("b", MINUTE)
    one.connect("a", MINUTE + 300)


def test_windows_in_market_time_and_limits_that_are_off() -> None:
    scaled = Limits("scaled", 60.0)
    scaled.spend("a", 6000, MINUTE)
    assert scaled.spend("a", 6000, MINUTE + 1) == 6000, "a second is a minute of the market"
    off = Limits("off", 1.0)
    for _ in range(20):
        off.spend("a", 6000, MINUTE)
        off.count_orders("a", 50, MINUTE)
    assert off.used("a", MINUTE) == 120_000 and off.order_counts("a", MINUTE) == (1000, 1000)
    assert {row["limit"] for row in off.info()} == {6_000_000, 50_000, 160_000_000, 300_000_000}
