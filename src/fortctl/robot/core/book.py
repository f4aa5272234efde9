"""The robot's book: cycles, orders, fills, dust, profit; a fold over the journal's events. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, NamedTuple

from fortctl.model import Drift, OrderStatus
from fortctl.robot.core.cycle import Cycle, CycleEvent, CycleState, Order, advance, describe_order
from fortctl.robot.core.events import (
    Anchored,
    AssetPriced,
    AssetsNamed,
    Configured,
    DustLeft,
    Event,
    FillRecorded,
    ForeignActivityReported,
    Held,
    KeyDriftReported,
    KeyRightsAccepted,
    KeyStatusChanged,
    ModeChanged,
    OrderIntended,
    OrderNotFound,
    OrderStatusReported,
    Released,
    StrategyNote,
    Trailed,
)
from fortctl.robot.core.filters import format_money
from fortctl.robot.core.foreign_activity import ForeignActivity
from fortctl.robot.core.hold_reasons import HoldReason
from fortctl.robot.core.lifecycle import TradingMode
from fortctl.robot.core.settings import GridSettings, Settings, parse_settings

ZERO = Decimal(0)
# How many finished cycles stay in memory: those that bought something, and those that bought nothing.
KEPT, KEPT_EMPTY = 500, 100
# How many foreign activities stay in memory.
KEPT_FOREIGN = 20


class CycleCounts(NamedTuple):
    """How many cycles a book has; held ones have inventory and no sell on the market."""

    open: int = 0
    closed: int = 0
    held: int = 0


class Book:
    """Everything the robot knows of its work. Only :meth:`apply` changes it.

    Settled cycles leave it again after a while, so that it does not grow; the journal keeps all (``robot report``).

    Args:
        finished: hears of each cycle that is over.
    """

    def __init__(self, finished: Callable[[Cycle], None] = lambda cycle: None) -> None:
        self._finished = finished
        self._over: deque[int] = deque()
        self._over_empty: deque[int] = deque()
        self._last_cycle = 0
        # The dust pool and the profit of other symbols and quotes than the present ones.
        self._pools: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
        self.profits: dict[str, Decimal] = {}
        self.settings: Settings | None = None
        self.mode = TradingMode.STOPPED
        self.reason = ""
        self.since = 0
        self.anchor: Decimal | None = None
        self.levels: set[int] = set()
        self.cycles: dict[int, Cycle] = {}
        self.live: set[int] = set()
        # The live cycles in order; None after one came or went.
        self._live_sorted: tuple[Cycle, ...] | None = None
        self.orders: dict[str, Order] = {}
        self.open_orders: set[str] = set()
        # Cycles whose promised sell may have left under a process that died before it could write that down.
        self.doubted: set[int] = set()
        self.dust = ZERO
        self.dust_cost = ZERO
        self.closed = 0
        self.hold: tuple[HoldReason, ...] = ()
        # When the robot began to hold, or was released (this host's clock, ms); 0: unknown.
        self.hold_changed_at = 0
        self.key_status: KeyStatusChanged | None = None
        self.last_loss: KeyStatusChanged | None = None
        # What a person accepted that the key may do, and how the exchange's last differing answer differs from that.
        self.accepted_rights: KeyRightsAccepted | None = None
        self.drift_report: KeyDriftReported | None = None
        # What somebody else did on the account, the newest last.
        self.foreign: deque[ForeignActivity] = deque(maxlen=KEPT_FOREIGN)
        self.moved: dict[str, Decimal] = {}
        # Commissions in assets whose worth in quote was not known; in no cycle's profit.
        self.other_commissions: dict[str, Decimal] = {}
        # One unit's worth in quote, and when it was seen.
        self.prices: dict[str, Decimal] = {}
        self.priced_at: dict[str, int] = {}
        self.notes: dict[str, str] = {}
        self.last_at = 0
        self.base = ""
        self.quote = ""

    def replay(self, events: Iterable[Event]) -> None:
        for event in events:
            self.apply(event)

    @property
    def next_cycle(self) -> int:
        return self._last_cycle + 1

    @property
    def profit(self) -> Decimal:
        """Realised profit in the present quote, net of commissions of known worth."""
        return self.profits.get(self.quote, ZERO)

    @property
    def drift(self) -> tuple[Drift, ...]:
        """How what the key may do differs from what a person accepted."""
        return self.drift_report.drift if self.drift_report is not None else ()

    @property
    def symbol(self) -> str:
        return self.settings.symbol if self.settings is not None else ""

    @property
    def trades(self) -> set[int]:
        """The exchange's numbers of the fills of all orders that are kept."""
        return {number for order in self.orders.values() for number in order.trades}

    def worth(self, asset: str, commission: Decimal) -> Decimal:
        """Return what a commission in quote, or in an asset of known price, is worth in quote.

        0 for one in base: it leaves less to sell.
        """
        if asset == self.quote:
            return commission
        return commission * self.prices.get(asset, ZERO) if asset != self.base else ZERO

    def has_booked(self, name: str, trade_id: int) -> bool:
        """Return whether a fill of an order is booked (trade ids are unique within a symbol only)."""
        order = self.orders.get(name)
        return order is not None and trade_id in order.trades

    def doubt_promises(self) -> None:
        """Doubt every promised sell, because the process that promised it may have sent it before it ended.

        Each is looked up before another order of its cycle leaves.
        """
        self.doubted = {cycle.id for cycle in self.live_cycles() if cycle.sell_price and not cycle.attempts["sell"]}

    def next_attempt(self, cycle: Cycle, leg: str, price: Decimal, quantity: Decimal) -> int:
        """Return the attempt number of an order; a promised sell's number 1 is kept for that very order."""
        if leg == "sell" and cycle.sell_price and not cycle.attempts["sell"]:
            return 1 if (price, quantity) == (cycle.sell_price, cycle.promised) else 2
        return cycle.attempts[leg] + 1

    def live_cycles(self) -> list[Cycle]:
        # Asked for many times between two changes of what is live.
        if self._live_sorted is None:
            self._live_sorted = tuple(self.cycles[number] for number in sorted(self.live))
        return list(self._live_sorted)

    def unsettled(self) -> list[Order]:
        """Return the orders that may still change: not final, or with fills missing."""
        return [self.orders[name] for name in sorted(self.open_orders)]

    def committed_quote(self) -> Decimal:
        """Return quote bound in open buys and inventory (dust included), at the prices paid."""
        bound = self.dust_cost
        for cycle in self.live_cycles():
            bound += cycle.held_quantity * cycle.unit_cost
            if cycle.state is CycleState.BUYING:
                order = self.orders[cycle.orders["buy"]]
                bound += (order.quantity - order.booked) * order.price
        return bound

    def inventory(self) -> Decimal:
        """Return base that our cycles bought and have not sold, the dust pool included."""
        return self.dust + sum((cycle.held_quantity for cycle in self.live_cycles()), ZERO)

    # -- the fold --------------------------------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Apply one event. Raises ``IllegalTransitionError`` or ``KeyError`` for one that cannot have happened."""
        match event:
            case Configured():
                self._apply_settings(parse_settings(event.settings))
            case AssetsNamed():
                self._apply_assets(event.base, event.quote)
            case ModeChanged():
                self._apply_mode(event)
            case Anchored():
                self._apply_anchor(event)
            case Trailed():
                self.levels.discard(event.dropped)
                self.levels.add(event.added)
            case OrderIntended():
                self._apply_intent(event)
            case OrderStatusReported():
                self._apply_status(event)
            case OrderNotFound():
                self._apply_not_found(event)
            case FillRecorded():
                self._apply_fill(event)
            case DustLeft():
                cycle = self.cycles[event.cycle]
                cycle.state = advance(cycle.state, CycleEvent.TOO_SMALL)
                self._finish(cycle)
            case StrategyNote():
                self.notes[event.name] = event.value
                if not event.value:
                    del self.notes[event.name]
            case AssetPriced():
                self.prices[event.asset], self.priced_at[event.asset] = event.price, event.at
            case Held():
                # A further reason does not begin another hold.
                self.hold_changed_at = self.hold_changed_at if self.hold else event.at
                self.hold = event.reasons
            case Released():
                self.hold, self.hold_changed_at = (), event.at
            case KeyStatusChanged():
                self.key_status = event
                self.last_loss = event if event.what == "lost" else self.last_loss
            case KeyRightsAccepted():
                self.accepted_rights = event
            case ForeignActivityReported():
                self.foreign.append(event.activity)
            case KeyDriftReported():
                self.drift_report = event
            case _:
                raise TypeError(f"unknown event {type(event).__name__}")

    def _apply_assets(self, base: str, quote: str) -> None:
        if (base, quote) != (self.base, self.quote):
            # Dust is of one symbol: it waits until that is traded again.
            self._pools[self.base, self.quote] = (self.dust, self.dust_cost)
            self.dust, self.dust_cost = self._pools.pop((base, quote), (ZERO, ZERO))
            self.base, self.quote = base, quote

    def _apply_settings(self, settings: Settings) -> None:
        if self.settings is not None and settings.strategy != self.settings.strategy:
            self.anchor, self.levels, self.notes = None, set(), {}
        self.settings = settings
        if self.levels and isinstance(settings, GridSettings):
            # The highest stay; what the others bought is sold as before.
            kept = sorted(self.levels)[: settings.levels]
            more = range(kept[-1] + 1, kept[-1] + 1 + settings.levels - len(kept))
            self.levels = {*kept, *more}

    def _apply_mode(self, event: ModeChanged) -> None:
        if event.mode == TradingMode.RUNNING and not self.live:
            # A fresh start lays a fresh grid at the price of then.
            self.anchor, self.levels, self.notes = None, set(), {}
        self.mode, self.reason, self.since = TradingMode(event.mode), event.reason, event.at

    def _apply_anchor(self, event: Anchored) -> None:
        assert isinstance(self.settings, GridSettings)
        self.anchor = event.price
        self.levels = set(range(1, self.settings.levels + 1))

    def _apply_intent(self, event: OrderIntended) -> None:
        cycle = self.cycles.get(event.cycle)
        if cycle is None:
            cycle = self.cycles[event.cycle] = Cycle(event.cycle, event.level, event.price, self.symbol, event.at)
            self._last_cycle = max(self._last_cycle, event.cycle)
            cycle.sell_price, cycle.sell_step = event.sell_price, event.sell_step
            self.live.add(event.cycle)
            self._live_sorted = None
        if event.leg == "sell":
            self.doubted.discard(event.cycle)
        sent = CycleEvent.BUY_SENT if event.leg == "buy" else CycleEvent.SELL_SENT
        cycle.state = advance(cycle.state, sent)
        cycle.attempts[event.leg] = event.attempt
        cycle.orders[event.leg] = event.client_order_id
        if event.dust:
            cost = self.dust_cost * event.dust / self.dust
            cycle.dust += event.dust
            cycle.dust_cost += cost
            self.dust -= event.dust
            self.dust_cost -= cost
        self.orders[event.client_order_id] = Order(
            event.client_order_id, event.cycle, event.leg, event.attempt, event.price, event.quantity, event.at
        )
        cycle.names.append(event.client_order_id)
        self.open_orders.add(event.client_order_id)

    def _apply_status(self, event: OrderStatusReported) -> None:
        order = self.orders[event.client_order_id]
        status = OrderStatus(event.status)
        # Events may come doubled and late: what was executed never shrinks, and final stays final.
        if not order.final or event.executed > order.executed:
            order.status, order.absent = status, False
        order.order_id = event.order_id or order.order_id
        order.executed = max(order.executed, event.executed)
        self._settle(order)

    def _apply_not_found(self, event: OrderNotFound) -> None:
        order = self.orders[event.client_order_id]
        if not order.final:
            order.absent = True
        self._settle(order)

    def _apply_fill(self, event: FillRecorded) -> None:
        order = self.orders[event.client_order_id]
        if event.trade_id in order.trades:
            return
        order.trades.add(event.trade_id)
        cycle = self.cycles[order.cycle]
        self.last_at = max(self.last_at, event.at)
        order.booked += event.quantity
        order.executed = max(order.executed, order.booked)
        in_base = event.commission if event.commission_asset == self.base else ZERO
        in_quote, asset = self.worth(event.commission_asset, event.commission), event.commission_asset
        if event.commission and asset not in (self.base, self.quote) and asset not in self.prices:
            self.other_commissions[asset] = self.other_commissions.get(asset, ZERO) + event.commission
        cycle.fees += in_quote
        cycle.charge(event.commission_asset, event.commission)
        self._move(event.commission_asset, -event.commission)
        if order.leg == "buy":
            cycle.bought += event.quantity - in_base
            cycle.spent += event.quote
            self._move(self.base, event.quantity)
            self._move(self.quote, -event.quote)
        else:
            cycle.sold += event.quantity + in_base
            cycle.received += event.quote
            self._move(self.base, -event.quantity)
            self._move(self.quote, event.quote)
        self._settle(order)

    def _move(self, asset: str, amount: Decimal) -> None:
        self.moved[asset] = self.moved.get(asset, ZERO) + amount

    def _settle(self, order: Order) -> None:
        """Advance the cycle when an order is final and all its fills are booked."""
        if not order.settled:
            self.open_orders.add(order.client_order_id)
            return
        if order.client_order_id not in self.open_orders:
            return
        self.open_orders.discard(order.client_order_id)
        cycle = self.cycles[order.cycle]
        if order.leg == "buy":
            event = CycleEvent.BUY_DONE if order.executed else CycleEvent.BUY_EMPTY
        else:
            event = CycleEvent.SELL_DONE if order.executed == order.quantity else CycleEvent.SELL_BACK
        cycle.state = advance(cycle.state, event)
        if not cycle.live:
            self._finish(cycle)

    def _finish(self, cycle: Cycle) -> None:
        self.live.discard(cycle.id)
        self._live_sorted = None
        self.doubted.discard(cycle.id)
        left, unit = cycle.held_quantity, cycle.unit_cost
        self.dust += left
        self.dust_cost += left * unit
        # What is left goes to the pool at the price paid; its commissions are charged to the cycle, however it ended.
        cycle.profit = cycle.received - cycle.sold * unit - cycle.fees
        cycle.closed_at = self.last_at
        self.profits[self.quote] = self.profit + cycle.profit
        self.closed += cycle.state is CycleState.CLOSED
        self._finished(cycle)
        over, kept = (self._over, KEPT) if cycle.bought else (self._over_empty, KEPT_EMPTY)
        over.append(cycle.id)
        if len(over) > kept:
            self._drop(over.popleft())

    def _drop(self, number: int) -> None:
        names = [name for name in self.cycles[number].names if name in self.orders]
        if not self.open_orders.isdisjoint(names):
            return  # the exchange reported one of them again
        del self.cycles[number]
        for name in names:
            del self.orders[name]

    # -- what people see -------------------------------------------------------------------------------------------

    def counts(self) -> CycleCounts:
        """Return how many cycles are open, closed and held."""
        live = self.live_cycles()
        return CycleCounts(
            open=sum(1 for cycle in live if cycle.held_quantity > 0),
            closed=self.closed,
            held=sum(1 for cycle in live if cycle.state is CycleState.BOUGHT),
        )

    def cycle_rows(self) -> list[dict[str, Any]]:
        """Return ``cycles[]`` as JSON."""
        rows = []
        for _number, cycle in sorted(self.cycles.items()):
            rows.append(
                {
                    "id": cycle.id,
                    "level": cycle.level,
                    "state": cycle.state.value,
                    "buy": self._leg(cycle, "buy"),
                    "sell": self._leg(cycle, "sell"),
                    "profit": format_money(cycle.profit),
                }
            )
        return rows

    def _leg(self, cycle: Cycle, leg: str) -> dict[str, Any]:
        name = cycle.orders.get(leg)
        if name is None:
            return {}
        return describe_order(self.orders[name]).to_json()
