"""A rotation finds a robot that a person is draining: it waits for the same drain, and leaves it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from fortctl.errors import Conflict
from fortctl.paper.market import Trade
from fortctl.services.rotation_plan import Mode, Scope
from rotation.stage import SYMBOL, Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """One buy of the robot's is filled, its sell waits, and a person has it drain."""
    one = Stage(tmp_path / "home")
    trades(one, "0.00139")
    one.clock.wait(1)
    one.robot_drains()
    one.clock.wait(1)
    yield one
    one.end()


def trades(stage: Stage, price: str) -> None:
    number = stage.clock.ms
    stage.engine.trade(SYMBOL, Trade(number, Decimal(price), Decimal(100_000), number, True), number)


def test_a_drain_that_goes_on_is_waited_for(stage: Stage) -> None:
    runner = stage.robot.runner
    assert runner is not None and runner.state == "draining" and runner.book.open_orders
    with pytest.raises(Conflict) as caught:
        stage.rotate(Mode.DRAIN, Scope.ROBOT)
    assert caught.value.details["reason"] == "drain_timed_out" and runner.state == "draining", "as it was before"
    # The sell is reached: the drain ends, and the rotation that waits for it goes on.
    stage.person.on_timeout = lambda cycles_open: trades(stage, "0.00145") or "wait"  # type: ignore[func-returns-value]
    done = stage.rotate(Mode.DRAIN, Scope.ROBOT).operation
    assert done.state == "done" and runner.status()["cycles"]["closed"] == 1
    assert runner.state == "stopped" and not runner.book.open_orders, "a person stopped it: it is not started"
