"""What ``keys rotate --abort`` says of the keys is so, and stays so."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fortctl.bootstrap.issuer import issuer_service
from fortctl.cli.context import CommandContext
from fortctl.config.home import make_private_folder
from fortctl.errors import ActionRequiredError, KeyPolicyError, RobotTimeoutError
from fortctl.model import Role
from fortctl.services.rotation.journal import RotationStatus
from fortctl.services.rotation.plan import RotationMode, Scope
from fortctl.terminal.global_options import Globals
from fortctl.vault.file import VaultFile
from fortctl.vault.slots import KeyFile
from support.rotation_world import SUB_ACCOUNT, Killed, Robot, Stage


def test_not_while_the_robot_may_take_the_new_key_yet(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    move = stage.clock.waiting
    with monkeypatch.context() as hung:
        hung.setattr(Robot, "move", lambda robot: None)
        stage.clock.waiting = lambda: None
        given = {Role.ROBOT: stage.make_key("robot-new", Role.ROBOT)}
        for ended in (lambda: stage.rotate(RotationMode.URGENT, Scope.ROBOT, given), stage.abort):
            with pytest.raises(RobotTimeoutError):
                ended()
    stage.clock.waiting = move
    left = stage.abort().left
    assert left.startswith("the robot key is the new one") and stage.end_state()["old keys in use"] == ["site-old"]


def test_a_delivery_that_is_too_old_to_be_applied_keeps_nobody(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    move = stage.clock.waiting
    with monkeypatch.context() as hung:
        hung.setattr(Robot, "move", lambda robot: None)
        stage.clock.waiting = lambda: None
        with pytest.raises(RobotTimeoutError):
            stage.rotate(RotationMode.URGENT, Scope.ROBOT, {Role.ROBOT: stage.make_key("robot-new", Role.ROBOT)})
        stage.clock.ms += 960_000
        left = stage.abort().left
    stage.clock.waiting = move
    stage.clock.wait(1)
    assert left.startswith("the robot key is the old one") and "robot-old" in stage.end_state()["old keys in use"]


# -- an issuer that is gone ------------------------------------------------------------------------------------------


def stopped_after(stage: Stage, scope: Scope, step: str, mode: RotationMode = RotationMode.OVERLAP) -> None:
    """Begin a rotation, and kill it once a step of it is done."""

    def fuse(*at: str) -> None:
        if at == (step, "done", "after"):
            raise Killed

    stage.fuse = fuse
    with pytest.raises(Killed):
        stage.rotate(mode, scope)
    stage.fuse = lambda *_at: None


@pytest.mark.issuer(SUB_ACCOUNT)
@pytest.mark.parametrize("vault", ["missing", "damaged", "locked"])
def test_an_issuer_whose_vault_is_gone_keeps_nobody(stage: Stage, vault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped_after(stage, Scope.BOTH, "create")
    made = {key.name for key in stage.engine.state.keys.values() if key.name.startswith("fortctl-")}
    file = VaultFile(stage.home.issuer.vault, stage.home.issuer.erasure)
    if vault != "missing":
        make_private_folder(stage.home.issuer.path)
        file.create([KeyFile(stage.home.issuer.keyfile)])
        (file.path if vault == "damaged" else stage.home.issuer.keyfile).write_bytes(b"no such thing")
    container = CommandContext(Globals(stage.home.path, "default", no_input=True)).container
    monkeypatch.setattr(stage, "connect_issuer", lambda: issuer_service(container).issuer())
    ended = stage.abort()
    for name in made:
        assert f"the issuer's key '{name}' may live: the issuer could not be asked" in ended.left
    assert {action.key and action.key.name for action in ended.actions} == made and len(made) == 2
    assert ended.left.count("the old one, as before") == 2 and "the robot is running" in ended.left
    assert made <= {key.name for key in stage.engine.state.keys.values()}, "nobody could delete them"
    left = stage.end_state()
    assert left["old keys in use"] == ["robot-old", "site-old"] and left["usable"] == ["robot", "site"]
    assert left["open rotation"] is False and left["state"] == "running"


# -- which key is there ----------------------------------------------------------------------------------------------


def test_the_old_key_is_told_by_its_fingerprint_and_not_by_its_name(stage: Stage) -> None:
    stopped_after(stage, Scope.BOTH, "create")
    stage.engine.delete_key("site-old")
    another = stage.make_key("site-old", Role.SITE)
    asyncio.run(stage.tools().keys.add_site_key(another, allow=(), replacing=True, force=False))
    left = stage.abort().left
    tail = another.api_key.reveal()[-4:]
    assert f"the site key is 'site-old' (…{tail}), which is neither this rotation's old one nor its new one" in left
    assert "the robot key is the old one, as before" in left


@pytest.mark.parametrize("scope", [Scope.SITE, Scope.BOTH])
def test_a_key_that_is_gone_keeps_nobody_from_ending_it(stage: Stage, scope: Scope) -> None:
    stopped_after(stage, scope, "create")
    stage.tools().vault.destroy_site_key()
    assert "the site key is gone" in stage.abort().left


@pytest.mark.issuer(SUB_ACCOUNT)
def test_a_first_key_that_was_not_taken_in_leaves_none(stage: Stage) -> None:
    stage.tools().vault.destroy_site_key()
    stopped_after(stage, Scope.SITE, "create", RotationMode.ISSUE)
    left = stage.abort().left
    assert left.startswith("the site key is none, as before; the issuer's key 'fortctl-site-")
    assert not [key for key in stage.engine.state.keys.values() if key.name.startswith("fortctl-")]


def test_a_key_that_was_handed_over_and_refused_is_named(stage: Stage) -> None:
    """Nothing here keeps it, but it lives at the exchange, with rights that no role is allowed."""
    fat = stage.make_key("fat", Role.ROBOT)
    rights = stage.engine.state.keys[fat.api_key.reveal()]
    stage.engine.state.keys[fat.api_key.reveal()] = replace(rights, permissions=(*rights.permissions, "withdrawals"))
    with pytest.raises(KeyPolicyError) as refused:
        stage.rotate(RotationMode.URGENT, Scope.ROBOT, {Role.ROBOT: fat})
    assert "delete 'fat'" in refused.value.hint
    operation = stage.open_operation()
    assert operation is not None
    status = RotationStatus.of(operation, None, stage.clock.ms)
    assert status.as_json()["operation"]["waits_for"] == "another new robot key (a person)"
    assert [action.kind for action in status.actions] == ["create_key_at_exchange", "enter_key"]
    ended = stage.abort()
    assert [(action.key and action.key.name, action.role) for action in ended.actions] == [("fat", "robot")]
    assert "the new robot key 'fat' is not in use" in ended.left


def test_nobody_is_told_to_delete_the_other_roles_key(stage: Stage) -> None:
    site = stage.tools().vault.site_key()
    assert site is not None
    with pytest.raises(KeyPolicyError):
        stage.rotate(RotationMode.URGENT, Scope.ROBOT, {Role.ROBOT: site.pair})
    assert stage.abort().actions == ()


def test_one_key_of_two_is_not_kept(stage: Stage) -> None:
    """Both come together: what asks for the one that is missing asks for both."""
    stage.person.keys = lambda todo, roles: None  # type: ignore[method-assign,assignment]
    with pytest.raises(ActionRequiredError) as asked:
        stage.rotate(RotationMode.OVERLAP, Scope.BOTH, {Role.SITE: stage.make_key("site-new", Role.SITE)})
    *created, enter = asked.value.details["actions"]
    assert [one["role"] for one in created] == ["robot"]
    assert '"site": {' in enter["text"] and '"robot": {' in enter["text"]
