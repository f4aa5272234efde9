"""What orders do: stops, trailing stops, icebergs, lists, self-trade prevention, amendments, cancel-replace, BNB."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from fortctl.paper.engine import errors
from fortctl.paper.engine.exchange import Engine
from fortctl.paper.engine.market_data import Recording
from fortctl.paper.engine.symbols import symbol_of
from fortctl.paper.engine.trades.history import TradeHistory
from fortctl.paper.engine.trades.table import Trade
from support.paper_engine import NOW, SYMBOL, ask, book_depth, limit, made, trade


def stop(engine: Engine, side: str, kind: str, **more: Any) -> Any:
    return ask(engine, "alice", "POST", "order", side=side, type=kind, quantity="1", newOrderRespType="RESULT", **more)


def status(engine: Engine, placed: dict[str, Any]) -> str:
    return engine.state.orders[placed["orderId"]].status


def free(engine: Engine, asset: str, account: str = "alice") -> Decimal:
    return engine.state.accounts[account].free.get(asset, Decimal(0))


def locked(engine: Engine, asset: str, account: str = "alice") -> Decimal:
    return engine.state.accounts[account].locked.get(asset, Decimal(0))


def code(call: Any) -> tuple[int, str]:
    with pytest.raises(errors.BinanceError) as caught:
        call()
    return caught.value.code, caught.value.message


# -- stop orders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "kind", "stop_price", "before", "at"),
    [
        ("SELL", "STOP_LOSS", "99", "99.01", "99"),
        ("BUY", "STOP_LOSS", "101", "100.99", "101"),
        ("SELL", "TAKE_PROFIT", "101", "100.99", "101"),
        ("BUY", "TAKE_PROFIT", "99", "99.01", "99"),
    ],
)
def test_a_stop_order_fires_at_its_price(side: str, kind: str, stop_price: str, before: str, at: str) -> None:
    engine = made()
    placed = stop(engine, side, kind, stopPrice=stop_price)
    assert (placed["status"], placed["workingTime"], placed["stopPrice"]) == ("NEW", -1, f"{stop_price}.00000000")
    trade(engine, before, "5")
    assert status(engine, placed) == "NEW"
    trade(engine, at, "5", maker=side == "SELL")
    order = engine.state.orders[placed["orderId"]]
    assert order.status == "FILLED" and order.working_time == NOW
    assert locked(engine, "USDT") == locked(engine, "BTC") == 0


def test_a_stop_limit_rests_at_its_limit_once_it_fired() -> None:
    engine = made()
    placed = stop(engine, "BUY", "STOP_LOSS_LIMIT", stopPrice="101", price="100.50", timeInForce="GTC")
    assert locked(engine, "USDT") == Decimal("100.50")
    trade(engine, "101", "5", maker=False)
    assert status(engine, placed) == "NEW" and placed["orderId"] in engine.state.books[SYMBOL].resting
    trade(engine, "100.40", "5")
    assert status(engine, placed) == "FILLED" and locked(engine, "USDT") == 0


def test_a_stop_that_would_fire_at_once_is_refused() -> None:
    engine = made()
    answer = code(lambda: stop(engine, "SELL", "STOP_LOSS", stopPrice="100"))
    assert answer == (-2010, "Order would trigger immediately.")


@pytest.mark.parametrize(
    ("side", "kind", "stop_price", "path", "fires"),
    [
        # faqs/trailing-stop-faq.md, scenarios A to E, a hundredth of the prices
        ("BUY", "STOP_LOSS_LIMIT", "440", ["370", "440", "450", "460", "420", "440.99"], "441"),
        ("SELL", "STOP_LOSS_LIMIT", "390", ["415", "390", "370", "410", "369.01"], "369"),
        ("BUY", "TAKE_PROFIT_LIMIT", "380", ["420", "380", "370", "390", "380", "401.44"], "401.45"),
        ("SELL", "TAKE_PROFIT_LIMIT", "420", ["415", "390", "420", "450", "440", "465", "430.13"], "430.12"),
        ("SELL", "STOP_LOSS_LIMIT", None, ["420", "395", "455", "423.16"], "423.15"),
    ],
)
def test_trailing_stops_follow_the_documented_scenarios(
    side: str, kind: str, stop_price: str | None, path: list[str], fires: str
) -> None:
    delta = {"441": 500, "369": 1000, "401.45": 850, "430.12": 750, "423.15": 700}[fires]
    engine = made(price="400")
    more = {"stopPrice": stop_price} if stop_price else {}
    placed = stop(
        engine, side, kind, trailingDelta=delta, price="450" if side == "BUY" else "360", timeInForce="GTC", **more
    )
    for price in path:
        trade(engine, price, "0.001")
        assert not engine.state.orders[placed["orderId"]].triggered, price
    trade(engine, fires, "0.001")
    assert engine.state.orders[placed["orderId"]].triggered


# -- icebergs ----------------------------------------------------------------------------------------------------------


def test_an_iceberg_shows_its_part_and_goes_to_the_end_of_the_queue() -> None:
    engine = made("touch")
    iceberg = limit(engine, "alice", "BUY", "99", "3", icebergQty="1")
    assert iceberg["icebergQty"] == "1.00000000"
    assert book_depth(engine, "bids")[Decimal(99)] >= 1
    plain = limit(engine, "bob", "BUY", "99", "1")
    trade(engine, "99", "1.5")
    assert engine.state.orders[iceberg["orderId"]].executed == 1
    assert engine.state.orders[plain["orderId"]].executed == Decimal("0.5")
    trade(engine, "99", "1")
    assert engine.state.orders[plain["orderId"]].status == "FILLED"
    assert engine.state.orders[iceberg["orderId"]].executed == Decimal("1.5")
    trade(engine, "98", "9")
    assert status(engine, iceberg) == "FILLED"


def test_icebergs_are_refused_where_they_do_not_fit() -> None:
    engine = made()
    assert code(lambda: limit(engine, "alice", "BUY", "99", "1", icebergQty="2"))[1] == "IcebergQty exceeds QTY."
    assert code(lambda: limit(engine, "alice", "BUY", "99", "1", icebergQty="0.5", timeInForce="IOC"))[0] == -1014
    answer = code(lambda: limit(engine, "alice", "BUY", "99", "1", icebergQty="0.001"))
    assert answer == (-1013, "Filter failure: ICEBERG_PARTS")


# -- paper orders among themselves -------------------------------------------------------------------------------------


def test_orders_of_two_accounts_trade_at_the_resting_price() -> None:
    engine = made()
    resting = limit(engine, "bob", "SELL", "100.01", "1")
    taken = limit(engine, "alice", "BUY", "100.05", "1")
    assert status(engine, resting) == "FILLED"
    assert [fill["price"] for fill in taken["fills"]] == ["100.01000000"]
    rows = [engine.state.fills[name, SYMBOL][-1] for name in ("alice", "bob")]
    assert rows[0]["id"] == rows[1]["id"] and [row["isMaker"] for row in rows] == [False, True]


@pytest.mark.parametrize(
    ("mode", "maker", "taker", "prevented"),
    [
        ("NONE", "FILLED", "FILLED", False),
        ("EXPIRE_TAKER", "NEW", "EXPIRED_IN_MATCH", True),
        ("EXPIRE_MAKER", "EXPIRED_IN_MATCH", "NEW", True),
        ("EXPIRE_BOTH", "EXPIRED_IN_MATCH", "EXPIRED_IN_MATCH", True),
        ("DECREMENT", "NEW", "EXPIRED_IN_MATCH", True),
        ("TRANSFER", "NEW", "EXPIRED_IN_MATCH", True),
    ],
)
def test_self_trade_prevention(mode: str, maker: str, taker: str, prevented: bool) -> None:
    engine = made()
    engine.state.books[SYMBOL].bid_sizes.clear()
    resting = limit(engine, "alice", "BUY", "99", "1" if mode == "NONE" else "2", selfTradePreventionMode="NONE")
    made_ = limit(engine, "alice", "SELL", "98", "1", selfTradePreventionMode=mode)
    assert (status(engine, resting), made_["status"]) == (maker, taker)
    found = ask(engine, "alice", "GET", "myPreventedMatches", orderId=made_["orderId"])
    assert bool(found) is prevented and ("preventedMatches" in made_) is prevented
    if mode == "DECREMENT":
        assert engine.state.orders[resting["orderId"]].left == 1 and locked(engine, "USDT") == 99
        assert found[0]["takerPreventedQuantity"] == found[0]["makerPreventedQuantity"] == "1.00000000"
    ask(engine, "alice", "GET", "account")
    for order in ask(engine, "alice", "GET", "openOrders"):
        ask(engine, "alice", "DELETE", "order", orderId=order["orderId"])
    assert locked(engine, "USDT") == locked(engine, "BTC") == 0


def test_a_prevented_match_tells_what_would_have_traded() -> None:
    """user-data-stream.md, pl pL pY; stp_faq.md: a taker's TRANSFER needs that of the maker, else it is DECREMENT."""
    engine = made()
    engine.state.books[SYMBOL].bid_sizes.clear()
    events = events_of(engine)
    limit(engine, "alice", "BUY", "99", "2", selfTradePreventionMode="NONE")
    limit(engine, "alice", "SELL", "98", "0.5", selfTradePreventionMode="EXPIRE_MAKER")
    told = next(one for one in events if one.get("x") == "TRADE_PREVENTION")
    assert (told["B"], told["A"], told["pl"], told["pL"], told["pY"]) == (
        *("2.00000000", "2.00000000", "0.50000000", "99.00000000"),
        "49.50000000",
    )
    for mode, effective in (("TRANSFER", "TRANSFER"), ("NONE", "DECREMENT")):
        ask(engine, "alice", "DELETE", "openOrders")
        limit(engine, "alice", "BUY", "99", "1", selfTradePreventionMode=mode)
        taker = limit(engine, "alice", "SELL", "98", "1.5", selfTradePreventionMode="TRANSFER")
        found = ask(engine, "alice", "GET", "myPreventedMatches", orderId=taker["orderId"])
        assert found[0]["selfTradePreventionMode"] == effective


