"""However a key dies it is lost within one request and one look; whatever passes is never taken for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from fortctl.exchange.error_codes import classify
from fortctl.model import OrderUpdate, StreamDown
from fortctl.paper.faults import ANSWER, CODES, EVENT, HTTP_REQUEST, KEY, KINDS, LIST, REQUEST, SERVER
from fortctl.ports import ExchangeError, Outcome
from fortctl.robot.core.filters import format_money
from fortctl.robot.core.hold_reasons import HoldCode, HoldReason
from fortctl.robot.storage.offline_status import offline_status
from fortctl.timestamps import rfc3339
from simulation.loop import simulated
from support.robot_scenes import agree
from support.robot_world import Robot, World

ORDER = "POST /api/v3/order"
DEEP = "0.00138600"

# What kills a key, and what the robot then says of it: reason and certainty.
DEADLY: dict[str, tuple[str, str]] = {
    "key-deleted": ("unknown_key", "certain"),
    "ip-changed": ("ip_not_listed", "likely"),
    "permission-taken": ("trading_right_removed", "certain"),
    "key-expired": ("trading_right_removed", "certain"),
    "trading-disabled": ("trading_disabled", "certain"),
}
# One refusal in the key's words while the key lives: looked at, and found to be nothing.
CRIES_WOLF = {"code-2015"}
NOT_THE_ROBOTS = {"disk-full", "keys-full", "revoked-stream"}


def strike(world: World, kind: str, key: str = "a") -> None:
    """Let a key die."""
    found = world.engine.state.key_named(key)
    match kind:
        case "key-deleted":
            world.delete_key(key, streams="silent")
        case "ip-changed":
            found.ips = ("198.51.100.7",)
        case "permission-taken":
            found.permissions = ("reading",)
        case "key-expired":
            found.trading_expires_at = world.now
        case "trading-disabled":
            world.engine.state.accounts["default"].can_trade = False


def fault_of(kind: str) -> tuple[str, ExchangeError | None]:
    """Return when a fault of the paper exchange strikes a request, and what the adapter makes of it."""
    if kind.startswith("code-"):
        text, status = CODES[int(kind[4:])]
        code = int(kind[4:])
        return "before", ExchangeError(classify(status, code, text), text, code=code, http_status=status)
    if kind.startswith("http-"):
        status = int(kind[5:])
        code = -1003 if status in (418, 429) else None
        return "before", ExchangeError(classify(status, code, ""), kind, code=code, http_status=status, retry_after=1)
    if kind == "maintenance":
        return "before", ExchangeError(classify(503, -1016, ""), kind, code=-1016, http_status=503)
    if kind == "slow":
        return "before", None
    when = "before" if kind in ("cut-before", "redirect") else "after"
    return when, ExchangeError(Outcome.UNKNOWN, f"the connection broke ({kind})")


async def trading(tmp_path: Path, world: World) -> Robot:
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    await robot.does(robot.runner.start(by_person=True))
    await robot.settle()
    assert robot.runner.status()["orders_open"] == 4
    return robot


def test_the_tables_name_every_fault_of_the_paper_exchange() -> None:
    assert set(DEADLY) == set(KEY)
    families = (ANSWER, EVENT, HTTP_REQUEST, KEY, LIST, REQUEST, SERVER)
    assert set(KINDS) == {name for family in families for name in family}
    assert set(REQUEST) >= CRIES_WOLF and set(SERVER) >= NOT_THE_ROBOTS


# -- what kills ----------------------------------------------------------------------------------------------------


def _fill(world: World) -> None:
    world.trade(DEEP, "5000")


async def _while_placing(world: World, robot: Robot, kind: str) -> None:
    strike(world, kind)
    _fill(world)


async def _in_the_middle_of_a_batch(world: World, robot: Robot, kind: str) -> None:
    seen = [0]

    def second(name: str) -> None:
        seen[0] += name == ORDER
        if name == ORDER and seen[0] == 2:
            strike(world, kind)

    world.before = second
    _fill(world)


async def _while_everything_is_idle(world: World, robot: Robot, kind: str) -> None:
    strike(world, kind)
    await robot.wait(45)
    if robot.runner.state != "key_lost":
        # A right to trade is missed once somebody wants to trade.
        _fill(world)


async def _on_the_user_stream(world: World, robot: Robot, kind: str) -> None:
    strike(world, kind)
    for stream in world.listeners:
        stream.put(StreamDown("Invalid API-key, IP, or permissions for action.", -2015))


PLACES: dict[str, Callable[[World, Robot, str], object]] = {
    "placing": _while_placing,
    "batch": _in_the_middle_of_a_batch,
    "idle": _while_everything_is_idle,
    "stream": _on_the_user_stream,
}


@pytest.mark.parametrize("place", sorted(PLACES))
@pytest.mark.parametrize("kind", sorted(DEADLY))
@simulated
async def test_it_is_lost_within_one_request_and_one_look(tmp_path: Path, kind: str, place: str) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    await PLACES[place](world, robot, kind)  # type: ignore[misc]
    # A deleted key's stream may fall silent: then the first request is that of a silence.
    await robot.wait(45)
    runner = robot.runner
    assert runner.state == "key_lost"
    loss = runner.status()["key_loss"]
    assert (loss["reason"], loss["certainty"]) == DEADLY[kind] and loss["why"]
    refused = [order for order in runner.book.orders.values() if order.absent]
    unsent = [event for event in world.trace if "not sent" in event]
    assert len(refused) - len(unsent) <= 1, "one request learns it, and no other order leaves"
    calls = len(world.calls)
    for price in ("0.00139900", "0.00138000", "0.00141500", "0.00136000"):
        world.trade(price, "5000")
        await robot.wait(60)
    assert world.calls[calls:] == [], "it watches the market, and asks nothing more"
    assert not world.broken
    await robot.down()


@simulated
async def test_a_death_without_a_word_is_noticed_within_one_silence(tmp_path: Path) -> None:
    """Whenever the last word came: the look does not wait for the worker's next round."""
    world = World()
    robot = await trading(tmp_path, world)
    await robot.wait(40)
    world.engine.deposit("default", "XRP", Decimal(1), world.now)
    world.delete_key("a", streams="silent")
    await robot.wait(29)
    assert robot.runner.state == "running"
    await robot.wait(2)
    assert robot.runner.state == "key_lost"
    await robot.down()


