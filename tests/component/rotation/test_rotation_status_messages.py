"""What a rotation says of the old key and of the robot is so."""

from __future__ import annotations

import pytest

from fortctl.errors import KeyRejectedError
from fortctl.exchange.error_codes import classify
from fortctl.model import KeyPair, Role
from fortctl.ports import ExchangeError
from fortctl.services.rotation.plan import RotationMode, Scope
from support.rotation_world import Stage


def test_a_robot_that_is_held_after_its_key_was_lost(stage: Stage) -> None:
    stage.engine.delete_key("robot-old")
    # Its next order is refused: a buy is filled, and its sell cannot leave.
    stage.trade("0.00139000")
    stage.clock.wait(60)
    assert stage.robot.runner is not None and stage.robot.runner.state == "key_lost"
    stage.trade("0.00120000")
    ended = stage.rotate(RotationMode.URGENT, Scope.ROBOT, {Role.ROBOT: stage.make_key("robot-new", Role.ROBOT)})
    assert stage.robot.runner.state == "held"
    assert "is held now" in dict(ended.warnings)["ROBOT_STANDS_STILL"]


@pytest.mark.parametrize("gone", [True, False])
def test_a_key_that_lives_is_not_called_gone(stage: Stage, gone: bool) -> None:
    def refuse(call: str, pair: KeyPair | None) -> None:
        if call in ("GET /api/v3/account", "GET /sapi/v1/account/apiRestrictions"):
            message = "Invalid API-key, IP, or permissions for action."
            raise ExchangeError(classify(401, -2015, message), message, code=-2015, http_status=401)

    if gone:
        stage.engine.delete_key("site-old")
    else:
        stage.before = refuse
    with pytest.raises(KeyRejectedError) as refused:
        stage.rotate(RotationMode.OVERLAP, Scope.SITE)
    assert ("deleted already" in refused.value.hint) is gone and "--mode urgent" in refused.value.hint
