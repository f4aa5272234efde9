"""Every ``pre-rotate`` is followed by exactly one ``post-rotate``, which tells how the rotation ended."""

from __future__ import annotations

import pytest

from fortctl.errors import ConflictError, FortctlError, KeyPolicyError
from fortctl.model import Role
from fortctl.services.rotation.plan import RotationMode, Scope
from support.rotation_world import SUB_ACCOUNT, Killed, NoLatch, Stage

BEFORE = ("pre-rotate", "open", None)


def kill_at(stage: Stage, *at: str) -> None:
    def fuse(*where: str) -> None:
        if where == at:
            stage.fuse = lambda *_: None
            raise Killed

    stage.fuse = fuse


def test_one_that_fails_in_its_first_step_has_ended(stage: Stage) -> None:
    stage.engine.delete_key("site-old")
    with pytest.raises(FortctlError) as refused:
        stage.rotate(RotationMode.OVERLAP, Scope.SITE)
    assert stage.hooks.told == [BEFORE, ("post-rotate", "aborted", refused.value.code.lower())]


def test_one_that_is_killed_and_gone_on_with_is_told_of_once(stage: Stage) -> None:
    for at in (("begin", "done", "after"), ("check", "doing", "after"), ("store", "done", "before")):
        kill_at(stage, *at)
        with pytest.raises(Killed):
            stage.rotate(RotationMode.OVERLAP, Scope.SITE)
    stage.rotate(RotationMode.OVERLAP, Scope.SITE)
    assert stage.hooks.told == [BEFORE, ("post-rotate", "done", None)]


def test_one_that_fails_later_stays_open_until_it_is_aborted(stage: Stage) -> None:
    too_much = stage.make_key("too-much", Role.ROBOT)
    stage.person.keys = lambda todo, roles: {Role.SITE: too_much}  # type: ignore[method-assign]
    with pytest.raises(KeyPolicyError):
        stage.rotate(RotationMode.OVERLAP, Scope.SITE)
    assert stage.open_operation() is not None and stage.hooks.told == [BEFORE]
    stage.abort()
    assert stage.hooks.told == [BEFORE, ("post-rotate", "aborted", "aborted")]


def test_one_that_was_killed_before_it_was_told_of_ends_without_a_word(stage: Stage) -> None:
    kill_at(stage, "begin", "done", "after")
    with pytest.raises(Killed):
        stage.rotate(RotationMode.OVERLAP, Scope.SITE)
    stage.abort()
    assert stage.hooks.told == []


def test_a_panic_that_could_not_end_it_leaves_that_to_the_rotation(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def latched(*where: str) -> None:
        if where == ("create", "done", "after"):
            monkeypatch.setattr(NoLatch, "is_latched", lambda latch: True)

    stage.fuse = latched
    with pytest.raises(ConflictError):
        stage.rotate(RotationMode.OVERLAP, Scope.SITE)
    assert stage.hooks.told == [BEFORE, ("post-rotate", "aborted", "panic")]


def test_keys_that_were_issued_first_are_no_rotation(stage: Stage) -> None:
    stage.tools().vault.destroy_site_key()
    stage.issuer = SUB_ACCOUNT
    kill_at(stage, "create", "doing", "after")
    with pytest.raises(Killed):
        stage.rotate(RotationMode.ISSUE, Scope.SITE)
    stage.abort()
    assert stage.hooks.told == []
