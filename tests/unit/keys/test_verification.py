"""A key is taken only where the exchange says what it may do."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from fortctl.errors import (
    ClockSkewError,
    ExchangeBusyError,
    ExchangeUnreachableError,
    FortctlError,
    KeyPolicyError,
)
from fortctl.keys.policy import require_acceptable_key
from fortctl.keys.verification import check_deleted, verify_key, verify_new_key
from fortctl.model import AccountState, KeyPair, KeyRestrictions, KeyType, KeyVerdict, Role
from fortctl.ports import ExchangeError, Outcome
from fortctl.secret import Secret
from fortctl.system.clock import SystemClock
from support.clock import FakeClock

GOOD = KeyRestrictions(True, True, True, False, False, False, False, False, False)


class Scripted:
    """An exchange that accepts the key and answers about its rights as it was told."""

    def __init__(self, rights: KeyRestrictions | ExchangeError) -> None:
        self._rights = rights

    async def server_time(self) -> int:
        return SystemClock().now_ms()

    async def account(self) -> AccountState:
        return AccountState(5, True, Decimal(0), Decimal(0), ())

    async def key_restrictions(self) -> KeyRestrictions:
        if isinstance(self._rights, ExchangeError):
            raise self._rights
        return self._rights


async def verdict_of(rights: KeyRestrictions | ExchangeError, role: Role, *allow: str) -> KeyVerdict:
    return await verify_key(Scripted(rights), role, allow=allow)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("code", [-9000, -1016, -3003, -71012, -1102])
async def test_key_whose_rights_the_exchange_refuses_to_tell_is_refused(code: int, role: Role) -> None:
    refused = ExchangeError(Outcome.REFUSED, "not for this account", code=code, http_status=400)
    with pytest.raises(ExchangeUnreachableError, match="does not say what it may do: not for this account") as caught:
        require_acceptable_key(await verdict_of(refused, role), role)
    assert caught.value.exit_code == 10 and caught.value.details["reason"] == "rights_unknown"
    accepted = require_acceptable_key(await verdict_of(refused, role, "unknown_rights"), role)
    assert accepted.accepted and accepted.restrictions is None


@pytest.mark.parametrize("outcome", [Outcome.UNREACHABLE, Outcome.UNKNOWN, Outcome.BUSY])
async def test_key_whose_rights_cannot_be_read_now_is_refused(outcome: Outcome) -> None:
    with pytest.raises(FortctlError) as caught:
        await verdict_of(ExchangeError(outcome, "the answer cannot be read", http_status=200), Role.SITE)
    assert caught.value.exit_code == 10


async def test_target_without_that_call_takes_a_key_without_its_rights() -> None:
    no_sapi = ExchangeError(Outcome.REFUSED, "this target has no /sapi")
    assert require_acceptable_key(await verdict_of(no_sapi, Role.ROBOT), Role.ROBOT).restrictions is None


async def test_right_that_nobody_knows_is_too_much_and_named() -> None:
    rights = KeyRestrictions(
        True, True, True, False, False, False, False, False, False, unknown=("enableLunarTransfer",)
    )
    with pytest.raises(KeyPolicyError, match="excess enableLunarTransfer"):
        require_acceptable_key(await verdict_of(rights, Role.ROBOT), Role.ROBOT)
    assert require_acceptable_key(await verdict_of(GOOD, Role.ROBOT), Role.ROBOT).policy is not None


# -- the verdict -------------------------------------------------------------------------------------------------------


class Answers(Scripted):
    """The same, with an account, a clock and refusals of the test's own; counts what was closed."""

    def __init__(self, rights: Any = GOOD, account: Any = None, ahead_ms: int = 0, time: Any = None) -> None:
        super().__init__(rights)
        self._account, self._ahead_ms, self._time = account, ahead_ms, time
        self.closed = 0

    async def server_time(self) -> int:
        if self._time is not None:
            raise self._time
        return SystemClock().now_ms() + self._ahead_ms

    async def account(self) -> AccountState:
        if isinstance(self._account, Exception):
            raise self._account
        return self._account or AccountState(5, True, Decimal(0), Decimal(0), ())

    async def key_restrictions(self) -> KeyRestrictions:
        if isinstance(self._rights, Exception):
            raise self._rights
        return await super().key_restrictions()

    async def close(self) -> None:
        self.closed += 1


