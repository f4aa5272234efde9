"""Ask the exchange about a key and judge what it says. No call here has an effect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from fortctl.errors import ExchangeAnswer, FortctlError
from fortctl.keys.policy import check_policy
from fortctl.keys.rejection import Rejection, diagnose_rejection
from fortctl.model import UNKNOWN_RIGHTS, AccountState, KeyPair, KeyRestrictions, KeyType, KeyVerdict, Role
from fortctl.ports import Clock, Exchange, ExchangeError, Outcome
from fortctl.system.clock import SystemClock

# From here on a clock is told to be off: Binance takes a request that is up to a second ahead of it (rest-api.md).
SKEW_MS = 1_000


async def verify_key(
    exchange: Exchange, role: Role, *, allow: Collection[str] = (), pinned_uid: int | None = None
) -> KeyVerdict:
    """Ask for the account and the key's restrictions, side by side, and judge.

    Args:
        exchange: an adapter that signs with the key.
        role: the role that the key is meant for.
        allow: rights accepted although the role forbids them.
        pinned_uid: the account that the key must belong to, or None for the first key.

    Raises:
        ExchangeUnreachableError, ExchangeBusyError, ClockSkewError: nothing could be learnt of the key.
    """
    server_time, here = await _unsigned_time(exchange)
    before = SystemClock().monotonic()
    told = await asyncio.gather(exchange.account(), exchange.key_restrictions(), return_exceptions=True)
    latency = (SystemClock().monotonic() - before) * 1000
    account, restrictions = told
    for answer in told:
        if isinstance(answer, BaseException) and not isinstance(answer, ExchangeError):
            raise answer
    refusal = diagnose_rejection(
        account if isinstance(account, ExchangeError) else None,
        restrictions if isinstance(restrictions, ExchangeError) else None,
    )
    if refusal is not None:
        return _refused(refusal, latency, server_time - here)
    if isinstance(account, ExchangeError):
        raise transient_error(account, server_time - here)
    if isinstance(restrictions, ExchangeError) and restrictions.outcome is not Outcome.REFUSED:
        raise transient_error(restrictions, server_time - here)
    skew = server_time - here
    assert isinstance(account, AccountState)
    known = restrictions if isinstance(restrictions, KeyRestrictions) else None
    verdict = _accepted(account, known, role, allow, pinned_uid, latency, skew)
    # Without a status it is the adapter's own answer: the target has no such call.
    if isinstance(restrictions, ExchangeError) and restrictions.http_status is not None and UNKNOWN_RIGHTS not in allow:
        return replace(verdict, rights_unknown=restrictions.message)
    return verdict


async def _unsigned_time(exchange: Exchange) -> tuple[int, int]:
    """Return the exchange's time and ours (ms); the call also opens the connection that the signed ones use.

    Opening it comes before the exchange stamps its answer: so ours is read when the answer is here, and is late by the
    answer's way alone.
    """
    try:
        theirs = await exchange.server_time()
    except ExchangeError as fault:
        raise transient_error(fault) from None
    return theirs, SystemClock().now_ms()


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
    policy = check_policy(role, restrictions, allow, SystemClock().now_ms()) if restrictions is not None else None
    return KeyVerdict(
        accepted=not other,
        reason="other_account" if other else "ok",
        restrictions=restrictions,
        policy=policy,
        warnings=(*(policy.warnings if policy else ()), *_beside_the_key(account, role, skew)),
        uid=account.uid,
        latency_ms=latency,
        clock_skew_ms=skew,
        can_trade=account.can_trade,
    )


def _beside_the_key(account: AccountState, role: Role, skew: float) -> tuple[tuple[str, str], ...]:
    """Return warnings of what is wrong although the key is right."""
    found = []
    if role is Role.ROBOT and not account.can_trade:
        found.append(("ACCOUNT_MAY_NOT_TRADE", "the exchange says that the account itself may not trade just now"))
    if abs(skew) >= SKEW_MS:
        found.append(
            ("CLOCK_OFF", f"{_skew_words(skew)}; fortctl stamps its requests with the exchange's time meanwhile")
        )
    return tuple(found)


def _skew_words(skew: float) -> str:
    way = "behind" if skew > 0 else "ahead of"
    return f"this machine is {abs(skew) / 1000:.1f} s {way} the exchange; 'timedatectl set-ntp true' corrects it"


def _refused(refusal: Rejection, latency: float, skew: float) -> KeyVerdict:
    details = {"certainty": refusal.certainty, "why": refusal.why}
    if refusal.address:
        details["seen_from"] = refusal.address
    return KeyVerdict(
        accepted=False,
        reason=refusal.reason,
        latency_ms=latency,
        clock_skew_ms=skew,
        exchange_code=refusal.fault.code,
        http_status=refusal.fault.http_status,
        exchange_message=refusal.fault.message,
        details=details,
    )


async def verify_new_key(
    connect: Callable[[KeyPair | None], Exchange],
    pair: KeyPair,
    role: Role,
    *,
    allow: Collection[str] = (),
    pinned_uid: int | None = None,
) -> KeyVerdict:
    """Check a key that was just entered; where it does not exist, look whether its two halves were swapped.

    The look signs one harmless call with the halves the other way round. It is taken only when the exchange says that
    the API key does not exist: what was entered is worth nothing then, unless it was swapped (decision 0009).

    Raises:
        ExchangeUnreachableError, ExchangeBusyError, ClockSkewError: nothing could be learnt of the key.
    """
    verdict = await _check_once(connect, pair, role, allow, pinned_uid)
    if verdict.reason != "unknown_key" or pair.type is not KeyType.HMAC:
        return verdict
    swapped = KeyPair(pair.name, pair.type, pair.secret, pair.api_key)
    try:
        other = await _check_once(connect, swapped, role, allow, pinned_uid)
    except FortctlError:
        return verdict
    if other.reason in ("unknown_key", "malformed_key"):
        return verdict
    why = "the exchange knows what was entered as the secret: it is the API key"
    return replace(verdict, reason="swapped", details={"certainty": "certain", "why": why})


async def _check_once(
    connect: Callable[[KeyPair | None], Exchange],
    pair: KeyPair,
    role: Role,
    allow: Collection[str],
    pinned_uid: int | None,
) -> KeyVerdict:
    exchange = connect(pair)
    try:
        return await verify_key(exchange, role, allow=allow, pinned_uid=pinned_uid)
    finally:
        await exchange.close()


@dataclass(frozen=True)
class DeletionStatus:
    """What the exchange says of a key that ought to be dead.

    Attributes:
        state: ``dead`` (unknown to the exchange), ``dead_by_refusal`` (refused beside an accepted call of the new key,
            on a target that tells no more), ``refused`` (may be this address or a ban), ``alive``, ``unproved``.
        fault: the answer that it was read from, where it was one.
    """

    state: str
    fault: ExchangeError | None = None

    @property
    def proved(self) -> bool:
        return self.state in ("dead", "dead_by_refusal")


UNKNOWN_KEY = -2008
# Between the two answers that prove a deletion: one of them alone was seen for keys that work.
PROOF_PAUSE_S = 2.0


async def check_deleted(old: Exchange, new: Exchange | None, clock: Clock) -> DeletionStatus:
    """Ask the exchange whether a key is deleted (robot.md, "Rotation"); no call here has an effect.

    A single -2008 proves nothing: Binance has answered so about keys that worked. It must come twice, some seconds
    apart, and the account call must be refused too; anything less is ``refused``.

    Args:
        old: signs with the key that ought to be deleted.
        new: signs with the key in its place, from the same address; None where there is none.
        clock: waits between the two questions.
    """
    first = await _ask_restrictions(old)
    if first is None:
        return await _by_refusal(old, new)
    if first.state != "dead":
        return first
    try:
        await old.account()
        return DeletionStatus("alive")
    except ExchangeError as fault:
        if fault.outcome is not Outcome.KEY_REFUSED:
            return DeletionStatus("unproved", fault)
    await clock.sleep(PROOF_PAUSE_S)
    second = await _ask_restrictions(old)
    return second if second is not None else DeletionStatus("unproved", first.fault)


async def _ask_restrictions(exchange: Exchange) -> DeletionStatus | None:
    """Return what one answer about the key's own rights says; None on a target without that call."""
    try:
        await exchange.key_restrictions()
        return DeletionStatus("alive")
    except ExchangeError as fault:
        if fault.code == UNKNOWN_KEY:
            return DeletionStatus("dead", fault)
        if fault.outcome is Outcome.KEY_REFUSED:
            return DeletionStatus("refused", fault)
        if fault.outcome is not Outcome.REFUSED or fault.http_status is not None:
            return DeletionStatus("unproved", fault)
    return None


