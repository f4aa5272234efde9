"""Orders and order lists of the paper exchange, in Binance's terms (enums.md). Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from decimal import Decimal
from operator import attrgetter
from typing import Any

ZERO = Decimal(0)
OPEN = ("NEW", "PARTIALLY_FILLED")
MARKET_TYPES = ("MARKET", "STOP_LOSS", "TAKE_PROFIT")
STOP_TYPES = ("STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
_NUMBERS = frozenset(
    [
        *("price", "quantity", "quote_quantity", "executed", "quote_executed", "queue_ahead", "stop_price", "iceberg"),
        *("shown", "prevented", "held", "extreme"),
    ]
)


@dataclass(slots=True)
class PaperOrder:
    """An order of the paper exchange.

    Attributes:
        held: the amount still locked for it, in its asset (base for SELL, quote for BUY).
        shown: the visible quantity of an iceberg.
        extreme: the best price since a trailing order began to trail, or 0.
        working_time: when it entered the book (ms), or -1.
        rank: its rank among orders of the same price; an iceberg gets a new rank with each visible part.
        triggered: its stop price was reached.
        list_id: its order list, or -1.
    """

    id: int
    account: str
    symbol: str
    client_order_id: str
    side: str
    type: str
    time_in_force: str
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    time: int
    status: str = "NEW"
    executed: Decimal = ZERO
    quote_executed: Decimal = ZERO
    update_time: int = 0
    queue_ahead: Decimal = ZERO
    stp: str = "NONE"
    stop_price: Decimal = ZERO
    trailing_delta: int | None = None
    trailing_time: int | None = None
    extreme: Decimal = ZERO
    iceberg: Decimal = ZERO
    shown: Decimal = ZERO
    triggered: bool = False
    working_time: int = -1
    rank: int = 0
    held: Decimal = ZERO
    prevented: Decimal = ZERO
    prevented_id: int | None = None
    list_id: int = -1
    strategy_id: int | None = None
    strategy_type: int | None = None
    expiry_reason: str | None = None
    amends: int = 0
    fills: int = 0

    @property
    def left(self) -> Decimal:
        return self.quantity - self.executed - self.prevented

    @property
    def open(self) -> bool:
        return self.status in OPEN

    @property
    def stop(self) -> bool:
        return self.type in STOP_TYPES

    @property
    def takes_any_price(self) -> bool:
        """Whether it executes as a market order, now or when it triggers."""
        return self.type in MARKET_TYPES

    @property
    def waits(self) -> bool:
        """Whether it waits for its stop price."""
        return self.stop and not self.triggered

    @property
    def rises(self) -> bool:
        """Whether a rising price triggers it: STOP_LOSS BUY, TAKE_PROFIT SELL."""
        return self.type.startswith("STOP_LOSS") == (self.side == "BUY")

    def as_json(self) -> tuple[Any, ...]:
        """Return its fields in their order; decimals are written as texts."""
        fields: tuple[Any, ...] = _FIELDS(self)
        return fields

    @classmethod
    def from_json(cls, body: list[Any] | dict[str, Any]) -> PaperOrder:
        """Return the order of :meth:`as_json`, or of an older state file, whose rows have names."""
        fields = body.items() if isinstance(body, dict) else zip(cls.__slots__, body, strict=False)
        values: dict[str, Any] = {name: Decimal(value) if name in _NUMBERS else value for name, value in fields}
        return cls(**values)


_FIELDS = attrgetter(*PaperOrder.__slots__)


@dataclass
class OrderList:
    """An OCO, OTO or OTOCO list.

    Attributes:
        contingency: ``OCO`` or ``OTO``.
        orders: order ids; of an OTO(CO) the working order first.
        status_type: ``EXEC_STARTED``, ``UPDATED``, ``ALL_DONE``, ``RESPONSE``.
        order_status: ``EXECUTING``, ``ALL_DONE``, ``REJECT``.
    """

    id: int
    account: str
    symbol: str
    client_id: str
    contingency: str
    orders: list[int]
    time: int
    status_type: str = "EXEC_STARTED"
    order_status: str = "EXECUTING"
    legs: list[str] = field(default_factory=list)

    @property
    def open(self) -> bool:
        return self.order_status == "EXECUTING"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> OrderList:
        return cls(**body)
