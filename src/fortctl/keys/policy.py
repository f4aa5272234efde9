"""Which rights a role needs and which it forbids. Pure.

The rule is the customer's: the site key only reads; the robot key reads and trades spot; nothing else, since every
further right is a way to rob the account (Binance, "Enable Reading", "Enable Spot & Margin Trading").
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from fortctl.errors import ExchangeAnswer, ExchangeUnreachableError, KeyPolicyError, KeyRejectedError
from fortctl.model import PolicyVerdict, Role
from fortctl.timestamps import DAY_MS, rfc3339

if TYPE_CHECKING:
    from fortctl.model import KeyRestrictions, KeyVerdict

REQUIRED: dict[Role, tuple[str, ...]] = {
    Role.SITE: ("reading",),
    Role.ROBOT: ("reading", "spot_trading"),
}
# How long before its trading right lapses a key is warned of.
SOON_DAYS = 7
# Reading through FIX adds nothing to reading; trading through FIX does.
_HARMLESS = frozenset({"fix_read"})


def check_policy(
    role: Role, restrictions: KeyRestrictions, allow: Collection[str] = (), now: int | None = None
) -> PolicyVerdict:
    """Compare a key's rights with what its role allows.

    Args:
        role: the role that the key is meant for.
        restrictions: what the exchange says of the key.
        allow: names of rights that the operator accepts although the role forbids them (``--allow``).
        now: milliseconds since the epoch, for what is about to lapse.

    Returns:
        The verdict; ``ok`` is False when a right is missing or too much.
    """
    held = restrictions.permissions()
    required = REQUIRED[role]
    missing = tuple(name for name in required if name not in held)
    excess = tuple(name for name in held if name not in required and name not in _HARMLESS and name not in allow)
    warnings = []
    if not restrictions.ip_restricted:
        warnings.append(
            (
                "IP_UNRESTRICTED",
                f"the {role} key may be used from any address; restrict it to trusted IPs on Binance's page"
                " (Binance takes the trading right from unrestricted keys after a while)",
            )
        )
    lapses = restrictions.trading_expires_at
    if role is Role.ROBOT and lapses is not None and now is not None and lapses - now < SOON_DAYS * DAY_MS:
        when = "has lapsed" if lapses <= now else f"lapses on {rfc3339(lapses)}"
        warnings.append(
            ("TRADING_RIGHT_LAPSES", f"the {role} key's trading right {when}: restrict it to trusted IPs, or renew it")
        )
    lapsed = "spot_trading" in missing and lapses is not None and now is not None and lapses <= now
    return PolicyVerdict(not missing and not excess, missing, excess, tuple(warnings), lapsed)


# Making, deleting and restricting a sub-account's keys asks for the master's trading right (binance.md, section 9).
ISSUER_REQUIRED = ("reading", "spot_trading")


def check_issuer_policy(restrictions: KeyRestrictions, allow: Collection[str] = ()) -> PolicyVerdict:
    """Compare a master key's rights with what an issuer needs; whatever is more could rob the master account."""
    held = restrictions.permissions()
    missing = tuple(name for name in ISSUER_REQUIRED if name not in held)
    excess = tuple(name for name in held if name not in ISSUER_REQUIRED and name not in _HARMLESS and name not in allow)
    open_to_all = (
        "IP_UNRESTRICTED",
        "the master key may be used from any address; restrict it to trusted IPs on Binance's page",
    )
    warnings = () if restrictions.ip_restricted else (open_to_all,)
    return PolicyVerdict(not missing and not excess, missing, excess, warnings)


def require_acceptable_key(verdict: KeyVerdict, role: Role) -> KeyVerdict:
    """Return the verdict if the key may be taken in; raise what is wrong otherwise.

    Raises:
        KeyRejectedError: the exchange does not accept it.
        KeyPolicyError: its rights are not what the role allows, or it is another account's.
        ExchangeUnreachableError: the exchange does not say what it may do.
    """
    if verdict.reason == "other_account":
        raise KeyPolicyError(
            "the key belongs to another Binance account than this one's first key",
            hint="enter a key of the same account, or make another account ('fortctl accounts add')",
            details={"role": role.value, "reason": "other_account"},
        )
    if not verdict.accepted:
        raise rejection_error(verdict, role)
    if verdict.rights_unknown:
        raise ExchangeUnreachableError(
            f"the exchange accepts the {role} key and does not say what it may do: {verdict.rights_unknown}",
            hint="try again later; 'keys add --allow unknown_rights' takes the key although it may be allowed to withdraw",
            details={"role": role.value, "reason": "rights_unknown"},
        )
    policy = verdict.policy
    if policy is not None and policy.lapsed and not policy.excess:
        raise KeyPolicyError(
            f"the {role} key's {LAPSED}",
            hint=LAPSED_REMEDY,
            details={"role": role.value, "reason": "expired", "missing": list(policy.missing), "excess": []},
        )
    if policy is not None and not policy.ok:
        wrong = [*(f"missing {name}" for name in policy.missing), *(f"too much: {name}" for name in policy.excess)]
        raise KeyPolicyError(
            f"the exchange accepts the key, but its permissions are not those of the {role} role: {', '.join(wrong)}",
            hint=permission_hint(role, policy.missing, policy.excess),
            details={
                "role": role.value,
                "reason": "policy",
                "missing": list(policy.missing),
                "excess": list(policy.excess),
            },
        )
    return verdict


