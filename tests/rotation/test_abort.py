"""What ``keys rotate --abort`` says of the keys is so, and stays so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fortctl.errors import RobotTimeout
from fortctl.model import Role
from fortctl.services.rotation_plan import Mode, Scope
from rotation.stage import Robot, Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    one = Stage(tmp_path)
    yield one
    one.end()


def test_not_while_the_robot_may_take_the_new_key_yet(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    move = stage.clock.waiting
    with monkeypatch.context() as hung:
        hung.setattr(Robot, "move", lambda robot: None)
        stage.clock.waiting = lambda: None
        given = {Role.ROBOT: stage.make_key("robot-new", Role.ROBOT)}
        for ended in (lambda: stage.rotate(Mode.URGENT, Scope.ROBOT, given), stage.abort):
            with pytest.raises(RobotTimeout):
                ended()
    stage.clock.waiting = move
    left = stage.abort().left
    assert left.startswith("the robot key is the new one") and stage.end_state()["old keys in use"] == ["site-old"]


def test_a_delivery_that_is_too_old_to_be_applied_keeps_nobody(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    move = stage.clock.waiting
    with monkeypatch.context() as hung:
        hung.setattr(Robot, "move", lambda robot: None)
        stage.clock.waiting = lambda: None
        with pytest.raises(RobotTimeout):
            stage.rotate(Mode.URGENT, Scope.ROBOT, {Role.ROBOT: stage.make_key("robot-new", Role.ROBOT)})
        stage.clock.ms += 960_000
        left = stage.abort().left
    stage.clock.waiting = move
    stage.clock.wait(1)
    assert left.startswith("the robot key is the old one") and "robot-old" in stage.end_state()["old keys in use"]