@simulated
async def test_without_the_keys_page_an_order_without_effect_shows_that_it_may_not_trade(tmp_path: Path) -> None:
    world = World()
    world.has_sapi = False
    robot = await trading(tmp_path, world)
    strike(world, "permission-taken")
    _fill(world)
    await robot.wait(5)
    loss = robot.runner.status()["key_loss"]
    assert (loss["reason"], loss["certainty"]) == ("trading_right_removed", "likely")
    assert "POST /api/v3/order/test" in world.calls
    await robot.down()


@pytest.mark.parametrize("kind", ["http-502", "maintenance", "http-418", "code-1021", "cut-before"])
@simulated
async def test_a_look_that_tells_nothing_is_taken_again(tmp_path: Path, kind: str) -> None:
    """The key is dead and the exchange in trouble: nothing is placed, and nothing is claimed before it is known."""
    world = World()
    robot = await trading(tmp_path, world)
    strike(world, "key-deleted")
    _when, fault = fault_of(kind)
    assert fault is not None
    looks = [0]

    def trouble(name: str) -> None:
        if name != ORDER and looks[0] < 40:
            looks[0] += 1
            raise fault

    world.before = trouble
    _fill(world)
    await robot.wait(3)
    placed = world.calls.count(ORDER)
    assert robot.runner.state != "key_lost"
    await robot.wait(120)
    assert robot.runner.state == "key_lost" and world.calls.count(ORDER) == placed
    await robot.down()


