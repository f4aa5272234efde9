"""The interface of strategies: the book and a view of the market in, events and intents out. Pure.

The grid is one strategy; others are plugins (entry points ``fortctl.strategies``, docs/plugins.md). What every strategy
of buy-sell cycles needs is here; :mod:`fortctl.robot.strategy.guard` keeps any of them within what the robot may do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import Protocol

from fortctl.errors import BadInputError
from fortctl.model import OrderStatus, SymbolRules
from fortctl.robot.core.blocked_reason import BlockedReason
from fortctl.robot.core.book import Book
from fortctl.robot.core.cycle import Cycle, CycleState
from fortctl.robot.core.events import Cancel, DustLeft, Event, Intent, Place
from fortctl.robot.core.filters import capped_quantity, ceil_to, floor_to, sellable, violated_filter
from fortctl.robot.core.lifecycle import TradingMode
from fortctl.robot.core.settings import Settings

ZERO, ONE, HUNDRED = Decimal(0), Decimal(1), Decimal(100)


@dataclass(frozen=True)
class View:
    """What a strategy gets besides the book.

    Attributes:
        price: the market's last price.
        rules: the symbol's filters.
        rate: the commission rate to calculate with (a fraction).
        blocked: levels that must wait (a refusal a moment ago).
        blocked_sells: cycles whose sell must wait.
        now: the exchange's time (ms).
        buys_would_match: how often in a row a level's buy was refused because it would have matched at once.
        sells_would_match: the same of a cycle's sell.
    """

    price: Decimal
    rules: SymbolRules
    rate: Decimal
    blocked: Collection[int] = ()
    blocked_sells: Collection[int] = ()
    now: int = 0
    buys_would_match: Mapping[int, int] = field(default_factory=dict)
    sells_would_match: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Events to journal at once, then intents to carry out.

    Attributes:
        quiet_below: an empty plan may promise to stay empty while the price is below this, until something else
            happens: the strategy is not asked again for each trade of the market.
        wake_at: ask again at this time of the exchange (ms, as :attr:`View.now`), though nothing happens until then.
        blocked_reasons: why planned orders are not placed (plain text: ``CODE: text``); ``waits`` of ``robot status``.
    """

    events: tuple[Event, ...] = ()
    intents: tuple[Intent, ...] = ()
    quiet_below: Decimal | None = None
    blocked_reasons: tuple[BlockedReason | str, ...] = ()
    wake_at: int | None = None


class Strategy(Protocol):
    """A way to trade. Every method is pure: no clock, no randomness, no I/O; state lives in the book alone."""

    @property
    def name(self) -> str: ...

    def validate(self, settings: Settings) -> None:
        """Raise ``BadInputError`` for options that make no sense."""

    def check(self, settings: Settings, price: Decimal, rules: SymbolRules, rate: Decimal) -> None:
        """Raise ``BadInputError`` when no buy of these settings could be placed and sold again."""

    def plan(self, book: Book, view: View) -> Plan:
        """Return the plan for now. Called whenever something happened; must never plan one order twice."""


# -- selling ---------------------------------------------------------------------------------------------------------


def sell_price(take_profit: Decimal, unit: Decimal, rate: Decimal, tick: Decimal) -> Decimal:
    """Return the price at which a unit bought for ``unit`` is sold (robot.md, "Trading"), rounded up to the tick.

    Args:
        take_profit: per cent, net of both commissions.
        unit: what one unit cost at the exchange before commission.
    """
    with localcontext(prec=28):
        return ceil_to(unit * (ONE + take_profit / HUNDRED) / ((ONE - rate) * (ONE - rate)), tick)


def first_sell(book: Book, cycle: Cycle, view: View) -> Place | None:
    """Return the sell that was made durable with a cycle's buy, when it may leave as it was promised.

    None when another sell must take its place: a filter forbids it, or dust makes it a step larger.
    """
    quantity, price = cycle.promised, cycle.sell_price
    if (
        book.mode is TradingMode.STOPPED
        or not may_sell(book, cycle, view)
        or violated_filter(view.rules, "sell", price, quantity, view.price)
        or quantity != capped_quantity(cycle.held_quantity + book.dust, price, view.rules)
    ):
        return None
    return Place(cycle.id, cycle.level, "sell", price, quantity)


