"""Whoever changes an account's keys does it alone: no rotation begins in that instant, and none is begun over them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fortctl.bootstrap import rotation as wiring_rotation
from fortctl.bootstrap.container import Container
from fortctl.bootstrap.key_lock import key_write_lock
from fortctl.bootstrap.rotation import rotation_journal
from fortctl.cli.context import CommandContext
from fortctl.errors import ConflictError
from fortctl.model import Role
from fortctl.robot.process.proc import process_start_time
from fortctl.services.rotation.journal import RotationJournal
from fortctl.services.rotation.plan import RotationMode, Scope
from fortctl.terminal.global_options import Globals
from support.rotation_world import Robot, Stage


@pytest.fixture
def writer(tmp_path: Path) -> Container:
    return CommandContext(Globals(tmp_path, "default"), "keys change").container


def another(home: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> RotationJournal:
    """The journal in the hands of another living process."""
    with monkeypatch.context() as there:
        there.setattr(os, "getpid", os.getppid)
        return rotation_journal(CommandContext(Globals(home, "default"), "keys rotate").container, what)


def test_no_rotation_begins_while_a_key_is_written(
    writer: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert process_start_time(os.getppid())
    rotation = another(tmp_path, monkeypatch, "keys rotate (run)")
    with key_write_lock(writer, "keys change", Role.SITE):
        assert rotation.owner() is None, "nobody works on a rotation"
        with pytest.raises(ConflictError, match=f"keys change \\(pid {os.getpid()}"):
            rotation.acquire()
    rotation.acquire()
    with pytest.raises(ConflictError, match="keys rotate"), key_write_lock(writer, "keys change", Role.SITE):
        pytest.fail("a rotation is at work")
    rotation.begin(RotationMode.OVERLAP, Scope.SITE, "person")
    rotation.release()
    with (
        pytest.raises(ConflictError, match="a rotation of the site key is open"),
        key_write_lock(writer, "keys change", Role.SITE),
    ):
        pytest.fail("a rotation of that key is open")
    with key_write_lock(writer, "keys change", Role.ROBOT):
        pass
    rotation.acquire()


def test_two_who_write_keys_wait_for_each_other(
    writer: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = another(tmp_path, monkeypatch, "keys add")
    first.acquire()
    monkeypatch.setattr(writer.clock, "wait", lambda seconds: first.release())
    with key_write_lock(writer, "keys change", Role.SITE), pytest.raises(ConflictError, match="keys change"):
        first.acquire()


def test_the_brake_ends_a_rotation_that_somebody_is_at_work_on(
    writer: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``keys delete --without-unlocking`` beside a rotation that waits at a prompt: it hears of it at its next step."""
    rotation = another(tmp_path, monkeypatch, "keys rotate (run)")
    rotation.acquire()
    operation = rotation.begin(RotationMode.OVERLAP, Scope.SITE, "person")
    assert wiring_rotation.abort_for_deleted_key(writer, Role.ROBOT) is None and rotation.owner() is not None
    ended = wiring_rotation.abort_for_deleted_key(writer, Role.SITE)
    assert ended is not None and (ended.state, ended.reason) == ("aborted", "key_destroyed")
    assert rotation.current() is None and rotation.owner() is None
    with pytest.raises(ConflictError, match="another command or a panic took over the rotation"):
        rotation.put(operation.begun("check", 1))


async def _queue(stage: Stage) -> None:
    second = stage.make_key("robot-second", Role.ROBOT)
    await stage.tools().keys.add_robot_key(second, allow=(), replacing=True, force=False, wait_s=0)


def test_a_key_that_was_sent_before_it_is_the_one_that_a_rotation_replaces(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``keys change --no-wait``: the robot takes the key up in the middle of the rotation's first step."""
    import asyncio

    with monkeypatch.context() as asleep:
        asleep.setattr(Robot, "wake", lambda robot: True)
        asyncio.run(_queue(stage))
    done = stage.rotate(RotationMode.OVERLAP, Scope.ROBOT).operation
    assert done.facts.old[Role.ROBOT].name == "robot-second"
    assert {key.name for key in stage.engine.state.keys.values()} >= {"robot-old", "robot-new"}
    assert "robot-second" not in {key.name for key in stage.engine.state.keys.values()}
