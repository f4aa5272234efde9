"""Which permissions a role requires and which it forbids, and why a key is refused. Pure.

The site key only reads; the robot key reads and trades spot. Every further permission is forbidden, because a thief of
the key could use it against the account (Binance, "Enable Reading", "Enable Spot & Margin Trading").
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from fortctl.errors import ExchangeAnswer, ExchangeUnreachableError, KeyPolicyError, KeyRejectedError
from fortctl.model import IP_UNRESTRICTED, PolicyVerdict, Role
from fortctl.model.keys import reads_only
from fortctl.timestamps import DAY_MS, rfc3339

if TYPE_CHECKING:
    from fortctl.model import KeyRestrictions, KeyVerdict

REQUIRED: dict[Role, tuple[str, ...]] = {
    Role.SITE: ("reading",),
    Role.ROBOT: ("reading", "spot_trading"),
}
# Warn of a trading permission that expires within so many days.
SOON_DAYS = 7
# Reading over FIX adds nothing to reading; trading over FIX adds another way to trade.
_HARMLESS = frozenset({"fix_read"})


def check_policy(
    role: Role, restrictions: KeyRestrictions, allow: Collection[str] = (), now: int | None = None
) -> PolicyVerdict:
    """Compare a key's permissions with its role.

    Args:
        role: the role that the key is meant for.
        restrictions: the key's permissions and IP restriction at the exchange.
        allow: what the operator accepts (``--allow``): forbidden permissions, ``ip_unrestricted``.
        now: milliseconds since the epoch, to warn of an expiring trading permission.

    Returns:
        The verdict; ``ok`` is False when a permission is missing or in excess.
    """
    held = restrictions.permissions()
    required = REQUIRED[role]
    missing = tuple(name for name in required if name not in held)
    excess = tuple(name for name in held if name not in required and name not in _HARMLESS and name not in allow)
    warnings = [] if restrictions.ip_restricted else [unrestricted_warning(role, held)]
    expires = restrictions.trading_expires_at
    if role is Role.ROBOT and expires is not None and now is not None and expires - now < SOON_DAYS * DAY_MS:
        when = "has expired" if expires <= now else f"expires on {rfc3339(expires)}"
        warnings.append(
            (
                "TRADING_RIGHT_LAPSES",
                f"the {role} key's trading permission {when}: restrict the key to trusted IPs, or renew it",
            )
        )
    lapsed = "spot_trading" in missing and expires is not None and now is not None and expires <= now
    unrestricted = role is Role.ROBOT and _is_refused_unrestricted(restrictions, allow)
    return PolicyVerdict(not missing and not excess, missing, excess, tuple(warnings), lapsed, unrestricted)


# Fast API, "Create API key": at most 30 addresses; a key with a trading permission must have an IP list.
MOST_ADDRESSES = 30


def _is_refused_unrestricted(restrictions: KeyRestrictions, allow: Collection[str]) -> bool:
    return not restrictions.ip_restricted and IP_UNRESTRICTED not in allow


def unrestricted_warning(key: str, permissions: Collection[str]) -> tuple[str, str]:
    """Return the warning about a key that works from any IP address, worded for what the key may do.

    Args:
        key: which key, for example ``robot``.
        permissions: what it may do.
    """
    cure = "restrict it to trusted IPs on Binance's API management page"
    if reads_only(permissions):
        return "IP_UNRESTRICTED", f"a thief of the {key} key can read the account from any IP address: {cure}"
    # Binance's key form, April 2026: a key without an IP list that may do more than read "will be deleted".
    risk = "Binance deletes keys that may do more than read and have no IP list"
    return "IP_UNRESTRICTED", f"the {key} key works from any IP address, and {risk}: {cure}"


def unrestricted_error(key: str) -> KeyPolicyError:
    """Return the error for a new key that may trade from any IP address.

    Args:
        key: which key: a role, or ``issuer``.
    """
    named = "master" if key == "issuer" else key
    return KeyPolicyError(
        f"the {named} key {UNRESTRICTED}",
        hint=remedy_for(IP_UNRESTRICTED),
        details={"role": key, "reason": "ip_unrestricted", "missing": [], "excess": []},
    )


# Binance requires the master key's trading permission to create, delete or restrict a sub-account's keys
# (Binance, sub-account API).
ISSUER_REQUIRED = ("reading", "spot_trading")


def check_issuer_policy(restrictions: KeyRestrictions, allow: Collection[str] = ()) -> PolicyVerdict:
    """Compare a master key's permissions with what an issuer needs; a thief could use any further one."""
    held = restrictions.permissions()
    missing = tuple(name for name in ISSUER_REQUIRED if name not in held)
    excess = tuple(name for name in held if name not in ISSUER_REQUIRED and name not in _HARMLESS and name not in allow)
    warnings = () if restrictions.ip_restricted else (unrestricted_warning("master", held),)
    unrestricted = _is_refused_unrestricted(restrictions, allow)
    return PolicyVerdict(not missing and not excess, missing, excess, warnings, unrestricted=unrestricted)