def test_a_mode_that_the_symbol_does_not_allow_is_refused() -> None:
    engine = made()
    engine.state.symbols[SYMBOL].stp_modes = ("EXPIRE_TAKER",)
    answer = code(lambda: limit(engine, "alice", "BUY", "99", "1", selfTradePreventionMode="EXPIRE_BOTH"))
    assert answer == (-1013, "This symbol does not allow the specified self-trade prevention mode.")


# -- lists -------------------------------------------------------------------------------------------------------------

OCO = {"aboveType": "LIMIT_MAKER", "abovePrice": "101", "belowType": "STOP_LOSS", "belowStopPrice": "99"}


def oco(engine: Engine, side: str = "SELL", **more: Any) -> Any:
    values = {"side": side, "quantity": "1", **OCO, **more}
    return ask(engine, "alice", "POST", "orderList/oco", **values)


def events_of(engine: Engine) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    engine.listeners.on_user_event = lambda account, kind, event: events.append(event)
    return events


def test_an_oco_locks_once_and_its_fill_ends_the_other_order() -> None:
    engine = made()
    events = events_of(engine)
    placed = oco(engine)
    assert (placed["contingencyType"], placed["listOrderStatus"]) == ("OCO", "EXECUTING")
    assert len(placed["orderReports"]) == len(placed["orders"]) == 2
    assert locked(engine, "BTC") == 1
    trade(engine, "101.5", "0.4", maker=False)
    above, below = (engine.state.orders[one["orderId"]] for one in placed["orders"])
    assert (above.status, below.status, below.expiry_reason) == ("PARTIALLY_FILLED", "EXPIRED", "OCO_TRIGGER")
    assert locked(engine, "BTC") == Decimal("0.6")
    trade(engine, "101.5", "5", maker=False)
    listed = ask(engine, "alice", "GET", "orderList", symbol=None, orderListId=placed["orderListId"])
    assert listed["listOrderStatus"] == "ALL_DONE" and locked(engine, "BTC") == 0
    told = [(event["l"], event["L"]) for event in events if event["e"] == "listStatus"]
    assert told == [("EXEC_STARTED", "EXECUTING"), ("ALL_DONE", "ALL_DONE")]


