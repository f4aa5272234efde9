"""The issuer's keys are born with an IP list: the old key's, also where that key is dead already."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fortctl.errors import ConflictError, KeyPolicyError
from fortctl.exchange.error_codes import classify
from fortctl.model import KeyPair, Role
from fortctl.ports import ExchangeError
from fortctl.services.rotation.plan import RotationMode, Scope
from support.rotation_world import PERSON, SUB_ACCOUNT, Killed, Stage

pytestmark = pytest.mark.issuer(SUB_ACCOUNT)


@pytest.fixture(autouse=True)
def _restricted(stage: Stage) -> None:
    """The keys in use are restricted to trusted addresses, and fortctl has seen that."""
    for api_key, key in list(stage.engine.state.keys.items()):
        if key.account == "default":
            stage.engine.state.keys[api_key] = replace(key, ips=("127.0.0.1",))
    asyncio.run(stage.tools().keys.verify(list(Role)))


def ips(stage: Stage) -> dict[str, tuple[str, ...]]:
    return {
        key.name.split("-")[1]: key.ips for key in stage.engine.state.keys.values() if key.name.startswith("fortctl-")
    }


def lose_both(stage: Stage) -> None:
    for key in list(stage.engine.state.keys.values()):
        if key.account == "default":
            stage.engine.delete_key(key.name)
    stage.clock.wait(60)


def test_of_keys_that_the_issuer_made_it_is_remembered(stage: Stage) -> None:
    stage.rotate(RotationMode.OVERLAP, Scope.BOTH)
    assert ips(stage) == {"site": ("127.0.0.1",), "robot": ("127.0.0.1",)}
    lose_both(stage)
    stage.rotate(RotationMode.URGENT, Scope.BOTH)
    assert ips(stage) == {"site": ("127.0.0.1",), "robot": ("127.0.0.1",)}


def test_where_nobody_knows_it_none_is_made_unasked(stage: Stage) -> None:
    lose_both(stage)
    with pytest.raises(ConflictError) as refused:
        stage.rotate(RotationMode.URGENT, Scope.BOTH)
    assert refused.value.details["reason"] == "addresses_unknown" and ips(stage) == {}
    assert stage.open_operation() is None, "nothing was changed: it can be begun with addresses"


def unrestrict(stage: Stage) -> None:
    """Lift the IP lists of the keys in use: fortctl stored them before it refused such keys."""
    for api_key, key in list(stage.engine.state.keys.items()):
        if key.account == "default":
            stage.engine.state.keys[api_key] = replace(key, ips=())
    asyncio.run(stage.tools().keys.verify(list(Role)))


def test_the_issuer_makes_no_robot_key_without_an_ip_list_unless_the_operator_accepts_it(stage: Stage) -> None:
    """Paragraph "Keys as Binance has them in 2026"."""
    unrestrict(stage)
    with pytest.raises(KeyPolicyError) as refused:
        stage.rotate(RotationMode.OVERLAP, Scope.ROBOT)
    assert refused.value.details["reason"] == "ip_unrestricted" and "--ip" in refused.value.hint
    assert ips(stage) == {} and stage.open_operation() is None, "nothing was changed"
    assert stage.robot.runner is not None
    assert stage.robot.runner.state == "running", "the key that is stored trades on"
    stage.rotate(RotationMode.OVERLAP, Scope.SITE)
    assert ips(stage) == {"site": ()}
    stage.rotate(RotationMode.OVERLAP, Scope.ROBOT, allow=["ip_unrestricted"])
    assert ips(stage) == {"site": (), "robot": ()}
    stage.rotate(RotationMode.OVERLAP, Scope.ROBOT, addresses=["127.0.0.1"])
    assert ips(stage)["robot"] == ("127.0.0.1",)


@pytest.mark.issuer(PERSON)
def test_a_rotation_that_is_killed_keeps_what_the_operator_accepted(stage: Stage) -> None:
    new = stage.make_key("robot-new", Role.ROBOT, ips=())
    with pytest.raises(KeyPolicyError) as refused:
        stage.rotate(RotationMode.OVERLAP, Scope.ROBOT, {Role.ROBOT: new})
    assert refused.value.details["reason"] == "ip_unrestricted" and stage.open_operation() is None

    def kill(step: str, state: str, when: str) -> None:
        if (step, state, when) == ("deliver", "doing", "after"):
            stage.fuse = lambda *at: None
            raise Killed

    stage.fuse = kill
    with pytest.raises(Killed):
        stage.rotate(RotationMode.OVERLAP, Scope.ROBOT, {Role.ROBOT: new}, allow=["ip_unrestricted"])
    assert stage.rotate(RotationMode.OVERLAP, Scope.ROBOT, {Role.ROBOT: new}).operation.state == "done"
    in_use = stage.robot.box.key()
    assert in_use is not None and (in_use.pair.name, in_use.allow) == ("robot-new", ("ip_unrestricted",))


@pytest.mark.parametrize("role", list(Role))
def test_a_new_key_that_is_not_known_everywhere_at_once(stage: Stage, role: Role) -> None:
    """The exchange refuses it for some seconds: nobody is there who would try again, and the robot may stand still."""
    refusals = iter(range(2))

    def late(call: str, pair: KeyPair | None) -> None:
        new = pair is not None and pair.name.startswith("fortctl-")
        if new and call == "GET /api/v3/account" and next(refusals, None) is not None:
            message = "Invalid API-key, IP, or permissions for action."
            raise ExchangeError(classify(401, -2015, message), message, code=-2015, http_status=401)

    stage.before = late
    assert stage.rotate(RotationMode.DRAIN, Scope(role.value)).operation.state == "done"
    assert next(refusals, None) is None and len(ips(stage)) == 1
