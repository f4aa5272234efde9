"""What proves an old key dead; without ``/sapi`` (the testnet) it is -2015 beside an accepted call, with a warning."""

from __future__ import annotations

from typing import Any

import pytest

from fortctl.errors import ActionRequiredError
from fortctl.keys.verification import check_deleted
from fortctl.ports import ExchangeError, Outcome
from fortctl.services.rotation.plan import RotationMode, Scope
from support.clock import FakeClock
from support.rotation_world import Stage

NO_SAPI = ExchangeError(Outcome.REFUSED, "this target has no /sapi")
UNKNOWN_KEY = ExchangeError(Outcome.KEY_REFUSED, "no", code=-2008, http_status=400)
REFUSED_KEY = ExchangeError(Outcome.KEY_REFUSED, "no", code=-2015, http_status=401)
BAD_REQUEST = ExchangeError(Outcome.REFUSED, "no", code=-1102, http_status=400)
LOST = ExchangeError(Outcome.UNKNOWN, "cut")
GOOD = None


class Says:
    """An exchange that answers as it was told; of several answers about the key's rights, one after the other."""

    def __init__(
        self,
        restrictions: ExchangeError | list[ExchangeError | None] | None,
        account: ExchangeError | None = None,
    ) -> None:
        self._restrictions = restrictions if isinstance(restrictions, list) else [restrictions]
        self._account = account

    async def key_restrictions(self) -> None:
        answer = self._restrictions[0] if len(self._restrictions) == 1 else self._restrictions.pop(0)
        if answer is not None:
            raise answer

    async def account(self) -> None:
        if self._account is not None:
            raise self._account


@pytest.mark.parametrize(
    ("old", "new", "state"),
    [
        (Says(UNKNOWN_KEY, REFUSED_KEY), None, "dead"),
        (Says(UNKNOWN_KEY, GOOD), None, "alive"),
        (Says([UNKNOWN_KEY, GOOD], REFUSED_KEY), None, "alive"),
        (Says([UNKNOWN_KEY, REFUSED_KEY], REFUSED_KEY), None, "refused"),
        (Says([UNKNOWN_KEY, LOST], REFUSED_KEY), None, "unproved"),
        (Says(UNKNOWN_KEY, LOST), None, "unproved"),
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
        *("unknown twice", "a stray -2008 of a key that works", "the second answer accepts it"),
        *("the second answer is -2015", "the second answer is lost", "the account cannot be asked"),
        *("alive", "-2015 is no proof", "lost answer", "another refusal"),
        *("alive without sapi", "refused beside an accepted call", "both refused", "the other call lost"),
        *("nothing to call beside it", "lost without sapi"),
    ],
)
async def test_what_counts_as_dead(old: Any, new: Any, state: str) -> None:
    clock = FakeClock(0)
    death = await check_deleted(old, new, clock)
    assert death.state == state and death.proved is state.startswith("dead")
    assert state != "dead" or clock.s >= 2, "the two answers lie some seconds apart"


@pytest.fixture
def no_sapi(stage: Stage) -> None:
    stage.has_sapi = False


@pytest.mark.usefixtures("no_sapi")
def test_death_by_refusal_is_warned_of(stage: Stage) -> None:
    ended = stage.rotate(RotationMode.OVERLAP, Scope.BOTH)
    assert ended.operation.state == "done"
    assert (
        set(ended.operation.facts.deleted.values()) == {"dead_by_refusal"} and len(ended.operation.facts.deleted) == 2
    )
    told = [message for code, message in ended.warnings if code == "DEATH_BY_REFUSAL"]
    assert len(told) == 2 and "old site key" in told[0] and "old robot key" in told[1]
    assert stage.end_state()["retiring copies"] == [False, False]


@pytest.mark.usefixtures("no_sapi")
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