def test_the_stop_of_an_oco_fires_and_the_limit_order_is_over() -> None:
    engine = made()
    placed = oco(engine)
    trade(engine, "98.5", "5")
    above, below = (engine.state.orders[one["orderId"]] for one in placed["orders"])
    assert (above.status, below.status) == ("EXPIRED", "FILLED")
    assert locked(engine, "BTC") == 0 and free(engine, "BTC") == 9


def test_a_buy_oco_locks_what_its_dearer_order_needs() -> None:
    engine = made()
    more = {"aboveType": "STOP_LOSS_LIMIT", "aboveStopPrice": "101", "abovePrice": "102", "aboveTimeInForce": "GTC"}
    below = {"belowType": "LIMIT_MAKER", "belowPrice": "98", "belowStopPrice": None}
    oco(engine, "BUY", **more, **below)
    assert locked(engine, "USDT") == 102
    trade(engine, "97", "5")
    assert locked(engine, "USDT") == 0 and free(engine, "USDT") == 10_000 - 98


def test_cancelling_one_order_of_a_list_cancels_the_list() -> None:
    engine = made()
    placed = oco(engine)
    gone = ask(engine, "alice", "DELETE", "order", orderId=placed["orders"][0]["orderId"])
    assert gone["listOrderStatus"] == "ALL_DONE" and len(gone["orderReports"]) == 2
    assert {report["status"] for report in gone["orderReports"]} == {"CANCELED"}
    assert locked(engine, "BTC") == 0
    assert ask(engine, "alice", "GET", "openOrderList", symbol=None) == []
    again = oco(engine)
    ask(engine, "alice", "DELETE", "orderList", orderListId=again["orderListId"])
    assert locked(engine, "BTC") == 0


