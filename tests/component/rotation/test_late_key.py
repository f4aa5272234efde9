"""A key that is entered when another new one is in place is refused: nobody believes that it is in use."""

from __future__ import annotations

import pytest

from fortctl.errors import ActionRequiredError, ConflictError
from fortctl.model import KeyPair, Role
from fortctl.services.rotation.plan import RotationMode, Scope
from support.rotation_world import Killed, Stage


@pytest.fixture(autouse=True)
def _old_keys_stay(stage: Stage) -> None:
    stage.person.deleted = lambda todo: False  # type: ignore[method-assign]


def rotate(stage: Stage, role: Role, pair: KeyPair) -> None:
    stage.rotate(RotationMode.OVERLAP, Scope(role.value), {role: pair})


@pytest.mark.parametrize("role", list(Role))
def test_after_the_swap(stage: Stage, role: Role) -> None:
    first, second = stage.make_key("first", role), stage.make_key("second", role)
    for _again in range(2):
        with pytest.raises(ActionRequiredError):
            rotate(stage, role, first)
    with pytest.raises(ConflictError) as refused:
        rotate(stage, role, second)
    assert refused.value.details["reason"] == "another_key_in_place" and "'first'" in refused.value.message
    assert stage.open_operation() is not None, "it can be gone on with"


@pytest.mark.parametrize("role", list(Role))
def test_when_a_kill_hid_the_swap(stage: Stage, role: Role) -> None:
    step = "store" if role is Role.SITE else "deliver"
    first, second = stage.make_key("first", role), stage.make_key("second", role)

    def fuse(name: str, state: str, when: str) -> None:
        if (name, state, when) == (step, "done", "before"):
            raise Killed

    stage.fuse = fuse
    with pytest.raises(Killed):
        rotate(stage, role, first)
    stage.fuse = lambda name, state, when: None
    with pytest.raises(ConflictError) as refused:
        rotate(stage, role, second)
    assert refused.value.details["reason"] == "another_key_in_place"
