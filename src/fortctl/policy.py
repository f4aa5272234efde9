"""Which rights a role needs and which it forbids. Pure.

The rule is the customer's: the site key only reads; the robot key reads and trades spot; nothing else, since every
further right is a way to rob the account (Binance, "Enable Reading", "Enable Spot & Margin Trading").
"""

from __future__ import annotations

from collections.abc import Collection

from fortctl.model import KeyRestrictions, PolicyVerdict, Role

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