@pytest.mark.parametrize(
    ("side", "more", "refused"),
    [
        ("SELL", {"aboveType": "STOP_LOSS", "aboveStopPrice": "101", "abovePrice": None}, -1197),
        ("SELL", {"belowType": "TAKE_PROFIT"}, -1199),
        ("SELL", {"belowType": "LIMIT_MAKER", "belowPrice": "99", "belowStopPrice": None}, -1168),
        ("SELL", {"belowStopPrice": "100.5"}, -2010),
        ("SELL", {"abovePrice": "99.5"}, -2010),
        ("SELL", {"aboveType": "LIMIT"}, -1102),
        ("SELL", {"quantity": "99"}, -2010),
        ("BUY", {}, -1165),
        ("SELL", {"belowType": None}, -1102),
    ],
)
def test_what_is_no_oco_is_refused(side: str, more: dict[str, Any], refused: int) -> None:
    engine = made()
    assert code(lambda: oco(engine, side, **more))[0] == refused
    assert locked(engine, "BTC") == locked(engine, "USDT") == 0 and not engine.state.open_lists


OTO = {
    "workingType": "LIMIT",
    "workingSide": "BUY",
    "workingPrice": "99",
    "workingQuantity": "1",
    "workingTimeInForce": "GTC",
}


def test_an_oto_begins_its_pending_order_when_the_working_one_is_filled() -> None:
    engine = made()
    more = {"pendingType": "LIMIT_MAKER", "pendingSide": "SELL", "pendingPrice": "103", "pendingQuantity": "0.9"}
    placed = ask(engine, "alice", "POST", "orderList/oto", **OTO, **more)
    working, pending = (engine.state.orders[one["orderId"]] for one in placed["orders"])
    assert (working.status, pending.status) == ("NEW", "PENDING_NEW")
    assert [one["status"] for one in ask(engine, "alice", "GET", "openOrders")] == ["NEW", "PENDING_NEW"]
    trade(engine, "98", "5")
    assert (working.status, pending.status, locked(engine, "BTC")) == ("FILLED", "NEW", Decimal("0.9"))
    trade(engine, "104", "5", maker=False)
    assert pending.status == "FILLED" and not engine.state.open_lists


def test_an_otoco_places_both_orders_and_a_cancel_of_the_working_one_ends_all() -> None:
    engine = made()
    more = {
        "pendingSide": "SELL",
        "pendingQuantity": "1",
        "pendingAboveType": "LIMIT_MAKER",
        "pendingAbovePrice": "103",
        "pendingBelowType": "STOP_LOSS",
        "pendingBelowStopPrice": "95",
    }
    first = ask(engine, "alice", "POST", "orderList/otoco", **OTO, **more)
    ask(engine, "alice", "DELETE", "order", orderId=first["orders"][0]["orderId"])
    assert {engine.state.orders[one["orderId"]].status for one in first["orders"]} == {"CANCELED"}
    second = ask(engine, "alice", "POST", "orderList/otoco", **OTO, **more)
    trade(engine, "98", "5")
    _working, above, below = (engine.state.orders[one["orderId"]] for one in second["orders"])
    assert (above.status, below.status, locked(engine, "BTC")) == ("NEW", "NEW", 1)
    trade(engine, "94", "5")
    assert (above.status, below.status, locked(engine, "BTC")) == ("EXPIRED", "FILLED", 0)


