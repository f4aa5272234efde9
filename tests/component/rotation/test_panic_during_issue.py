"""A panic comes while the issuer is asked for a key: what was made for the rotation is deleted, or named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fortctl.errors import ConflictError
from fortctl.model import KeyType, Role
from fortctl.ports import ExchangeError, Outcome
from fortctl.services.rotation.plan import RotationMode, Scope
from fortctl.store.operations import SqliteOperations
from support.engine_exchange import EngineExchange, EngineIssuer
from support.rotation_world import SUB_ACCOUNT, NoLatch, Stage

pytestmark = pytest.mark.issuer(SUB_ACCOUNT)


def made(stage: Stage) -> set[str]:
    return {key.name for key in stage.engine.state.keys.values() if key.name.startswith("fortctl-")}


def panic_after(stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """Have a panic latch the robot and end the rotation right after one of the issuer's calls; tell what was asked."""
    asked: list[str] = []

    def watched(call: str, work: Callable[..., Any]) -> Callable[..., Any]:
        async def ask(issuer: EngineIssuer, *words: Any) -> Any:
            asked.append(call)
            answer = await work(issuer, *words)
            if call == name:
                monkeypatch.setattr(NoLatch, "is_latched", lambda latch: True)
                store = SqliteOperations(stage.home.operations)
                store.abort_for_panic("default", stage.clock.now_ms())
                store.close()
            return answer

        return ask

    for call in ("create", "list_keys"):
        monkeypatch.setattr(EngineIssuer, call, watched(call, getattr(EngineIssuer, call)))
    return asked


def test_what_was_made_is_deleted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    panic_after(stage, monkeypatch, "create")
    with pytest.raises(ConflictError) as ended:
        stage.rotate(RotationMode.OVERLAP, Scope.ROBOT)
    assert ended.value.details["deleted"][0].startswith("fortctl-robot-") and made(stage) == set()


def test_a_robot_that_dies_meanwhile_is_told_of(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    delete = EngineIssuer.delete

    async def deadly(issuer: EngineIssuer, *words: Any) -> Any:
        stage.robot.resumes = False
        stage.robot.kill()
        return await delete(issuer, *words)

    quiet = [code for code, _text in stage.rotate(RotationMode.OVERLAP, Scope.ROBOT).warnings]
    assert "ROBOT_STANDS_STILL" not in quiet
    monkeypatch.setattr(EngineIssuer, "delete", deadly)
    codes = [code for code, _text in stage.rotate(RotationMode.OVERLAP, Scope.ROBOT).warnings]
    assert "ROBOT_STANDS_STILL" in codes


def test_nothing_is_asked_for_any_more(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = panic_after(stage, monkeypatch, "list_keys")
    with pytest.raises(ConflictError):
        stage.rotate(RotationMode.OVERLAP, Scope.ROBOT)
    assert "create" not in asked and made(stage) == set()


def test_what_cannot_be_deleted_is_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(issuer: EngineIssuer, api_key: object) -> None:
        raise ExchangeError(Outcome.UNKNOWN, "HTTP 503")

    monkeypatch.setattr(EngineIssuer, "delete", refused)
    panic_after(stage, monkeypatch, "create")
    with pytest.raises(ConflictError) as ended:
        stage.rotate(RotationMode.OVERLAP, Scope.ROBOT)
    (name,) = made(stage)
    assert [one["name"] for one in ended.value.details["actions"]] == [name] and name in ended.value.hint


async def test_no_site_key_is_taken_in_while_the_account_is_latched(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, new = stage.tools().keys, stage.make_key("site-new", Role.SITE)
    keys.delete_site()
    latched = False
    monkeypatch.setattr(NoLatch, "is_latched", lambda latch: latched)

    async def check(*_words: object, **_more: object) -> Any:
        nonlocal latched
        latched = True
        return await asked(*_words, **_more)

    asked = EngineExchange.account
    with monkeypatch.context() as overtaking:
        overtaking.setattr(EngineExchange, "account", check)
        with pytest.raises(ConflictError, match="a panic came while the key was on its way"):
            await keys.add_site_key(new, allow=(), replacing=False, force=False)
    stage.calls.clear()
    with pytest.raises(ConflictError, match="latched after a panic"):
        await keys.add_site_key(new, allow=(), replacing=False, force=False)
    with pytest.raises(ConflictError, match="latched after a panic"):
        keys.generate(Role.SITE, KeyType.ED25519)
    custody = stage.tools().vault
    assert custody.site_key() is None and custody.pending() is None and not stage.calls, "nothing was asked or kept"
