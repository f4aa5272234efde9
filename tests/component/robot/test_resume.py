"""What happened while the robot was not looking: each is found before the next order, or a person is asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fortctl.exchange.client import PAGE, BinanceExchange
from fortctl.exchange.targets import ExchangeTarget
from fortctl.model import KeyPair, KeyType
from fortctl.ports import ExchangeError, Outcome
from fortctl.robot.core.reconciliation import ResumeLimits
from fortctl.secret import Secret
from simulation.loop import Killed, simulated
from support.robot_scenes import DEEP, again, agree, ours, person, trading
from support.robot_world import SETTINGS, SYMBOL, Robot, World

DAY_S = 24 * 3600.0


# -- breaks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asleep", [False, True], ids=["frozen", "suspended"])
@simulated
async def test_a_process_frozen_for_a_day_is_held_before_it_places_anything(tmp_path: Path, asleep: bool) -> None:
    """SIGSTOP for a day, with fills waiting in its stream; or the whole machine, whose clock stood still with it."""
    world = World()
    robot = await trading(tmp_path, world)
    placed = len(world.placed)
    robot.process.stop()
    world.trade(DEEP, "5000")
    await asyncio.sleep(DAY_S)
    if asleep:
        robot.clock.asleep_s += DAY_S
    robot.process.go_on()
    await robot.wait(120)
    assert robot.runner.state == "held" and "GAP" in robot.runner.status()["reason"]
    assert len(world.placed) == placed, "not even the sells that were promised"
    reasons = robot.runner.status()["reasons"]
    assert (reasons[0]["number"], reasons[0]["code"]) == (1, "GAP")
    would = robot.runner.status()["resume"]
    assert "SELL" in {place["side"] for place in would["places"]}
    assert Decimal(would["places_worth"]) == sum(Decimal(place["worth"]) for place in would["places"])
    assert Decimal(would["inventory"]["quantity"]) > 0 and would["asset"] == "ETH"
    await robot.runner.resume()
    await robot.wait(5)
    assert robot.runner.state == "running" and len(world.placed) == placed + len(would["places"])
    await robot.down()


@pytest.mark.parametrize("asleep", [False, True], ids=["frozen", "suspended"])
@simulated
async def test_a_price_that_moved_while_it_slept_is_judged_before_any_order_call(tmp_path: Path, asleep: bool) -> None:
    """Four hours are bridged alone, ten per cent are not: no order call leaves before that is seen."""
    world = World()
    robot = await trading(tmp_path, world)
    world.calls.clear()
    robot.process.stop()
    await asyncio.sleep(4 * 3600)
    world.trade("0.00154000", "1")
    if asleep:
        robot.clock.asleep_s += 4 * 3600.0
    robot.process.go_on()
    world.trade("0.00154100", "1")
    await robot.wait(120)
    assert robot.runner.state == "held" and "DRIFT" in robot.runner.status()["reason"]
    asked = Counter(world.calls)
    assert not asked["POST /api/v3/order"] and not asked["DELETE /api/v3/order"], asked
    await robot.down()


@simulated
async def test_the_shortest_break_that_is_not_bridged_is_judged_too(tmp_path: Path) -> None:
    """``resume.max_gap`` may be a minute: a stop of ninety seconds is longer, though no silence would have told."""
    world = World()
    robot = await trading(tmp_path, world)
    robot.runner.robot.limits = ResumeLimits(max_gap_ms=60_000)
    placed = len(world.placed)
    robot.process.stop()
    world.trade(DEEP, "5000")
    await asyncio.sleep(90)
    robot.process.go_on()
    await robot.wait(60)
    assert robot.runner.state == "held" and "GAP" in robot.runner.status()["reason"]
    assert len(world.placed) == placed
    await robot.down()


@pytest.mark.parametrize("hours", [-1, 1])
@simulated
async def test_a_clock_that_jumps_by_an_hour_stops_nothing(tmp_path: Path, hours: int) -> None:
    world = World()
    before = world.balances()
    robot = await trading(tmp_path, world)
    world.clock.offset_ms += hours * 3_600_000
    world.trade(DEEP, "5000")
    await robot.wait(5)
    assert robot.runner.state == "running" and ours(world, "SELL")
    assert not [order for order in robot.runner.book.orders.values() if order.absent]
    agree(world, robot.runner.book, before)
    await robot.down()


@simulated
async def test_the_limits_of_a_break_can_be_set(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    await robot.down()
    await asyncio.sleep(3600)
    world.trade("0.00142000")
    robot = await again(tmp_path, world, robot, limits=ResumeLimits(30 * 60 * 1000, Decimal(1)))
    codes = [row["code"] for row in robot.runner.status()["reasons"]]
    assert robot.runner.state == "held" and codes == ["GAP", "DRIFT"]
    await robot.down()


# -- what people and the exchange did meanwhile --------------------------------------------------------------------


@simulated
async def test_orders_cancelled_filled_in_part_and_amended_meanwhile(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    await robot.down()
    first, second, third, _fourth = ours(world)
    person(
        world, "POST", side="BUY", type="LIMIT", timeInForce="GTC", price="0.0012", quantity=50, newClientOrderId="p"
    )
    person(world, "DELETE", orderId=second.id)
    person(world, "PUT", "/api/v3/order/amend/keepPriority", orderId=third.id, newQty=third.quantity - 5)
    world.trade(first.price - Decimal("0.00000001"), "7")
    robot = await again(tmp_path, world, robot)
    book = robot.runner.book
    assert robot.runner.state == "running" and book.orders[first.client_order_id].booked == 7
    assert str(book.orders[world.numbers[third.id]].status) == "NEW", "it goes by another name now, and is still ours"
    persons = world.engine.state.find_order("default", SYMBOL, None, "p")
    assert persons is not None and persons.open
    world.trade("0.00136000", "100000")
    await robot.wait(5)
    assert book.orders[world.numbers[third.id]].executed == third.quantity
    assert not world.broken
    await robot.down()


@simulated
async def test_an_amended_order_is_cancelled_by_its_number(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    order = ours(world)[1]
    person(world, "PUT", "/api/v3/order/amend/keepPriority", orderId=order.id, newQty=order.quantity - 1)
    await robot.wait(1)
    cancelled = await robot.runner.halt(cancel_orders=True)
    assert world.numbers[order.id] in cancelled.cancelled and cancelled.left == ()
    assert not ours(world) and not world.broken
    await robot.down()


@pytest.mark.parametrize("filled", [False, True], ids=["open", "filled"])
@pytest.mark.parametrize("times", [1, 2])
@simulated
async def test_an_order_amended_before_its_answer_was_known_is_found(tmp_path: Path, filled: bool, times: int) -> None:
    """An amended order answers to another name; its amendments tell the one that it was sent with."""
    world = World()
    before = world.balances()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    lost: list[Any] = []

    def strike(name: str) -> None:
        if name != "POST /api/v3/order":
            return
        order = ours(world)[0]
        world.after = lambda name: None
        robot.process.kill()
        for _ in range(times):
            person(world, "PUT", "/api/v3/order/amend/keepPriority", orderId=order.id, newQty=order.quantity - 1)
        lost.append(order)
        # Another rests at its price, and was never the robot's.
        alike = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": order.price, "quantity": 30}
        person(world, "POST", **alike, newClientOrderId="alike")
        raise Killed

    world.after = strike
    await robot.does(robot.runner.start(by_person=True))
    await robot.settle(50)
    if filled:
        world.trade(lost[0].price - Decimal("0.00000001"), str(lost[0].quantity))
    robot = await again(tmp_path, world, robot)
    await robot.wait(10)
    (name,) = [name for name, order in world.ours().items() if order.id == lost[0].id]
    known = robot.runner.book.orders[name]
    assert not known.absent and known.order_id == lost[0].id
    assert known.executed == (lost[0].quantity if filled else 0)
    other = world.engine.state.find_order("default", SYMBOL, None, "alike")
    assert other is not None and other.client_order_id == "alike"
    agree(world, robot.runner.book, before)
    assert not world.broken
    await robot.down()


@simulated
async def test_an_exchange_rolled_back_is_held(tmp_path: Path) -> None:
    """An order that was taken in and is known no more; another that had executed and has not (rolled_back)."""
    world = World()
    robot = await trading(tmp_path, world)
    first, second, *_rest = ours(world)
    world.trade(first.price - Decimal("0.00000001"), "7")
    await robot.wait(2)
    assert robot.runner.book.orders[first.client_order_id].booked == 7
    await robot.down()
    first.executed = Decimal(0)
    first.status = "NEW"
    world.engine.state.fills["default", SYMBOL].clear()
    book = world.engine.state.books[SYMBOL]
    book.resting.pop(second.id)
    book.by_account["default"].pop(second.id)
    world.engine.state.orders.pop(second.id)
    world.numbers.pop(second.id)
    placed = len(world.placed)
    robot = await again(tmp_path, world, robot)
    status = robot.runner.status()
    assert robot.runner.state == "held" and len(world.placed) == placed
    told = [row["text"] for row in status["reasons"] if row["code"] == "ROLLED_BACK"]
    assert len(told) == 2 and any("executed 0" in text for text in told)
    await robot.down()


@simulated
async def test_a_balance_below_the_inventory_is_held_with_what_is_missing(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    world.trade(DEEP, "5000")
    await robot.wait(2)
    await robot.down()
    for order in ours(world, "SELL"):
        person(world, "DELETE", orderId=order.id)
    have = world.balances()["XRP"]
    world.engine.deposit("default", "XRP", -(have - 10), world.now)
    robot = await again(tmp_path, world, robot)
    (row,) = robot.runner.status()["reasons"]
    assert robot.runner.state == "held" and row["code"] == "BALANCE" and "are missing" in row["text"]
    await robot.down()


@simulated
async def test_a_halted_symbol_waits_and_a_delisted_one_is_held(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    world.engine.edit_symbol(SYMBOL, {"status": "HALT"})
    world.trade(DEEP, "5000")
    await robot.wait(300)
    tries = Counter(world.calls)["POST /api/v3/order"]
    assert tries < 40, f"it tried {tries} times while the market was closed"
    world.engine.edit_symbol(SYMBOL, {"status": "TRADING"})
    await robot.wait(120)
    assert robot.runner.state == "running" and ours(world, "SELL")
    await robot.down()

    def gone(name: str) -> None:
        if name == "GET /api/v3/exchangeInfo":
            raise ExchangeError(Outcome.REFUSED, "Invalid symbol.", code=-1121, http_status=400)

    world.before = gone
    robot = await again(tmp_path, world, robot)
    assert robot.runner.state == "held" and robot.runner.status()["reasons"][0]["code"] == "SYMBOL"
    await robot.down()


@simulated
async def test_filters_and_fees_that_changed_meanwhile(tmp_path: Path) -> None:
    world = World()
    before = world.balances()
    robot = await trading(tmp_path, world)
    await robot.down()
    world.engine.edit_symbol(SYMBOL, {"PRICE_FILTER.tickSize": "0.00000010"})
    symbol = world.engine.state.symbols[SYMBOL]
    symbol.maker = symbol.taker = Decimal("0.002")
    world.trade(DEEP, "5000")
    robot = await again(tmp_path, world, robot)
    sells = ours(world, "SELL")
    assert robot.runner.state == "running" and sells
    assert all(order.price % Decimal("0.00000010") == 0 for order in sells)
    agree(world, robot.runner.book, before)
    await robot.down()


# -- a drain is durable --------------------------------------------------------------------------------------------


@simulated
async def test_a_drain_outlives_a_restart_a_key_loss_and_a_new_key(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    world.trade(DEEP, "5000")
    await robot.wait(2)
    await robot.runner.drain()
    await robot.wait(2)
    assert robot.runner.state == "draining" and not ours(world) and ours(world, "SELL")
    await robot.down()
    robot = await again(tmp_path, world, robot, resume=False)
    assert robot.runner.state == "draining", "whoever brings it up"
    world.delete_key("a")
    await robot.wait(45)
    assert robot.runner.state == "key_lost" and robot.runner.book.mode == "draining"
    await robot.runner.keys.set(world.key("b"), uid=world.engine.state.accounts["default"].uid)
    await robot.wait(5)
    assert robot.runner.state == "draining"
    await robot.runner.keys.swap(world.key("c"), uid=world.engine.state.accounts["default"].uid)
    world.trade("0.00143000", "100000")
    await robot.wait(5)
    assert robot.runner.state == "stopped" and not robot.runner.book.live
    await robot.down()


@pytest.mark.parametrize("cancel", [False, True], ids=["keep", "cancel"])
@simulated
async def test_stop_now_says_exactly_what_it_leaves(tmp_path: Path, cancel: bool) -> None:
    """Also of orders that are under way at that instant."""
    world = World()
    world.weather.latency = (0.05, 0.2)
    robot = await trading(tmp_path, world)
    await robot.wait(2)
    world.trade(DEEP, "5000")
    await asyncio.sleep(0.15)
    told = await robot.does(robot.runner.stop_now(cancel_orders=cancel))
    await robot.wait(5)
    open_there = {name for name, order in world.ours().items() if order.open}
    assert {order.client_order_id for order in told.orders_left} == open_there
    assert bool(open_there) is not cancel
    placed = len(world.placed)
    await robot.wait(60)
    assert len(world.placed) == placed
    await robot.down()


@simulated
async def test_an_order_that_is_not_visible_yet_is_not_taken_for_absent(tmp_path: Path) -> None:
    """Executed, the answer lost, and -2013 for almost a second (rest-api.md, "Query order")."""
    world = World()
    before = world.balances()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    world.weather.invisible_ms = 900
    lost = [3]

    def cut(name: str) -> None:
        if name == "POST /api/v3/order" and lost[0]:
            lost[0] -= 1
            raise ExchangeError(Outcome.UNKNOWN, "the answer is lost")

    world.after = cut
    # Nor does the stream tell of it.
    world.mangle = lambda event: []
    await robot.does(robot.runner.start(by_person=True))
    await robot.wait(10)
    assert len(world.placed) == 4 and robot.runner.status()["orders_open"] == 4
    assert not [order for order in robot.runner.book.orders.values() if order.absent]
    agree(world, robot.runner.book, before)
    await robot.down()


# -- paging --------------------------------------------------------------------------------------------------------


async def test_more_than_a_thousand_fills_of_one_order_are_all_booked() -> None:
    """The adapter pages: 1,000 trades a page, the next from the last one's number on."""
    pair = KeyPair("k", KeyType.HMAC, Secret("a" * 64), Secret("s" * 64))
    exchange = BinanceExchange(
        ExchangeTarget("paper", "http://127.0.0.1:9", "ws://127.0.0.1:9", "ws://127.0.0.1:9"), pair
    )
    asked: list[int] = []

    class Page:
        async def get_my_trades(self, **fields: Any) -> list[dict[str, Any]]:
            asked.append(fields["fromId"])
            numbers = [number for number in range(1, 2_501) if number >= fields["fromId"]][:PAGE]
            row = {"symbol": SYMBOL, "orderId": 1, "isBuyer": True, "price": "1", "qty": "1", "quoteQty": "1"}
            more = {"commission": "0", "commissionAsset": "XRP", "time": 1, "isMaker": True}
            return [{**row, **more, "id": number} for number in numbers]

    exchange._client = Page()
    fills = await exchange.trades(SYMBOL, order_id=1)
    assert [fill.trade_id for fill in fills] == list(range(1, 2_501)) and asked == [0, 1_001, 2_001]


@simulated
async def test_thousands_of_missed_fills_are_booked_before_the_next_order(tmp_path: Path) -> None:
    world = World()
    before = world.balances()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up(replace(SETTINGS, levels=1, order_quote=Decimal("1.9")))
    await robot.does(robot.runner.start(by_person=True))
    await robot.wait(5)
    await robot.down()
    (first,) = ours(world)
    for _ in range(int(first.quantity) - 50):
        world.trade(first.price - Decimal("0.00000001"), "1")
    fills = len(world.fills_of_ours())
    assert fills > PAGE
    placed: list[int] = []
    robot = Robot(world, tmp_path, robot._pair)

    def count(name: str) -> None:
        if name == "POST /api/v3/order":
            placed.append(len(robot.runner.book.trades))

    world.before = count
    await robot.up(None)
    await robot.wait(30)
    assert len(robot.runner.book.trades) == fills and all(booked == fills for booked in placed)
    agree(world, robot.runner.book, before)
    await robot.down()
