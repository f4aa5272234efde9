"""A key's permissions against its role: what is missing, in excess, open to any address, or lapsed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fortctl.errors import FortctlError, KeyPolicyError, KeyRejectedError
from fortctl.exchange.parsing import restrictions
from fortctl.keys.policy import (
    REASONS,
    check_issuer_policy,
    check_policy,
    describe_rejection,
    permission_label,
    refuse_key_of_other_account,
    refuse_key_of_other_exchange,
    remedy_for,
    require_acceptable_key,
    unrestricted_warning,
)
from fortctl.model import PolicyVerdict, Role
from fortctl.model.keys import PERMISSIONS
from fortctl.model.restrictions import KeyRestrictions
from fortctl.model.verdicts import KeyVerdict

NOW = 1_700_000_000_000
TRADING = KeyRestrictions(
    ip_restricted=True,
    reading=True,
    spot_trading=True,
    withdrawals=False,
    internal_transfer=False,
    universal_transfer=False,
    margin=False,
    futures=False,
    options=False,
)
# What GET /sapi/v1/account/apiRestrictions must state; a target may leave the other flags out.
REQUIRED = {"ipRestrict": True, "enableReading": True, "enableSpotAndMarginTrading": True, "enableWithdrawals": False}


def verdict(**changes: Any) -> KeyVerdict:
    policy = check_policy(Role.ROBOT, replace(TRADING, **changes), now=NOW)
    return KeyVerdict(accepted=True, reason="ok", policy=policy)


@pytest.mark.parametrize("ip_restricted", [True, False])
def test_a_key_that_works_from_any_address_is_warned_of(ip_restricted: bool) -> None:
    held = replace(TRADING, ip_restricted=ip_restricted)
    codes = [code for code, _text in check_policy(Role.ROBOT, held).warnings]
    assert codes == ([] if ip_restricted else ["IP_UNRESTRICTED"])
    assert [code for code, _text in check_issuer_policy(held).warnings] == codes


KEYS_AS_BINANCE_HAS_THEM = [(Role.ROBOT, TRADING), (Role.SITE, replace(TRADING, spot_trading=False))]


@pytest.mark.parametrize(("role", "rights"), KEYS_AS_BINANCE_HAS_THEM)
def test_only_a_new_robot_key_without_an_ip_list_is_refused(role: Role, rights: KeyRestrictions) -> None:
    """Paragraph "Keys as Binance has them in 2026": refused with a reason, unless the operator accepts it."""
    for ip_restricted, allow in ((True, ()), (False, ("ip_unrestricted",)), (False, ("withdrawals",)), (False, ())):
        policy = check_policy(role, replace(rights, ip_restricted=ip_restricted), allow, NOW)
        new = KeyVerdict(accepted=True, reason="ok", policy=policy)
        assert policy.ok, "a key that is stored already trades on"
        assert [code for code, _text in policy.warnings] == ([] if ip_restricted else ["IP_UNRESTRICTED"])
        if role is Role.SITE or ip_restricted or "ip_unrestricted" in allow:
            assert require_acceptable_key(new, role) is new
            continue
        with pytest.raises(KeyPolicyError) as refused:
            require_acceptable_key(new, role)
        assert (refused.value.exit_code, refused.value.details["reason"]) == (4, "ip_unrestricted")
        assert "--allow ip_unrestricted" in refused.value.hint and "30 addresses" in refused.value.hint


def test_a_wrong_permission_is_reported_before_a_missing_ip_list() -> None:
    with pytest.raises(KeyPolicyError) as refused:
        require_acceptable_key(verdict(ip_restricted=False, margin=True), Role.ROBOT)
    assert refused.value.details["reason"] == "policy"


def test_a_master_key_is_held_to_the_rule_of_the_robot_key() -> None:
    open_to_all = replace(TRADING, ip_restricted=False)
    assert check_issuer_policy(open_to_all).unrestricted and check_issuer_policy(open_to_all).ok
    assert not check_issuer_policy(open_to_all, ("ip_unrestricted",)).unrestricted
    assert not check_issuer_policy(TRADING).unrestricted


def test_the_warning_fits_what_the_key_may_do() -> None:
    reading = unrestricted_warning("site", ("reading", "fix_read"))[1]
    trading = unrestricted_warning("robot", ("reading", "spot_trading"))[1]
    assert "read the account" in reading and "delete" not in reading and "trad" not in reading
    assert "Binance deletes" in trading


def test_an_excess_is_reported_although_the_trading_right_lapsed() -> None:
    lapsed = verdict(spot_trading=False, withdrawals=True, trading_expires_at=NOW - 1)
    assert lapsed.policy is not None and lapsed.policy.lapsed
    with pytest.raises(KeyPolicyError) as refused:
        require_acceptable_key(lapsed, Role.ROBOT)
    assert "withdrawals" in str(refused.value.details) + refused.value.message


def test_a_right_that_the_answer_does_not_name_is_not_held() -> None:
    held = restrictions(REQUIRED)
    assert held.permissions() == ("reading", "spot_trading")
    assert check_policy(Role.ROBOT, held).ok
    assert restrictions({**REQUIRED, "enableMargin": True}).margin
    assert not check_policy(Role.ROBOT, restrictions({**REQUIRED, "enableMargin": True})).ok


def test_an_unknown_right_that_is_switched_on_is_in_excess() -> None:
    verdicts = [check_policy(Role.ROBOT, restrictions({**REQUIRED, "enableNewThing": on})) for on in (True, False)]
    assert [verdict.ok for verdict in verdicts] == [False, True]


# -- warnings and bounds -----------------------------------------------------------------------------------------------

DAY = 24 * 3_600_000


@pytest.mark.parametrize(
    ("expires", "words"),
    [
        (NOW - 1, "has expired"),
        (NOW, "has expired"),
        (NOW + 1, "expires on 2023-11-14"),
        (NOW + 7 * DAY - 1, "expires on 2023-11-21"),
        (NOW + 7 * DAY, None),
        (None, None),
    ],
)
def test_a_trading_right_that_lapses_within_a_week_is_warned_of(expires: int | None, words: str | None) -> None:
    policy = check_policy(Role.ROBOT, replace(TRADING, trading_expires_at=expires), now=NOW)
    assert [code for code, _text in policy.warnings] == (["TRADING_RIGHT_LAPSES"] if words else [])
    assert words is None or words in policy.warnings[0][1]
    assert policy.ok and not policy.lapsed, "it still trades"


def test_only_the_robots_trading_right_is_warned_of_and_only_where_the_time_is_known() -> None:
    held = replace(TRADING, spot_trading=False, trading_expires_at=NOW)
    assert check_policy(Role.SITE, held, now=NOW).warnings == ()
    assert check_policy(Role.ROBOT, replace(TRADING, trading_expires_at=NOW)).warnings == ()


@pytest.mark.parametrize(
    ("changes", "now", "lapsed"),
    [
        ({"spot_trading": False, "trading_expires_at": NOW}, NOW, True),
        ({"spot_trading": False, "trading_expires_at": NOW + 1}, NOW, False),
        ({"spot_trading": False}, NOW, False),
        ({"spot_trading": False, "trading_expires_at": NOW}, None, False),
        ({"trading_expires_at": NOW - 1}, NOW, False),
        ({"reading": False, "trading_expires_at": NOW - 1}, NOW, False),
    ],
)
def test_a_right_has_lapsed_where_it_is_missing_and_its_time_is_over(
    changes: dict[str, Any], now: int | None, lapsed: bool
) -> None:
    assert check_policy(Role.ROBOT, replace(TRADING, **changes), now=now).lapsed is lapsed


def test_each_role_has_its_rights_and_every_other_is_in_excess() -> None:
    site = check_policy(Role.SITE, TRADING)
    assert (site.ok, site.missing, site.excess) == (False, (), ("spot_trading",))
    robot = check_policy(Role.ROBOT, replace(TRADING, reading=False, fix_trade=True, fix_read=True))
    assert (robot.ok, robot.missing, robot.excess) == (False, ("reading",), ("fix_trade",))
    assert check_policy(Role.ROBOT, replace(TRADING, margin=True), allow=("margin",)).ok
    assert not check_policy(Role.ROBOT, replace(TRADING, spot_trading=False), allow=("spot_trading",)).ok
    assert check_policy(Role.ROBOT, replace(TRADING, spot_trading=False)).missing == ("spot_trading",)
    assert check_policy(Role.ROBOT, replace(TRADING, fix_read=True)).ok, "reading over FIX adds nothing"


def test_an_issuer_reads_and_trades_and_may_do_no_more() -> None:
    assert check_issuer_policy(TRADING) == PolicyVerdict(True)
    for right in ("reading", "spot_trading"):
        lacking = check_issuer_policy(replace(TRADING, **{right: False}))
        assert (lacking.ok, lacking.missing, lacking.excess) == (False, (right,), ())
    more = check_issuer_policy(replace(TRADING, withdrawals=True, fix_read=True))
    assert (more.ok, more.missing, more.excess) == (False, (), ("withdrawals",))
    assert check_issuer_policy(replace(TRADING, withdrawals=True), allow=("withdrawals",)).ok


# -- refusals ----------------------------------------------------------------------------------------------------------


def refused(one: KeyVerdict, role: Role = Role.ROBOT) -> FortctlError:
    with pytest.raises(FortctlError) as caught:
        require_acceptable_key(one, role)
    return caught.value


def test_an_acceptable_key_is_returned() -> None:
    for good in (verdict(), KeyVerdict(True, "ok")):
        assert require_acceptable_key(good, Role.ROBOT) is good


def test_a_refusal_says_why_what_to_do_and_what_is_wrong() -> None:
    other = refused(KeyVerdict(False, "other_account"))
    assert isinstance(other, KeyPolicyError) and other.details == {"role": "robot", "reason": "other_account"}
    unknown = KeyVerdict(False, "unknown_key", exchange_code=-2008, http_status=401, exchange_message="no such key")
    error = refused(replace(unknown, certainty="likely", why="it said so"))
    assert isinstance(error, KeyRejectedError) and "knows no such API key" in error.message
    assert error.details == {"role": "robot", "reason": "unknown_key", "certainty": "likely", "why": "it said so"}
    assert error.hint == remedy_for("unknown_key") and error.exchange is not None
    assert (error.exchange.http_status, error.exchange.code, error.exchange.message) == (401, -2008, "no such key")
    expired = refused(verdict(spot_trading=False, trading_expires_at=NOW - 1))
    assert expired.message == "the robot key's trading permission has expired"
    assert expired.details == {"role": "robot", "reason": "expired", "missing": ["spot_trading"], "excess": []}
    wrong = refused(verdict(reading=False, withdrawals=True))
    assert "missing reading, excess withdrawals" in wrong.message
    assert wrong.details == {"role": "robot", "reason": "policy", "missing": ["reading"], "excess": ["withdrawals"]}
    assert wrong.hint == "on Binance's API management page: tick 'Enable Reading', untick 'Enable Withdrawals'"
    more = refused(verdict(withdrawals=True))
    assert more.hint is not None and more.hint.endswith("or accept it with --allow withdrawals when you add the key")


def test_a_key_of_another_account_or_exchange_of_this_home_is_refused() -> None:
    refuse_key_of_other_account(None, Role.SITE, {5: "second"})
    refuse_key_of_other_account(6, Role.SITE, {5: "second"})
    with pytest.raises(KeyPolicyError, match="a key of the account second") as caught:
        refuse_key_of_other_account(5, Role.SITE, {5: "second"})
    assert caught.value.details == {"role": "site", "reason": "other_account", "account": "second"}
    refuse_key_of_other_exchange(None, Role.ROBOT)
    with pytest.raises(KeyRejectedError, match="key of the account second") as rejected:
        refuse_key_of_other_exchange("second", Role.ROBOT)
    assert rejected.value.details == {
        "role": "robot",
        "reason": "other_exchange",
        "certainty": "certain",
        "account": "second",
    }


def test_every_reason_has_a_description_and_a_remedy_and_every_right_its_label() -> None:
    for reason in REASONS:
        assert describe_rejection(reason) != reason.replace("_", " ") and remedy_for(reason)
    assert describe_rejection("some_new_thing") == "some new thing" and remedy_for("some_new_thing") is None
    assert {
        *(
            "unknown_key",
            "wrong_secret",
            "malformed_key",
            "ip_not_listed",
            "right_missing",
            "swapped",
            "other_exchange",
        ),
        *("refused", "other_account", "policy", "expired", "rights_unknown", "shared_between_roles", "same_key"),
        *("trading_right_removed", "trading_disabled", "ip_unrestricted"),
    } == REASONS
    assert all(permission_label(right) != right for right in PERMISSIONS) and permission_label("new") == "new"
