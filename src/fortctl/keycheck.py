"""Ask the exchange about a key and judge what it says. No call here has an effect."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from fortctl.clock import SystemClock
from fortctl.errors import ExchangeAnswer, FortctlError
from fortctl.model import AccountState, KeyRestrictions, KeyVerdict, Role
from fortctl.policy import judge
from fortctl.ports import Exchange, ExchangeFault, Outcome

# Binance's code → why, where it says so unambiguously (binance.md section 3).
_REASON = {-2008: "unknown_key", -2014: "malformed_key", -1022: "wrong_secret"}


async def check_key(
    exchange: Exchange, role: Role, *, allow: Collection[str] = (), pinned_uid: int | None = None
) -> KeyVerdict:
    """Ask for the account and the key's restrictions, side by side, and judge.

    Args:
        exchange: an adapter that signs with the key.
        role: the role that the key is meant for.
        allow: rights accepted although the role forbids them.
        pinned_uid: the account that the key must belong to, or None for the first key.

    Raises:
        ExchangeUnreachable, ExchangeBusy, ClockSkew: nothing could be learnt of the key.
    """
    server_time, here = await _unsigned_time(exchange)
    before = SystemClock().monotonic()
    told = await asyncio.gather(exchange.account(), exchange.key_restrictions(), return_exceptions=True)
    latency = (SystemClock().monotonic() - before) * 1000
    account, restrictions = told
    for answer in told:
        if isinstance(answer, BaseException) and not isinstance(answer, ExchangeFault):
            raise answer
    faults = [answer for answer in (account, restrictions) if isinstance(answer, ExchangeFault)]
    refusals = [fault for fault in faults if fault.outcome is Outcome.KEY_REFUSED]
    if refusals:
        return _refused(refusals, latency)
    if isinstance(account, ExchangeFault):
        raise transient(account)
    if isinstance(restrictions, ExchangeFault) and restrictions.outcome is not Outcome.REFUSED:
        raise transient(restrictions)
    skew = server_time - here
    assert isinstance(account, AccountState)
    known = restrictions if isinstance(restrictions, KeyRestrictions) else None
    return _accepted(account, known, role, allow, pinned_uid, latency, skew)


async def _unsigned_time(exchange: Exchange) -> tuple[int, int]:
    """Return the exchange's time and ours (ms); the first call also opens the connection that the signed ones use."""
    before = SystemClock().now_ms()
    try:
        theirs = await exchange.server_time()
    except ExchangeFault as fault:
        raise transient(fault) from None
    return theirs, (before + SystemClock().now_ms()) // 2


def _accepted(
    account: AccountState,
    restrictions: KeyRestrictions | None,
    role: Role,
    allow: Collection[str],
    pinned_uid: int | None,
    latency: float,
    skew: float,
) -> KeyVerdict:
    other = pinned_uid is not None and account.uid != pinned_uid
    return KeyVerdict(
        accepted=not other,
        reason="other_account" if other else "ok",
        restrictions=restrictions,
        policy=judge(role, restrictions, allow) if restrictions is not None else None,
        uid=account.uid,
        latency_ms=latency,
        clock_skew_ms=skew,
    )


def _refused(refusals: list[ExchangeFault], latency: float) -> KeyVerdict:
    """Say why, by the refusal that tells most: a bare -2015 may be the key, the address or the right."""
    telling = next((fault for fault in refusals if fault.code in _REASON), refusals[0])
    return KeyVerdict(
        accepted=False,
        reason=_REASON.get(telling.code or 0, "refused"),
        latency_ms=latency,
        exchange_code=telling.code,
        http_status=telling.http_status,
        exchange_message=telling.message,
    )


def transient(fault: ExchangeFault) -> FortctlError:
    """Return the error for a fault that says nothing about the key."""
    from fortctl.errors import ClockSkew, ExchangeBusy, ExchangeUnreachable

    cls: type[FortctlError] = {Outcome.BUSY: ExchangeBusy, Outcome.CLOCK: ClockSkew}.get(
        fault.outcome, ExchangeUnreachable
    )
    return cls(
        f"the exchange could not be asked about the key: {fault.message}",
        details={"retry_after": fault.retry_after},
        exchange=ExchangeAnswer(fault.http_status, fault.code, fault.message) if fault.http_status else None,
    )
