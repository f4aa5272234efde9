"""Orders, fills, balances and the rules of a symbol, as the exchange states them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum


class Side(StrEnum):
    """The side of an order."""

    BUY = "BUY"
    SELL = "SELL"


class OrderType(StrEnum):
    """The order types that a robot uses (Binance spot ``enums.md``)."""

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
        """Whether the order may still be filled or cancelled."""
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
    """The filters of one symbol that the robot must respect (Binance ``filters.md``); a bound of 0 is off.

    Attributes:
        stated_at: the exchange's time when it sent them (ms since the epoch); 0: not stated.
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
    """What an account has of one asset: free, and locked in open orders."""

    asset: str
    free: Decimal
    locked: Decimal


@dataclass(frozen=True)
class AccountState:
    """An account as ``GET /api/v3/account`` states it; rates are fractions (0.001 = 10 bps)."""

    uid: int
    can_trade: bool
    maker_rate: Decimal
    taker_rate: Decimal
    balances: tuple[Balance, ...]

    def balance(self, asset: str) -> Balance:
        """Return the balance of an asset; zero if the account has none."""
        for balance in self.balances:
            if balance.asset == asset:
                return balance
        return Balance(asset, Decimal(0), Decimal(0))

    def updated(self, balances: Sequence[Balance]) -> AccountState:
        """Return the account with some balances replaced."""
        changed = {balance.asset for balance in balances}
        return replace(
            self, balances=(*(balance for balance in self.balances if balance.asset not in changed), *balances)
        )


@dataclass(frozen=True)
class OrderRequest:
    """An order to place, already rounded to the symbol's filters."""

    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    price: Decimal
    client_order_id: str
    self_trade_prevention: str | None = None


@dataclass(frozen=True)
class OrderState:
    """An order as the exchange states it.

    Attributes:
        executed: filled quantity, in the base asset.
        quote_executed: the price paid or received for it, in the quote asset; negative where no longer known.
        time, update_time: milliseconds since the epoch.
    """

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
class UnreadableOrder:
    """A row of a list of orders that cannot be read.

    Attributes:
        order_id: its number; None where that cannot be read either.
        client_order_id, symbol: as named; empty where they cannot be read.
        why: what is wrong with it, without the value.
    """

    order_id: int | None
    client_order_id: str
    symbol: str
    why: str

    def __str__(self) -> str:
        number = f"order {self.order_id}" if self.order_id is not None else "an order without a number"
        name = f" ({self.client_order_id})" if self.client_order_id else ""
        symbol = f" of {self.symbol}" if self.symbol else ""
        return f"{number}{name}{symbol}: {self.why}"


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
