"""The issuer's keys are born with an IP list: the old key's, also where that key is dead already."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fortctl.errors import ConflictError
from fortctl.exchange.error_codes import classify
from fortctl.model import KeyPair, Role
from fortctl.ports import ExchangeError
from fortctl.services.rotation.plan import RotationMode, Scope
from support.rotation_world import SUB_ACCOUNT, Stage

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
