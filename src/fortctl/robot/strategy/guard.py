"""The limits of every strategy: a plan is cut to them before the robot carries it out. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from fortctl.robot.core.blocked_reason import BlockedReason
from fortctl.robot.core.book import Book
from fortctl.robot.core.cycle import CycleState
from fortctl.robot.core.events import Anchored, Cancel, DustLeft, Event, Intent, Place, StrategyNote, Trailed
from fortctl.robot.core.filters import floor_to, sellable, violated_filter
from fortctl.robot.core.lifecycle import TradingMode
from fortctl.robot.strategy.api import (
    Plan,
    View,
    blocked_reasons,
    disallowed_buys,
    may_sell,
    within_bounds,
    would_self_trade,
)

ZERO, ONE = Decimal(0), Decimal(1)
NOTE_LENGTH = 200


def apply_limits(plan: Plan, book: Book, view: View) -> tuple[Plan, list[str]]:
    """Return the part of a plan that the robot may carry out, and why it may not do the rest.

    Removed are: events that are not the strategy's own; sells of what their cycle did not buy; buys beyond budget,
    bounds and filters, at an occupied level, or while draining. Added are cancels of buys that the settings no longer
    allow.
    """
    complaints: list[str] = []
    events = [event for event in plan.events if _may_note(event, book, view)]
    if len(events) < len(plan.events):
        complaints.append("an event that is not the strategy's to write")
    intents: list[Intent] = []
    filtered: list[BlockedReason] = []
    state = _Allowance(book, view)
    if book.settings is not None and book.mode is not TradingMode.STOPPED:
        for intent in plan.intents:
            refusal = state.refuses(intent)
            if refusal is None:
                intents.append(intent)
            else:
                complaints.append(f"{type(intent).__name__.lower()}: {refusal.why}")
                if isinstance(intent, Place) and intent.leg == "buy" and refusal.filter:
                    words = f"{refusal.filter} forbids the buy at {intent.price:f} now"
                    filtered.append(BlockedReason("BUY_WAITS", words))
    if book.mode is TradingMode.RUNNING:
        intents += [cancel for cancel in disallowed_buys(book) if cancel not in intents]
    quiet = None if events or intents or complaints else plan.quiet_below
    waits = blocked_reasons(plan, book, book.settings, view) if book.settings is not None else ()
    return Plan(tuple(events), tuple(intents), quiet, (*waits, *filtered), plan.wake_at), complaints


def _may_note(event: Event, book: Book, view: View) -> bool:
    match event:
        case Anchored():
            return event.price > 0 and book.settings is not None and book.settings.strategy == "grid"
        case Trailed():
            return book.anchor is not None
        case StrategyNote():
            return len(event.name) + len(event.value) <= NOTE_LENGTH
        case DustLeft():
            cycle = book.cycles.get(event.cycle)
            # Only what cannot be sold alone at its own price may be written off to the pool.
            return (
                cycle is not None
                and cycle.state is CycleState.BOUGHT
                and not sellable(floor_to(cycle.held_quantity, view.rules.step_size), cycle.buy_price, view.rules)
            )
    return False


class IntentRefusal(NamedTuple):
    """Why an intent of a plan may not be carried out.

    Attributes:
        filter: the symbol's filter that forbids it: no mistake of the strategy; None for other reasons.
    """

    why: str
    filter: str | None = None


class _Allowance:
    """What one plan may still do."""

    def __init__(self, book: Book, view: View) -> None:
        self._book, self._view = book, view
        # Calculated when the first buy needs it: most plans have none.
        self._bound: Decimal | None = None
        self._dust = book.dust
        self._occupied = {cycle.level for cycle in book.live_cycles()}
        self._selling: set[int] = set()
        # Each cycle has one order at a time: a buy leaves room for its sell.
        self._cycles = len(book.live)

    def refuses(self, intent: Intent) -> IntentRefusal | None:
        if isinstance(intent, Cancel):
            order = self._book.orders.get(intent.client_order_id)
            return None if order is not None and not order.final else IntentRefusal("no open order of ours")
        broken = violated_filter(self._view.rules, intent.leg, intent.price, intent.quantity, self._view.price)
        if broken:
            return IntentRefusal(f"breaks {broken}", broken)
        return self._buy(intent) if intent.leg == "buy" else self._sell(intent)

    def _buy(self, place: Place) -> IntentRefusal | None:
        settings, limit = self._book.settings, self._view.rules.max_orders
        assert settings is not None
        cost = place.price * place.quantity
        bound = self._bound if self._bound is not None else self._book.committed_quote()
        checks = (
            ("a buy begins a new cycle, without dust", place.cycle is None and place.dust == 0),
            ("the robot drains", self._book.mode is TradingMode.RUNNING),
            ("the level is occupied", place.level not in self._occupied),
            ("the level must wait", place.level not in self._view.blocked),
            ("outside floor and ceiling", within_bounds(settings, place.price)),
            ("over the budget", settings.max_quote is None or bound + cost <= settings.max_quote),
            ("it would meet a sell of ours", not would_self_trade(self._book, place.price)),
            ("the promised sell is not on the tick", place.sell_price % (self._view.rules.tick_size or ONE) == 0),
        )
        why = next((text for text, kept in checks if not kept), None)
        if why is not None:
            return IntentRefusal(why)
        if limit and self._cycles >= limit:
            return IntentRefusal("MAX_NUM_ORDERS", "MAX_NUM_ORDERS")
        self._bound = bound + cost
        self._cycles += 1
        self._occupied.add(place.level)
        return None

    def _sell(self, place: Place) -> IntentRefusal | None:
        cycle = self._book.cycles.get(place.cycle or 0)
        if cycle is None or cycle.id in self._selling or not may_sell(self._book, cycle, self._view):
            return IntentRefusal("the cycle has nothing to sell now")
        extra = max(ZERO, place.quantity - cycle.held_quantity)
        if place.dust != extra or extra > self._dust:
            return IntentRefusal("more than its cycle bought")
        self._dust -= extra
        self._selling.add(cycle.id)
        return None