def sells(book: Book, settings: Settings, view: View) -> tuple[list[Event], list[Intent]]:
    """Return the sells of what is bought, with the dust that makes whole steps; what is too small becomes dust."""
    events: list[Event] = []
    intents: list[Intent] = []
    pool = book.dust
    # In the order in which the exchange fills them: which sell takes the dust along must not depend on when a fill
    # arrives.
    ready = [cycle for cycle in book.live_cycles() if may_sell(book, cycle, view)]
    for cycle in sorted(ready, key=lambda cycle: (-cycle.buy_price, cycle.id)):
        price = _price_of_sell(cycle, settings, view)
        have = cycle.held_quantity
        quantity = capped_quantity(have + pool, price, view.rules)
        if not sellable(quantity, price, view.rules):
            events.append(DustLeft(cycle.id))
        elif not violated_filter(view.rules, "sell", price, quantity, view.price):
            dust = max(ZERO, quantity - have)
            pool -= dust
            intents.append(Place(cycle.id, cycle.level, "sell", price, quantity, dust))
    return events, intents


def may_sell(book: Book, cycle: Cycle, view: View) -> bool:
    """Return whether a cycle's sell may leave now: bought, not refused a moment ago, no promised sell in doubt."""
    return cycle.state is CycleState.BOUGHT and cycle.id not in view.blocked_sells and cycle.id not in book.doubted


def _price_of_sell(cycle: Cycle, settings: Settings, view: View) -> Decimal:
    if cycle.sell_price and not cycle.attempts["sell"]:
        # Promised on the tick of then; on another one it is another attempt.
        price = ceil_to(cycle.sell_price, view.rules.tick_size)
    else:
        # The buy's own price, not the unit cost: commission is in the formula, and dust never raises the price.
        price = sell_price(settings.take_profit, cycle.buy_price, view.rate, view.rules.tick_size)
    refusals = view.sells_would_match.get(cycle.id, 0)
    if not refusals:
        return price
    return ceil_to(max(price, view.price) + post_only_offset(refusals, view.rules), view.rules.tick_size)


def blocked_reasons(plan: Plan, book: Book, settings: Settings, view: View) -> tuple[BlockedReason, ...]:
    """Return why a plan does not offer for sale what was bought, and the plan's own reasons."""
    if view.rules.status != "TRADING":
        words = f"{view.rules.symbol} does not trade now ({view.rules.status}): nothing is placed"
        return (BlockedReason("HALTED", words),)
    settled = {intent.cycle for intent in plan.intents if isinstance(intent, Place)}
    settled |= {event.cycle for event in plan.events if isinstance(event, DustLeft)}
    reasons = []
    for cycle in book.live_cycles():
        if cycle.state is not CycleState.BOUGHT or cycle.id in settled or cycle.id in book.doubted:
            continue
        price = _price_of_sell(cycle, settings, view)
        quantity = capped_quantity(cycle.held_quantity, price, view.rules)
        broken = violated_filter(view.rules, "sell", price, quantity, view.price)
        if broken:
            words = f"cycle {cycle.id} does not sell {quantity:f} at {price:f}: {broken} forbids it now"
            reasons.append(BlockedReason("SELL_WAITS", words, cycle.id))
    return (*reasons, *map(BlockedReason.from_plugin, plan.blocked_reasons))


def post_only_offset(refusals: int, rules: SymbolRules) -> Decimal:
    """Return how far from its price an order goes that was refused so often because it would have matched.

    Doubled each time: the last price may lie far from the other side of the book.
    """
    return rules.tick_size * Decimal(2 ** min(refusals - 1, 16))


def check_rules(settings: Settings, rules: SymbolRules) -> None:
    """Raise ``BadInputError`` when the symbol does not allow the kind of orders that the settings want."""
    mode = settings.self_trade_prevention
    if mode is not None and rules.stp_modes and mode not in rules.stp_modes:
        raise BadInputError(
            f"{rules.symbol} does not allow the self-trade prevention mode {mode}",
            hint=f"it allows {', '.join(rules.stp_modes)}",
        )
    kind = "LIMIT_MAKER" if settings.maker_only else "LIMIT"
    if rules.order_types and kind not in rules.order_types:
        raise BadInputError(
            f"{rules.symbol} does not allow {kind} orders", hint=f"it allows {', '.join(rules.order_types)}"
        )


