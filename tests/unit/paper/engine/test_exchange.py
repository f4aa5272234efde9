"""Matching: conservation, no fill beyond what traded, price-time priority; and Binance's refusals."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import settings

from fortctl.paper.api import authentication
from fortctl.paper.engine import errors
from fortctl.paper.engine.accounts import ApiKey
from fortctl.paper.engine.exchange import Engine
from fortctl.paper.engine.market_data import synthetic
from support.paper_engine import NOW, SYMBOL, ask, limit, made, trade
from support.paper_machine import Market

TestMarket = Market.TestCase
TestMarket.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize(("model", "at_price"), [("touch", "1.00000000"), ("through", "0.00000000")])
def test_fill_models(model: str, at_price: str) -> None:
    engine = made(model)
    placed = limit(engine, "alice", "BUY", "99", "1")
    trade(engine, "99", "5")
    assert ask(engine, "alice", "GET", "order", orderId=placed["orderId"])["executedQty"] == at_price
    trade(engine, "98.99", "5")
    assert ask(engine, "alice", "GET", "order", orderId=placed["orderId"])["status"] == "FILLED"


def test_the_queue_ahead_trades_first() -> None:
    engine = made("queue")
    placed = limit(engine, "alice", "BUY", "100", "1", newClientOrderId="mine")
    engine.state.orders[placed["orderId"]].queue_ahead = Decimal(2)
    trade(engine, "100", "2")
    assert engine.state.orders[placed["orderId"]].executed == 0
    trade(engine, "100", "0.4")
    assert engine.state.orders[placed["orderId"]].executed == Decimal("0.4")


def test_best_price_first_then_oldest_and_never_more_than_traded() -> None:
    engine = made()
    late = limit(engine, "alice", "BUY", "99.50", "1")["orderId"]
    first = limit(engine, "bob", "BUY", "99.00", "1")["orderId"]
    second = limit(engine, "alice", "BUY", "99.00", "1")["orderId"]
    trade(engine, "98.00", "2.5")
    assert [str(engine.state.orders[number].executed) for number in (late, first, second)] == [
        "1",
        "1.000",
        "0.500",
    ] or [engine.state.orders[number].executed for number in (late, first, second)] == [1, 1, Decimal("0.5")]


def test_a_large_taker_is_filled_in_parts() -> None:
    engine = made()
    placed = ask(engine, "alice", "POST", "order", side="SELL", type="MARKET", quantity="5")
    assert placed["status"] == "EXPIRED" and Decimal(placed["executedQty"]) == 1


@pytest.mark.parametrize(
    ("values", "code", "text"),
    [
        ({"price": "99.001"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"price": "10"}, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
        ({"quantity": "0.0015"}, -1013, "Filter failure: LOT_SIZE"),
        ({"quantity": "0.001"}, -1013, "Filter failure: NOTIONAL"),
        ({"quantity": "500"}, -2010, "Account has insufficient balance for requested action."),
        ({"side": "HOLD"}, -1117, "Invalid side."),
        ({"type": "ODD"}, -1116, "Invalid orderType."),
        ({"timeInForce": "GTX"}, -1115, "Invalid timeInForce."),
        ({"price": "1e3"}, -1100, None),
        ({"newClientOrderId": "a b"}, -1100, None),
        ({"quantity": ""}, -1102, "Mandatory parameter 'quantity' was not sent, was empty/null, or malformed."),
        ({"colour": "red"}, -1104, None),
        ({"symbol": "NOPE"}, -1121, "Invalid symbol."),
    ],
)
def test_what_binance_would_refuse(values: dict[str, str], code: int, text: str | None) -> None:
    engine = made()
    order = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "99", "quantity": "1", **values}
    with pytest.raises(errors.BinanceError) as caught:
        ask(engine, "alice", "POST", "order", **order)
    assert caught.value.code == code and text in (None, caught.value.message)
    assert engine.state.accounts["alice"].locked.get("USDT", 0) == 0


def test_limit_maker_and_duplicates() -> None:
    engine = made()
    with pytest.raises(errors.BinanceError, match="immediately match"):
        ask(engine, "alice", "POST", "order", side="BUY", type="LIMIT_MAKER", price="101", quantity="1")
    limit(engine, "alice", "BUY", "99", "1", newClientOrderId="same")
    with pytest.raises(errors.BinanceError, match="Duplicate"):
        limit(engine, "alice", "BUY", "98", "1", newClientOrderId="same")
    limit(engine, "bob", "BUY", "98", "1", newClientOrderId="same")
    ask(engine, "alice", "DELETE", "order", origClientOrderId="same")
    limit(engine, "alice", "BUY", "98", "1", newClientOrderId="same")


def test_two_runs_are_the_same_to_the_last_event() -> None:
    def run() -> list[dict[str, Any]]:
        tape = synthetic("5", SYMBOL)
        engine = Engine({SYMBOL: tape}, "through")
        events: list[dict[str, Any]] = []
        engine.listeners.on_user_event = lambda account, kind, event: events.append(event)
        engine.create_account("alice", {"BTC": Decimal(1), "USDT": Decimal(50_000)}, NOW)
        engine.add_key(ApiKey("alice", "alice", "a" * 64, "hmac", ("reading", "spot_trading"), NOW))
        for position, one in enumerate(tape.trades[:3000]):
            if position % 300 == 10:
                price = str(one.price - 40)
                limit(engine, "alice", "BUY", price, "0.002")
            engine.apply_trade(SYMBOL, one, one.time)
        return events

    first = run()
    assert first == run() and any(event.get("x") == "TRADE" for event in first)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"timestamp": NOW}, None),
        ({"timestamp": NOW * 1000}, None),
        ({"timestamp": NOW - 5000}, None),
        ({"timestamp": NOW - 5001}, -1021),
        ({"timestamp": NOW + 999}, None),
        ({"timestamp": NOW + 1000}, -1021),
        ({"timestamp": NOW - 50, "recvWindow": "49.5"}, -1021),
        ({"timestamp": NOW - 50, "recvWindow": "50.001"}, None),
        ({"timestamp": NOW, "recvWindow": "60001"}, -1131),
        ({"timestamp": "soon"}, -1100),
        ({}, -1102),
        ({"timestamp": 1000}, -1021),
    ],
)
def test_timestamps(values: dict[str, object], code: int | None) -> None:
    if code is None:
        authentication.check_time(values, NOW)
        return
    with pytest.raises(errors.BinanceError) as caught:
        authentication.check_time(values, NOW)
    assert caught.value.code == code
