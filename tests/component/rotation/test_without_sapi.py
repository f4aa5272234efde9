"""What proves an old key dead; without ``/sapi`` (the testnet) it is -2015 beside an accepted call, with a warning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fortctl.errors import ActionRequiredError
from fortctl.keys.verification import check_deleted
from fortctl.ports import ExchangeError, Outcome
from fortctl.services.rotation.plan import RotationMode, Scope
from support.rotation_world import Stage

NO_SAPI = ExchangeError(Outcome.REFUSED, "this target has no /sapi")
UNKNOWN_KEY = ExchangeError(Outcome.KEY_REFUSED, "no", code=-2008, http_status=400)
REFUSED_KEY = ExchangeError(Outcome.KEY_REFUSED, "no", code=-2015, http_status=401)
BAD_REQUEST = ExchangeError(Outcome.REFUSED, "no", code=-1102, http_status=400)
LOST = ExchangeError(Outcome.UNKNOWN, "cut")
GOOD = None


class Says:
    """An exchange that answers as it was told."""

    def __init__(self, restrictions: ExchangeError | None, account: ExchangeError | None = None) -> None:
        self._restrictions, self._account = restrictions, account

    async def key_restrictions(self) -> None:
        if self._restrictions is not None:
            raise self._restrictions

    async def account(self) -> None:
        if self._account is not None:
            raise self._account


@pytest.mark.parametrize(
    ("old", "new", "state"),
    [
        (Says(UNKNOWN_KEY), None, "dead"),
        (Says(GOOD), None, "alive"),
        (Says(REFUSED_KEY), Says(GOOD), "refused"),
        (Says(LOST), Says(GOOD), "unproved"),
        (Says(BAD_REQUEST), Says(GOOD), "unproved"),
        (Says(NO_SAPI, GOOD), Says(NO_SAPI), "alive"),
        (Says(NO_SAPI, REFUSED_KEY), Says(NO_SAPI), "dead_by_refusal"),
        (Says(NO_SAPI, REFUSED_KEY), Says(NO_SAPI, REFUSED_KEY), "refused"),
        (Says(NO_SAPI, REFUSED_KEY), Says(NO_SAPI, LOST), "refused"),
        (Says(NO_SAPI, REFUSED_KEY), None, "refused"),
        (Says(NO_SAPI, LOST), Says(NO_SAPI), "unproved"),
    ],
    ids=[
        *("unknown", "alive", "-2015 is no proof", "lost answer", "another refusal"),
        *("alive without sapi", "refused beside an accepted call", "both refused", "the other call lost"),
        *("nothing to call beside it", "lost without sapi"),
    ],
)
async def test_what_counts_as_dead(old: Any, new: Any, state: str) -> None:
    death = await check_deleted(old, new)
    assert death.state == state and death.proved is state.startswith("dead")


@pytest.fixture
def stage(tmp_path: Path) -> Any:
    one = Stage(tmp_path / "home")
    one.has_sapi = False
    yield one
    one.end()


def test_death_by_refusal_is_warned_of(stage: Stage) -> None:
    ended = stage.rotate(RotationMode.OVERLAP, Scope.BOTH)
    assert ended.operation.state == "done"
    assert set(ended.operation.facts.dead.values()) == {"dead_by_refusal"} and len(ended.operation.facts.dead) == 2
    told = [message for code, message in ended.warnings if code == "DEATH_BY_REFUSAL"]
    assert len(told) == 2 and "old site key" in told[0] and "old robot key" in told[1]
    assert stage.end_state()["retiring copies"] == [False, False]


def test_a_key_that_lives_is_not_proved_dead(stage: Stage) -> None:
    stage.person.deleted = lambda todo: False  # type: ignore[method-assign]
    with pytest.raises(ActionRequiredError) as caught:
        stage.rotate(RotationMode.OVERLAP, Scope.BOTH)
    assert caught.value.details["unproved"] == ["site", "robot"]
    assert not [code for code, _message in caught.value.warnings if code == "DEATH_BY_REFUSAL"]
    # One of them dies: the other is asked for again.
    stage.engine.delete_key("site-old")
    with pytest.raises(ActionRequiredError) as caught:
        stage.rotate(RotationMode.OVERLAP, Scope.BOTH)
    assert caught.value.details["unproved"] == ["robot"]
    assert [code for code, _message in caught.value.warnings if code == "DEATH_BY_REFUSAL"] == ["DEATH_BY_REFUSAL"]
