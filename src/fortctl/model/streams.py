"""The events of user data streams and market streams."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from fortctl.model.trading import Balance, Fill, OrderState


@dataclass(frozen=True)
class PublicTrade:
    """A trade of the public market stream."""

    symbol: str
    price: Decimal
    quantity: Decimal
    time: int


@dataclass(frozen=True)
class OrderUpdate:
    """An ``executionReport``: the order's present state, and the fill that caused it, if any."""

    order: OrderState
    fill: Fill | None
    execution_type: str
    event_time: int


@dataclass(frozen=True)
class BalanceUpdate:
    """An ``outboundAccountPosition``: the balances that may have changed."""

    balances: tuple[Balance, ...]
    event_time: int


@dataclass(frozen=True)
class FundsMoved:
    """A ``balanceUpdate``: a deposit, a withdrawal or a transfer changed the balance of an asset."""

    asset: str
    change: Decimal
    event_time: int


@dataclass(frozen=True)
class StreamUp:
    """The stream is subscribed (again); every event before this one may have been missed."""


@dataclass(frozen=True)
class StreamDown:
    """The stream was cut or refused; ``code`` is Binance's error code, or None."""

    reason: str
    code: int | None = None


UserEvent = OrderUpdate | BalanceUpdate | FundsMoved | StreamUp | StreamDown
MarketEvent = PublicTrade | StreamUp | StreamDown