async def _by_refusal(old: Exchange, new: Exchange | None) -> DeletionStatus:
    """Ask on a target without /sapi: there -2015 is all that is ever said of a key that does not exist."""
    try:
        await old.account()
        return DeletionStatus("alive")
    except ExchangeError as fault:
        refused = DeletionStatus("refused" if fault.outcome is Outcome.KEY_REFUSED else "unproved", fault)
    if refused.state == "unproved" or new is None:
        return refused
    try:
        await new.account()
    except ExchangeError:
        return refused
    return DeletionStatus("dead_by_refusal", refused.fault)


def transient_error(fault: ExchangeError, skew: float | None = None) -> FortctlError:
    """Return the error for a fault that says nothing about the key.

    Args:
        skew: the exchange's clock less ours (ms), where it was measured.
    """
    from fortctl.errors import ClockSkewError, ExchangeBusyError, ExchangeUnreachableError

    cls: type[FortctlError] = {Outcome.BUSY: ExchangeBusyError, Outcome.CLOCK: ClockSkewError}.get(
        fault.outcome, ExchangeUnreachableError
    )
    details: dict[str, Any] = {"retry_after": fault.retry_after, "reason": _transient_reason(fault)}
    hint = None
    if cls is ClockSkewError and skew is not None:
        details["clock_skew_ms"] = round(skew)
        hint = _skew_words(skew)
    return cls(
        f"the exchange could not be asked about the key: {fault.message}",
        hint=hint,
        details=details,
        exchange=ExchangeAnswer(fault.http_status, fault.code, fault.message) if fault.http_status else None,
    )


def _transient_reason(fault: ExchangeError) -> str:
    if fault.outcome is Outcome.CLOCK:
        return "clock_off"
    if fault.outcome is Outcome.BUSY:
        return {418: "banned", 429: "rate_limited", 403: "firewall"}.get(fault.http_status or 0, "busy")
    return "maintenance" if fault.http_status == 503 else "exchange_error" if fault.http_status else "no_connection"