def refusal(code: int, status: int = 401, outcome: Outcome = Outcome.KEY_REFUSED) -> ExchangeError:
    return ExchangeError(outcome, f"refused {code}", code=code, http_status=status)


async def test_an_accepted_key_has_its_account_and_its_rights() -> None:
    verdict = await verify_key(Answers(), Role.ROBOT)  # type: ignore[arg-type]
    assert (verdict.accepted, verdict.reason, verdict.uid, verdict.can_trade) == (True, "ok", 5, True)
    assert verdict.restrictions == GOOD and verdict.policy is not None and verdict.policy.ok
    assert verdict.warnings == () and verdict.latency_ms is not None and 0 <= verdict.latency_ms < 10_000
    assert verdict.clock_skew_ms is not None and abs(verdict.clock_skew_ms) < 500 and verdict.rights_unknown == ""


@pytest.mark.parametrize(("pinned", "accepted"), [(None, True), (5, True), (6, False)])
async def test_a_key_belongs_to_the_account_of_the_first(pinned: int | None, accepted: bool) -> None:
    verdict = await verify_key(Answers(), Role.ROBOT, pinned_uid=pinned)  # type: ignore[arg-type]
    assert (verdict.accepted, verdict.reason) == (accepted, "ok" if accepted else "other_account")


@pytest.mark.parametrize(
    ("ahead_ms", "words"),
    [(0, None), (-900, None), (1_500, "1.5 s behind"), (-1_500, "1.5 s ahead of"), (90_000, "90.0 s behind")],
)
async def test_a_clock_that_is_a_second_off_is_warned_of(ahead_ms: int, words: str | None) -> None:
    verdict = await verify_key(Answers(ahead_ms=ahead_ms), Role.ROBOT)  # type: ignore[arg-type]
    assert [code for code, _text in verdict.warnings] == (["CLOCK_OFF"] if words else [])
    assert words is None or words in verdict.warnings[0][1]
    assert verdict.clock_skew_ms is not None and abs(verdict.clock_skew_ms - ahead_ms) < 500


@pytest.mark.parametrize(("role", "codes"), [(Role.ROBOT, ["ACCOUNT_MAY_NOT_TRADE"]), (Role.SITE, [])])
async def test_an_account_that_may_not_trade_is_warned_of_for_the_robot(role: Role, codes: list[str]) -> None:
    frozen = AccountState(5, False, Decimal(0), Decimal(0), ())
    rights = replace(GOOD, spot_trading=role is Role.ROBOT, ip_restricted=False)
    verdict = await verify_key(Answers(rights, frozen), role)  # type: ignore[arg-type]
    assert [code for code, _text in verdict.warnings] == ["IP_UNRESTRICTED", *codes] and not verdict.can_trade


async def test_a_refused_key_has_the_exchanges_answer() -> None:
    gone = refusal(-2008)
    verdict = await verify_key(Answers(gone, gone, ahead_ms=50), Role.ROBOT)  # type: ignore[arg-type]
    assert (verdict.accepted, verdict.reason) == (False, "unknown_key")
    assert (verdict.exchange_code, verdict.http_status, verdict.exchange_message) == (-2008, 401, "refused -2008")
    assert verdict.certainty and verdict.why and verdict.latency_ms is not None
    assert verdict.clock_skew_ms is not None and 0 <= verdict.clock_skew_ms < 500