def bounds_warnings(settings: Settings, price: Decimal) -> list[tuple[str, str]]:
    """Return warnings (code, message) where floor or ceiling keep every buy away from the market."""
    floor, ceiling = settings.price_floor, settings.price_ceiling
    if ceiling is not None and ceiling < price:
        text = f"the ceiling {ceiling:f} lies below the market ({price:f}): nothing is bought before it falls there"
        return [("CEILING_BELOW_MARKET", text)]
    if floor is not None and floor > price:
        text = f"the floor {floor:f} lies above the market ({price:f}): nothing is bought before it has risen above it"
        return [("FLOOR_ABOVE_MARKET", text)]
    return []


# -- buying ----------------------------------------------------------------------------------------------------------


def buy_quantity(order_quote: Decimal, price: Decimal, rules: SymbolRules) -> Decimal:
    """Return the quantity of one buy for a quote amount, rounded down to the step."""
    return capped_quantity(order_quote / price, price, rules)


def buy(book: Book, settings: Settings, view: View, level: int, price: Decimal, bound: Decimal) -> Place | None:
    """Return a buy with its promised sell, or None where a filter, a bound or the budget forbids it.

    Args:
        price: rounded to the tick.
        bound: quote that is bound already, orders of this plan included.
    """
    if level in view.blocked or price <= 0 or not within_bounds(settings, price) or would_self_trade(book, price):
        return None
    quantity = buy_quantity(settings.order_quote, price, view.rules)
    after = floor_to(quantity * (ONE - view.rate), view.rules.step_size)
    if violated_filter(view.rules, "buy", price, quantity, view.price) or not sellable(after, price, view.rules):
        return None
    if settings.max_quote is not None and bound + quantity * price > settings.max_quote:
        return None
    promised = sell_price(settings.take_profit, price, view.rate, view.rules.tick_size)
    return Place(None, level, "buy", price, quantity, sell_price=promised)


def would_self_trade(book: Book, price: Decimal) -> bool:
    """Return whether a buy at a price would meet a sell of ours, at the exchange or promised."""
    for cycle in book.live_cycles():
        offered = cycle.sell_price
        if cycle.state is CycleState.SELLING:
            offered = book.orders[cycle.orders["sell"]].price
        elif cycle.state is not CycleState.BOUGHT:
            continue
        if offered and price >= offered:
            return True
    return False


def within_bounds(settings: Settings, price: Decimal) -> bool:
    """Return whether a buy at a price lies within floor and ceiling."""
    floor, ceiling = settings.price_floor, settings.price_ceiling
    return (floor is None or price >= floor) and (ceiling is None or price <= ceiling)


def on_the_market(book: Book, cycle: Cycle) -> bool:
    """Return whether a cycle's buy is open at the exchange."""
    return cycle.state is CycleState.BUYING and book.orders[cycle.orders["buy"]].status in (
        OrderStatus.NEW,
        OrderStatus.PARTIALLY_FILLED,
    )


def empty_buy(book: Book, cycle: Cycle) -> bool:
    """Return whether a cycle's buy is open and has bought nothing."""
    return cycle.bought == 0 and on_the_market(book, cycle)


def cancel_buys(book: Book) -> list[Intent]:
    """Return cancels of every open buy: empty ones vanish, partly filled ones are cut to what they have."""
    return [Cancel(cycle.orders["buy"]) for cycle in book.live_cycles() if on_the_market(book, cycle)]


def disallowed_buys(book: Book) -> list[Cancel]:
    """Return cancels of the buys that the settings no longer allow.

    They lie outside the bounds or, lowest first, exceed the budget. What they have bought stays, and is sold.
    """
    settings = book.settings
    if settings is None:
        return []
    orders = [book.orders[cycle.orders["buy"]] for cycle in book.live_cycles() if on_the_market(book, cycle)]
    cancels: list[Cancel] = []
    bound = book.committed_quote() if settings.max_quote is not None else ZERO
    for order in sorted(orders, key=lambda order: (within_bounds(settings, order.price), order.price)):
        over = settings.max_quote is not None and bound > settings.max_quote
        if over or not within_bounds(settings, order.price):
            cancels.append(Cancel(order.client_order_id))
            bound -= (order.quantity - order.booked) * order.price
    return cancels


def drain_plan(book: Book, settings: Settings, view: View) -> Plan:
    """Return the plan of a drain: sell what was bought, cancel the buys."""
    events, intents = sells(book, settings, view)
    return Plan(tuple(events), (*intents, *cancel_buys(book)))


def is_drained(book: Book) -> bool:
    """Return whether a drain has nothing left to wait for."""
    return book.mode is TradingMode.DRAINING and not book.live