def test_a_pending_order_without_funds_is_rejected() -> None:
    engine = made()
    more = {"pendingType": "LIMIT", "pendingSide": "SELL", "pendingPrice": "103", "pendingQuantity": "50"}
    placed = ask(engine, "alice", "POST", "orderList/oto", **OTO, **more, pendingTimeInForce="GTC")
    events = events_of(engine)
    trade(engine, "98", "5")
    assert engine.state.orders[placed["orders"][1]["orderId"]].status == "REJECTED" and not engine.state.open_lists
    assert "INSUFFICIENT_BALANCES" in [event.get("r") for event in events]


def test_the_deprecated_oco_is_the_same_list() -> None:
    engine = made()
    more = {
        "stopLimitPrice": "98",
        "stopLimitTimeInForce": "GTC",
        "limitClientOrderId": "up",
        "stopClientOrderId": "dn",
    }
    placed = ask(engine, "alice", "POST", "order/oco", side="SELL", quantity="1", price="101", stopPrice="99", **more)
    assert [(one["type"], one["clientOrderId"]) for one in placed["orderReports"]] == [
        ("LIMIT_MAKER", "up"),
        ("STOP_LOSS_LIMIT", "dn"),
    ]


# -- cancel-replace, amendments, restrictions --------------------------------------------------------------------------


def replace(engine: Engine, mode: str, **more: Any) -> Any:
    order = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "98", "quantity": "1"}
    return ask(engine, "alice", "POST", "order/cancelReplace", cancelReplaceMode=mode, **{**order, **more})


def test_cancel_replace() -> None:
    engine = made()
    old = limit(engine, "alice", "BUY", "99", "1")
    answer = replace(engine, "STOP_ON_FAILURE", cancelOrderId=old["orderId"])
    assert (answer["cancelResult"], answer["newOrderResult"]) == ("SUCCESS", "SUCCESS")
    assert status(engine, old) == "CANCELED" and answer["newOrderResponse"]["price"] == "98.00000000"

    def refused(mode: str, **more: Any) -> tuple[int, int, str, str]:
        with pytest.raises(errors.BinanceError) as caught:
            replace(engine, mode, **more)
        data = caught.value.data
        return caught.value.status, caught.value.code, data["cancelResult"], data["newOrderResult"]

    assert refused("STOP_ON_FAILURE", cancelOrderId=99) == (400, -2022, "FAILURE", "NOT_ATTEMPTED")
    assert refused("ALLOW_FAILURE", cancelOrderId=99) == (409, -2021, "FAILURE", "SUCCESS")
    assert refused("ALLOW_FAILURE", cancelOrderId=99, quantity="105") == (400, -2022, "FAILURE", "FAILURE")
    live = limit(engine, "alice", "BUY", "99", "1")
    poor = refused("STOP_ON_FAILURE", cancelOrderId=live["orderId"], quantity="105")
    assert poor == (409, -2021, "SUCCESS", "FAILURE") and status(engine, live) == "CANCELED"
    kept = limit(engine, "alice", "BUY", "99", "1")
    assert code(lambda: replace(engine, "STOP_ON_FAILURE", cancelOrderId=kept["orderId"], price="98.001"))[0] == -1013
    assert status(engine, kept) == "NEW"


def test_an_amendment_keeps_the_place_and_frees_the_rest() -> None:
    engine = made("touch")
    first = limit(engine, "alice", "BUY", "99", "2", newClientOrderId="first")
    limit(engine, "bob", "BUY", "99", "1")
    changed = ask(engine, "alice", "PUT", "order/amend/keepPriority", origClientOrderId="first", newQty="1")
    assert (changed["amendedOrder"]["qty"], changed["amendedOrder"]["origClientOrderId"]) == ("1.00000000", "first")
    assert locked(engine, "USDT") == 99
    trade(engine, "99", "1")
    assert status(engine, first) == "FILLED"
    rows = ask(engine, "alice", "GET", "order/amendments", orderId=first["orderId"])
    assert [(row["origQty"], row["newQty"]) for row in rows] == [("2.00000000", "1.00000000")]
    other = limit(engine, "alice", "BUY", "98", "2")

    def amend(quantity: str) -> Any:
        return ask(engine, "alice", "PUT", "order/amend/keepPriority", orderId=other["orderId"], newQty=quantity)

    assert code(lambda: amend("3")) == (-2038, "Order amend (quantity increase) is not supported.")
    assert code(lambda: amend("2")) == (-2038, "The requested action would change no state; rejecting")
    for number in range(10):
        amend(str(Decimal("1.9") - Decimal(number) / 10))
    assert code(lambda: amend("0.5")) == (-2038, "Filter failure: MAX_NUM_ORDER_AMENDS")


