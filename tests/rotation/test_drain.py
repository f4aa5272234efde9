"""A rotation finds a robot that a person is draining: it waits for the same drain, and leaves it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from fortctl.errors import Conflict, KeyPolicy
from fortctl.model import Role
from fortctl.paper.market import Trade
from fortctl.ports import ExchangeFault, Outcome
from fortctl.services.rotation_plan import Mode, Scope
from rotation.stage import SYMBOL, EngineExchange, Stage


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


def test_orders_that_cannot_be_cancelled_are_told_of(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--on-timeout cancel``: the rotation goes on, and says what stays at the exchange, and what to do about it."""

    async def refused(exchange: EngineExchange, *_words: object, **_more: object) -> None:
        raise ExchangeFault(Outcome.UNREACHABLE, "no answer")

    monkeypatch.setattr(EngineExchange, "cancel", refused)
    stage.person.on_timeout = lambda cycles_open: "cancel"  # type: ignore[method-assign]
    (order,) = stage.engine.open_orders("default")
    weak, keys = stage.make_key("weak", Role.SITE), stage.person.keys
    stage.person.keys = lambda todo, roles: {Role.ROBOT: weak}  # type: ignore[method-assign]
    with pytest.raises(KeyPolicy) as later:
        stage.rotate(Mode.DRAIN, Scope.ROBOT)
    told = dict(later.value.warnings)["ORDERS_NOT_CANCELLED"]
    assert "1 of its orders stay" in told and order.client_order_id in told and "no answer" in told
    assert "cancel them on Binance's page" in told
    stage.person.keys = keys  # type: ignore[method-assign]
    assert stage.rotate(Mode.DRAIN, Scope.ROBOT).operation.state == "done"
