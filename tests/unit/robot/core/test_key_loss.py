"""Why a key counts as lost, and what the loss means in money, number by number."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from fortctl.keys.serialization import KeyCheck
from fortctl.model import KeyVerdict, PolicyVerdict, PriceRange, Role
from fortctl.robot.core.book import Book
from fortctl.robot.core.events import AssetsNamed, Configured, FillRecorded, OrderIntended, OrderStatusReported
from fortctl.robot.core.key_loss import Cause, KeyLoss, cause_of
from fortctl.robot.core.reconciliation import LastContact, ResumeLimits
from fortctl.robot.core.settings import GridSettings

D = Decimal
CAUSE = Cause("unknown_key", "certain", "it said so", -2008)
LIMITS = ResumeLimits(6 * 3_600_000, D(5))
SINCE = 1_700_000_000_000


@dataclass
class Refusal:
    code: int | None


# -- why ---------------------------------------------------------------------------------------------------------------


def test_a_refused_key_is_lost_for_the_verdicts_reason() -> None:
    refused = KeyVerdict(False, "refused", exchange_code=-2008, certainty="likely", why="both calls say so")
    assert cause_of(refused, None, Refusal(-2015)) == Cause("refused", "likely", "both calls say so", -2008)


def test_a_loss_without_evidence_has_the_certainty_that_a_verification_reports() -> None:
    other = KeyVerdict(False, "other_account")
    cause = cause_of(other, None, Refusal(-2015))
    assert cause == Cause("other_account", "certain", "", -2015)
    assert cause is not None and cause.certainty == KeyCheck.of(Role.ROBOT, other).certainty


def test_a_key_that_may_not_trade_is_lost() -> None:
    policy = PolicyVerdict(False, missing=("spot_trading",))
    cause = cause_of(KeyVerdict(True, "ok", policy=policy), None, Refusal(-2015))
    assert cause is not None and (cause.reason, cause.certainty, cause.code) == (
        *("trading_right_removed", "certain"),
        -2015,
    )
    assert "may not trade spot" in cause.why
    cause = cause_of(KeyVerdict(True, "ok", can_trade=False), Refusal(-1), Refusal(-2015))
    assert cause is not None and (cause.reason, cause.certainty, cause.code) == ("trading_disabled", "certain", -2015)
    cause = cause_of(KeyVerdict(True, "ok", policy=PolicyVerdict(True)), Refusal(-2014), Refusal(-2015))
    assert cause is not None and (cause.reason, cause.certainty, cause.code) == (
        *("trading_right_removed", "likely"),
        -2014,
    )


def test_a_key_that_the_exchange_accepts_is_not_lost() -> None:
    assert cause_of(KeyVerdict(True, "ok"), None, Refusal(-2015)) is None
    other = PolicyVerdict(False, missing=("reading",))
    assert cause_of(KeyVerdict(True, "ok", policy=other), None, Refusal(-2015)) is None


# -- what it means -----------------------------------------------------------------------------------------------------


def book() -> Book:
    """Return a book with an open buy of 5 at 90 (1 executed) and a sell of 4 at 110 (1 executed) bought at 100."""
    one = Book()
    one.replay(
        [
            Configured(GridSettings("BTCUSDT", 3, D(1), D(1), D(500)).as_json()),
            AssetsNamed("BTC", "USDT"),
            OrderIntended(1, 1, "buy", 1, "b1", D(100), D(4), D(0), 1),
            OrderStatusReported("b1", 1, "FILLED", D(4)),
            FillRecorded("b1", 1, D(100), D(4), D(400), D(0), "USDT", 1),
            OrderIntended(1, 1, "sell", 1, "s1", D(110), D(4), D(0), 1),
            OrderStatusReported("s1", 2, "PARTIALLY_FILLED", D(1)),
            FillRecorded("s1", 2, D(110), D(1), D(110), D(0), "USDT", 1),
            OrderIntended(2, 2, "buy", 1, "b2", D(90), D(5), D(0), 1),
            OrderStatusReported("b2", 3, "PARTIALLY_FILLED", D(1)),
            FillRecorded("b2", 3, D(90), D(1), D(90), D(0), "USDT", 1),
        ]
    )
    return one


def described(loss: KeyLoss, price: str | None = "100", contact: LastContact | None = None, now: int = SINCE) -> Any:
    return loss.describe(
        D(price) if price is not None else None,
        book(),
        now=now,
        rate=D("0.001"),
        last_contact=contact,
        limits=LIMITS,
    ).to_json()


def loss(*prices: str) -> KeyLoss:
    one = KeyLoss(SINCE, D(100), CAUSE)
    for price in prices:
        one.follow_price(D(price))
    return one


@pytest.mark.parametrize(
    ("prices", "filled"),
    [
        ((), []),
        (("90",), []),
        (("89.99",), ["b2"]),
        (("110",), []),
        (("110.01",), ["s1"]),
        (("89", "120", "100"), ["b2", "s1"]),
    ],
)
def test_an_order_has_probably_filled_once_the_market_went_beyond_its_price(
    prices: tuple[str, ...], filled: list[str]
) -> None:
    assert described(loss(*prices))["probably_filled"] == filled


def test_an_order_that_has_ended_does_not_fill() -> None:
    ended = book()
    ended.apply(OrderStatusReported("b2", 3, "CANCELED", D(2)))
    report = loss("1").describe(None, ended, now=SINCE, rate=D(0), last_contact=None, limits=LIMITS).to_json()
    assert report["probably_filled"] == [], "its trade is missing, and it is not open"


def test_without_a_price_nothing_is_concluded() -> None:
    unseen = KeyLoss(SINCE, None, CAUSE)
    report = described(unseen, None)
    assert (report["probably_filled"], report["price_then"], report["price_now"]) == ([], None, None)
    assert report["drift_percent"] is None and report["would_mean"]["worth_now"] is None
    assert report["long"]["drift_percent"] == "0.000"
    unseen.follow_price(D(95))
    unseen.follow_price(D(99))
    assert (unseen.price, unseen.lowest, unseen.highest) == (95, 95, 99)


def test_the_range_that_nobody_watched_counts() -> None:
    one = KeyLoss(SINCE, None, CAUSE)
    one.include_range(PriceRange(D(80), D(105), D(100)))
    assert (one.lowest, one.highest, one.price) == (80, 105, None)
    one.include_range(PriceRange(D(85), D(120), D(100)))
    assert (one.lowest, one.highest) == (80, 120) and described(one)["probably_filled"] == ["b2", "s1"]


def test_what_a_buy_would_mean() -> None:
    report = described(loss("85"), "88")
    (fill,) = report["fills"]
    assert fill == {
        "client_order_id": "b2",
        "side": "BUY",
        "price": "90",
        "quantity": "4",
        "BTC": "4",
        "USDT": "-360",
        "profit": None,
    }
    # 4 less a thousandth; 3 wait from the first cycle, 1 from the second.
    assert report["would_mean"] == {
        "base": "3.996",
        "quote": "-360",
        "worth_now": "-8.352",
        "profit_of_sells": "0",
        "asset": "USDT",
        "waiting_to_be_sold": "7.996",
    }


def test_what_a_sell_would_mean() -> None:
    report = described(loss("120"), "120")
    (fill,) = report["fills"]
    assert fill == {
        "client_order_id": "s1",
        "side": "SELL",
        "price": "110",
        "quantity": "3",
        "BTC": "-3",
        "USDT": "330",
        "profit": "29.67",
    }
    assert report["would_mean"] == {
        "base": "-3",
        "quote": "329.67",
        "worth_now": "-30.33",
        "profit_of_sells": "29.67",
        "asset": "USDT",
        "waiting_to_be_sold": "1",
    }


def test_both_together() -> None:
    money = described(loss("85", "120"), "100")["would_mean"]
    assert (money["base"], money["quote"], money["worth_now"]) == ("0.996", "-30.33", "69.27")


def test_assets_that_are_not_known_yet_are_called_base_and_quote() -> None:
    nameless = book()
    nameless.apply(AssetsNamed("", ""))
    report = loss("85").describe(D(88), nameless, now=SINCE, rate=D(0), last_contact=None, limits=LIMITS).to_json()
    assert report["fills"][0]["base"] == "4" and report["fills"][0]["quote"] == "-360"
    assert report["would_mean"]["asset"] is None


def test_the_reason_and_the_prices_are_in_the_status() -> None:
    report = described(loss(), "105")
    assert {name: report[name] for name in ("since", "code", "reason", "certainty", "why")} == {
        "since": "2023-11-14T22:13:20.000Z",
        "code": -2008,
        "reason": "unknown_key",
        "certainty": "certain",
        "why": "it said so",
    }
    assert (report["price_then"], report["price_now"], report["drift_percent"]) == ("100", "105", "5.000")
    assert described(loss(), "95")["drift_percent"] == "-5.000"


# -- how long ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gap_ms", "price", "is_long"),
    [(0, "100", False), (21_600_000, "105", False), (21_600_001, "100", True), (0, "105.01", True), (0, "94.9", True)],
)
def test_a_loss_is_long_beyond_six_hours_or_five_per_cent(gap_ms: int, price: str, is_long: bool) -> None:
    contact = LastContact(SINCE, D(100))
    assert described(loss(), price, contact, SINCE + gap_ms)["long"]["is"] is is_long


def test_how_long_it_is_counts_from_the_last_contact() -> None:
    long = described(loss(), "98", LastContact(SINCE - 7_200_000, D(100)), SINCE + 1_500)["long"]
    assert long == {
        "is": False,
        "from": "2023-11-15T02:13:20.000Z",
        "gap_s": 7_201,
        "max_gap_s": 21_600,
        "drift_percent": "2.000",
        "max_drift_percent": "5",
    }
    later = described(loss(), "98", LastContact(SINCE + 5_000, D(100)), SINCE)["long"]
    assert later["gap_s"] == 0, "clocks may differ"
    alone = described(loss(), "98", None, SINCE + 3_000)["long"]
    assert (alone["gap_s"], alone["drift_percent"]) == (3, "2.000"), "without one: from the loss itself"
    unseen = described(KeyLoss(SINCE, None, CAUSE), "1.5")["long"]
    assert unseen["drift_percent"] == "50.000"
