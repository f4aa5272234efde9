"""The commands of ``robot`` and what they answer, over the real mailbox, vaults, journal and robot in one process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fortctl.errors import Conflict
from fortctl.ports import ExchangeFault, Outcome
from fortctl.services.rotation_plan import Mode, Scope
from rotation.stage import EngineExchange, Stage

DEEP, HIGH = "0.00139000", "0.00141000"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path / "home")
    yield stage
    stage.end()


def brought_up_again(stage: Stage) -> None:
    """Kill the robot; the next command brings it up, and it waits as ``stopped``."""
    stage.robot.kill()
    stage.robot.resumes = False
    stage.robot.bring_up()
    stage.clock.wait(1)


def open_at_the_exchange(stage: Stage, side: str) -> list[Any]:
    return [order for order in stage.engine.open_orders("default") if order.side == side]


def drain(stage: Stage) -> tuple[dict[str, Any], bool]:
    """Drain, and let the market go where the sell lies while it waits."""
    looks: list[dict[str, Any]] = []

    def progress(status: dict[str, Any]) -> None:
        looks.append(status)
        if len(looks) == 20:
            stage.trade(HIGH)

    return stage.tools().robot.drain(60, progress)


# -- draining ------------------------------------------------------------------------------------------------------


def test_a_robot_that_crashed_with_open_cycles_is_drained(stage: Stage) -> None:
    stage.trade(DEEP)
    brought_up_again(stage)
    status = stage.tools().watch.status()
    assert (status["state"], status["reason"], status["cycles"]["open"]) == ("stopped", "was_running", 1)
    status, changed = drain(stage)
    assert changed and status["state"] == "stopped" and status["cycles"]["open"] == 0
    assert not stage.engine.open_orders("default")
    assert drain(stage)[1] is False, "nothing is live any more"


def test_a_robot_that_was_stopped_with_inventory_is_drained(stage: Stage) -> None:
    stage.trade(DEEP)
    stage.tools().robot.stop_now(cancel_orders=True)
    assert not stage.engine.open_orders("default")
    status, changed = drain(stage)
    assert changed and status["cycles"]["open"] == 0 and status["cycles"]["closed"] == 1


def test_a_drain_that_somebody_stops_has_not_drained(stage: Stage) -> None:
    stage.trade(DEEP)
    with pytest.raises(Conflict, match="1 cycle") as stopped:
        stage.tools().robot.drain(60, lambda status: stage.tools().control.send("stop") and None)
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
    ended = stage.rotate(Mode.DRAIN, Scope.ROBOT)
    stage.person.on_timeout = on_timeout  # type: ignore[method-assign]
    assert waits == 1 and ended.operation.state == "done"
    assert not stage.engine.open_orders("default")
    assert stage.tools().watch.status()["state"] == "stopped", "as it was before"


def test_a_rotation_that_gives_its_drain_up_leaves_a_stopped_robot_stopped(stage: Stage) -> None:
    stage.trade(DEEP)
    brought_up_again(stage)
    with pytest.raises(Conflict, match="did not finish in time"):
        stage.rotate(Mode.DRAIN, Scope.ROBOT)
    assert stage.tools().watch.status()["state"] == "stopped"
    assert open_at_the_exchange(stage, "SELL"), "its sell lies where it lay"


# -- holding -------------------------------------------------------------------------------------------------------


def test_a_resume_that_leaves_the_robot_held_is_no_success(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.trade(DEEP)

    async def delisted(exchange: EngineExchange, symbol: str) -> Any:
        raise ExchangeFault(Outcome.REFUSED, "Invalid symbol.", code=-1121, http_status=400)

    monkeypatch.setattr(EngineExchange, "symbol_rules", delisted)
    stage.robot.kill()
    stage.robot.bring_up()
    stage.clock.wait(1)
    assert stage.tools().watch.status()["state"] == "held"
    with pytest.raises(Conflict, match="stays held: SYMBOL") as refused:
        stage.tools().robot.resume()
    assert refused.value.details["reasons"][0]["code"] == "SYMBOL"
    assert refused.value.data is not None and refused.value.data["robot"]["state"] == "held"