def test_an_amended_order_answers_to_its_new_name_alone() -> None:
    engine = made()
    limit(engine, "alice", "BUY", "99", "2", newClientOrderId="first")
    ask(
        engine,
        "alice",
        "PUT",
        "order/amend/keepPriority",
        origClientOrderId="first",
        newQty="1",
        newClientOrderId="new",
    )
    assert ask(engine, "alice", "GET", "order", origClientOrderId="new")["origQty"] == "1.00000000"
    assert code(lambda: ask(engine, "alice", "GET", "order", origClientOrderId="first"))[0] == -2013
    assert limit(engine, "alice", "BUY", "99", "1", newClientOrderId="first")["status"] == "NEW"


def test_a_second_phase_waits_for_the_order_that_made_it_due() -> None:
    """What fills a working order has its own fills first: trade ids rise in everybody's trades."""
    engine = made()
    engine.state.books[SYMBOL].ask_sizes.clear()
    events = events_of(engine)
    working = {"workingType": "LIMIT", "workingSide": "SELL", "workingPrice": "100.01", "workingQuantity": "0.05"}
    pending = {"pendingType": "LIMIT", "pendingSide": "BUY", "pendingPrice": "100.1", "pendingQuantity": "0.05"}
    forces = {"workingTimeInForce": "GTC", "pendingTimeInForce": "GTC"}
    ask(engine, "alice", "POST", "orderList/oto", **working, **pending, **forces)
    limit(engine, "bob", "SELL", "100.05", "1")
    limit(engine, "bob", "BUY", "100.03", "0.06")
    for who in ("alice", "bob"):
        numbers = [row["id"] for row in ask(engine, who, "GET", "myTrades")]
        assert numbers == sorted(numbers) and len(numbers) == 2
    traded = [(event["S"], event["X"]) for event in events if event.get("x") == "TRADE"]
    assert traded[:2] == [("SELL", "FILLED"), ("BUY", "PARTIALLY_FILLED")]


def test_cancel_restrictions() -> None:
    engine = made("touch")
    placed = limit(engine, "alice", "BUY", "99", "2")

    def cancel(restriction: str) -> Any:
        return ask(engine, "alice", "DELETE", "order", orderId=placed["orderId"], cancelRestrictions=restriction)

    refused = (-2011, "Order was not canceled due to cancel restrictions.")
    assert code(lambda: cancel("ONLY_PARTIALLY_FILLED")) == refused
    trade(engine, "99", "1")
    assert code(lambda: cancel("ONLY_NEW")) == refused
    assert code(lambda: cancel("ONLY_SOMETIMES"))[0] == -1145
    assert cancel("ONLY_PARTIALLY_FILLED")["status"] == "CANCELED"


# -- symbols, filters, money -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "order", "refused"),
    [
        ({"status": "HALT"}, {}, (-2010, "Market is closed.")),
        (
            {"icebergAllowed": "false"},
            {"icebergQty": "0.5"},
            (-1013, "Iceberg orders are not supported for this symbol."),
        ),
        ({"LOT_SIZE.stepSize": "0.4"}, {}, (-1013, "Filter failure: LOT_SIZE")),
        ({"PERCENT_PRICE.multiplierDown": "0.999"}, {}, (-1013, "Filter failure: PERCENT_PRICE")),
        ({"MIN_NOTIONAL.minNotional": "500"}, {}, (-1013, "Filter failure: MIN_NOTIONAL")),
        ({"MAX_POSITION.maxPosition": "10.5"}, {}, (-1013, "Filter failure: MAX_POSITION")),
        ({"MAX_NUM_ORDERS.maxNumOrders": "0"}, {}, (-1013, "Filter failure: MAX_NUM_ORDERS")),
        (
            {"MAX_NUM_ICEBERG_ORDERS.maxNumIcebergOrders": "0"},
            {"icebergQty": "0.5"},
            (-1013, "Filter failure: MAX_NUM_ICEBERG_ORDERS"),
        ),
        (
            {"MAX_NUM_ALGO_ORDERS.maxNumAlgoOrders": "0"},
            {"type": "STOP_LOSS_LIMIT", "stopPrice": "101"},
            (-1013, "Filter failure: MAX_NUM_ALGO_ORDERS"),
        ),
        ({}, {"type": "STOP_LOSS_LIMIT", "trailingDelta": "5000"}, (-1013, "Filter failure: TRAILING_DELTA")),
        ({}, {"pegPriceType": "PRIMARY_PEG"}, (-1013, "Pegged orders are not supported for this symbol.")),
        ({}, {"strategyType": "5"}, (-1134, "`strategyType` was less than 1000000.")),
        ({}, {"type": "STOP_LOSS_LIMIT"}, (-1102, None)),
        ({}, {"stopPrice": "101"}, (-1106, "Parameter 'stopPrice' sent when not required.")),
    ],
)
def test_what_a_symbol_refuses(changes: dict[str, str], order: dict[str, str], refused: tuple[int, str | None]) -> None:
    engine = made()
    engine.edit_symbol(SYMBOL, changes)
    values = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "99", "quantity": "1", **order}
    answer = code(lambda: ask(engine, "alice", "POST", "order", **values))
    assert answer[0] == refused[0] and refused[1] in (None, answer[1])