# -- what passes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["once", "everything for a while"])
@pytest.mark.parametrize("kind", sorted({**REQUEST, **HTTP_REQUEST, **ANSWER}))
@simulated
async def test_what_passes_is_no_lost_key(tmp_path: Path, kind: str, where: str) -> None:
    world = World()
    before = world.balances()
    robot = await trading(tmp_path, world)
    when, fault = fault_of(kind)
    until = world.now + (30_000 if where != "once" else 0)
    left = [1]
    if kind in CRIES_WOLF and where != "once":
        pytest.skip("a key that is refused for half a minute is lost")

    def trouble(name: str) -> None:
        struck = world.now < until if where != "once" else name == ORDER and left and left.pop()
        if struck and fault is not None:
            raise fault

    setattr(world, when, trouble)
    _fill(world)
    for _ in range(40):
        await robot.wait(1)
        assert robot.runner.state != "key_lost"
    await robot.wait(120)
    assert robot.runner.state == "running"
    agree(world, robot.runner.book, before)
    assert not world.broken
    await robot.down()


@pytest.mark.parametrize("kind", sorted(set(EVENT) | set(SERVER) - NOT_THE_ROBOTS))
@simulated
async def test_what_happens_to_streams_and_clocks_is_no_lost_key(tmp_path: Path, kind: str) -> None:
    world = World()
    before = world.balances()
    robot = await trading(tmp_path, world)
    kept: list[object] = []

    def mangle(event):  # type: ignore[no-untyped-def]
        if not isinstance(event, OrderUpdate) or kind not in EVENT:
            return [event]
        if kind == "event-doubled":
            return [event, event]
        if kind == "event-reordered":
            kept.append(event)
            return [kept.pop(), kept.pop(0)] if len(kept) > 1 else []
        return []

    world.mangle = mangle
    if kind in ("ws-cut", "ws-stalled"):
        for stream in world.listeners:
            stream.live = False
            if kind == "ws-cut":
                stream.put(StreamDown("the connection was closed"))
    elif kind.startswith("clock"):
        world.clock_ahead_ms = 5_000
    _fill(world)
    await robot.wait(120)
    world.mangle = lambda event: [event]
    await robot.wait(60)
    assert robot.runner.state == "running"
    agree(world, robot.runner.book, before)
    await robot.down()


# -- what it says --------------------------------------------------------------------------------------------------


