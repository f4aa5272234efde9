"""The grid strategy: what orders are wanted now. Pure: book, price and rules in, intents out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal, localcontext

from fortctl.errors import BadInput
from fortctl.model import OrderStatus, SymbolRules
from fortctl.robot.book import Book, Cycle
from fortctl.robot.cycle import CycleState
from fortctl.robot.events import Anchored, Cancel, DustLeft, Event, Intent, Place, Trailed
from fortctl.robot.lifecycle import Wish
from fortctl.robot.rounding import ceil_to, floor_to
from fortctl.robot.settings import GridSettings

ZERO, ONE, HUNDRED = Decimal(0), Decimal(1), Decimal(100)


@dataclass(frozen=True)
class View:
    """What the grid looks at besides the book.

    Attributes:
        price: the market's last price.
        rules: the symbol's filters.
        rate: the commission rate to reckon with (a fraction).
        blocked: levels that must wait (a refusal a moment ago).
        blocked_sells: cycles whose sell must wait.
    """

    price: Decimal
    rules: SymbolRules
    rate: Decimal
    blocked: Collection[int] = ()
    blocked_sells: Collection[int] = ()


@dataclass(frozen=True)
class Plan:
    """Events to journal at once, then intents to carry out."""

    events: tuple[Event, ...] = ()
    intents: tuple[Intent, ...] = ()


def level_price(settings: GridSettings, anchor: Decimal, level: int, tick: Decimal) -> Decimal:
    """Return a level's price: ``level`` steps below the anchor (above it, where negative), rounded down to the tick."""
    step = settings.step / HUNDRED
    with localcontext(prec=28):
        exact = anchor * (ONE - step * level) if settings.spacing == "arithmetic" else anchor / (ONE + step) ** level
        return floor_to(exact, tick)


def buy_quantity(settings: GridSettings, price: Decimal, rules: SymbolRules) -> Decimal:
    """Return the quantity of one buy, rounded down to the step."""
    quantity = floor_to(settings.order_quote / price, rules.step_size)
    return min(quantity, rules.max_quantity) if rules.max_quantity else quantity


def sell_price(settings: GridSettings, unit: Decimal, rate: Decimal, tick: Decimal) -> Decimal:
    """Return the price at which a unit bought for ``unit`` is sold (robot.md, "A cycle"), rounded up to the tick.

    ``unit`` is what one unit cost at the exchange before commission.
    """
    with localcontext(prec=28):
        return ceil_to(unit * (ONE + settings.take_profit / HUNDRED) / ((ONE - rate) * (ONE - rate)), tick)


def sellable(quantity: Decimal, price: Decimal, rules: SymbolRules) -> bool:
    """Return whether the exchange takes an order of that quantity at that price."""
    return quantity >= max(rules.min_quantity, rules.step_size) and quantity * price >= rules.min_notional


def check_settings(settings: GridSettings, price: Decimal, rules: SymbolRules, rate: Decimal) -> None:
    """Raise ``BadInput`` when no buy of these settings could be placed and sold again."""
    lowest = level_price(settings, price, settings.levels, rules.tick_size)
    if lowest <= 0 or (rules.min_price and lowest < rules.min_price):
        raise BadInput("the lowest level lies below the symbol's lowest price", hint="fewer levels, or a smaller step")
    quantity = buy_quantity(settings, lowest, rules)
    after = floor_to(quantity * (ONE - rate), rules.step_size)
    if not sellable(quantity, lowest, rules) or not sellable(after, lowest, rules):
        raise BadInput(
            f"order-quote {settings.order_quote:f} is below what {rules.symbol} takes after commission and rounding",
            hint=f"its minimum is {rules.min_notional:f} {rules.quote}, its step {rules.step_size:f} {rules.base}",
        )


def plan(book: Book, view: View) -> Plan:
    """Return what is wanted now, by the book's wish; nothing when it is ``stopped``."""
    if book.settings is None or book.wish is Wish.STOPPED:
        return Plan()
    dust_events, sells = _sells(book, book.settings, view)
    if book.wish is Wish.DRAINING:
        return Plan(dust_events, (*sells, *_unfilled_buys(book)))
    if book.anchor is None:
        return Plan((*dust_events, Anchored(view.price)), sells)
    trails, cancels = _trail(book, book.settings, view)
    if trails:
        # The new level is bought at the next look, when the book has it.
        return Plan((*dust_events, *trails), (*sells, *cancels))
    return Plan(dust_events, (*sells, *_buys(book, book.settings, view)))


def first_sell(book: Book, cycle: Cycle, view: View) -> Place | None:
    """Return the sell that was made durable with a cycle's buy, when it may leave as it was promised.

    None when another one is wanted instead: it is below the exchange's minimum, or dust makes it a step larger.
    """
    quantity = cycle.promised
    if (
        book.wish is Wish.STOPPED
        or cycle.state is not CycleState.BOUGHT
        or cycle.id in view.blocked_sells
        or cycle.id in book.doubted
        or not sellable(quantity, cycle.sell_price, view.rules)
        or quantity != _offered(cycle, book.dust, view.rules)
    ):
        return None
    return Place(cycle.id, cycle.level, "sell", cycle.sell_price, quantity)


