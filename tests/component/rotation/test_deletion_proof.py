"""No key is called dead that may live: what the issuer's list says, and what a missing copy says, is not enough."""

from __future__ import annotations

import pytest

from fortctl.errors import ActionRequiredError, ConflictError, FortctlError
from fortctl.mailbox.payloads import ProveRetired
from fortctl.model import Role
from fortctl.services.rotation.plan import RotationMode, Scope
from support.engine_exchange import EngineIssuer
from support.rotation_world import PERSON, SUB_ACCOUNT, Stage

pytestmark = pytest.mark.issuer(SUB_ACCOUNT)


def deletes_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def delete(self: EngineIssuer, api_key: object) -> None:
        raise refusals_as_fault()

    monkeypatch.setattr(EngineIssuer, "delete", delete)


def refusals_as_fault() -> Exception:
    from fortctl.ports import ExchangeError, Outcome

    return ExchangeError(Outcome.UNKNOWN, "503", http_status=503)


def test_another_sub_accounts_list_proves_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys live, the deletion does not come through, and the list that is asked then is another one's."""
    with monkeypatch.context() as context:
        deletes_nothing(stage, context)
        with pytest.raises(FortctlError) as caught:
            stage.rotate(RotationMode.OVERLAP, Scope.BOTH)
        assert caught.value.exit_code == 10
    here = stage.email
    stage.email = stage.engine.create_account("other", {}, stage.clock.ms, master="master").email
    with pytest.raises(ConflictError, match="another sub-account's issuer"):
        stage.rotate(RotationMode.OVERLAP, Scope.BOTH)
    operation = stage.open_operation()
    assert operation is not None and not operation.facts.deleted
    assert len([key for key in stage.engine.state.keys.values() if key.account == "default"]) == 4
    stage.email = here
    assert stage.rotate(RotationMode.OVERLAP, Scope.BOTH).operation.facts.deleted == {
        Role.SITE: "dead",
        Role.ROBOT: "dead",
    }


def test_a_key_that_the_list_never_named_is_not_dead_by_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """An issuer of another sub-account from the start: nothing is made there, and nothing begun."""
    stage.email = stage.engine.create_account("other", {}, stage.clock.ms, master="master").email
    with pytest.raises(ConflictError, match="does not name"):
        stage.rotate(RotationMode.OVERLAP, Scope.BOTH)
    assert stage.open_operation() is None
    assert not [key for key in stage.engine.state.keys.values() if key.account == "other"]


def later(stage: Stage) -> None:
    stage.person.deleted = lambda todo: False  # type: ignore[method-assign]


@pytest.mark.issuer(PERSON)
@pytest.mark.parametrize("role", list(Role))
def test_a_copy_that_is_gone_proves_nothing(stage: Stage, role: Role) -> None:
    """Somebody destroyed the retiring copy: both keys live, and nobody says that one is dead."""
    later(stage)
    with pytest.raises(ActionRequiredError):
        stage.rotate(RotationMode.OVERLAP, Scope(role.value))
    if role is Role.SITE:
        stage.tools().vault.destroy_retiring()
    else:
        stage.tools().client.execute(ProveRetired(drop=True))
    for _again in range(2):
        with pytest.raises(ActionRequiredError) as caught:
            stage.rotate(RotationMode.OVERLAP, Scope(role.value))
        assert caught.value.details["unproved"] == [role.value]


@pytest.mark.issuer(PERSON)
def test_a_death_is_journaled_before_its_copy_is_destroyed(stage: Stage) -> None:
    """Killed between the two it is proved all the same: the copy goes when the rotation is gone on with."""
    from support.rotation_world import Killed

    seen: list[tuple[bool, bool]] = []

    def fuse(step: str, state: str, when: str) -> None:
        operation = stage.open_operation()
        dead = operation is not None and Role.ROBOT in operation.facts.deleted
        if dead and not seen:
            seen.append((dead, stage.robot.box.retiring() is not None))
            raise Killed

    stage.fuse = fuse
    with pytest.raises(Killed):
        stage.rotate(RotationMode.OVERLAP, Scope.ROBOT)
    assert seen == [(True, True)]
    assert stage.rotate(RotationMode.OVERLAP, Scope.ROBOT).operation.state == "done"
    assert stage.end_state()["retiring copies"] == [False, False]


@pytest.mark.issuer(PERSON)
def test_a_wrong_key_is_refused_before_the_robot_drains(stage: Stage) -> None:
    weak = stage.make_key("weak", Role.SITE)
    with pytest.raises(FortctlError) as caught:
        stage.rotate(RotationMode.DRAIN, Scope.ROBOT, given={Role.ROBOT: weak})
    assert caught.value.exit_code == 4
    with pytest.raises(FortctlError) as caught:
        stage.rotate(RotationMode.DRAIN, Scope.SITE, given={Role.SITE: stage.make_key("strong", Role.ROBOT)})
    assert caught.value.exit_code == 4
    assert stage.open_operation() is None
    assert stage.robot.runner is not None and stage.robot.runner.state == "running"
    old = {name: key.name for name, key in (("robot", stage.robot.box.key().pair),)}  # type: ignore[union-attr]
    assert old == {"robot": "robot-old"}


def test_an_issuer_that_does_not_work_is_found_before_the_robot_drains(stage: Stage) -> None:
    stage.engine.delete_key("master")
    with pytest.raises(FortctlError) as caught:
        stage.rotate(RotationMode.DRAIN, Scope.BOTH)
    assert caught.value.exit_code == 3 and "master key" in caught.value.message
    assert stage.open_operation() is None
    assert stage.robot.runner is not None and stage.robot.runner.state == "running"
