"""Verify a key at the exchange: is it accepted, what may it do, does it still exist? No call here has an effect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from fortctl.errors import ExchangeAnswer, FortctlError
from fortctl.keys.policy import check_policy
from fortctl.keys.rejection import CERTAIN, Rejection, diagnose_rejection
from fortctl.model import UNKNOWN_RIGHTS, AccountState, KeyPair, KeyRestrictions, KeyType, KeyVerdict, Role
from fortctl.ports import Clock, Exchange, ExchangeError, Outcome
from fortctl.system.clock import SystemClock

# Warn of a larger difference: Binance accepts a request whose timestamp is up to a second ahead (rest-api.md).
SKEW_MS = 1_000


async def verify_key(
    exchange: Exchange, role: Role, *, allow: Collection[str] = (), pinned_uid: int | None = None
) -> KeyVerdict:
    """Query the account and the key's restrictions in parallel, and compare them with the role.

    Args:
        exchange: an adapter that signs with the key.
        role: the role that the key is meant for.
        allow: forbidden permissions that the operator accepts.
        pinned_uid: the account that the key must belong to, or None for the first key.

    Raises:
        ExchangeUnreachableError, ExchangeBusyError, ClockSkewError: the answers say nothing about the key.
    """
    server_time, local_time = await _unsigned_time(exchange)
    before = SystemClock().monotonic()
    answers = await asyncio.gather(exchange.account(), exchange.key_restrictions(), return_exceptions=True)
    latency = (SystemClock().monotonic() - before) * 1000
    account, restrictions = answers
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, ExchangeError):
            raise answer
    rejection = diagnose_rejection(
        account if isinstance(account, ExchangeError) else None,
        restrictions if isinstance(restrictions, ExchangeError) else None,
    )
    if rejection is not None:
        return _rejected(rejection, latency, server_time - local_time)
    if isinstance(account, ExchangeError):
        raise transient_error(account, server_time - local_time)
    if isinstance(restrictions, ExchangeError) and restrictions.outcome is not Outcome.REFUSED:
        raise transient_error(restrictions, server_time - local_time)
    skew = server_time - local_time
    assert isinstance(account, AccountState)
    known = restrictions if isinstance(restrictions, KeyRestrictions) else None
    verdict = _accepted(account, known, role, allow, pinned_uid, latency, skew)
    # Without an HTTP status the error is the adapter's own: the target has no such call.
    if isinstance(restrictions, ExchangeError) and restrictions.http_status is not None and UNKNOWN_RIGHTS not in allow:
        return replace(verdict, rights_unknown=restrictions.message)
    return verdict


async def _unsigned_time(exchange: Exchange) -> tuple[int, int]:
    """Return the exchange's time and the local time (ms); the call also opens the connection for the signed calls.

    The exchange reads its clock after the connection is open. So the local clock is read when the answer arrives, and
    the difference contains only the answer's travel time.
    """
    try:
        server_time = await exchange.server_time()
    except ExchangeError as fault:
        raise transient_error(fault) from None
    return server_time, SystemClock().now_ms()


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
        warnings=(*(policy.warnings if policy else ()), *_account_warnings(account, role, skew)),
        uid=account.uid,
        latency_ms=latency,
        clock_skew_ms=skew,
        can_trade=account.can_trade,
    )


def _account_warnings(account: AccountState, role: Role, skew: float) -> tuple[tuple[str, str], ...]:
    """Return warnings about the account and the clock, which say nothing against the key."""
    warnings = []
    if role is Role.ROBOT and not account.can_trade:
        warnings.append(("ACCOUNT_MAY_NOT_TRADE", "the exchange says that the account itself may not trade at present"))
    if abs(skew) >= SKEW_MS:
        warnings.append(
            ("CLOCK_OFF", f"{_describe_skew(skew)}; until then fortctl uses the exchange's time for its requests")
        )
    return tuple(warnings)


def _describe_skew(skew: float) -> str:
    direction = "behind" if skew > 0 else "ahead of"
    seconds = f"{abs(skew) / 1000:.1f} s"
    return f"this machine's clock is {seconds} {direction} the exchange's; 'timedatectl set-ntp true' corrects it"


def _rejected(rejection: Rejection, latency: float, skew: float) -> KeyVerdict:
    return KeyVerdict(
        accepted=False,
        reason=rejection.reason,
        latency_ms=latency,
        clock_skew_ms=skew,
        exchange_code=rejection.fault.code,
        http_status=rejection.fault.http_status,
        exchange_message=rejection.fault.message,
        certainty=rejection.certainty,
        why=rejection.why,
        seen_from=rejection.address,
    )


async def verify_new_key(
    connect: Callable[[KeyPair | None], Exchange],
    pair: KeyPair,
    role: Role,
    *,
    allow: Collection[str] = (),
    pinned_uid: int | None = None,
) -> KeyVerdict:
    """Verify a key that was just entered; if it does not exist, check whether its two halves were swapped.

    The check signs one harmless call with the halves swapped, and so sends the entered secret to the exchange. It is
    made only if the exchange says that the API key does not exist, since the secret is then worthless (decision 0009).

    Raises:
        ExchangeUnreachableError, ExchangeBusyError, ClockSkewError: the answers say nothing about the key.
    """
    verdict = await _verify_once(connect, pair, role, allow, pinned_uid)
    if verdict.reason != "unknown_key" or pair.type is not KeyType.HMAC:
        return verdict
    swapped = KeyPair(pair.name, pair.type, pair.secret, pair.api_key)
    try:
        other = await _verify_once(connect, swapped, role, allow, pinned_uid)
    except FortctlError:
        return verdict
    if other.reason in ("unknown_key", "malformed_key"):
        return verdict
    why = "the exchange knows the entered secret as an API key"
    return replace(verdict, reason="swapped", certainty=CERTAIN, why=why, seen_from=None)


async def _verify_once(
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
    """Whether the exchange still knows a key that should be deleted.

    Attributes:
        state: ``dead`` (the exchange does not know the key), ``dead_by_refusal`` (it rejects the key and accepts the
            new one from the same address; the strongest evidence on a target without ``/sapi``), ``refused`` (the
            reason may be this address or a ban), ``alive``, ``unproved``.
        fault: the answer that shows it, if there was one.
    """

    state: str
    fault: ExchangeError | None = None

    @property
    def proved(self) -> bool:
        """Whether the deletion is proved."""
        return self.state in ("dead", "dead_by_refusal")


UNKNOWN_KEY = -2008
# Between the two answers that prove a deletion; Binance has sent a single one for keys that worked.
PROOF_PAUSE_S = 2.0


async def check_deleted(old: Exchange, new: Exchange | None, clock: Clock) -> DeletionStatus:
    """Query whether the exchange still knows a key (rotation.md, "What counts as deleted").

    A single -2008 proves nothing, because Binance has answered so about keys that worked. It must come twice, some
    seconds apart, and the account call must be refused too; anything less is ``refused``.

    Args:
        old: signs with the key that should be deleted.
        new: signs with the key that replaces it, from the same address; None if there is none.
        clock: waits between the two queries.
    """
    first = await _query_restrictions(old)
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
    second = await _query_restrictions(old)
    return second if second is not None else DeletionStatus("unproved", first.fault)


async def _query_restrictions(exchange: Exchange) -> DeletionStatus | None:
    """Query the key's restrictions once; return None on a target without that call."""
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
    """Query a target without ``/sapi``, which answers -2015 for a key that does not exist and for other causes."""
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
    """Return the error to raise for an answer that says nothing about the key.

    Args:
        fault: the answer.
        skew: the exchange's clock minus the local clock (ms); None: not measured.
    """
    from fortctl.errors import ClockSkewError, ExchangeBusyError, ExchangeUnreachableError

    cls: type[FortctlError] = {Outcome.BUSY: ExchangeBusyError, Outcome.CLOCK: ClockSkewError}.get(
        fault.outcome, ExchangeUnreachableError
    )
    details: dict[str, Any] = {"retry_after": fault.retry_after, "reason": _transient_reason(fault)}
    hint = None
    if cls is ClockSkewError and skew is not None:
        details["clock_skew_ms"] = round(skew)
        hint = _describe_skew(skew)
    return cls(
        f"the key could not be verified at the exchange: {fault.message}",
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
