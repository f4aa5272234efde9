"""What a restart asks of the exchange, counted: what is open is listed at once, and only what is not is looked up."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from fortctl.robot.core.events import OrderIntended, OrderStatusReported
from fortctl.robot.core.order_ids import client_order_id
from simulation.loop import simulated
from support.engine_exchange import EngineExchange
from support.robot_world import SETTINGS, SYMBOL, Robot, World

ORDERS = 300
TOP, STEP = Decimal("0.00139000"), Decimal("0.00000001")
ALWAYS = {"GET /api/v3/exchangeInfo": 1, "GET /api/v3/account": 1, "GET /api/v3/openOrders": 1}
RIGHTS = "GET /sapi/v1/account/apiRestrictions"
TIME, PRICE, ORDER = "GET /api/v3/time", "GET /api/v3/ticker/price", "GET /api/v3/order"


async def left_behind(world: World, folder: Path) -> Robot:
    """Return a robot that was killed with many open buys, each with its promised sell."""
    world.engine.edit_symbol(SYMBOL, {"MAX_NUM_ORDERS.maxNumOrders": "1000"})
    robot = Robot(world, folder, world.key("a"))
    await robot.up()
    exchange = robot.runner.robot.exchange
    assert isinstance(exchange, EngineExchange)
    for number in range(1, ORDERS + 1):
        name = client_order_id(robot.runner.robot.robot_id, number, "buy", 1)
        price, nothing = TOP - number * STEP, Decimal(0)
        at, promise = robot.runner.robot.exchange_now(), (price * 2, Decimal(1))
        robot.runner.robot.record(
            OrderIntended(number, number, "buy", 1, name, price, Decimal(10), nothing, at, *promise)
        )
        values = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": f"{price:f}", "quantity": "10"}
        told = await exchange.ask(
            "POST", "/api/v3/order", symbol=SYMBOL, newClientOrderId=name, newOrderRespType="RESULT", **values
        )
        world.numbers[told["orderId"]] = name
        robot.runner.robot.record(OrderStatusReported(name, told["orderId"], told["status"], nothing))
    await robot.down()
    world.calls.clear()
    return robot


def busy(world: World) -> None:
    """Let somebody trade whenever the account is asked for, over a network that takes its time."""

    def trade(call: str) -> None:
        if call == "GET /api/v3/account":
            world.trade("0.00140000")

    world.before = trade
    world.weather.latency = (0.01, 0.02)


async def agreed(world: World, robot: Robot) -> Counter[str]:
    """Let a robot come up; return what it had asked by the time its books agreed."""
    await robot.up()
    for _ in range(100):
        if robot.runner.robot.books == "agreed":
            # What the key may do is asked for once they agree.
            return Counter(call for call in world.calls if call != RIGHTS)
        await robot.wait(0.1)
    raise AssertionError("the books never agreed")


@pytest.mark.parametrize("market", ["busy", "quiet"])
@simulated
async def test_what_is_open_costs_three_requests_however_much_it_is(tmp_path: Path, market: str) -> None:
    world = World()
    old = await left_behind(world, tmp_path)
    if market == "busy":
        busy(world)
    asked = await agreed(world, Robot(world, tmp_path, old._pair))
    assert asked == ({**ALWAYS, PRICE: 1} if market == "quiet" else ALWAYS)


@simulated
async def test_an_order_that_is_not_open_costs_one_request_more(tmp_path: Path) -> None:
    """Buys filled meanwhile; their promised sells may have left: each is looked up, and one listing serves all."""
    world = World()
    old = await left_behind(world, tmp_path)
    busy(world)
    world.trade(TOP - Decimal("4.5") * STEP, "1000000")
    gone = ORDERS - len(world.engine.state.books[SYMBOL].resting)
    assert gone
    asked = await agreed(world, Robot(world, tmp_path, old._pair))
    filled, sells = gone, gone
    assert asked - Counter(ALWAYS) == {
        ORDER: filled + sells,
        "GET /api/v3/myTrades": filled,
        "GET /api/v3/allOrders": 1,
    }
    assert world.left == {}, "nothing was sent to find out"


@pytest.mark.parametrize("which", ["host", "exchange"])
@simulated
async def test_a_time_that_the_hosts_clock_denies_is_asked_for_by_itself(tmp_path: Path, which: str) -> None:
    """What exchangeInfo says of the time may be old: it counts where the host's clock bears it out, and not else."""
    world = World()
    old = await left_behind(world, tmp_path)
    busy(world)
    if which == "host":
        world.clock.offset_ms = 3_000
    else:
        world.clock_ahead_ms = 3_000
    robot = Robot(world, tmp_path, old._pair)
    asked = await agreed(world, robot)
    # Where a signed call is refused for its time, the client measures the clock, too.
    assert asked[TIME] == (2 if which == "host" else 1)
    assert abs(robot.runner.robot.exchange_now() - world.now) <= 20


@simulated
async def test_the_price_of_a_stream_that_fell_asleep_is_not_believed(tmp_path: Path) -> None:
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up(SETTINGS)
    world.trade("0.00140000")
    await robot.wait(10)
    world.calls.clear()
    robot.runner.robot.doubt_books()
    await robot.wait(1)
    assert Counter(world.calls) == {**ALWAYS, PRICE: 1}


@simulated
async def test_a_refused_clock_is_measured_by_the_exchanges_own_answer(tmp_path: Path) -> None:
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up(SETTINGS)
    world.calls.clear()
    robot.runner.robot.resync()
    await robot.wait(1)
    assert Counter(world.calls)[TIME] == 1