def require_acceptable_key(verdict: KeyVerdict, role: Role) -> KeyVerdict:
    """Return the verdict if the key may be used in its role.

    Raises:
        KeyRejectedError: the exchange does not accept the key.
        KeyPolicyError: its permissions do not match the role, it may trade from any IP address, or it belongs to
            another account.
        ExchangeUnreachableError: the exchange does not say what the key may do.
    """
    if verdict.reason == "other_account":
        raise KeyPolicyError(
            "the key belongs to another Binance account than the first key of this account",
            hint="enter a key of the same account, or add an account ('fortctl accounts add')",
            details={"role": role.value, "reason": "other_account"},
        )
    if not verdict.accepted:
        raise rejection_error(verdict, role)
    if verdict.rights_unknown:
        raise ExchangeUnreachableError(
            f"the exchange accepts the {role} key and does not say what it may do: {verdict.rights_unknown}",
            hint="try again later; 'keys add --allow unknown_rights' accepts the key although it may withdraw",
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
        wrong = [*(f"missing {name}" for name in policy.missing), *(f"excess {name}" for name in policy.excess)]
        raise KeyPolicyError(
            f"the exchange accepts the key, but its permissions do not match the {role} role: {', '.join(wrong)}",
            hint=permission_hint(role, policy.missing, policy.excess),
            details={
                "role": role.value,
                "reason": "policy",
                "missing": list(policy.missing),
                "excess": list(policy.excess),
            },
        )
    if policy is not None and policy.unrestricted:
        raise unrestricted_error(role.value)
    return verdict


def refuse_key_of_other_account(uid: int | None, role: Role, elsewhere: Mapping[int, str]) -> None:
    """Refuse a key of a Binance account that this home has under another name.

    Args:
        uid: the key's account number at the exchange; None: unknown.
        role: the role that the key was entered for.
        elsewhere: the names of the home's other accounts by their number at the same exchange.

    Raises:
        KeyPolicyError: the key belongs to one of them.
    """
    if uid is not None and uid in elsewhere:
        raise KeyPolicyError(
            f"this is a key of the account {elsewhere[uid]}",
            hint=f"enter it there ('fortctl --account {elsewhere[uid]} keys add'), or create a key in this account",
            details={"role": role.value, "reason": "other_account", "account": elsewhere[uid]},
        )


def refuse_key_of_other_exchange(account: str | None, role: Role) -> None:
    """Refuse a key that this home already has for another exchange, before it is sent to this one.

    Args:
        account: the account that has the key; None: no account has it.
        role: the role that the key was entered for.

    Raises:
        KeyRejectedError: an account has it.
    """
    if account is not None:
        raise KeyRejectedError(
            f"this is the key of the account {account}, which is at another exchange",
            hint=remedy_for("other_exchange"),
            details={"role": role.value, "reason": "other_exchange", "certainty": "certain", "account": account},
        )


# Binance withdraws the trading permission of keys without an IP list after a while (faqs, "API key permissions").
LAPSED = "trading permission has expired"
UNRESTRICTED = "may trade and works from any IP address"
LAPSED_REMEDY = "restrict the key to trusted IPs on Binance's page and tick 'Enable Spot & Margin Trading' again"
_LABELS = {
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
    """Return the label of a permission on Binance's API management page."""
    return _LABELS.get(right, right)


def permission_hint(role: Role, missing: tuple[str, ...], excess: tuple[str, ...]) -> str:
    """Return the boxes to tick and untick on Binance's API management page."""
    steps = [f"tick '{permission_label(name)}'" for name in missing] + [
        f"untick '{permission_label(name)}'" for name in excess
    ]
    hint = "on Binance's API management page: " + ", ".join(steps)
    return hint + (f"; or accept it with --allow {excess[0]} when you add the key" if excess and not missing else "")


def rejection_error(verdict: KeyVerdict, role: Role) -> KeyRejectedError:
    """Return the error for a key that the exchange does not accept."""
    return KeyRejectedError(
        f"the exchange does not accept the {role} key: {describe_rejection(verdict.reason)}",
        hint=remedy_for(verdict.reason),
        details={"role": role.value, "reason": verdict.reason, **verdict.evidence()},
        exchange=ExchangeAnswer(verdict.http_status, verdict.exchange_code, verdict.exchange_message),
    )


def describe_rejection(reason: str) -> str:
    """Return the text of a reason code (:data:`REASONS`)."""
    return _DESCRIPTIONS.get(reason, reason.replace("_", " "))


def remedy_for(reason: str) -> str | None:
    """Return the remedy for a reason code, or None."""
    return _REMEDIES.get(reason)


_DESCRIPTIONS = {
    "unknown_key": "the exchange knows no such API key (deleted, mistyped, or created at another exchange)",
    "wrong_secret": "the secret does not belong to the API key",
    "malformed_key": "the API key is malformed",
    "ip_not_listed": "most likely this address is not on the key's IP list",
    "right_missing": "the key lacks the permission to read",
    "swapped": "the API key and the secret were swapped",
    "other_exchange": "the key belongs to another exchange",
    "refused": "the key does not exist, or its IP list lacks this address, or it lacks a permission",
    "other_account": "the key belongs to another Binance account",
    "policy": "the key's permissions do not match its role",
    "expired": f"the key's {LAPSED}",
    "rights_unknown": "the exchange accepts the key and does not say what it may do",
    IP_UNRESTRICTED: f"the key {UNRESTRICTED}",
    "shared_between_roles": "the key is in use for the other role: each role needs a key of its own",
    "same_key": "the key that was entered is the one that is in use",
    "trading_right_removed": "the robot's key may not trade spot any more",
    "trading_disabled": "the account may not trade",
}
_REMEDIES = {
    "unknown_key": "create a new key on Binance's API management page; a testnet key works on the testnet only",
    "swapped": "enter them again in the right order",
    "ip_not_listed": "add the address of the host that uses the key on Binance's page, or wait if it is banned",
    "right_missing": "tick 'Enable Reading' on Binance's API management page",
    "other_exchange": "enter the key for an account of that exchange ('fortctl accounts list')",
    "wrong_secret": "the API key is right, but its secret is not; enter both again, or create a new key",
    "malformed_key": "the API key is not complete; copy it again from Binance's API management page",
    "refused": "check on Binance's API management page that the key exists, lists this address and has the permission",
    "other_account": "enter a key of the same account, or add an account ('fortctl accounts add')",
    "policy": "tick what 'fortctl keys verify' calls missing and untick what it calls excess, on Binance's page",
    "expired": LAPSED_REMEDY,
    "rights_unknown": "try again later; 'keys add --allow unknown_rights' accepts the key although it may withdraw",
    IP_UNRESTRICTED: (
        f"restrict it to trusted IPs on Binance's API management page (at most {MOST_ADDRESSES} addresses), or accept"
        " the key with --allow ip_unrestricted"
    ),
    "shared_between_roles": "create another key on Binance's API management page and enter that one",
    "same_key": "create a new key on Binance's API management page and enter that one",
    "trading_right_removed": "tick 'Enable Spot & Margin Trading' on Binance's API management page, or change the key",
    "trading_disabled": "see on Binance's page why the account may not trade",
}
# Every reason why a key is refused; each has a description and a remedy.
REASONS = frozenset(_DESCRIPTIONS)
