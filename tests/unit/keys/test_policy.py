"""A key's permissions against its role: what is missing, in excess, open to any address, or lapsed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fortctl.errors import KeyPolicyError
from fortctl.exchange.parsing import restrictions
from fortctl.keys.policy import check_issuer_policy, check_policy, require_acceptable_key
from fortctl.model import Role
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