@pytest.mark.parametrize(
    ("fault", "cls", "reason"),
    [
        (ExchangeError(Outcome.BUSY, "x", http_status=418, retry_after=9.0), ExchangeBusyError, "banned"),
        (ExchangeError(Outcome.BUSY, "x", http_status=429), ExchangeBusyError, "rate_limited"),
        (ExchangeError(Outcome.BUSY, "x", http_status=403), ExchangeBusyError, "firewall"),
        (ExchangeError(Outcome.BUSY, "x"), ExchangeBusyError, "busy"),
        (ExchangeError(Outcome.CLOCK, "x", code=-1021, http_status=400), ClockSkewError, "clock_off"),
        (ExchangeError(Outcome.UNREACHABLE, "x"), ExchangeUnreachableError, "no_connection"),
        (ExchangeError(Outcome.UNKNOWN, "x", http_status=503), ExchangeUnreachableError, "maintenance"),
        (ExchangeError(Outcome.UNKNOWN, "x", http_status=500), ExchangeUnreachableError, "exchange_error"),
    ],
)
@pytest.mark.parametrize("where", ["account", "rights", "time"])
async def test_an_answer_that_says_nothing_about_the_key_is_an_error_of_its_own(
    fault: ExchangeError, cls: type[FortctlError], reason: str, where: str
) -> None:
    answers = {
        "account": Answers(account=fault, ahead_ms=3_000),
        "rights": Answers(fault, ahead_ms=3_000),
        "time": Answers(time=fault),
    }
    with pytest.raises(cls) as caught:
        await verify_key(answers[where], Role.ROBOT)  # type: ignore[arg-type]
    error = caught.value
    assert error.details["reason"] == reason and error.details["retry_after"] == fault.retry_after
    assert (error.exchange is not None) == (fault.http_status is not None)
    measured = cls is ClockSkewError and where != "time"
    assert ("clock_skew_ms" in error.details) is measured
    if measured:
        assert 2_500 <= error.details["clock_skew_ms"] <= 3_100 and "3.0 s behind" in (error.hint or "")


async def test_a_bug_of_the_adapter_is_not_taken_for_an_answer() -> None:
    for answers in (Answers(account=ZeroDivisionError()), Answers(ZeroDivisionError())):
        with pytest.raises(ZeroDivisionError):
            await verify_key(answers, Role.ROBOT)  # type: ignore[arg-type]


# -- a key that was just entered ---------------------------------------------------------------------------------------

ENTERED = KeyPair("robot", KeyType.HMAC, Secret("A" * 64), Secret("B" * 64))


async def entered(
    *answers: Answers, pair: KeyPair = ENTERED, role: Role = Role.ROBOT
) -> tuple[KeyVerdict, list[tuple[str, str]]]:
    """Return the verdict, and with which halves each call was signed."""
    left, signed = list(answers), []

    def connect(one: KeyPair | None) -> Any:
        assert one is not None
        signed.append((one.api_key.reveal()[:1], one.secret.reveal()[:1]))
        return left[len(signed) - 1]

    verdict = await verify_new_key(connect, pair, role, allow=("margin",), pinned_uid=5)
    assert [one.closed for one in answers[: len(signed)]] == [1] * len(signed)
    return verdict, signed


GONE, WRONG = refusal(-2008), refusal(-1022, 400)


@pytest.mark.parametrize("again", [Answers(WRONG, WRONG), Answers()], ids=["another secret", "accepted"])
async def test_swapped_halves_are_noticed(again: Answers) -> None:
    verdict, signed = await entered(Answers(GONE, GONE), again)
    assert signed == [("A", "B"), ("B", "A")] and verdict.reason == "swapped" and not verdict.accepted
    assert verdict.evidence() == {"certainty": "certain", "why": "the exchange knows the entered secret as an API key"}


@pytest.mark.parametrize(
    "again", [Answers(GONE, GONE), Answers(refusal(-2014, 400), refusal(-2014, 400)), Answers(time=refusal(-1, 503))]
)
async def test_halves_that_are_unknown_both_ways_were_not_swapped(again: Answers) -> None:
    verdict, signed = await entered(Answers(GONE, GONE), again)
    assert len(signed) == 2 and verdict.reason == "unknown_key"


async def test_a_secret_is_sent_only_where_the_key_does_not_exist() -> None:
    verdict, signed = await entered(Answers(WRONG, WRONG))
    assert signed == [("A", "B")] and verdict.reason == "wrong_secret"
    verdict, signed = await entered(Answers(replace(GOOD, margin=True)))
    assert signed == [("A", "B")] and verdict.accepted and verdict.policy is not None and verdict.policy.ok
    verdict, signed = await entered(Answers(account=AccountState(6, True, Decimal(0), Decimal(0), ())))
    assert verdict.reason == "other_account"
    own = replace(ENTERED, type=KeyType.ED25519)
    verdict, signed = await entered(Answers(GONE, GONE), pair=own)
    assert signed == [("A", "B")] and verdict.reason == "unknown_key"


