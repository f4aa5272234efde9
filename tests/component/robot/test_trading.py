"""Trading as an exchange really answers: would match, own orders in the way, halts, price bounds, fees in BNB."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fortctl.errors import BadInputError
from fortctl.model import RobotOrder
from fortctl.paper.engine.trades.table import Trade
from fortctl.ports import ExchangeError, Outcome
from fortctl.robot.core.book import Book
from fortctl.robot.core.events import AssetPriced, AssetsNamed, Configured, Event
from fortctl.robot.trading.strategy_runner import DISCOUNT_ASSET, StrategyRunner
from simulation.loop import simulated
from support.clock import FakeClock
from support.robot_scenes import person
from support.robot_world import SETTINGS, SYMBOL, Robot, World

MAKER = replace(SETTINGS, maker_only=True, step=Decimal(1))


def unseen(world: World, price: str) -> None:
    """Let the market trade without the robot hearing of it."""
    world.engine.apply_trade(SYMBOL, Trade(10**6, Decimal(price), Decimal(1), world.now, False), world.now)


def before_the_first_order(world: World, happens: Callable[[], None]) -> None:
    """Let something happen after the robot has looked and before its first order arrives."""

    def strike(name: str) -> None:
        if name == "POST /api/v3/order":
            world.before = lambda name: None
            happens()

    world.before = strike


def buys(robot: Robot) -> list[RobotOrder]:
    return [order for order in robot.runner.open_orders() if order.side == "BUY"]


@simulated
async def test_a_maker_only_buy_that_would_match_is_priced_lower_until_it_rests(tmp_path: Path) -> None:
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up(MAKER)
    await robot.wait(1)
    before_the_first_order(world, lambda: unseen(world, "0.00138000"))
    await robot.runner.start(by_person=True)
    await robot.wait(30)
    prices = sorted((Decimal(order.price) for order in buys(robot)), reverse=True)
    assert len(prices) == 4 and prices[0] < Decimal("0.00138000"), "the first level, 0.00138613, would have matched"
    assert prices[0] > prices[1], "and it stays above the next"
    refused = [order for order in robot.runner.book.orders.values() if order.absent]
    assert 5 < len(refused) < 20 and len({order.price for order in refused}) > 5
    await robot.down()


@simulated
async def test_an_order_that_self_trade_prevention_ended_is_not_sent_again_at_once(tmp_path: Path) -> None:
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up(replace(SETTINGS, step=Decimal(1), self_trade_prevention="EXPIRE_TAKER"))
    await robot.wait(1)

    def falls() -> None:
        unseen(world, "0.00138000")
        values = {"side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "price": "0.00138300", "quantity": "500"}
        person(world, "POST", newClientOrderId="a-persons-own", **values)

    before_the_first_order(world, falls)
    await robot.runner.start(by_person=True)
    await robot.wait(25)
    ended = [order for order in robot.runner.book.orders.values() if order.status == "EXPIRED_IN_MATCH"]
    assert len(ended) == 1 and len(buys(robot)) == 3
    await robot.wait(10)
    again = [order for order in robot.runner.book.orders.values() if order.status == "EXPIRED_IN_MATCH"]
    assert len(again) == 2, "after half a minute it tries again"
    assert world.engine.state.find_order("default", SYMBOL, None, "a-persons-own").status == "NEW"  # type: ignore[union-attr]
    await robot.down()


@simulated
async def test_a_mode_or_a_kind_that_the_symbol_does_not_allow_is_refused(tmp_path: Path) -> None:
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    world.engine.state.symbols[SYMBOL].stp_modes = ("NONE", "EXPIRE_MAKER")
    world.engine.state.symbols[SYMBOL].order_types = ("LIMIT", "MARKET")
    with pytest.raises(BadInputError, match="EXPIRE_TAKER"):
        await robot.runner.configure(replace(SETTINGS, self_trade_prevention="EXPIRE_TAKER"))
    with pytest.raises(BadInputError, match="LIMIT_MAKER"):
        await robot.runner.configure(replace(SETTINGS, maker_only=True))
    await robot.runner.configure(replace(SETTINGS, self_trade_prevention="EXPIRE_MAKER"))
    await robot.down()


@simulated
async def test_a_symbol_that_halts_gets_no_order_until_it_trades_again(tmp_path: Path) -> None:
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    await robot.runner.start(by_person=True)
    await robot.wait(5)
    assert len(buys(robot)) == 4
    world.trade("0.00139000", "5000")
    world.engine.edit_symbol(SYMBOL, {"status": "HALT"})
    await robot.wait(100)
    sells = [name for name in world.left if "-s" in name]
    bought = [cycle for cycle in robot.runner.book.live_cycles() if cycle.bought]
    assert len(bought) == 1 and len(sells) <= 1, "one refusal, then the rules are known"
    world.engine.edit_symbol(SYMBOL, {"status": "TRADING"})
    await robot.wait(70)
    assert [order for order in robot.runner.open_orders() if order.side == "SELL"]
    await robot.down()


@simulated
async def test_a_sell_beyond_the_price_bounds_waits_for_the_market(tmp_path: Path) -> None:
    world = World()
    world.engine.edit_symbol(SYMBOL, {"PERCENT_PRICE_BY_SIDE.askMultiplierUp": "1.02"})
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up(replace(SETTINGS, take_profit=Decimal(1)))
    await robot.runner.start(by_person=True)
    await robot.wait(2)
    world.mangle = lambda event: []
    world.trade("0.00136000", "50000")
    world.mangle = lambda event: [event]
    robot.runner.robot.resync()
    await robot.wait(3)
    placed = len(world.left)
    book = robot.runner.book
    # Each bought a step lower: only the sells within 2 % of the market are on it.
    for cycle in book.live_cycles():
        inside = cycle.sell_price <= Decimal("0.00136000") * Decimal("1.02")
        assert (cycle.state == "selling") is inside
    assert not [order for order in book.orders.values() if order.leg == "sell" and order.absent], "none was refused"
    await robot.wait(60)
    assert len(world.left) == placed
    world.trade("0.00139900", "5000000")
    await robot.wait(3)
    assert not [cycle for cycle in book.live_cycles() if cycle.state == "bought"]
    await robot.down()


class _Prices:
    def __init__(self, known: dict[str, str]) -> None:
        self.known, self.asked = known, 0

    async def last_price(self, symbol: str) -> Decimal:
        self.asked += 1
        if symbol not in self.known:
            raise ExchangeError(Outcome.REFUSED, "Invalid symbol.", code=-1121)
        return Decimal(self.known[symbol])

    async def symbol_rules(self, symbol: str) -> Any:
        raise AssertionError("the rules are fresh")


class _Holder:
    """As much of a runner as a trader needs."""

    def __init__(self) -> None:
        import logging

        self.book, self.log, self.clock = Book(), logging.getLogger("test"), FakeClock(follows_loop=True)
        self.book.replay([Configured(SETTINGS.as_json()), AssetsNamed("XRP", "ETH")])

    def exchange_now(self) -> int:
        return 5

    def holds_asset(self, asset: str) -> bool:
        return asset == DISCOUNT_ASSET

    def record(self, *events: Event) -> None:
        self.book.replay(events)


@pytest.mark.parametrize(
    ("known", "worth"),
    [({"BNBETH": "0.2"}, "0.2"), ({"ETHBNB": "5"}, "0.2"), ({}, None)],
    ids=["direct", "inverse", "unknown"],
)
@simulated
async def test_what_bnb_is_worth_is_asked_and_journaled(known: dict[str, str], worth: str | None) -> None:
    holder, prices = _Holder(), _Prices(known)
    world = World()
    rules = await world.connect(None).symbol_rules(SYMBOL)
    trader = StrategyRunner(holder, lambda name: None)  # type: ignore[arg-type, return-value]
    await trader.refresh(prices, rules)  # type: ignore[arg-type]
    assert holder.book.prices.get("BNB") == (Decimal(worth) if worth else None)
    asked = prices.asked
    await trader.refresh(prices, rules)  # type: ignore[arg-type]
    assert prices.asked == asked
    assert AssetPriced("BNB", Decimal("0.2"), 5).as_json() == {"asset": "BNB", "price": "0.2", "at": 5}


@simulated
async def test_quiet_prices_wake_nobody(tmp_path: Path) -> None:
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    await robot.runner.start(by_person=True)
    await robot.wait(2)
    asked = []
    trader = robot.runner.strategy
    plan = trader.plan
    trader.plan = lambda view: asked.append(view.price) or plan(view)  # type: ignore[assignment, func-returns-value]
    for step in range(50):
        world.trade(Decimal("0.00140000") + Decimal(step) * Decimal("1e-8"), "1")
        await asyncio.sleep(0.01)
    assert not asked, "nothing could be wanted between the first level and the next above"
    world.trade("0.00142000", "1")
    await asyncio.sleep(0.1)
    assert asked and max(robot.runner.book.levels) == 2, "but the grid trails"
    await robot.down()


@simulated
async def test_many_missed_fills_cost_a_listing_and_not_a_request_each(tmp_path: Path) -> None:
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    wide = replace(SETTINGS, levels=14, step=Decimal("0.3"))
    await robot.up(wide)
    await robot.runner.start(by_person=True)
    await robot.wait(2)
    world.trade("0.00139500", "50000")
    await robot.wait(2)
    assert robot.runner.book.trades and len(buys(robot)) == 13
    await robot.down()
    world.trade("0.00135600", "500000")
    world.calls.clear()
    again = Robot(world, tmp_path, world.key("b"))
    await again.up(wide)
    await again.wait(20)
    calls = Counter(world.calls)
    finished = len([name for name in world.left if "-b" in name]) - len(buys(again))
    assert finished > 8 and again.runner.state == "running"
    assert calls["GET /api/v3/myTrades"] == 1
    assert calls["GET /api/v3/allOrders"] == 2, "one of what was missed, one of what nobody knows by its name"
    assert calls["GET /api/v3/openOrders"] == 1, "the stream was waited for: nothing had to be asked twice"
    assert calls["GET /api/v3/order"] <= finished, "each promised sell is looked up, and nothing else"
    known = {fill["id"] for fill in world.engine.state.fills.get(("default", SYMBOL), [])}
    assert again.runner.book.trades == known
    await again.down()


# -- a lasting fault -----------------------------------------------------------------------------------------------


@simulated
@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.UNREACHABLE])
async def test_order_that_is_absent_again_and_again_is_tried_with_growing_pauses(
    tmp_path: Path, outcome: Outcome
) -> None:
    """Six hours of HTTP 503 for every order cost some requests a level, and trading begins when they are over."""
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    tries: Counter[str] = Counter()
    broken = [True]

    def refuse(name: str) -> None:
        if name == "POST /api/v3/order" and broken[0]:
            tries[name] += 1
            raise ExchangeError(outcome, "HTTP 503", http_status=503)

    world.before = refuse
    await robot.does(robot.runner.start(by_person=True))
    await robot.wait(6 * 3600)
    # Four levels; today's longest pauses are 300 s (unknown) and 60 s (no connection).
    assert 0 < tries["POST /api/v3/order"] <= 4 * (90 if outcome is Outcome.UNKNOWN else 380), tries
    broken[0] = False
    await robot.wait(400)
    assert robot.runner.state == "running" and robot.runner.status()["orders_open"] > 0
    await robot.down()
