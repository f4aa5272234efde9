"""The vocabulary shared by every room: frozen values, no behaviour beyond arithmetic.

Money and quantities are ``Decimal``; times are integer milliseconds since the Unix epoch unless a name ends otherwise.
"""

from __future__ import annotations

from fortctl.model.keys import (
    PERMISSIONS,
    UNKNOWN_RIGHTS,
    KeyCard,
    KeyPair,
    KeyRestrictions,
    KeyType,
    KeyVerdict,
    PendingPair,
    PolicyVerdict,
    Role,
)
from fortctl.model.streams import BalanceUpdate, MarketEvent, OrderUpdate, PublicTrade, StreamDown, StreamUp, UserEvent
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
)

__all__ = [
    "PERMISSIONS",
    "UNKNOWN_RIGHTS",
    "AccountState",
    "Balance",
    "BalanceUpdate",
    "Fill",
    "KeyCard",
    "KeyPair",
    "KeyRestrictions",
    "KeyType",
    "KeyVerdict",
    "MarketEvent",
    "OrderRequest",
    "OrderState",
    "OrderStatus",
    "OrderType",
    "OrderUpdate",
    "PendingPair",
    "PolicyVerdict",
    "PriceRange",
    "PublicTrade",
    "Role",
    "Side",
    "StreamDown",
    "StreamUp",
    "SymbolRules",
    "UserEvent",
]