def refuse_key_of_other_account(uid: int | None, role: Role, elsewhere: Mapping[int, str]) -> None:
    """Refuse a key of an account that this home knows under another name.

    Args:
        elsewhere: the other accounts' names by their number at the same exchange.

    Raises:
        KeyPolicyError: it is the other account's.
    """
    if uid is not None and uid in elsewhere:
        raise KeyPolicyError(
            f"this is a key of the account {elsewhere[uid]}",
            hint=f"enter it there ('fortctl --account {elsewhere[uid]} keys add'), or create a key in this account",
            details={"role": role.value, "reason": "other_account", "account": elsewhere[uid]},
        )


def refuse_key_of_other_exchange(account: str | None, role: Role) -> None:
    """Refuse a key that this home knows as another exchange's, before it is sent to this one.

    Args:
        account: the account that it was entered for, or None.

    Raises:
        KeyRejectedError: it is known.
    """
    if account is not None:
        raise KeyRejectedError(
            f"this is the key of the account {account}, which is at another exchange",
            hint=remedy_for("other_exchange"),
            details={"role": role.value, "reason": "other_exchange", "certainty": "certain", "account": account},
        )


# Binance takes the trading right from keys without an IP list after a while (faqs, "API key permissions").
LAPSED = "trading right has lapsed"
LAPSED_REMEDY = "restrict the key to trusted IPs on Binance's page and tick 'Enable Spot & Margin Trading' again"
_TICK = {
    "reading": "Enable Reading",
    "spot_trading": "Enable Spot & Margin Trading",
    "withdrawals": "Enable Withdrawals",
    "internal_transfer": "Enable Internal Transfer",
    "universal_transfer": "Permits Universal Transfer",
    "margin": "Enable Margin Loan, Repay & Transfer",
    "futures": "Enable Futures",
    "options": "Enable European Options",
    "portfolio_margin": "Enable Portfolio Margin",
    "fix_trade": "Enable FIX API Trading",
    "fix_read": "Enable FIX API Reading",
}


def permission_label(right: str) -> str:
    """Return a right as Binance's page names it."""
    return _TICK.get(right, right)


def permission_hint(role: Role, missing: tuple[str, ...], excess: tuple[str, ...]) -> str:
    steps = [f"tick '{permission_label(name)}'" for name in missing] + [
        f"untick '{permission_label(name)}'" for name in excess
    ]
    hint = "on Binance's API management page: " + ", ".join(steps)
    return hint + (f"; or accept it where a key is added, with --allow {excess[0]}" if excess and not missing else "")


def rejection_error(verdict: KeyVerdict, role: Role) -> KeyRejectedError:
    """Return the error for a key that the exchange does not accept."""
    return KeyRejectedError(
        f"the exchange does not accept the {role} key: {describe_rejection(verdict.reason)}",
        hint=remedy_for(verdict.reason),
        details={"role": role.value, "reason": verdict.reason, **verdict.details},
        exchange=ExchangeAnswer(verdict.http_status, verdict.exchange_code, verdict.exchange_message),
    )


def describe_rejection(reason: str) -> str:
    """Return why a key is refused, in words."""
    return _WORDS.get(reason, reason.replace("_", " "))


def remedy_for(reason: str) -> str | None:
    """Return what to do about a refused key."""
    return _REMEDY.get(reason)


_WORDS = {
    "unknown_key": "there is no such API key there (deleted, mistyped, or made on another exchange)",
    "wrong_secret": "the secret is not that of the API key",
    "malformed_key": "the API key has a wrong format",
    "ip_not_listed": "most likely this address is not on the key's IP list",
    "right_missing": "the key lacks the right to read",
    "swapped": "the API key and the secret were entered in each other's place",
    "other_exchange": "it is a key of another exchange",
    "refused": "it does not exist, or its IP list lacks this address, or it lacks the right",
}
_REMEDY = {
    "unknown_key": "create a new key on Binance's API management page; a testnet key works on testnet alone",
    "swapped": "enter them again, each in its own place",
    "ip_not_listed": "on Binance's page add the address of the host that uses the key, or wait if it was banned",
    "right_missing": "on Binance's page tick 'Enable Reading'",
    "other_exchange": "see 'fortctl accounts list': enter the key for an account of that exchange",
    "wrong_secret": "the API key is right, its secret is not: enter both again, or create a new key",
    "malformed_key": "the API key is not complete: copy it again from Binance's page",
    "refused": "the key does not exist, or its IP list lacks this address, or it lacks the right: see Binance's page",
}