def test_the_filters_look_at_their_own_minutes() -> None:
    """filters.md: ``avgPriceMins`` minutes, at 0 the last price; a quote amount is its own notional."""
    engine = made()
    minute = 60_000

    def at(minutes: int, price: str, quantity: str) -> None:
        engine.apply_trade(SYMBOL, Trade(9, Decimal(price), Decimal(quantity), NOW, False), NOW - minutes * minute)

    engine.state.history[SYMBOL] = TradeHistory()
    at(20, "50", "1")
    at(3, "100", "3")
    at(0, "200", "1")
    assert engine.state.history[SYMBOL].average(NOW) == 125
    wide = {"PERCENT_PRICE_BY_SIDE.bidMultiplierUp": "1", "PERCENT_PRICE_BY_SIDE.bidMultiplierDown": "1"}

    def allowed(minutes: int, price: str) -> bool:
        engine.edit_symbol(SYMBOL, {**wide, "PERCENT_PRICE_BY_SIDE.avgPriceMins": str(minutes)})
        order = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": price, "quantity": "1"}
        try:
            ask(engine, "alice", "POST", "order/test", **order)
        except errors.BinanceError as refusal:
            assert refusal.message == "Filter failure: PERCENT_PRICE_BY_SIDE"
            return False
        return True

    for minutes, price in ((0, "200"), (1, "200"), (5, "125"), (30, "110")):
        assert allowed(minutes, price) and not allowed(minutes, "111")
    market: dict[str, Any] = {"side": "BUY", "type": "MARKET"}
    engine.edit_symbol(SYMBOL, {"NOTIONAL.minNotional": "150", "NOTIONAL.avgPriceMins": "5"})
    refused = (-1013, "Filter failure: NOTIONAL")
    assert code(lambda: ask(engine, "alice", "POST", "order/test", **market, quantity="1")) == refused
    engine.edit_symbol(SYMBOL, {"NOTIONAL.avgPriceMins": "0"})
    ask(engine, "alice", "POST", "order/test", **market, quantity="1")
    ask(engine, "alice", "POST", "order/test", **market, quoteOrderQty="150")
    assert code(lambda: ask(engine, "alice", "POST", "order/test", **market, quoteOrderQty="149.99")) == refused


def test_lists_count_against_their_own_filter() -> None:
    engine = made()
    engine.edit_symbol(SYMBOL, {"MAX_NUM_ORDER_LISTS.maxNumOrderLists": "1"})
    oco(engine)
    assert code(lambda: oco(engine)) == (-1013, "Filter failure: MAX_NUM_ORDER_LISTS")


def test_commissions_in_bnb_at_a_discount_where_there_is_enough() -> None:
    symbol, bnb = symbol_of(SYMBOL, Decimal("0.01"), Decimal("0.001")), symbol_of("BNBUSDT", Decimal("0.1"), Decimal(1))
    first = Trade(1, Decimal(100), Decimal(9), NOW, False)
    engine = Engine({SYMBOL: Recording(symbol, (first,)), "BNBUSDT": Recording(bnb, (first,))}, "through")
    made(engine=engine)
    engine.apply_trade("BNBUSDT", Trade(1, Decimal(50), Decimal(9), NOW, True), NOW)
    alice = engine.state.accounts["alice"]
    alice.pays_in_bnb = True
    alice.add("BNB", Decimal("0.0005"))
    sold = ask(engine, "alice", "POST", "order", side="SELL", type="MARKET", quantity="0.1")
    # 10 USDT x 0.1 % x 0.75 / 50
    assert [(one["commission"], one["commissionAsset"]) for one in sold["fills"]] == [("0.00015000", "BNB")]
    assert alice.free["BNB"] == Decimal("0.00035")
    poor = ask(engine, "alice", "POST", "order", side="SELL", type="MARKET", quantity="0.4")
    assert {one["commissionAsset"] for one in poor["fills"]} == {"USDT"}


