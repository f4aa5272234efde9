"""A robot whose key changes at the exchange behind its back: what it reports, when it holds, what ends that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fortctl.model import KeyCard, KeyType, Role
from fortctl.ports import ExchangeError, Outcome
from fortctl.robot.core.drift_settings import DriftSettings, WatchAction
from fortctl.robot.storage.offline_status import offline_status
from simulation.loop import simulated
from support.engine_exchange import ADDRESS
from support.robot_world import SETTINGS, Robot, World

MINUTE = 60
RIGHTS = "GET /sapi/v1/account/apiRestrictions"
CARD = KeyCard(
    *(Role.ROBOT, "a", KeyType.HMAC, "f" * 12, "aaaa", "ok", ("reading", "spot_trading"), True),
    permissions_at=1_600_000_000_000,
)


async def trading(
    tmp_path: Path, world: World, settings: DriftSettings | None = None, card: KeyCard | None = CARD
) -> Robot:
    key = world.key("a")
    world.engine.state.key_named("a").ips = (ADDRESS,)
    return await started(Robot(world, tmp_path, key, drift=settings), card)


async def started(robot: Robot, card: KeyCard | None = CARD) -> Robot:
    robot.card = card
    await robot.up()
    if robot.runner.state != "running":
        await robot.does(robot.runner.start(by_person=True))
    await robot.settle()
    return robot


def rights(world: World, *permissions: str) -> None:
    world.engine.state.key_named("a").permissions = ("reading", *permissions)


def drift(robot: Robot) -> list[tuple[str, str | None]]:
    return [(one["kind"], one["permission"]) for one in robot.runner.status()["key_drift"]]


def hooks(robot: Robot, event: str = "on-key-drift") -> list[dict[str, Any]]:
    return [facts for name, facts in robot.announced if name == event]


@simulated
async def test_the_key_is_asked_about_at_the_start_and_every_five_minutes(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    assert world.calls.count(RIGHTS) == 1 and robot.runner.drift.asked_at == robot.clock.now_ms()
    await robot.wait(30 * MINUTE + 1)
    assert world.calls.count(RIGHTS) == 7
    assert drift(robot) == [] and robot.runner.state == "running" and hooks(robot) == []
    row = robot.runner.status()["key_rights"]
    assert row["permissions"] == ["reading", "spot_trading"] and row["asked_at"] and row["fault"] is None


@simulated
async def test_a_short_interval_is_kept_also_while_nothing_happens(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world, DriftSettings(interval_s=1.0))
    await robot.wait(20.5)
    assert world.calls.count(RIGHTS) == 21


@simulated
async def test_a_right_to_withdraw_holds_until_it_is_gone(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    rights(world, "spot_trading", "withdrawals")
    await robot.wait(5 * MINUTE + 1)
    assert robot.runner.state == "held" and drift(robot) == [("right_added", "withdrawals")]
    assert robot.runner.status()["reason"].startswith("KEY_DRIFT: the key got the permission withdrawals")
    (facts,) = hooks(robot)
    assert facts["drift"][0]["permission"] == "withdrawals" and facts["action"] == "hold" and facts["role"] == "robot"
    assert len(hooks(robot, "on-held")) == 1 and robot.panics == []
    placed = len(world.placed)
    world.trade("0.00138600", "5000")
    await robot.wait(10 * MINUTE)
    assert len(world.placed) == placed, "a held robot places nothing"
    assert len(hooks(robot)) == 1, "one drift is announced once"
    rights(world, "spot_trading")
    await robot.wait(5 * MINUTE + 1)
    assert robot.runner.state == "running" and drift(robot) == []
    assert len(world.placed) > placed


@simulated
async def test_a_person_accepts_a_right_by_resuming(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    rights(world, "spot_trading", "withdrawals")
    await robot.wait(5 * MINUTE + 1)
    await robot.does(robot.runner.resume())
    await robot.wait(11 * MINUTE)
    assert robot.runner.state == "running" and drift(robot) == [] and len(hooks(robot)) == 1
    # It is accepted after a restart, too; another right is not.
    await robot.down()
    again = await started(Robot(world, tmp_path, robot._pair))
    await again.wait(6 * MINUTE)
    assert again.runner.state == "running" and drift(again) == [] and hooks(again) == []
    rights(world, "spot_trading", "withdrawals", "internal_transfer")
    await again.wait(5 * MINUTE)
    assert again.runner.state == "held" and drift(again) == [("right_added", "internal_transfer")]


@simulated
async def test_a_restart_remembers_what_was_accepted_and_what_was_reported(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    rights(world, "spot_trading", "withdrawals")
    await robot.wait(5 * MINUTE + 1)
    await robot.down()
    assert [one["permission"] for one in offline_status(tmp_path / "journal.sqlite", world.now)["key_drift"]] == [
        "withdrawals"
    ]
    # The vault's card was renewed meanwhile ('keys verify'): the journal says what a person accepted.
    renewed = replace(CARD, permissions=("reading", "spot_trading", "withdrawals"))
    again = await started(Robot(world, tmp_path, robot._pair), renewed)
    await again.wait(MINUTE)
    assert again.runner.state == "held" and drift(again) == [("right_added", "withdrawals")]
    assert hooks(again) == [], "it was announced before the restart"


@simulated
async def test_a_drift_while_no_process_ran_is_noticed_at_the_start(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    await robot.down()
    rights(world, "spot_trading", "universal_transfer")
    again = Robot(world, tmp_path, robot._pair)
    again.card = CARD
    await again.up()
    await again.wait(1)
    assert again.runner.state == "held" and drift(again) == [("right_added", "universal_transfer")]


@simulated
async def test_a_new_key_begins_anew(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    rights(world, "spot_trading", "withdrawals")
    await robot.wait(5 * MINUTE + 1)
    assert robot.runner.state == "held"
    uid, card = world.engine.state.accounts["default"].uid, replace(CARD, name="b", fingerprint="e" * 12)
    fresh = world.key("b")
    world.engine.state.key_named("b").ips = (ADDRESS,)
    await robot.does(robot.runner.keys.set(fresh, uid=uid, card=card))
    await robot.wait(6 * MINUTE)
    assert robot.runner.state == "running" and drift(robot) == []


@simulated
async def test_the_same_key_entered_again_is_accepted_as_it_is(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    world.engine.state.key_named("a").ips = ()
    await robot.wait(5 * MINUTE + 1)
    assert drift(robot) == [("ip_list_lifted", None)] and robot.runner.state == "running"
    uid = world.engine.state.accounts["default"].uid
    await robot.does(robot.runner.keys.set(robot._pair, uid=uid, card=replace(CARD, ip_restricted=False)))
    await robot.wait(6 * MINUTE)
    assert drift(robot) == [] and robot.runner.state == "running"


@simulated
async def test_other_drifts_are_reported_and_do_not_hold(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    key = world.engine.state.key_named("a")
    key.permissions, key.ips = ("reading", "spot_trading", "margin"), ()
    key.trading_expires_at = world.now + 20 * 86_400_000
    await robot.wait(5 * MINUTE + 1)
    assert drift(robot) == [("right_added", "margin"), ("ip_list_lifted", None), ("expiry_changed", None)]
    assert robot.runner.state == "running" and len(hooks(robot)) == 1
    # 'robot resume' accepts them although nothing is held; only then does it find nothing to do.
    await robot.does(robot.runner.resume())
    await robot.wait(6 * MINUTE)
    assert drift(robot) == [] and robot.runner.state == "running"
    with pytest.raises(Exception, match="not held"):
        await robot.runner.resume()


@simulated
async def test_a_near_end_is_reported_until_it_is_moved_and_cannot_be_accepted(tmp_path: Path) -> None:
    world = World()
    ends = 1_700_000_000_000 + 13 * 86_400_000
    key = world.key("a")
    found = world.engine.state.key_named("a")
    found.ips, found.trading_expires_at = (ADDRESS,), ends
    robot = await started(Robot(world, tmp_path, key), replace(CARD, expires_at=ends))
    assert drift(robot) == [("expiry_near", None)] and robot.runner.state == "running"
    with pytest.raises(Exception, match="not held"):
        await robot.runner.resume()
    found.trading_expires_at = None
    await robot.wait(5 * MINUTE + 1)
    assert drift(robot) == [("expiry_changed", None)]


@simulated
async def test_the_trading_right_that_went_is_reported_before_an_order_needs_it(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    rights(world)
    await robot.wait(5 * MINUTE + 1)
    assert drift(robot) == [("right_removed", "spot_trading")]


@simulated
@pytest.mark.parametrize(
    ("action", "state", "panics"),
    [(WatchAction.WARN, "running", 0), (WatchAction.HOLD, "held", 0), (WatchAction.PANIC, "held", 1)],
)
async def test_the_action_is_the_operators_choice(tmp_path: Path, action: WatchAction, state: str, panics: int) -> None:
    world = World()
    robot = await trading(tmp_path, world, DriftSettings(action=action))
    rights(world, "spot_trading", "withdrawals")
    await robot.wait(5 * MINUTE + 1)
    assert robot.runner.state == state and len(robot.panics) == panics and len(hooks(robot)) == 1


@simulated
async def test_a_full_disk_keeps_no_panic_from_beginning(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world, DriftSettings(action=WatchAction.PANIC))
    rights(world, "spot_trading", "withdrawals")
    robot.journal.disk = "database or disk is full"
    await robot.wait(5 * MINUTE + 1)
    assert len(robot.panics) >= 1


@simulated
async def test_a_permission_that_was_allowed_is_no_danger(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    robot.runner.robot.allow = ("withdrawals",)
    rights(world, "spot_trading", "withdrawals")
    await robot.wait(5 * MINUTE + 1)
    assert robot.runner.state == "running" and drift(robot) == [("right_added", "withdrawals")]


@simulated
async def test_a_key_with_unknown_rights_is_first_accepted_without_those_to_move_funds(tmp_path: Path) -> None:
    world = World()
    key = world.key("a", ("reading", "spot_trading", "margin", "withdrawals"))
    world.engine.state.key_named("a").ips = (ADDRESS,)
    robot = await started(Robot(world, tmp_path, key), replace(CARD, permissions=(), ip_restricted=None))
    await robot.wait(1)
    assert robot.runner.state == "held" and drift(robot) == [("right_added", "withdrawals")]


@simulated
async def test_rights_that_cannot_be_read_are_no_drift_and_seen(tmp_path: Path) -> None:
    world = World()
    robot = await trading(tmp_path, world)
    asked_at = robot.runner.drift.asked_at

    def refuse(name: str) -> None:
        if name == RIGHTS:
            raise ExchangeError(Outcome.REFUSED, "Unsupported operation", code=-9000, http_status=400)

    world.before = refuse
    await robot.wait(20 * MINUTE)
    assert robot.runner.state == "running" and drift(robot) == [] and robot.runner.drift.asked_at == asked_at
    assert robot.runner.status()["key_rights"]["fault"] == "Unsupported operation"
    world.before = lambda name: None
    await robot.wait(MINUTE)
    assert robot.runner.drift.asked_at > asked_at and robot.runner.status()["key_rights"]["fault"] is None


@simulated
async def test_a_target_without_the_call_is_asked_no_more_often_than_any_other(tmp_path: Path) -> None:
    world = World()
    world.has_sapi = False
    robot = await trading(tmp_path, world, card=replace(CARD, permissions=(), ip_restricted=None))
    await robot.wait(20 * MINUTE)
    assert robot.runner.state == "running" and drift(robot) == [] and robot.runner.status()["key_rights"] is None


@simulated
async def test_a_stopped_robot_watches_its_key_too(tmp_path: Path) -> None:
    world = World()
    key = world.key("a")
    world.engine.state.key_named("a").ips = (ADDRESS,)
    robot = Robot(world, tmp_path, key)
    robot.card = CARD
    await robot.up(SETTINGS)
    rights(world, "spot_trading", "withdrawals")
    await robot.wait(6 * MINUTE)
    assert robot.runner.state == "held" and len(hooks(robot)) == 1
