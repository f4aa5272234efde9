"""Which rights a role needs and which it forbids. Pure.

The rule is the customer's: the site key only reads; the robot key reads and trades spot; nothing else, since every
further right is a way to rob the account (Binance, "Enable Reading", "Enable Spot & Margin Trading").
"""

from __future__ import annotations

from collections.abc import Collection

from fortctl.errors import ExchangeAnswer, KeyPolicy, KeyRejected
from fortctl.model import KeyRestrictions, KeyVerdict, PolicyVerdict, Role

REQUIRED: dict[Role, tuple[str, ...]] = {
    Role.SITE: ("reading",),
    Role.ROBOT: ("reading", "spot_trading"),
}
# Reading through FIX adds nothing to reading; trading through FIX does.
_HARMLESS = frozenset({"fix_read"})


def judge(role: Role, restrictions: KeyRestrictions, allow: Collection[str] = ()) -> PolicyVerdict:
    """Compare a key's rights with what its role allows.

    Args:
        role: the role that the key is meant for.
        restrictions: what the exchange says of the key.
        allow: names of rights that the operator accepts although the role forbids them (``--allow``).

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
    return PolicyVerdict(not missing and not excess, missing, excess, tuple(warnings))


def expect_fit(verdict: KeyVerdict, role: Role) -> KeyVerdict:
    """Return the verdict if the key may be taken in; raise what is wrong otherwise.

    Raises:
        KeyRejected: the exchange does not accept it.
        KeyPolicy: its rights are not what the role allows, or it is another account's.
    """
    if verdict.reason == "other_account":
        raise KeyPolicy(
            "the key belongs to another Binance account than this one's first key",
            hint="enter a key of the same account, or make another account ('fortctl accounts add')",
            details={"role": role.value, "reason": "other_account"},
        )
    if not verdict.accepted:
        raise rejection_of(verdict, role)
    policy = verdict.policy
    if policy is not None and not policy.ok:
        wrong = [*(f"missing {name}" for name in policy.missing), *(f"too much: {name}" for name in policy.excess)]
        raise KeyPolicy(
            f"the exchange accepts the key, but its permissions are not those of the {role} role: {', '.join(wrong)}",
            hint=ticking_hint(role, policy.missing, policy.excess),
            details={
                "role": role.value,
                "reason": "policy",
                "missing": list(policy.missing),
                "excess": list(policy.excess),
            },
        )
    return verdict


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


def ticking_hint(role: Role, missing: tuple[str, ...], excess: tuple[str, ...]) -> str:
    steps = [f"tick '{_TICK[name]}'" for name in missing] + [f"untick '{_TICK[name]}'" for name in excess]
    hint = "on Binance's API management page: " + ", ".join(steps)
    return hint + (f"; or accept it with --allow {excess[0]}" if excess and not missing else "")


def rejection_of(verdict: KeyVerdict, role: Role) -> KeyRejected:
    """Return the error for a key that the exchange does not accept."""
    return KeyRejected(
        f"the exchange does not accept the {role} key: {verdict.reason.replace('_', ' ')}",
        hint=_REMEDY.get(verdict.reason),
        details={"role": role.value, "reason": verdict.reason, **verdict.details},
        exchange=ExchangeAnswer(verdict.http_status, verdict.exchange_code, verdict.exchange_message),
    )


_REMEDY = {
    "unknown_key": "the key does not exist (any more) at Binance: create a new one there and enter it",
    "wrong_secret": "the API key is right, its secret is not: enter both again, or create a new key",
    "malformed_key": "the API key is not complete: copy it again from Binance's page",
    "refused": "the key does not exist, or its IP list lacks this address, or it lacks the right: see Binance's page",
}