def _offered(cycle: Cycle, pool: Decimal, rules: SymbolRules) -> Decimal:
    """Return what a sell offers: the inventory and the dust that makes whole steps with it."""
    quantity = floor_to(cycle.held_quantity + pool, rules.step_size)
    return min(quantity, rules.max_quantity) if rules.max_quantity else quantity


def drained(book: Book) -> bool:
    """Return whether a drain has nothing left to wait for."""
    return book.wish is Wish.DRAINING and not book.live


def _sells(book: Book, settings: GridSettings, view: View) -> tuple[tuple[Event, ...], tuple[Intent, ...]]:
    events: list[Event] = []
    intents: list[Intent] = []
    pool = book.dust
    for cycle in book.live_cycles():
        if cycle.state is not CycleState.BOUGHT or cycle.id in view.blocked_sells or cycle.id in book.doubted:
            continue
        price = _price_for(cycle, settings, view)
        have = cycle.held_quantity
        quantity = _offered(cycle, pool, view.rules)
        if not sellable(quantity, price, view.rules):
            events.append(DustLeft(cycle.id))
            continue
        # Dust of earlier cycles goes along, as far as it makes whole steps.
        dust = max(ZERO, quantity - have)
        pool -= dust
        intents.append(Place(cycle.id, cycle.level, "sell", price, quantity, dust))
    return tuple(events), tuple(intents)


def _price_for(cycle: Cycle, settings: GridSettings, view: View) -> Decimal:
    if cycle.sell_price and not cycle.attempts["sell"]:
        return cycle.sell_price
    # The buy's own price, not the unit cost: commission is in the formula, and dust never raises the price.
    return sell_price(settings, cycle.buy_price, view.rate, view.rules.tick_size)


def _unfilled_buys(book: Book) -> tuple[Cancel, ...]:
    """Return cancels of every open buy: empty ones vanish, partly filled ones are cut to what they have."""
    return tuple(
        Cancel(cycle.orders["buy"])
        for cycle in book.live_cycles()
        if cycle.state is CycleState.BUYING and _on_the_market(book, cycle)
    )


def _on_the_market(book: Book, cycle: Cycle) -> bool:
    status = book.orders[cycle.orders["buy"]].status
    return status in (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED)


def _trail(book: Book, settings: GridSettings, view: View) -> tuple[tuple[Event, ...], tuple[Intent, ...]]:
    """Move the lowest unfilled level up while the price is two steps above the highest (open cycles included)."""
    if not settings.trail_up or book.anchor is None:
        return (), ()
    by_level = {cycle.level: cycle for cycle in book.live_cycles()}
    levels = set(book.levels)
    events: list[Event] = []
    cancels: list[Intent] = []
    while True:
        top = min({*levels, *by_level})
        if view.price < level_price(settings, book.anchor, top - 2, view.rules.tick_size):
            return tuple(events), tuple(cancels)
        free = [level for level in levels if level not in by_level or _empty_buy(book, by_level[level])]
        if not free:
            return tuple(events), tuple(cancels)
        lowest = max(free)
        levels.discard(lowest)
        levels.add(top - 1)
        events.append(Trailed(lowest, top - 1))
        cycle = by_level.pop(lowest, None)
        if cycle is not None:
            cancels.append(Cancel(cycle.orders["buy"]))


def _empty_buy(book: Book, cycle: Cycle) -> bool:
    return cycle.state is CycleState.BUYING and cycle.bought == 0 and _on_the_market(book, cycle)


def _buys(book: Book, settings: GridSettings, view: View) -> tuple[Intent, ...]:
    assert book.anchor is not None
    taken = {cycle.level for cycle in book.live_cycles()}
    bound = book.committed_quote()
    intents: list[Intent] = []
    for level in sorted(book.levels - taken):
        price = level_price(settings, book.anchor, level, view.rules.tick_size)
        if level in view.blocked or price >= view.price or not _within(settings, price, view):
            continue
        quantity = buy_quantity(settings, price, view.rules)
        after = floor_to(quantity * (ONE - view.rate), view.rules.step_size)
        if not sellable(quantity, price, view.rules) or not sellable(after, price, view.rules):
            continue
        if settings.max_quote is not None and bound + quantity * price > settings.max_quote:
            continue
        bound += quantity * price
        promised = sell_price(settings, price, view.rate, view.rules.tick_size)
        intents.append(Place(None, level, "buy", price, quantity, sell_price=promised))
    return tuple(intents)


def _within(settings: GridSettings, price: Decimal, view: View) -> bool:
    rules = view.rules
    bounds = (
        settings.price_floor is None or price >= settings.price_floor,
        settings.price_ceiling is None or price <= settings.price_ceiling,
        not rules.min_price or price >= rules.min_price,
        not rules.bid_multiplier_down or price >= view.price * rules.bid_multiplier_down,
    )
    return all(bounds)
