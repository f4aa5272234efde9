"""The life of one buy-sell cycle, as one table of every state by every event. Pure.

``planned → buying → bought → selling → closed``, or ``cancelled`` (nothing was bought), or ``dust`` (what was bought
is below the exchange's minimum).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from fortctl.model import OrderStatus, RobotOrder, Side
from fortctl.robot.core.filters import floor_to


class CycleState(StrEnum):
    PLANNED = "planned"
    BUYING = "buying"
    BOUGHT = "bought"
    SELLING = "selling"
    CLOSED = "closed"
    CANCELLED = "cancelled"
    DUST = "dust"


class CycleEvent(StrEnum):
    BUY_SENT = "buy_sent"  # its intent is in the journal
    BUY_DONE = "buy_done"  # final at the exchange, with something bought, every fill booked
    BUY_EMPTY = "buy_empty"  # final, refused, or proved absent, with nothing bought
    SELL_SENT = "sell_sent"
    SELL_DONE = "sell_done"  # all that was offered is sold, every fill booked
    SELL_BACK = "sell_back"  # final, refused, or proved absent, with something left to sell
    TOO_SMALL = "too_small"  # what is left cannot be sold alone


class IllegalTransitionError(Exception):
    """An event cannot happen in this state; nothing was changed."""


S, E = CycleState, CycleEvent

# The event cannot happen in this state; it is refused and nothing changes.
NEVER = None

# fmt: off
_COLUMNS = (
              E.BUY_SENT, E.BUY_DONE, E.BUY_EMPTY,  E.SELL_SENT, E.SELL_DONE, E.SELL_BACK, E.TOO_SMALL)
_ROWS: dict[CycleState, tuple[CycleState | None, ...]] = {
    S.PLANNED:   (S.BUYING,   NEVER,      NEVER,        NEVER,       NEVER,       NEVER,       NEVER),
    S.BUYING:    (NEVER,      S.BOUGHT,   S.CANCELLED,  NEVER,       NEVER,       NEVER,       NEVER),
    S.BOUGHT:    (NEVER,      NEVER,      NEVER,        S.SELLING,   NEVER,       NEVER,       S.DUST),
    S.SELLING:   (NEVER,      NEVER,      NEVER,        NEVER,       S.CLOSED,    S.BOUGHT,    NEVER),
    S.CLOSED:    (NEVER,      NEVER,      NEVER,        NEVER,       NEVER,       NEVER,       NEVER),
    S.CANCELLED: (NEVER,      NEVER,      NEVER,        NEVER,       NEVER,       NEVER,       NEVER),
    S.DUST:      (NEVER,      NEVER,      NEVER,        NEVER,       NEVER,       NEVER,       NEVER),
}
# fmt: on
TRANSITIONS: dict[tuple[CycleState, CycleEvent], CycleState | None] = {
    (state, event): after for state, row in _ROWS.items() for event, after in zip(_COLUMNS, row, strict=True)
}
FINAL = frozenset({S.CLOSED, S.CANCELLED, S.DUST})


def advance(state: CycleState, event: CycleEvent) -> CycleState:
    """Return the state after an event. Raises ``IllegalTransitionError``."""
    after = TRANSITIONS[state, event]
    if after is NEVER:
        raise IllegalTransitionError(f"{event.value} in state {state.value}")
    return after


ZERO = Decimal(0)


@dataclass
class Order:
    """One order of the robot.

    Attributes:
        status: None until the exchange has reported one.
        absent: the order was refused, or is proved never to have been placed.
        executed: base quantity that the exchange reports as executed.
        booked: base quantity of the fills that the journal has.
    """

    client_order_id: str
    cycle: int
    leg: str
    attempt: int
    price: Decimal
    quantity: Decimal
    at: int
    status: OrderStatus | None = None
    absent: bool = False
    order_id: int = 0
    executed: Decimal = ZERO
    booked: Decimal = ZERO
    trades: set[int] = field(default_factory=set)

    @property
    def side(self) -> Side:
        return Side.BUY if self.leg == "buy" else Side.SELL

    @property
    def final(self) -> bool:
        return self.absent or (self.status is not None and not self.status.is_open)

    @property
    def settled(self) -> bool:
        """Whether the order is final and every fill that the exchange reported is booked."""
        return self.final and self.booked == self.executed

    @property
    def missing(self) -> Decimal:
        """Base quantity that was executed and is not booked yet."""
        return self.executed - self.booked


@dataclass
class Cycle:
    """One buy-sell cycle. Quantities in base; ``spent``, ``received`` and ``cost`` in quote.

    Attributes:
        bought: base received, net of commission in base.
        spent: quote paid.
        dust, dust_cost: base quantity from the dust pool, and its cost in quote.
        sold, received: base sold (commission in base included), quote received.
        fees: what commissions in quote, and in assets whose worth is known, were worth in quote.
        commissions: what was charged, by asset.
        names: the client order ids of all its orders.
        sell_price, sell_step: the first sell that was made durable with the buy; price 0 where none was.
    """

    id: int
    level: int
    buy_price: Decimal
    symbol: str = ""
    opened_at: int = 0
    state: CycleState = CycleState.PLANNED
    bought: Decimal = ZERO
    spent: Decimal = ZERO
    dust: Decimal = ZERO
    dust_cost: Decimal = ZERO
    sold: Decimal = ZERO
    received: Decimal = ZERO
    fees: Decimal = ZERO
    commissions: dict[str, Decimal] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=lambda: {"buy": 0, "sell": 0})
    orders: dict[str, str] = field(default_factory=dict)
    profit: Decimal = ZERO
    closed_at: int = 0
    sell_price: Decimal = ZERO
    sell_step: Decimal = ZERO

    @property
    def promised(self) -> Decimal:
        """Base quantity of the promised first sell; 0 where none is promised or another attempt was journaled."""
        if not self.sell_price or self.attempts["sell"]:
            return ZERO
        return floor_to(self.bought, self.sell_step)

    def charge(self, asset: str, amount: Decimal) -> None:
        """Count a commission."""
        if amount:
            self.commissions[asset] = self.commissions.get(asset, ZERO) + amount

    @property
    def live(self) -> bool:
        return self.state not in FINAL

    @property
    def held_quantity(self) -> Decimal:
        return self.bought + self.dust - self.sold

    @property
    def unit_cost(self) -> Decimal:
        got = self.bought + self.dust
        return (self.spent + self.dust_cost) / got if got else ZERO


def describe_order(order: Order) -> RobotOrder:
    """Return an order as results and the status show it."""
    return RobotOrder(
        client_order_id=order.client_order_id,
        order_id=order.order_id,
        side=order.side.value,
        price=f"{order.price:f}",
        quantity=f"{order.quantity:f}",
        filled=f"{order.booked:f}",
        status="ABSENT" if order.absent else order.status.value if order.status else "UNKNOWN",
    )
