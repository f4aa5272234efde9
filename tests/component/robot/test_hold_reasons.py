"""What holds a robot while it runs or is started, and what a person's start or resume lets pass."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fortctl.ports import ExchangeError, Outcome
from fortctl.robot.core.events import Held, event_from_json
from fortctl.robot.core.hold_reasons import Acknowledged, HoldCode, HoldReason, left_by_start, read_sentence
from simulation.loop import simulated
from support.robot_scenes import DEEP, again, codes, ours, person, trading
from support.robot_world import Robot, World

POST = "POST /api/v3/order"


def sold_by_hand(world: World, left: str = "10") -> None:
    """Cancel the robot's sells and sell what they offered, as a person does at the exchange's page."""
    for order in ours(world, "SELL"):
        person(world, "DELETE", orderId=order.id)
    free = world.engine.state.accounts["default"].free["XRP"]
    world.engine.deposit("default", "XRP", Decimal(left) - free, world.now)


# -- the balance ---------------------------------------------------------------------------------------------------


@simulated
async def test_a_start_looks_at_the_balance_before_it_orders(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    world.trade(DEEP, "5000")
    await robot.wait(2)
    await robot.does(robot.runner.stop_now(cancel_orders=True))
    sold_by_hand(world)
    before = Counter(world.calls)[POST]
    await robot.does(robot.runner.start(by_person=True))
    await robot.wait(30)
    assert robot.runner.state == "held" and codes(robot) == ["BALANCE"]
    assert Counter(world.calls)[POST] == before
    await robot.down()


@simulated
async def test_inventory_that_is_sold_by_hand_while_it_runs_is_noticed(tmp_path: Path) -> None:
    """The sell is refused for lack of funds: that is looked into, not tried for ever."""
    world = World()
    robot = await trading(tmp_path, world)
    world.trade(DEEP, "5000")
    await robot.wait(2)
    sold_by_hand(world)
    await robot.wait(60)
    assert robot.runner.state == "held" and codes(robot) == ["BALANCE"]
    tries = Counter(world.calls)[POST]
    await robot.wait(300)
    assert Counter(world.calls)[POST] == tries
    await robot.down()


@simulated
async def test_coins_that_a_person_has_offered_are_not_there_to_be_sold(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    world.trade(DEEP, "5000")
    await robot.wait(2)
    for order in ours(world, "SELL"):
        person(world, "DELETE", orderId=order.id)
    free = int(world.engine.state.accounts["default"].free["XRP"])
    person(
        world,
        "POST",
        side="SELL",
        type="LIMIT",
        timeInForce="GTC",
        price="0.0020",
        quantity=free,
        newClientOrderId="me",
    )
    await robot.wait(60)
    assert robot.runner.state == "held" and codes(robot) == ["BALANCE"]
    await robot.down()


@simulated
async def test_a_resume_lets_a_lower_balance_pass_whatever_the_price(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    world.trade(DEEP, "5000")
    await robot.wait(2)
    sold_by_hand(world)
    await robot.wait(60)
    assert codes(robot) == ["BALANCE"]
    world.trade("0.00138700")
    await robot.does(robot.runner.resume())
    await robot.wait(5)
    assert robot.runner.state == "running", robot.runner.status()["reason"]
    world.trade("0.00138800")
    await robot.wait(100)
    assert robot.runner.state == "running", "what a person has seen is no news"
    world.engine.deposit("default", "XRP", Decimal(-5), world.now)
    await robot.wait(100)
    assert robot.runner.state == "held" and codes(robot) == ["BALANCE"], "more is missing than a person has seen"
    await robot.down()


# -- start and resume ----------------------------------------------------------------------------------------------


@simulated
async def test_a_start_leaves_what_a_person_has_to_look_at(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    name = ours(world)[0].client_order_id
    await robot.does(robot.runner.stop_now(cancel_orders=True))
    await robot.down()
    alien = name.rpartition("-")[0].rpartition("-")[0] + "-999-b1"
    person(
        world, "POST", side="BUY", type="LIMIT", timeInForce="GTC", price="0.00130", quantity=50, newClientOrderId=alien
    )
    robot = await again(tmp_path, world, robot)
    assert codes(robot) == ["UNKNOWN_ORDER"] and not robot.runner.book.live
    await robot.does(robot.runner.start(by_person=True))
    await robot.wait(10)
    assert robot.runner.state == "held" and codes(robot) == ["UNKNOWN_ORDER"]
    await robot.does(robot.runner.resume())
    await robot.wait(10)
    assert robot.runner.state == "running"
    await robot.down()


@pytest.mark.parametrize(
    ("reason", "later", "passes"),
    [
        ("BALANCE: 5 XRP are missing; 2 can be sold", "BALANCE: 5 XRP are missing; 3 can be sold", True),
        ("BALANCE: 5 XRP are missing; 2 can be sold", "BALANCE: 4.5 XRP are missing; 2 can be sold", True),
        ("BALANCE: 5 XRP are missing; 2 can be sold", "BALANCE: 6 XRP are missing; 2 can be sold", False),
        ("BALANCE: 5 XRP are missing; 2 can be sold", "BALANCE: 5 BTC are missing; 2 can be sold", False),
        ("UNKNOWN_ORDER: fc-1; 5 at 2", "UNKNOWN_ORDER: fc-1; 3 at 2", True),
        ("UNKNOWN_ORDER: fc-1; 5 at 2", "UNKNOWN_ORDER: fc-2; 5 at 2", False),
        ("ROLLED_BACK: fc-1; 5 at 2", "UNKNOWN_ORDER: fc-1; 5 at 2", False),
        ("GAP: the break lasted 7.0 h", "GAP: the break lasted 7.0 h", False),
        ("DRIFT: the price moved by 6 %", "DRIFT: the price moved by 6 %", False),
        ("ACCOUNT: another's", "ACCOUNT: another's", False),
        ("SYMBOL: gone", "SYMBOL: gone", False),
    ],
)
def test_what_a_person_has_seen_is_told_by_its_code_and_by_what_stays_true_of_it(
    reason: str, later: str, passes: bool
) -> None:
    seen = Acknowledged().with_reasons(map(read_sentence, ["STRATEGY: broke", reason]))
    assert seen.with_reasons([read_sentence("UNKNOWN_ORDER: fc-9; 1")]).covers(read_sentence(later)) is passes


@pytest.mark.parametrize("code", list(HoldCode))
def test_a_start_clears_only_gap_and_drift(code: HoldCode) -> None:
    kept = ["UNKNOWN_ORDER: a", "BALANCE: 5 XRP are missing; 2", "PANIC: x"]
    held = left_by_start([*map(read_sentence, kept), HoldReason(code, "why")])
    cleared = code in {HoldCode.GAP, HoldCode.DRIFT}
    assert [str(reason) for reason in held] == (kept if cleared else [*kept, f"{code}: why"])


def test_sentences_of_an_older_journal_are_read_and_typed_reasons_are_written_beside_them() -> None:
    """A journal of before 0.1.0 has the sentences alone; what is written now is read back as it was."""
    old = Held.from_json({"reasons": ["BALANCE: 5.5 XRP are missing; 2 can be sold", "GAP: the break lasted 7.0 h"]})
    lack, gap = old.reasons
    assert (lack.code, lack.amount, lack.asset) == (HoldCode.BALANCE, Decimal("5.5"), "XRP") and gap.code == "GAP"
    written = old.as_json()
    assert written["reasons"] == ["BALANCE: 5.5 XRP are missing; 2 can be sold", "GAP: the break lasted 7.0 h"]
    assert event_from_json("held", json.loads(json.dumps(written))) == old
    words = [
        ("UNKNOWN_ORDER: fc01-1-b1 bears our prefix and is not in the journal; BUY 1 at 2, 2 ETH", "fc01-1-b1"),
        ("ROLLED_BACK: fc01-1-b1; the exchange took it in and knows it no more", "fc01-1-b1"),
        ("OTHER_ROBOT: orders named fc02-… are open and are not this robot's; 3 of them: two robots", "fc02-"),
        ("BALANCE: some XRP are gone", ""),
        ("no code at all", ""),
    ]
    for sentence, subject in words:
        reason = read_sentence(sentence)
        assert reason.subject == subject and reason.amount is None
        assert str(reason) == sentence or sentence == "no code at all"


# -- the symbol ----------------------------------------------------------------------------------------------------


@simulated
async def test_a_symbol_that_is_delisted_while_it_trades_is_held(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    placed = len(world.placed)

    def gone(name: str) -> None:
        if name.split()[1] in ("/api/v3/exchangeInfo", "/api/v3/openOrders", "/api/v3/ticker/price"):
            raise ExchangeError(Outcome.REFUSED, "Invalid symbol.", code=-1121, http_status=400)

    world.before = gone
    world.calls.clear()
    await robot.wait(600)
    assert robot.runner.state == "held" and codes(robot) == ["SYMBOL"]
    asked = Counter(world.calls)
    assert asked["GET /api/v3/exchangeInfo"] < 5 and asked["GET /api/v3/openOrders"] < 5, asked
    assert asked["GET /api/v3/account"] > 10, "a key that is lost meanwhile is noticed"
    assert len(world.placed) == placed
    world.before = lambda name: None
    await robot.does(robot.runner.resume())
    await robot.wait(10)
    assert robot.runner.state == "running"
    await robot.down()


@simulated
async def test_a_call_that_stays_refused_is_made_less_and_less_often(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)

    def refused(name: str) -> None:
        if name == "GET /api/v3/openOrders":
            raise ExchangeError(
                Outcome.REFUSED, "Illegal characters found in a parameter.", code=-1100, http_status=400
            )

    world.before = refused
    world.calls.clear()
    await robot.wait(600)
    assert 2 < Counter(world.calls)["GET /api/v3/openOrders"] < 30
    world.before = lambda name: None
    await robot.wait(120)
    assert robot.runner.state == "running"
    await robot.down()


# -- another robot -------------------------------------------------------------------------------------------------


def of_another_robot(world: World) -> Any:
    values = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "0.00130", "quantity": 50}
    return person(world, "POST", **values, newClientOrderId="fc89abcdef-7-b1")


@simulated
async def test_a_start_beside_another_robots_orders_is_held(tmp_path: Path) -> None:
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    of_another_robot(world)
    await robot.does(robot.runner.start(by_person=True))
    await robot.wait(5)
    assert robot.runner.state == "held" and codes(robot) == ["OTHER_ROBOT"]
    assert "fc89abcdef-" in robot.runner.status()["reason"]
    assert len(world.placed) == 1, "the other robot's alone"
    await robot.does(robot.runner.resume())
    await robot.wait(5)
    assert robot.runner.state == "running" and len(world.placed) > 1
    await robot.down()


@simulated
async def test_another_robot_that_begins_later_is_told_of(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    of_another_robot(world)
    await robot.wait(60)
    assert robot.runner.state == "running" and robot.runner.status()["other_robots"] == ["fc89abcdef-"]
    assert len([line for line in world.trace if "another robot has orders" in line and "fc89abcdef-" in line]) == 1
    await robot.down()
