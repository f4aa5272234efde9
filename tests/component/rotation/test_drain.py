"""A rotation finds a robot that a person is draining: it waits for the same drain, and leaves it as it was."""

from __future__ import annotations

from decimal import Decimal

import pytest

from fortctl.errors import ActionRequiredError, ConflictError, KeyPolicyError
from fortctl.model import Role
from fortctl.paper.engine.trades.table import Trade
from fortctl.ports import ExchangeError, Outcome
from fortctl.services.rotation.plan import RotationMode, Scope
from support.engine_exchange import EngineExchange
from support.rotation_world import SYMBOL, Stage


@pytest.fixture
def draining(stage: Stage) -> None:
    """One buy of the robot's is filled, its sell waits, and a person has it drain."""
    trades(stage, "0.00139")
    stage.clock.wait(1)
    stage.robot_drains()
    stage.clock.wait(1)


def trades(stage: Stage, price: str) -> None:
    number = stage.clock.ms
    stage.engine.apply_trade(SYMBOL, Trade(number, Decimal(price), Decimal(100_000), number, True), number)


@pytest.mark.usefixtures("draining")
def test_a_drain_that_goes_on_is_waited_for(stage: Stage) -> None:
    runner = stage.robot.runner
    assert runner is not None and runner.state == "draining" and runner.book.open_orders
    with pytest.raises(ConflictError) as caught:
        stage.rotate(RotationMode.DRAIN, Scope.ROBOT)
    assert caught.value.details["reason"] == "drain_timed_out" and runner.state == "draining", "as it was before"
    # The sell is reached: the drain ends, and the rotation that waits for it goes on.
    stage.person.on_timeout = lambda cycles_open: trades(stage, "0.00145") or "wait"  # type: ignore[func-returns-value]
    done = stage.rotate(RotationMode.DRAIN, Scope.ROBOT).operation
    assert done.state == "done" and runner.status()["cycles"]["closed"] == 1
    assert runner.state == "stopped" and not runner.book.open_orders, "a person stopped it: it is not started"


@pytest.mark.usefixtures("draining")
def test_orders_that_cannot_be_cancelled_are_told_of(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--on-timeout cancel``: the rotation goes on, and says what stays at the exchange, and what to do about it."""

    async def refused(exchange: EngineExchange, *_words: object, **_more: object) -> None:
        raise ExchangeError(Outcome.UNREACHABLE, "no answer")

    monkeypatch.setattr(EngineExchange, "cancel", refused)
    stage.person.on_timeout = lambda cycles_open: "cancel"  # type: ignore[method-assign]
    (order,) = stage.engine.state.open_orders("default")
    weak, keys = stage.make_key("weak", Role.SITE), stage.person.keys
    stage.person.keys = lambda todo, roles: {Role.ROBOT: weak}  # type: ignore[method-assign]
    with pytest.raises(KeyPolicyError) as later:
        stage.rotate(RotationMode.DRAIN, Scope.ROBOT)
    told = dict(later.value.warnings)["ORDERS_NOT_CANCELLED"]
    assert "1 of its orders stay" in told and order.client_order_id in told and "no answer" in told
    assert "cancel them on Binance's page" in told
    stage.person.keys = keys  # type: ignore[method-assign]
    assert stage.rotate(RotationMode.DRAIN, Scope.ROBOT).operation.state == "done"


def test_what_fails_while_the_robot_stands_still_says_so(stage: Stage) -> None:
    weak = stage.make_key("weak", Role.SITE)
    stage.person.keys = lambda todo, roles: {Role.ROBOT: weak}  # type: ignore[method-assign]
    with pytest.raises(KeyPolicyError) as while_it_trades:
        stage.rotate(RotationMode.OVERLAP, Scope.ROBOT)
    assert "robot" not in while_it_trades.value.details and not while_it_trades.value.warnings
    stage.abort()
    with pytest.raises(KeyPolicyError) as ended:
        stage.rotate(RotationMode.DRAIN, Scope.ROBOT)
    error = ended.value
    assert "the robot stands still: it was running before, and is stopped now" in error.message
    assert "'fortctl keys rotate --resume' continues" in error.hint and "--abort" in error.hint
    assert error.details["robot"] == {"was": "running", "state": "stopped", "reason": "drained"}
    assert [code for code, _text in error.warnings] == ["ROBOT_STANDS_STILL"]


def test_who_is_asked_for_a_key_hears_that_the_robot_stands_still(stage: Stage) -> None:
    stage.person.keys = lambda todo, roles: None  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(ActionRequiredError) as ended:
        stage.rotate(RotationMode.DRAIN, Scope.ROBOT)
    error = ended.value
    assert "the robot stands still" in error.message and error.details["robot"]["state"] == "stopped"
    assert not error.warnings, "a drain has it stand still on purpose"
