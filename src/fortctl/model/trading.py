"""The vocabulary shared by every room: frozen values, no behaviour beyond arithmetic.

Money and quantities are ``Decimal``; times are integer milliseconds since the Unix epoch unless a name ends otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"


class OrderType(StrEnum):
    LIMIT = "LIMIT"
    LIMIT_MAKER = "LIMIT_MAKER"
    MARKET = "MARKET"


class OrderStatus(StrEnum):
    """Order status (Binance spot ``enums.md``)."""

    NEW = "NEW"
    PENDING_NEW = "PENDING_NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    PENDING_CANCEL = "PENDING_CANCEL"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    EXPIRED_IN_MATCH = "EXPIRED_IN_MATCH"

    @property
    def is_open(self) -> bool:
        return self in _OPEN


_OPEN = frozenset({OrderStatus.NEW, OrderStatus.PENDING_NEW, OrderStatus.PARTIALLY_FILLED, OrderStatus.PENDING_CANCEL})


@dataclass(frozen=True)
class PriceRange:
    """Lowest, highest and last price of a span of time."""

    lowest: Decimal
    highest: Decimal
    last: Decimal


@dataclass(frozen=True)
class SymbolRules:
    """The filters of one symbol that the robot must respect (Binance ``filters.md``). A bound of 0 is off.

    Attributes:
        stated_at: the exchange's time (ms) as it said when it told them; 0 where it did not.
    """

    symbol: str
    base: str
    quote: str
    status: str
    tick_size: Decimal
    min_price: Decimal
    max_price: Decimal
    step_size: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    min_notional: Decimal
    max_notional: Decimal = Decimal(0)
    bid_multiplier_up: Decimal = Decimal(0)
    bid_multiplier_down: Decimal = Decimal(0)
    ask_multiplier_up: Decimal = Decimal(0)
    ask_multiplier_down: Decimal = Decimal(0)
    max_orders: int = 0
    order_types: tuple[str, ...] = ()
    stp_modes: tuple[str, ...] = ()
    stated_at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Balance:
    asset: str
    free: Decimal
    locked: Decimal


@dataclass(frozen=True)
class AccountState:
    """What ``GET /api/v3/account`` says: rates are fractions (0.001 = 10 bps)."""

    uid: int
    can_trade: bool
    maker_rate: Decimal
    taker_rate: Decimal
    balances: tuple[Balance, ...]

    def balance(self, asset: str) -> Balance:
        for balance in self.balances:
            if balance.asset == asset:
                return balance
        return Balance(asset, Decimal(0), Decimal(0))

    def updated(self, balances: Sequence[Balance]) -> AccountState:
        """Return the account with some balances replaced."""
        changed = {balance.asset for balance in balances}
        return replace(self, balances=(*(one for one in self.balances if one.asset not in changed), *balances))


@dataclass(frozen=True)
class OrderRequest:
    """An order as the robot wants it, already rounded to the symbol's filters."""

    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    price: Decimal
    client_order_id: str
    self_trade_prevention: str | None = None


@dataclass(frozen=True)
class OrderState:
    """An order as the exchange tells it."""

    symbol: str
    order_id: int
    client_order_id: str
    side: Side
    type: str
    price: Decimal
    quantity: Decimal
    executed: Decimal
    quote_executed: Decimal
    status: OrderStatus
    time: int
    update_time: int


@dataclass(frozen=True)
class Fill:
    """One execution of one of our orders. ``trade_id`` is unique within a symbol."""

    symbol: str
    trade_id: int
    order_id: int
    side: Side
    price: Decimal
    quantity: Decimal
    quote: Decimal
    commission: Decimal
    commission_asset: str
    time: int
    is_maker: bool
    client_order_id: str = ""
