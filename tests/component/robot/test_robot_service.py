"""The commands of ``robot`` and what they answer, over the real mailbox, vaults, journal and robot in one process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fortctl.errors import ConflictError, ExchangeUnreachableError, KeyRejectedError, NotFoundError
from fortctl.mailbox.payloads import ForgetKey, StopTrading
from fortctl.model import KeyPair, Role
from fortctl.ports import ExchangeError, Outcome
from fortctl.services.robot.status import RobotReport
from fortctl.services.rotation.plan import RotationMode, Scope
from support.engine_exchange import EngineExchange
from support.rotation_world import Stage

DEEP, HIGH = "0.00139000", "0.00141000"


def brought_up_again(stage: Stage) -> None:
    """Kill the robot; the next command brings it up, and it waits as ``stopped``."""
    stage.robot.kill()
    stage.robot.resumes = False
    stage.robot.ensure_running()
    stage.clock.wait(1)


def open_at_the_exchange(stage: Stage, side: str) -> list[Any]:
    return [order for order in stage.engine.state.open_orders("default") if order.side == side]


def drain(stage: Stage) -> tuple[RobotReport, bool]:
    """Drain, and let the market go where the sell lies while it waits."""
    looks: list[RobotReport] = []

    def progress(status: RobotReport) -> None:
        looks.append(status)
        if len(looks) == 20:
            stage.trade(HIGH)

    return stage.tools().robot.drain(60, progress)


# -- draining ------------------------------------------------------------------------------------------------------


def test_a_robot_that_crashed_with_open_cycles_is_drained(stage: Stage) -> None:
    stage.trade(DEEP)
    brought_up_again(stage)
    status = stage.tools().status_reader.status()
    assert (status.state, status.reason, status.cycles_open) == ("stopped", "was_running", 1)
    status, changed = drain(stage)
    assert changed and status.state == "stopped" and status.cycles_open == 0
    assert not stage.engine.state.open_orders("default")
    assert drain(stage)[1] is False, "nothing is live any more"


def test_a_robot_that_was_stopped_with_inventory_is_drained(stage: Stage) -> None:
    stage.trade(DEEP)
    stage.tools().robot.stop_now(cancel_orders=True)
    assert not stage.engine.state.open_orders("default")
    status, changed = drain(stage)
    assert changed and status.cycles_open == 0 and status.cycles_closed == 1


def test_a_drain_that_somebody_stops_has_not_drained(stage: Stage) -> None:
    stage.trade(DEEP)
    with pytest.raises(ConflictError, match="1 cycle") as stopped:
        stage.tools().robot.drain(60, lambda status: stage.tools().client.execute(StopTrading()) and None)
    assert stopped.value.data is not None and stopped.value.data["robot"]["state"] == "stopped"


def test_a_rotation_drains_what_a_crash_has_left_open(stage: Stage) -> None:
    stage.trade(DEEP)
    brought_up_again(stage)
    waits = 0
    on_timeout = stage.person.on_timeout

    def rise(cycles_open: int) -> str:
        nonlocal waits
        waits += 1
        assert cycles_open == 1 and open_at_the_exchange(stage, "SELL")
        stage.trade(HIGH)
        return "wait"

    stage.person.on_timeout = rise  # type: ignore[method-assign]
    ended = stage.rotate(RotationMode.DRAIN, Scope.ROBOT)
    stage.person.on_timeout = on_timeout  # type: ignore[method-assign]
    assert waits == 1 and ended.operation.state == "done"
    assert not stage.engine.state.open_orders("default")
    assert stage.tools().status_reader.status().state == "stopped", "as it was before"


def test_a_rotation_that_gives_its_drain_up_leaves_a_stopped_robot_stopped(stage: Stage) -> None:
    stage.trade(DEEP)
    brought_up_again(stage)
    with pytest.raises(ConflictError, match="did not finish in time"):
        stage.rotate(RotationMode.DRAIN, Scope.ROBOT)
    assert stage.tools().status_reader.status().state == "stopped"
    assert open_at_the_exchange(stage, "SELL"), "its sell lies where it lay"


# -- holding -------------------------------------------------------------------------------------------------------


def test_a_resume_that_leaves_the_robot_held_is_no_success(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.trade(DEEP)

    async def delisted(exchange: EngineExchange, symbol: str) -> Any:
        raise ExchangeError(Outcome.REFUSED, "Invalid symbol.", code=-1121, http_status=400)

    monkeypatch.setattr(EngineExchange, "symbol_rules", delisted)
    stage.robot.kill()
    stage.robot.ensure_running()
    stage.clock.wait(1)
    assert stage.tools().status_reader.status().state == "held"
    with pytest.raises(ConflictError, match="stays held: SYMBOL") as refused:
        stage.tools().robot.resume()
    assert refused.value.details["reasons"][0]["code"] == "SYMBOL"
    assert refused.value.data is not None and refused.value.data["robot"]["state"] == "held"


# -- stopping ------------------------------------------------------------------------------------------------------


def lose_the_key(stage: Stage) -> None:
    stage.engine.delete_key("robot-old")
    stage.trade(DEEP)
    assert stage.tools().status_reader.status().state == "key_lost"


def test_no_order_call_leaves_with_a_lost_key_and_stop_says_what_stays(stage: Stage) -> None:
    lose_the_key(stage)
    stage.calls.clear()
    with pytest.raises(KeyRejectedError, match="1 of its orders stay") as refused:
        stage.tools().robot.stop_now(cancel_orders=True)
    assert refused.value.details["reason"] and refused.value.exit_code == 3
    told = refused.value.data
    assert told is not None and told["cancelled"] == [] and told["checked"] is False
    assert len(told["orders_left"]) == 1 and told["robot"]["state"] == "key_lost"
    assert not [call for call, _key in stage.calls if "order" in call.lower()]
    _status, stopped, _changed = stage.tools().robot.stop_now(cancel_orders=False)
    assert stopped.checked is False and len(stopped.orders_left) == 1, "kept as asked for, and told of"


def test_orders_without_a_key_to_cancel_them(stage: Stage) -> None:
    stage.tools().client.execute(ForgetKey())
    with pytest.raises(NotFoundError, match="2 of its orders stay"):
        stage.tools().robot.stop_now(cancel_orders=True)


def test_a_stop_while_the_exchange_is_not_there_is_no_success(stage: Stage) -> None:
    def gone(call: str, pair: KeyPair | None) -> None:
        raise ExchangeError(Outcome.UNREACHABLE, "connection refused")

    there, stage.before = stage.before, gone
    with pytest.raises(ExchangeUnreachableError) as failed:
        stage.tools().robot.stop_now(cancel_orders=True)
    stage.before = there
    told = failed.value.data
    assert failed.value.exit_code == 10 and told is not None
    assert told["cancelled"] == [] and len(told["orders_left"]) == 2 and told["robot"]["state"] == "stopped"
    _status, stopped, changed = stage.tools().robot.stop_now(cancel_orders=True)
    assert changed and len(stopped.cancelled) == 2 and stopped.orders_left == () and stopped.checked is True


# -- a key that comes back -----------------------------------------------------------------------------------------


def shown_key(stage: Stage) -> Any:
    card = stage.tools().keys.robot_card()
    assert card is not None
    return card


def without_trading(stage: Stage) -> Any:
    """Take the right to trade from the robot's key; the robot notices at its next order."""
    key = next(key for key in stage.engine.state.keys.values() if key.name == "robot-old")
    had, key.permissions = key.permissions, ("reading",)
    stage.trade(DEEP)
    assert stage.tools().status_reader.status().state == "key_lost" and shown_key(stage).status == "rejected"
    return lambda: setattr(key, "permissions", had)


