"""The vocabulary shared by every room: frozen values, no behaviour beyond arithmetic.

Money and quantities are ``Decimal``; times are integer milliseconds since the Unix epoch unless a name ends otherwise.
"""

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
    """A user-stream ``executionReport``: the order now, and the fill that caused it, if any."""

    order: OrderState
    fill: Fill | None
    execution_type: str
    event_time: int


@dataclass(frozen=True)
class BalanceUpdate:
    """A user-stream ``outboundAccountPosition``: assets that may have changed."""

    balances: tuple[Balance, ...]
    event_time: int


@dataclass(frozen=True)
class StreamUp:
    """The stream is (again) subscribed: everything before it may have been missed."""


@dataclass(frozen=True)
class StreamDown:
    """The stream was cut or refused. ``code`` is Binance's error code where it said one."""

    reason: str
    code: int | None = None


UserEvent = OrderUpdate | BalanceUpdate | StreamUp | StreamDown
MarketEvent = PublicTrade | StreamUp | StreamDown
