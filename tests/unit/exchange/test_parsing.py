"""Every field of an answer goes where it belongs, and what a target leaves out or misspells is not invented."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from fortctl.exchange import parsing
from fortctl.exchange.decoding import UnreadableAnswerError
from fortctl.model import (
    Balance,
    BalanceUpdate,
    Fill,
    KeyRestrictions,
    OrderState,
    OrderStatus,
    PublicTrade,
    Side,
    SymbolRules,
    UnreadableOrder,
)
from fortctl.ports import ExchangeError, Outcome

D = Decimal
ORDER: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "orderId": 5,
    "clientOrderId": "mine",
    "side": "SELL",
    "type": "LIMIT",
    "price": "10.5",
    "origQty": "4",
    "executedQty": "3",
    "cummulativeQuoteQty": "31.5",
    "status": "PARTIALLY_FILLED",
    "time": 1_000,
    "updateTime": 2_000,
}
STATE = OrderState(
    *("BTCUSDT", 5, "mine", Side.SELL, "LIMIT", D("10.5"), D(4), D(3), D("31.5"), OrderStatus.PARTIALLY_FILLED),
    *(1_000, 2_000),
)


def without(fields: dict[str, Any], *names: str, **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**fields, **changes}.items() if name not in names}


# -- orders ------------------------------------------------------------------------------------------------------------


def test_an_order_field_by_field() -> None:
    assert parsing.order_state(ORDER) == STATE


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"time": 1_000, "updateTime": 2_000}, (1_000, 2_000)),
        ({"transactTime": 3_000}, (3_000, 3_000)),
        ({"transactTime": 3_000, "workingTime": 2_500}, (2_500, 3_000)),
        ({"transactTime": 3_000, "updateTime": 2_000, "time": 1_000, "workingTime": 2_500}, (1_000, 3_000)),
        ({}, (0, 0)),
    ],
)
def test_the_times_of_an_order(times: dict[str, int], expected: tuple[int, int]) -> None:
    state = parsing.order_state({**without(ORDER, "time", "updateTime"), **times})
    assert (state.time, state.update_time) == expected


def test_a_cancels_answer_is_the_orders_own() -> None:
    cancelled = {**ORDER, "origClientOrderId": "mine", "clientOrderId": "the cancel's"}
    assert parsing.order_state(cancelled).client_order_id == "mine"
    assert parsing.order_state({**ORDER, "origClientOrderId": ""}).client_order_id == "mine"


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("status", OrderStatus)
def test_every_side_and_status_is_read(side: Side, status: OrderStatus) -> None:
    state = parsing.order_state({**ORDER, "side": side.value, "status": status.value})
    assert (state.side, state.status) == (side, status)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"side": "HOLD"}, "neither BUY nor SELL"), ({"status": "NEWISH"}, "fortctl does not know"), ({"price": "x"}, "")],
)
def test_an_order_that_cannot_be_read_names_its_field(change: dict[str, str], words: str) -> None:
    with pytest.raises(UnreadableAnswerError, match=f"{next(iter(change))}.*{words}"):
        parsing.order_state({**ORDER, **change})


def test_a_list_keeps_what_can_be_read_and_names_the_rest() -> None:
    bad = {**ORDER, "status": "NEWISH", "orderId": 7}
    orders, unreadable = parsing.order_states([ORDER, bad, 5, {"symbol": 3, "clientOrderId": "x"}])
    assert orders == (STATE,)
    first, second, third = unreadable
    assert first == UnreadableOrder(7, "mine", "BTCUSDT", first.why) and "fortctl does not know" in first.why
    assert (second.order_id, second.client_order_id, second.symbol) == (None, "", "")
    assert (third.order_id, third.client_order_id, third.symbol) == (None, "x", "")


def test_the_earlier_names_of_an_order() -> None:
    assert parsing.previous_client_order_ids([{"origClientOrderId": "a"}, {"origClientOrderId": "b"}]) == ("a", "b")


# -- trades ------------------------------------------------------------------------------------------------------------

TRADE: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "id": 7,
    "orderId": 5,
    "isBuyer": True,
    "price": "10.5",
    "qty": "2",
    "quoteQty": "21",
    "commission": "0.1",
    "commissionAsset": "BNB",
    "time": 3_000,
    "isMaker": False,
}


def test_a_trade_field_by_field() -> None:
    expected = Fill("BTCUSDT", 7, 5, Side.BUY, D("10.5"), D(2), D(21), D("0.1"), "BNB", 3_000, False)
    assert parsing.fill(TRADE) == expected
    assert (
        parsing.fill({**TRADE, "isBuyer": False}).side is Side.SELL
        and parsing.fill({**TRADE, "isMaker": True}).is_maker
    )
    assert parsing.fills([TRADE, TRADE]) == (expected, expected)


def test_only_a_commission_of_nothing_may_name_no_asset() -> None:
    assert parsing.fill({**without(TRADE, "commissionAsset"), "commission": "0"}).commission_asset == ""
    with pytest.raises(UnreadableAnswerError, match="commissionAsset"):
        parsing.fill(without(TRADE, "commissionAsset"))


def test_one_trade_that_cannot_be_read_fails_the_page() -> None:
    with pytest.raises(UnreadableAnswerError):
        parsing.fills([TRADE, {**TRADE, "qty": "x"}])


# -- the account and its key -------------------------------------------------------------------------------------------


def test_an_account_field_by_field() -> None:
    account = parsing.account_state(
        {
            "uid": 9,
            "canTrade": False,
            "commissionRates": {"maker": "0.001", "taker": "0.002"},
            "balances": [{"asset": "BTC", "free": "1", "locked": "2"}, {"asset": "USDT", "free": "3", "locked": "0"}],
        }
    )
    assert (account.uid, account.can_trade, account.maker_rate, account.taker_rate) == (
        9,
        False,
        D("0.001"),
        D("0.002"),
    )
    assert account.balances == (Balance("BTC", D(1), D(2)), Balance("USDT", D(3), D(0)))
    with pytest.raises(UnreadableAnswerError, match="uid"):
        parsing.account_state(
            {"uid": 0, "canTrade": True, "commissionRates": {"maker": "0", "taker": "0"}, "balances": []}
        )


RIGHTS = {"ipRestrict": False, "enableReading": False, "enableSpotAndMarginTrading": False, "enableWithdrawals": False}
FLAGS = {
    "ipRestrict": "ip_restricted",
    "enableReading": "reading",
    "enableSpotAndMarginTrading": "spot_trading",
    "enableWithdrawals": "withdrawals",
    "enableInternalTransfer": "internal_transfer",
    "permitsUniversalTransfer": "universal_transfer",
    "enableMargin": "margin",
    "enableFutures": "futures",
    "enableVanillaOptions": "options",
    "enablePortfolioMarginTrading": "portfolio_margin",
    "enableFixApiTrade": "fix_trade",
    "enableFixReadOnly": "fix_read",
}
NONE = KeyRestrictions(*[False] * 9)


@pytest.mark.parametrize("flag", FLAGS)
def test_each_right_is_the_one_of_its_flag(flag: str) -> None:
    held = parsing.restrictions({**RIGHTS, flag: True})
    assert {name for name in FLAGS.values() if getattr(held, name)} == {FLAGS[flag]} and held.unknown == ()
    assert parsing.restrictions({**RIGHTS, flag: False}) == NONE


@pytest.mark.parametrize("flag", RIGHTS)
def test_the_four_rights_that_every_target_states_are_needed(flag: str) -> None:
    with pytest.raises(UnreadableAnswerError, match=flag):
        parsing.restrictions(without(RIGHTS, flag))


def test_unknown_rights_that_are_on_and_times_are_kept() -> None:
    held = parsing.restrictions(
        {
            **RIGHTS,
            "permitsTheft": True,
            "enableLunarTransfer": True,
            "enableNothing": False,
            "isNice": True,
            "createTime": 5_000,
            "tradingAuthorityExpirationTime": 6_000,
        }
    )
    assert held.unknown == ("enableLunarTransfer", "permitsTheft")
    assert (held.created_at, held.trading_expires_at) == (5_000, 6_000) and (NONE.created_at, NONE.unknown) == (
        None,
        (),
    )
    with pytest.raises(UnreadableAnswerError, match="enableLunarTransfer"):
        parsing.restrictions({**RIGHTS, "enableLunarTransfer": "yes"})


# -- the market --------------------------------------------------------------------------------------------------------

SYMBOL: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "baseAsset": "BTC",
    "quoteAsset": "USDT",
    "status": "TRADING",
    "orderTypes": ["LIMIT", "MARKET"],
    "allowedSelfTradePreventionModes": ["NONE"],
    "filters": [
        {"filterType": "PRICE_FILTER", "tickSize": "0.5", "minPrice": "1", "maxPrice": "900"},
        {"filterType": "LOT_SIZE", "stepSize": "0.1", "minQty": "0.2", "maxQty": "50"},
        {"filterType": "NOTIONAL", "minNotional": "20", "maxNotional": "4000"},
        {"filterType": "MIN_NOTIONAL", "minNotional": "7"},
        {"filterType": "PERCENT_PRICE", "multiplierUp": "9", "multiplierDown": "0.1"},
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": "1.2",
            "bidMultiplierDown": "0.8",
            "askMultiplierUp": "5",
            "askMultiplierDown": "0.5",
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        {"filterType": "ICEBERG_PARTS", "limit": 10},
        {"limit": 10},
    ],
}


def rules(*, leave_out: tuple[str, ...] = (), **changes: Any) -> SymbolRules:
    filters = [one for one in SYMBOL["filters"] if one.get("filterType") not in leave_out]
    return parsing.symbol_rules({"serverTime": 77, "symbols": [{**SYMBOL, "filters": filters, **changes}]})


def test_a_symbol_field_by_field() -> None:
    expected = SymbolRules(
        *("BTCUSDT", "BTC", "USDT", "TRADING"),
        *(D("0.5"), D(1), D(900)),
        *(D("0.1"), D("0.2"), D(50)),
        *(D(20), D(4000)),
        *(D("1.2"), D("0.8"), D(5), D("0.5")),
        max_orders=200,
        order_types=("LIMIT", "MARKET"),
        stp_modes=("NONE",),
    )
    assert rules() == expected and rules().stated_at == 77
    assert parsing.symbol_rules({"symbols": [SYMBOL]}).stated_at == 0


def test_filters_that_a_target_leaves_out_are_off_or_in_their_older_form() -> None:
    assert (rules(leave_out=("NOTIONAL",)).min_notional, rules(leave_out=("NOTIONAL",)).max_notional) == (7, 0)
    plain = rules(leave_out=("PERCENT_PRICE_BY_SIDE",))
    assert (plain.bid_multiplier_up, plain.ask_multiplier_up) == (9, 9)
    assert (plain.bid_multiplier_down, plain.ask_multiplier_down) == (D("0.1"), D("0.1"))
    bare = rules(filters=[])
    assert [getattr(bare, name) for name in ("tick_size", "min_price", "max_price", "step_size", "max_orders")] == [
        0
    ] * 5
    assert [getattr(bare, name) for name in ("min_quantity", "max_quantity", "min_notional", "max_notional")] == [0] * 4
    assert bare.bid_multiplier_up == bare.ask_multiplier_down == 0


@pytest.mark.parametrize("name", ["PRICE_FILTER", "LOT_SIZE"])
def test_a_filter_without_its_step_cannot_be_read(name: str) -> None:
    with pytest.raises(UnreadableAnswerError, match=r"tickSize|stepSize"):
        rules(filters=[{"filterType": name}])


def test_no_symbol_is_no_answer() -> None:
    with pytest.raises(UnreadableAnswerError, match=r"symbols.*empty"):
        parsing.symbol_rules({"symbols": []})


def weight(**changes: Any) -> dict[str, Any]:
    return {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6_000, **changes}


def test_the_weight_a_minute_is_the_limit_of_that_name() -> None:
    others = [
        5,
        weight(rateLimitType="ORDERS", limit=1),
        weight(interval="DAY", limit=2),
        weight(intervalNum=5, limit=3),
    ]
    assert parsing.weight_limit({"rateLimits": [*others, weight(), weight(limit=9)]}) == 6_000
    for stated in (None, [], {}, {"rateLimits": None}, {"rateLimits": others}):
        assert parsing.weight_limit(stated) is None
    for limit in (0, -1, True, "6000", 5.5, None):
        assert parsing.weight_limit({"rateLimits": [weight(limit=limit)]}) is None
    assert parsing.weight_limit({"rateLimits": [weight(limit=1)]}) == 1


def test_prices_times_and_candles() -> None:
    assert parsing.server_time({"serverTime": 5}) == 5 and parsing.last_price({"price": "0.1"}) == D("0.1")
    for price in ("0", "-1"):
        with pytest.raises(UnreadableAnswerError, match=r"price.*positive"):
            parsing.last_price({"price": price})
        with pytest.raises(UnreadableAnswerError, match=r"p.*positive"):
            parsing.public_trade({"s": "BTCUSDT", "p": price, "q": "2", "T": 9})
    assert parsing.public_trade({"s": "BTCUSDT", "p": "3", "q": "2", "T": 9}) == PublicTrade("BTCUSDT", D(3), D(2), 9)
    row = [1, "2", "3", "4", "5", "6", 7, "8", 9]
    assert parsing.candles([row, [*row, "10"]]) == [(1, D(3), D(4), D(5), 9)] * 2
    with pytest.raises(UnreadableAnswerError, match="nine columns"):
        parsing.candle(row[:-1])


# -- the stream --------------------------------------------------------------------------------------------------------

REPORT: dict[str, Any] = {
    "E": 9_000,
    "x": "TRADE",
    "c": "mine",
    "C": "",
    "s": "BTCUSDT",
    "i": 5,
    "S": "BUY",
    "T": 8_000,
    "o": "LIMIT",
    "p": "10.5",
    "q": "4",
    "z": "3",
    "Z": "31.5",
    "X": "PARTIALLY_FILLED",
    "O": 7_000,
    "t": 77,
    "L": "10.4",
    "l": "2",
    "Y": "20.8",
    "n": "0.1",
    "N": "BNB",
    "m": True,
}


def test_a_report_of_a_trade_field_by_field() -> None:
    update = parsing.order_update(REPORT)
    assert update.order == OrderState(
        *("BTCUSDT", 5, "mine", Side.BUY, "LIMIT", D("10.5"), D(4), D(3), D("31.5"), OrderStatus.PARTIALLY_FILLED),
        *(7_000, 8_000),
    )
    assert update.fill == Fill(
        *("BTCUSDT", 77, 5, Side.BUY, D("10.4"), D(2), D("20.8"), D("0.1"), "BNB", 8_000, True, "mine"),
    )
    assert (update.execution_type, update.event_time) == ("TRADE", 9_000)
    free = parsing.order_update(without(REPORT, "n", "N"))
    assert free.fill is not None and (free.fill.commission, free.fill.commission_asset) == (0, "")


@pytest.mark.parametrize(
    ("execution", "own", "before", "name"),
    [
        ("CANCELED", "the cancel's", "mine", "mine"),
        ("CANCELED", "mine", "", "mine"),
        ("NEW", "mine", "another", "mine"),
    ],
)
def test_a_report_bears_the_orders_own_name(execution: str, own: str, before: str, name: str) -> None:
    update = parsing.order_update({**REPORT, "x": execution, "c": own, "C": before})
    assert update.order.client_order_id == name and update.fill is None and update.execution_type == execution


def test_a_report_of_balances() -> None:
    event = {"E": 5, "B": [{"a": "BTC", "f": "1", "l": "2"}]}
    assert parsing.balance_update(event) == BalanceUpdate((Balance("BTC", D(1), D(2)),), 5)


@pytest.mark.parametrize("outcome", [Outcome.UNREACHABLE, Outcome.UNKNOWN])
def test_an_answer_that_cannot_be_read_is_an_error_of_the_port(outcome: Outcome) -> None:
    assert parsing.read(parsing.server_time, {"serverTime": 5}, outcome) == 5
    with pytest.raises(ExchangeError, match="the exchange's answer cannot be read: ") as caught:
        parsing.read(parsing.server_time, {}, outcome)
    assert caught.value.outcome is outcome
    with pytest.raises(ExchangeError) as caught:
        parsing.read(parsing.server_time, {})
    assert caught.value.outcome is Outcome.UNREACHABLE