@simulated
async def test_it_says_what_the_loss_means_in_money_and_when_it_is_long(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    world.trade("0.00139200", "60")
    await robot.wait(2)
    orders = {order.side: order for order in robot.runner.open_orders()}
    assert set(orders) == {"BUY", "SELL"}
    world.delete_key("a")
    await robot.wait(2)
    assert robot.runner.state == "key_lost"
    sell = next(order for order in robot.runner.open_orders() if order.side == "SELL")
    world.trade("0.00150000", "1")
    await robot.wait(1)
    loss = robot.runner.status()["key_loss"]
    assert loss["probably_filled"] == [sell.client_order_id]
    quote = Decimal(sell.price) * Decimal(sell.quantity)
    assert Decimal(loss["fills"][0]["ETH"]) == quote and Decimal(loss["fills"][0]["XRP"]) == -Decimal(sell.quantity)
    money = loss["would_mean"]
    assert Decimal(money["quote"]) == round(quote * (1 - Decimal("0.001")), 8) and Decimal(money["profit_of_sells"]) > 0
    assert loss["long"]["is"] is True and Decimal(loss["long"]["drift_percent"]) > 5
    world.trade("0.00139200", "1")
    await robot.wait(3600)
    loss = robot.runner.status()["key_loss"]
    assert loss["long"]["is"] is False and loss["long"]["gap_s"] >= 3600 and loss["long"]["max_gap_s"] == 6 * 3600
    await robot.wait(6 * 3600)
    assert robot.runner.status()["key_loss"]["long"]["is"] is True
    await robot.down()


def _same(robot: Robot) -> bool:
    """Return whether what the process reads of its robot is what its status says."""
    facts, status = robot.runner.facts(), robot.runner.status()
    lost, rights = status.get("key_loss") or {}, status["key_rights"] or {}
    said = (status["state"], status["config"]["symbol"], status["orders_open"], status["cycles"], len(status["hold"]))
    assert (facts.state, facts.symbol, facts.orders_open, facts.cycles._asdict(), len(facts.hold)) == said
    assert (format_money(facts.profit), facts.profit_asset) == (status["realised_profit"], status["profit_asset"])
    assert (rfc3339(facts.key.lost_at), rfc3339(facts.key.rights_at)) == (lost.get("since"), rights.get("asked_at"))
    assert list(facts.key.rights.permissions if facts.key.rights else ()) == rights.get("permissions", [])
    return facts.key.books_agree == (status["books"] == "agreed")


@simulated
async def test_the_process_reads_of_its_robot_what_the_status_says(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    assert _same(robot) and robot.runner.facts().key.books_agree and robot.runner.facts().key.rights is not None
    robot.runner.suspend_trading(HoldReason(HoldCode.DEADMAN, "x"))
    assert _same(robot) and robot.runner.facts().hold == (HoldReason(HoldCode.DEADMAN, "x"),)
    robot.runner.suspend_trading(None)
    strike(world, "key-deleted")
    _fill(world)
    # The deleted key's stream is silent: the first request is that of a silence.
    await robot.wait(45)
    assert _same(robot) and robot.runner.facts().key.lost_at is not None
    await robot.down()


@simulated
async def test_a_restart_does_not_make_a_loss_younger(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    pair = robot._pair
    world.delete_key("a")
    await robot.wait(2)
    since = robot.runner.status()["key_loss"]["since"]
    await robot.down()
    offline = offline_status(tmp_path / "journal.sqlite", 0)["key_loss"]
    assert (offline["since"], offline["reason"]) == (since, "unknown_key"), "also while no robot answers"
    await asyncio.sleep(7200)
    again = Robot(world, tmp_path, pair)
    await again.up()
    await again.wait(5)
    assert again.runner.state == "key_lost" and again.runner.status()["key_loss"]["since"] == since
    await again.runner.keys.set(world.key("b"), uid=world.engine.state.accounts["default"].uid)
    await again.wait(5)
    assert again.runner.state == "running", "two hours are bridged alone"
    world.delete_key("b")
    await again.wait(5)
    assert again.runner.status()["key_loss"]["since"] != since
    await again.down()


@simulated
async def test_a_restarted_robot_knows_what_the_market_did_since_the_loss(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    pair = robot._pair
    world.delete_key("a", streams="silent")
    robot.runner.robot.resync()
    await robot.wait(2)
    assert robot.runner.state == "key_lost"
    world.trade(DEEP, "50000")
    world.trade("0.00140000", "1")
    await robot.wait(1)
    before = robot.runner.status()["key_loss"]
    assert len(before["probably_filled"]) == 2
    await robot.down()
    world.trade("0.00137900", "50000")
    world.trade("0.00140500", "1")
    await asyncio.sleep(5_000)
    again = Robot(world, tmp_path, pair)
    await again.up()
    await again.wait(5)
    told = again.runner.status()["key_loss"]
    assert told["probably_filled"][:2] == before["probably_filled"], "what was seen before the restart is not forgotten"
    assert len(told["probably_filled"]) == 3, "nor what nobody saw"
    assert told["price_now"] == "0.00140500" and told["drift_percent"] == "0.357"
    assert Decimal(told["would_mean"]["base"]) > Decimal(before["would_mean"]["base"]) > 0
    await again.down()