# -- is it deleted? ----------------------------------------------------------------------------------------------------


class Old:
    """Answers about the old key, one after another; the last stays."""

    def __init__(self, account: ExchangeError | None, *rights: ExchangeError | None) -> None:
        self._rights, self._account = list(rights), account
        self.asked: list[str] = []

    async def key_restrictions(self) -> None:
        self.asked.append("rights")
        answer = self._rights.pop(0) if len(self._rights) > 1 else self._rights[0]
        if answer is not None:
            raise answer

    async def account(self) -> None:
        self.asked.append("account")
        if self._account is not None:
            raise self._account


NO_SAPI = ExchangeError(Outcome.REFUSED, "no /sapi here")
LOST = ExchangeError(Outcome.UNKNOWN, "cut", http_status=503)
DENIED = refusal(-2015)
REFUSED = ExchangeError(Outcome.REFUSED, "not for you", code=-1, http_status=400)


@pytest.mark.parametrize(
    ("old", "state", "asked"),
    [
        (Old(GONE, GONE, GONE), "dead", 3),
        (Old(DENIED, GONE, GONE), "dead", 3),
        (Old(GONE, GONE, None), "alive", 3),
        (Old(GONE, GONE, DENIED), "refused", 3),
        (Old(GONE, GONE, LOST), "unproved", 3),
        (Old(GONE, GONE, NO_SAPI), "unproved", 3),
        (Old(None, GONE, GONE), "alive", 2),
        (Old(LOST, GONE, GONE), "unproved", 2),
        (Old(GONE, None), "alive", 1),
        (Old(GONE, DENIED), "refused", 1),
        (Old(GONE, LOST), "unproved", 1),
        (Old(GONE, REFUSED), "unproved", 1),
    ],
)
async def test_a_key_is_dead_after_two_answers_and_a_refused_account_call(old: Old, state: str, asked: int) -> None:
    clock = FakeClock()
    status = await check_deleted(old, None, clock)  # type: ignore[arg-type]
    assert (status.state, len(old.asked)) == (state, asked)
    assert status.proved is (state == "dead") and clock.slept == ([2.0] if asked == 3 else [])
    assert (status.fault is None) == (state == "alive")


@pytest.mark.parametrize(
    ("old", "new", "state"),
    [
        (DENIED, Old(None, None), "dead_by_refusal"),
        (DENIED, Old(DENIED, None), "refused"),
        (DENIED, None, "refused"),
        (LOST, Old(None, None), "unproved"),
        (LOST, None, "unproved"),
        (None, Old(None, None), "alive"),
    ],
)
async def test_without_sapi_the_new_key_shows_that_the_old_one_alone_is_refused(
    old: ExchangeError | None, new: Old | None, state: str
) -> None:
    status = await check_deleted(Old(old, NO_SAPI), new, FakeClock())  # type: ignore[arg-type]
    assert status.state == state and status.proved is (state == "dead_by_refusal") and status.fault is old


# -- which call was refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("account", "rights", "reason"),
    [(DENIED, GOOD, "right_missing"), (None, DENIED, "refused"), (DENIED, DENIED, "ip_not_listed")],
)
async def test_which_of_the_two_calls_is_refused_shows_why(account: Any, rights: Any, reason: str) -> None:
    verdict = await verify_key(Answers(rights, account), Role.ROBOT)  # type: ignore[arg-type]
    assert (verdict.accepted, verdict.reason) == (False, reason) and verdict.seen_from is None


async def test_the_address_that_the_exchange_names_is_in_the_details() -> None:
    words = "Invalid API-key, IP, or permissions for action, request ip: 203.0.113.7"
    fault = ExchangeError(Outcome.KEY_REFUSED, words, code=-2015, http_status=401)
    verdict = await verify_key(Answers(fault, fault), Role.ROBOT)  # type: ignore[arg-type]
    assert verdict.seen_from == "203.0.113.7"
