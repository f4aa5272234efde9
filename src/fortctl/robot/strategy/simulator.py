"""Play a strategy against a market that does whatever an exchange may do; check the invariants after each step.

The exchange's side and the checks share nothing with the strategy. Nothing here does I/O; the property suite over it is
:mod:`fortctl.robot.testing`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from fortctl.errors import BadInputError
from fortctl.model import SymbolRules
from fortctl.robot.core.book import Book
from fortctl.robot.core.cycle import Order
from fortctl.robot.core.events import (
    AssetsNamed,
    Cancel,
    Configured,
    Event,
    FillRecorded,
    ModeChanged,
    OrderIntended,
    OrderNotFound,
    OrderStatusReported,
    Place,
)
from fortctl.robot.core.filters import floor_to
from fortctl.robot.core.lifecycle import TradingMode
from fortctl.robot.core.order_ids import client_order_id
from fortctl.robot.core.settings import GridSettings, Settings, parse_settings
from fortctl.robot.strategy.api import Plan, Strategy, View, first_sell, is_drained
from fortctl.robot.strategy.guard import apply_limits

ROBOT_ID = "0123456789abcdef"
ROUNDS = 60
ZERO = Decimal(0)
RULES = SymbolRules(
    symbol="XRPETH",
    base="XRP",
    quote="ETH",
    status="TRADING",
    tick_size=Decimal("0.00000001"),
    min_price=Decimal("0.00000001"),
    max_price=Decimal("1000"),
    step_size=Decimal(1),
    min_quantity=Decimal(1),
    max_quantity=Decimal(90_000),
    min_notional=Decimal("0.005"),
    max_notional=Decimal(900),
    bid_multiplier_up=Decimal(5),
    bid_multiplier_down=Decimal("0.2"),
    ask_multiplier_up=Decimal(5),
    ask_multiplier_down=Decimal("0.2"),
    max_orders=200,
)


class InvariantViolationError(AssertionError):
    """An invariant does not hold; the text says which, and where."""


@dataclass(frozen=True)
class SimulatedStep:
    """One thing that happens: ``kind`` of :data:`KINDS`, with a number and a choice to go with it."""

    kind: str
    amount: Decimal = ZERO
    choice: int = 0


@dataclass
class StrategySimulator:
    """A strategy, its book, and an exchange's side of its orders.

    Attributes:
        commission: asset that commissions are charged in, or empty for the received asset, as at Binance.
    """

    strategy: Strategy
    settings: Settings
    rules: SymbolRules = RULES
    price: Decimal = Decimal("0.0014")
    rate: Decimal = Decimal("0.001")
    commission: str = ""
    now: int = 1_700_000_000_000
    book: Book = field(default_factory=Book)
    journal: list[Event] = field(default_factory=list)
    moved: dict[str, Decimal] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    refusing: str = ""
    _blocked: dict[int, int] = field(default_factory=dict)
    _blocked_sells: dict[int, int] = field(default_factory=dict)
    _would_match_count: dict[str, dict[int, int]] = field(default_factory=lambda: {"buy": {}, "sell": {}})
    _trade: int = 0

    def __post_init__(self) -> None:
        self.record(Configured(self.settings.as_json()), AssetsNamed(self.rules.base, self.rules.quote))

    # -- what happens ----------------------------------------------------------------------------------------------

    def step(self, step: SimulatedStep) -> None:
        """Let one thing happen, let the robot carry out its plan, and check everything."""
        getattr(self, f"_{step.kind}")(step)
        self.now += 1_000
        self.settle()
        self.check()

    def settle(self) -> None:
        """Ask the strategy until its plan is empty. Raises ``InvariantViolationError`` when it never is."""
        for _ in range(ROUNDS):
            plan = self._plan()
            if not plan.events and not plan.intents:
                if is_drained(self.book):
                    self.record(ModeChanged(TradingMode.STOPPED.value, "drained", self.now))
                return
            self.record(*plan.events)
            for intent in plan.intents:
                self._execute_intent(intent)
        raise InvariantViolationError(
            "the strategy plans something more each time it is asked, although nothing happens"
        )

    def record(self, *events: Event) -> None:
        self.journal += events
        self.book.replay(events)

    def open_orders(self) -> list[Order]:
        return [order for order in self.book.unsettled() if not order.final]

    def _move(self, step: SimulatedStep) -> None:
        moved = self.price * (1 + step.amount / 100)
        self.price = max(self.rules.tick_size * 1000, moved.quantize(self.rules.tick_size))

    def _wait(self, step: SimulatedStep) -> None:
        self.now += int(abs(step.amount) * 600_000)

    def _fill(self, step: SimulatedStep) -> None:
        orders = self.open_orders()
        if orders:
            order = orders[step.choice % len(orders)]
            part = (order.quantity - order.executed) * min(abs(step.amount), Decimal(1))
            self._execute(order, part - part % self.rules.step_size or order.quantity - order.executed)

    def _rally(self, step: SimulatedStep) -> None:
        for order in self.open_orders():
            if order.leg == "sell":
                self._execute(order, order.quantity - order.executed)

    def _expire(self, step: SimulatedStep) -> None:
        self._end(step, "EXPIRED_IN_MATCH")

    def _cancel_by_hand(self, step: SimulatedStep) -> None:
        self._end(step, "CANCELED")

    def _end(self, step: SimulatedStep, status: str) -> None:
        orders = self.open_orders()
        if orders:
            order = orders[step.choice % len(orders)]
            self._report_status(order, status)
            if status != "CANCELED":
                self._block(order.client_order_id)

    def _refuse(self, step: SimulatedStep) -> None:
        self.refusing = ("", "filter", "would_take")[step.choice % 3]

    def _halt(self, step: SimulatedStep) -> None:
        self.rules = replace(self.rules, status=("TRADING", "HALT")[step.choice % 2])

    def _start(self, step: SimulatedStep) -> None:
        self.record(ModeChanged(TradingMode.RUNNING.value, "started", self.now))

    def _configure(self, step: SimulatedStep) -> None:
        """Let a person change budget, bounds and, of a grid, the number of levels; the strategy may refuse it."""
        settings = self.settings
        most = settings.order_quote * (1 + step.choice % 5) if step.choice % 3 else settings.max_quote
        tick = self.rules.tick_size
        bounds = {
            "price_floor": floor_to(self.price * (1 - abs(step.amount) / 100), tick) if step.choice % 4 == 1 else None,
            "price_ceiling": floor_to(self.price * (1 + step.amount / 100), tick) if step.choice % 4 == 2 else None,
        }
        levels = {"levels": 1 + step.choice % 9} if isinstance(settings, GridSettings) else {}
        settings = parse_settings({**settings.as_json(), "max_quote": most, **bounds, **levels})
        try:
            self.strategy.check(settings, self.price, self.rules, self.rate)
        except BadInputError:
            return
        self.settings = settings
        self.record(Configured(settings.as_json()))

    def _drain(self, step: SimulatedStep) -> None:
        self.record(ModeChanged(TradingMode.DRAINING.value, "draining", self.now))

    def _stop(self, step: SimulatedStep) -> None:
        self.record(ModeChanged(TradingMode.STOPPED.value, "stopped", self.now))

    # -- the robot's side, as the runner plays it ------------------------------------------------------------------

    def view(self) -> View:
        return View(
            *(self.price, self.rules, self.rate),
            frozenset(level for level, until in self._blocked.items() if until > self.now),
            frozenset(cycle for cycle, until in self._blocked_sells.items() if until > self.now),
            self.now,
            buys_would_match=self._would_match_count["buy"],
            sells_would_match=self._would_match_count["sell"],
        )

    def _plan(self) -> Plan:
        view, before = self.view(), _print(self.book)
        plan = self.strategy.plan(self.book, view)
        if _print(self.book) != before:
            raise InvariantViolationError("planning changed the book")
        if self.strategy.plan(copy.deepcopy(self.book), view) != plan:
            raise InvariantViolationError("the same book and view gave two plans")
        self._check_quiet(plan, view)
        if plan.wake_at is not None and plan.wake_at <= view.now:
            raise InvariantViolationError(f"it wants to be asked again at {plan.wake_at}, which is over")
        allowed, complaints = apply_limits(plan, self.book, view)
        if complaints:
            raise InvariantViolationError(f"the robot would not carry this out: {'; '.join(complaints)}")
        return allowed

    def _check_quiet(self, plan: Plan, view: View) -> None:
        """Check that a plan which promises to stay empty below a price does."""
        if plan.quiet_below is None:
            return
        low = self.rules.tick_size * 1000
        below = self.price if plan.quiet_below.is_infinite() else plan.quiet_below - self.rules.tick_size
        for price in (below, (below + low) / 2, low):
            again = self.strategy.plan(self.book, replace(view, price=price - price % self.rules.tick_size))
            if plan.events or plan.intents or (price > 0 and (again.events or again.intents)):
                raise InvariantViolationError(
                    f"it promised an empty plan below {plan.quiet_below}, and plans something at {price}"
                )

    def _execute_intent(self, intent: Place | Cancel) -> None:
        if isinstance(intent, Cancel):
            self._report_status(self.book.orders[intent.client_order_id], "CANCELED")
            return
        cycle = intent.cycle or self.book.next_cycle
        attempt = 1
        if intent.cycle is not None:
            attempt = self.book.next_attempt(self.book.cycles[cycle], intent.leg, intent.price, intent.quantity)
        self._check_order(intent)
        self._send(intent, cycle, attempt)

    def _send(self, place: Place, cycle: int, attempt: int) -> None:
        name = client_order_id(ROBOT_ID, cycle, place.leg, attempt)
        if name in self.sent:
            raise InvariantViolationError(f"{name} was sent twice")
        self.sent.add(name)
        step = self.rules.step_size if place.sell_price else ZERO
        self.record(
            OrderIntended(
                *(cycle, place.level, place.leg, attempt, name, place.price, place.quantity, place.dust, self.now),
                *(place.sell_price, step),
            )
        )
        counts = self._would_match_count[place.leg]
        where = place.level if place.leg == "buy" else cycle
        if self.refusing:
            if self.refusing == "would_take":
                counts[where] = counts.get(where, 0) + 1
            self.record(OrderNotFound(name, self.refusing))
            self._block(name)
            return
        counts.pop(where, None)
        self.record(OrderStatusReported(name, len(self.sent), "NEW", ZERO))

    def _block(self, name: str) -> None:
        order = self.book.orders[name]
        if order.leg == "buy":
            self._blocked[self.book.cycles[order.cycle].level] = self.now + 5_000
        else:
            self._blocked_sells[order.cycle] = self.now + 5_000

    def _report_status(self, order: Order, status: str) -> None:
        self.record(OrderStatusReported(order.client_order_id, order.order_id, status, order.executed))
        self._sell_at_once(order)

    def _execute(self, order: Order, quantity: Decimal) -> None:
        """Execute a part of an order at its price; commission as the exchange charges it."""
        self._trade += 1
        quote = quantity * order.price
        base, buying = self.rules.base, order.leg == "buy"
        asset = self.commission or (base if buying else self.rules.quote)
        charged = (quantity if asset == base else quote) * self.rate
        sign = 1 if buying else -1
        for moved, amount in ((base, sign * quantity), (self.rules.quote, -sign * quote), (asset, -charged)):
            self.moved[moved] = self.moved.get(moved, ZERO) + amount
        status = "FILLED" if order.executed + quantity == order.quantity else "PARTIALLY_FILLED"
        name, executed = order.client_order_id, order.executed + quantity
        self.record(
            FillRecorded(name, self._trade, order.price, quantity, quote, charged, asset, self.now),
            OrderStatusReported(name, order.order_id, status, executed),
        )
        self._sell_at_once(order)

    def _sell_at_once(self, order: Order) -> None:
        if order.leg == "buy" and order.settled:
            place = first_sell(self.book, self.book.cycles[order.cycle], self.view())
            if place is not None:
                self._check_order(place)
                self._send(place, order.cycle, 1)

    # -- the invariants --------------------------------------------------------------------------------------------

    def _check_order(self, place: Place) -> None:
        rules, notional = self.rules, place.price * place.quantity
        up, down = (
            (rules.bid_multiplier_up, rules.bid_multiplier_down)
            if place.leg == "buy"
            else (rules.ask_multiplier_up, rules.ask_multiplier_down)
        )
        checks = {
            "the symbol does not trade": rules.status != "TRADING",
            "the robot is stopped": self.book.mode is TradingMode.STOPPED,
            "a buy while it does not run": place.leg == "buy" and self.book.mode is not TradingMode.RUNNING,
            "price off the tick": place.price % rules.tick_size != 0,
            "price outside its bounds": not rules.min_price <= place.price <= rules.max_price,
            "quantity off the step": place.quantity % rules.step_size != 0,
            "quantity outside its bounds": not rules.min_quantity <= place.quantity <= rules.max_quantity,
            "notional outside its bounds": not rules.min_notional <= notional <= (rules.max_notional or notional),
            "price too far from the market": not self.price * down <= place.price <= self.price * up,
            "below the floor": place.leg == "buy" and place.price < (self.settings.price_floor or 0),
            "above the ceiling": place.leg == "buy"
            and self.settings.price_ceiling is not None
            and place.price > self.settings.price_ceiling,
        }
        wrong = [text for text, broken in checks.items() if broken]
        if wrong:
            raise InvariantViolationError(f"{place}: {', '.join(wrong)} (market at {self.price})")

    def check(self) -> None:
        """Check what must always hold (robot.md, "Eight invariants")."""
        book = self.book
        if {asset: amount for asset, amount in book.moved.items() if amount} != {
            asset: amount for asset, amount in self.moved.items() if amount
        }:
            raise InvariantViolationError("the ledger is not what was traded")
        if book.inventory() < 0 or book.dust < 0 or any(cycle.held_quantity < 0 for cycle in book.live_cycles()):
            raise InvariantViolationError("more was sold than bought")
        if book.inventory() != self.moved.get(self.rules.base, ZERO):
            raise InvariantViolationError("the inventory is not what was bought and not sold")
        most = self.settings.max_quote
        buying = any(order.leg == "buy" for order in self.open_orders())
        if most is not None and book.committed_quote() > most and buying and book.mode is not TradingMode.STOPPED:
            raise InvariantViolationError(f"{book.committed_quote()} is bound, the budget is {most}")
        if len(self.open_orders()) > self.rules.max_orders:
            raise InvariantViolationError("too many open orders")
        again = Book()
        again.replay(self.journal)
        if _print(again) != _print(book):
            raise InvariantViolationError("the journal replays to another book")

    def drains(self) -> None:
        """Check that a drain ends once the market lets it."""
        self.refusing, self.rules = "", replace(self.rules, status="TRADING")
        self.record(ModeChanged(TradingMode.DRAINING.value, "draining", self.now))
        for _ in range(ROUNDS):
            self.now += 60_000
            self.settle()
            if not self.book.live:
                return
            # Upwards, also where the price bounds keep a sell waiting.
            highest = max((order.price for order in self.open_orders() if order.leg == "sell"), default=self.price)
            self.price = max((self.price * Decimal("1.01")).quantize(self.rules.tick_size), highest)
            self._rally(SimulatedStep("rally"))
            self.check()
        raise InvariantViolationError(f"the drain does not end: {[cycle.state for cycle in self.book.live_cycles()]}")


def _print(book: Book) -> tuple[Any, ...]:
    cycles = [(cycle.id, cycle.state, cycle.bought, cycle.sold, cycle.profit) for cycle in book.cycles.values()]
    return (
        *(cycles, sorted(book.live), sorted(book.open_orders), book.dust, book.dust_cost, book.profit, book.mode),
        *(book.anchor, sorted(book.levels), dict(book.notes), dict(book.moved), dict(book.prices)),
    )


KINDS = (
    *("move", "move", "move", "fill", "fill", "fill", "rally", "wait", "start", "start", "drain", "stop"),
    *("expire", "cancel_by_hand", "refuse", "halt", "configure"),
)
