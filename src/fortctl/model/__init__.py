"""The values that all packages share: frozen dataclasses and enums without behaviour beyond arithmetic.

- :mod:`.keys`: roles, key pairs, the card of a key; :mod:`.restrictions`: permissions at the exchange;
  :mod:`.verdicts`: verdicts on keys; :mod:`.drift`: what a key's rights became since a person accepted them.
- :mod:`.trading`: orders, fills, balances, symbol rules.
- :mod:`.robot`: what a robot reports of its orders.
- :mod:`.streams`: the events of user data streams and market streams.

Import them from here: ``from fortctl.model import OrderState``.

Money and quantities are ``Decimal``; times are integer milliseconds since the Unix epoch unless a name ends otherwise.

The module of a name is imported when the name is first used, so a command that lists keys loads no order types.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fortctl.model.drift import Drift, DriftKind, KeyRights
    from fortctl.model.keys import (
        IP_UNRESTRICTED,
        PERMISSIONS,
        UNKNOWN_RIGHTS,
        KeyCard,
        KeyPair,
        KeyType,
        PendingPair,
        Role,
    )
    from fortctl.model.restrictions import KeyRestrictions
    from fortctl.model.robot import HaltReport, RobotOrder
    from fortctl.model.streams import (
        BalanceUpdate,
        FundsMoved,
        MarketEvent,
        OrderUpdate,
        PublicTrade,
        StreamDown,
        StreamUp,
        UserEvent,
    )
    from fortctl.model.trading import (
        AccountState,
        Balance,
        Fill,
        OrderRequest,
        OrderState,
        OrderStatus,
        OrderType,
        PriceRange,
        Side,
        SymbolRules,
        UnreadableOrder,
    )
    from fortctl.model.verdicts import (
        KeyVerdict,
        PolicyVerdict,
    )

_MODULES = {
    "drift": ("Drift", "DriftKind", "KeyRights"),
    "keys": (
        "IP_UNRESTRICTED",
        "KeyCard",
        "KeyPair",
        "KeyType",
        "PERMISSIONS",
        "PendingPair",
        "Role",
        "UNKNOWN_RIGHTS",
    ),
    "restrictions": ("KeyRestrictions",),
    "robot": ("HaltReport", "RobotOrder"),
    "streams": (
        "BalanceUpdate",
        "FundsMoved",
        "MarketEvent",
        "OrderUpdate",
        "PublicTrade",
        "StreamDown",
        "StreamUp",
        "UserEvent",
    ),
    "trading": (
        "AccountState",
        "Balance",
        "Fill",
        "OrderRequest",
        "OrderState",
        "OrderStatus",
        "OrderType",
        "PriceRange",
        "Side",
        "SymbolRules",
        "UnreadableOrder",
    ),
    "verdicts": ("KeyVerdict", "PolicyVerdict"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the module of a name when it is first used (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


__all__ = [
    "AccountState",
    "Balance",
    "BalanceUpdate",
    "Drift",
    "DriftKind",
    "Fill",
    "FundsMoved",
    "HaltReport",
    "KeyCard",
    "KeyPair",
    "KeyRestrictions",
    "KeyRights",
    "KeyType",
    "KeyVerdict",
    "MarketEvent",
    "OrderRequest",
    "OrderState",
    "OrderStatus",
    "OrderType",
    "OrderUpdate",
    "IP_UNRESTRICTED",
    "PERMISSIONS",
    "PendingPair",
    "PolicyVerdict",
    "PriceRange",
    "PublicTrade",
    "RobotOrder",
    "Role",
    "Side",
    "StreamDown",
    "StreamUp",
    "SymbolRules",
    "UnreadableOrder",
    "UNKNOWN_RIGHTS",
    "UserEvent",
]