def test_an_account_that_may_not_trade() -> None:
    engine = made()
    engine.state.accounts["alice"].can_trade = False
    assert code(lambda: limit(engine, "alice", "BUY", "99", "1")) == (
        *(-2010,),
        "This account may not place or cancel orders.",
    )
    assert ask(engine, "alice", "GET", "account")["canTrade"] is False


def test_a_market_sell_by_quote_amount_never_sells_what_is_not_there() -> None:
    engine = made()
    trade(engine, "100", "50")
    answer = code(lambda: ask(engine, "alice", "POST", "order", side="SELL", type="MARKET", quoteOrderQty="2000"))
    assert answer == (-2010, "Account has insufficient balance for requested action.")
    sold = ask(engine, "alice", "POST", "order", side="SELL", type="MARKET", quoteOrderQty="50")
    assert sold["status"] == "FILLED" and sold["executedQty"] == "0.50000000"


def test_orders_and_trades_in_pages() -> None:
    engine = made("touch")
    numbers = [limit(engine, "alice", "BUY", "99", "0.1")["orderId"] for _ in range(5)]
    limit(engine, "bob", "BUY", "98", "1")
    trade(engine, "99", "0.3")

    def orders(**more: Any) -> list[int]:
        return [row["orderId"] for row in ask(engine, "alice", "GET", "allOrders", **more)]

    assert orders() == numbers and orders(limit=2) == numbers[-2:]
    assert orders(orderId=numbers[2]) == numbers[2:] and orders(orderId=numbers[1], limit=2) == numbers[1:3]
    assert orders(orderId=99) == [] and orders(startTime=NOW, limit=2) == numbers[:2] and orders(endTime=NOW - 1) == []

    def trades(**more: Any) -> list[int]:
        return [row["id"] for row in ask(engine, "alice", "GET", "myTrades", **more)]

    first, second, third = trades()
    assert trades(limit=1) == [third] and trades(fromId=second) == [second, third]
    assert trades(fromId=first, limit=1) == [first] and trades(orderId=numbers[1]) == [second]
    assert trades(orderId=numbers[1], fromId=third) == [] and trades(startTime=NOW, endTime=NOW) == [
        first,
        second,
        third,
    ]
    assert code(lambda: trades(fromId=first, startTime=NOW))[0] == -1128
    assert code(lambda: trades(startTime=NOW, endTime=NOW + 86_400_001))[0] == -1127


@pytest.mark.parametrize(
    ("fields", "number", "text"),
    [
        ({"type": "LIMIT", "timeInForce": "GTC", "price": "0"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"type": "LIMIT_MAKER", "price": "0"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"type": "STOP_LOSS", "stopPrice": "0"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"type": "TAKE_PROFIT", "stopPrice": "0.00"}, -1013, "Filter failure: PRICE_FILTER"),
        (
            {"type": "STOP_LOSS", "trailingDelta": ""},
            -1102,
            "Param 'stopPrice' or 'trailingDelta' must be sent, but both were empty/null!",
        ),
    ],
)
@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_a_price_of_nothing_is_no_price(side: str, fields: dict[str, str], number: int, text: str) -> None:
    engine = made()
    given = {"side": side, "quantity": "1", **fields}
    assert code(lambda: ask(engine, "alice", "POST", "order", **given)) == (number, text)
    assert not engine.state.orders


def test_where_the_lowest_price_is_off_a_price_of_nothing_is_worth_nothing() -> None:
    engine = made()
    engine.state.symbols[SYMBOL].filters["PRICE_FILTER"]["minPrice"] = "0.00000000"
    for name in ("NOTIONAL", "PERCENT_PRICE_BY_SIDE", "PERCENT_PRICE"):
        engine.state.symbols[SYMBOL].filters.pop(name, None)
    given = {"side": "BUY", "quantity": "1", "type": "LIMIT", "timeInForce": "GTC", "price": "0"}
    assert code(lambda: ask(engine, "alice", "POST", "order", **given)) == (-2010, "Price * QTY is zero or less.")