def test_a_key_that_is_good_again_is_used_again_once_a_person_verifies_it(stage: Stage) -> None:
    give_back = without_trading(stage)
    asyncio.run(stage.tools().keys.verify([Role.ROBOT]))
    assert stage.tools().status_reader.status().state == "key_lost"
    give_back()
    asyncio.run(stage.tools().keys.verify([Role.ROBOT]))
    stage.clock.wait(1)
    status = stage.tools().status_reader.status()
    assert status.state == "running" and shown_key(stage).status == "ok"
    assert stage.robot.runner is not None
    stage.robot.runner.robot.wake()
    stage.clock.wait(1)
    assert open_at_the_exchange(stage, "SELL"), "what was bought when it was lost is for sale"


def test_a_start_looks_at_a_lost_key_again(stage: Stage) -> None:
    give_back = without_trading(stage)
    with pytest.raises(KeyRejectedError, match="still does not accept") as refused:
        stage.tools().robot.start()
    assert refused.value.details["reason"] == "trading_right_removed"
    give_back()
    assert stage.tools().robot.start().state == "running"


def test_a_loss_is_believed_over_a_restart(stage: Stage) -> None:
    give_back = without_trading(stage)
    since = stage.tools().status_reader.status().lost_since
    stage.clock.wait(3600)
    stage.robot.kill()
    stage.placed.clear()
    stage.robot.ensure_running()
    stage.clock.wait(1)
    status = stage.tools().status_reader.status()
    assert status.state == "key_lost" and status.lost_since == since and not stage.placed
    assert shown_key(stage).status == "rejected"
    give_back()
    stage.robot.kill()
    stage.robot.ensure_running()
    stage.clock.wait(1)
    assert stage.tools().status_reader.status().state == "running" and stage.placed
