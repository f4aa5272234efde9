"""A key is taken only where the exchange says what it may do."""

from __future__ import annotations

from decimal import Decimal

import pytest

from fortctl.errors import ExchangeUnreachableError, FortctlError, KeyPolicyError
from fortctl.keys.policy import require_acceptable_key
from fortctl.keys.verification import verify_key
from fortctl.model import AccountState, KeyRestrictions, KeyVerdict, Role
from fortctl.ports import ExchangeError, Outcome
from fortctl.system.clock import SystemClock

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
