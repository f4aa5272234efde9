"""The issuer deletes the old key once the robot listens with the new one, however long that takes to begin."""

from __future__ import annotations

import pytest

from fortctl.services.keys.issuer import SUB_ACCOUNT
from fortctl.services.rotation.plan import RotationMode, Scope
from support.rotation_world import Stage

DELETION = "DELETE /sapi/v1/sub-account/subAccountApi"


pytestmark = pytest.mark.issuer(SUB_ACCOUNT)


@pytest.fixture(autouse=True)
def _no_calls_yet(stage: Stage) -> None:
    stage.calls.clear()


@pytest.mark.parametrize("takes_ms", [0, 2_000])
def test_the_old_key_lives_until_the_new_ones_stream_is_up(stage: Stage, takes_ms: int) -> None:
    stage.stream_takes_ms = takes_ms
    done = stage.rotate(RotationMode.OVERLAP, Scope.ROBOT).operation
    names = [name for name, _key in stage.calls]
    assert names.index("stream up") < names.index(DELETION)
    assert done.state == "done" and done.facts.trading_gap_s is not None and done.facts.trading_gap_s < 1


def test_a_stream_that_never_comes_up_is_not_waited_for_without_end(stage: Stage) -> None:
    stage.stream_takes_ms = 10_000_000
    assert stage.rotate(RotationMode.OVERLAP, Scope.ROBOT).operation.state == "done"
    assert "stream up" not in [name for name, _key in stage.calls]


def test_a_robot_that_stands_still_has_nothing_to_hand_over(stage: Stage) -> None:
    stage.robot_stops()
    before = stage.clock.ms
    assert stage.rotate(RotationMode.OVERLAP, Scope.ROBOT).operation.state == "done"
    assert stage.clock.ms - before < 5_000
