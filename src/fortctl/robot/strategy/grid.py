"""The grid strategy: buys on levels below the market, each sold again at its profit. Pure."""

from __future__ import annotations

from decimal import Decimal, localcontext

from fortctl.errors import BadInputError, NotFoundError
from fortctl.model import SymbolRules
from fortctl.robot.core.blocked_reason import BlockedReason
from fortctl.robot.core.book import Book
from fortctl.robot.core.cycle import CycleState
from fortctl.robot.core.events import Anchored, Cancel, Event, Intent, Trailed
from fortctl.robot.core.filters import floor_to, sellable, violated_filter
from fortctl.robot.core.lifecycle import TradingMode
from fortctl.robot.core.settings import GridSettings, Settings
from fortctl.robot.strategy.api import (
    HUNDRED,
    ONE,
    Plan,
    Strategy,
    View,
    buy,
    buy_quantity,
    drain_plan,
    empty_buy,
    on_the_market,
    post_only_offset,
    sells,
    within_bounds,
)


def level_price(settings: GridSettings, anchor: Decimal, level: int, tick: Decimal) -> Decimal:
    """Return a level's price: ``level`` steps below the anchor (above it, where negative), rounded down to the tick."""
    step = settings.step / HUNDRED
    with localcontext(prec=28):
        exact = anchor * (ONE - step * level) if settings.spacing == "arithmetic" else anchor / (ONE + step) ** level
        return floor_to(exact, tick)


class Grid:
    """Levels a step apart below the price of the start, trailing it upwards; implements :class:`Strategy`."""

    name = "grid"

    def validate(self, settings: Settings) -> None:
        _own(settings)

    def check(self, settings: Settings, price: Decimal, rules: SymbolRules, rate: Decimal) -> None:
        own = _own(settings)
        lowest = level_price(own, price, own.levels, rules.tick_size)
        if lowest <= 0 or (rules.min_price and lowest < rules.min_price):
            raise BadInputError(
                "the lowest level lies below the symbol's lowest price", hint="fewer levels, or a smaller step"
            )
        base = price if own.spacing == "arithmetic" else lowest
        if own.levels > 1 and base * own.step / HUNDRED < rules.tick_size:
            raise BadInputError(
                f"the step of {own.step:f} % is less than a tick of {rules.symbol} ({rules.tick_size:f} {rules.quote})",
                hint=f"a step of {rules.tick_size / base * HUNDRED:.6f} % at the least: closer levels are one price",
            )
        quantity = buy_quantity(own.order_quote, lowest, rules)
        after = floor_to(quantity * (ONE - rate), rules.step_size)
        if not sellable(quantity, lowest, rules) or not sellable(after, lowest, rules):
            raise BadInputError(
                f"order-quote {own.order_quote:f} is below what {rules.symbol} takes after commission and rounding",
                hint=f"its minimum is {rules.min_notional:f} {rules.quote}, its step {rules.step_size:f} {rules.base}",
            )

    def plan(self, book: Book, view: View) -> Plan:
        """Return the plan for the book's trading mode; an empty one when it is ``stopped``."""
        if book.settings is None or book.mode is TradingMode.STOPPED:
            return Plan()
        settings = _own(book.settings)
        if book.mode is TradingMode.DRAINING:
            return drain_plan(book, settings, view)
        events, intents = sells(book, settings, view)
        if book.anchor is None:
            # No level may lie above the ceiling: a grid that begins above it waits below it.
            return Plan((*events, Anchored(min(view.price, settings.price_ceiling or view.price))), tuple(intents))
        trails, cancels = _trail(book, settings, view)
        if trails:
            # The new level is bought by the next plan, when the book has it.
            return Plan((*events, *trails), (*intents, *cancels))
        orders = [*_out_of_grid_orders(book), *_buys(book, settings, view)]
        if events or intents or orders:
            return Plan(tuple(events), (*intents, *orders), blocked_reasons=_waits(book, settings, view))
        return Plan(quiet_below=_quiet_below(book, settings, view), blocked_reasons=_waits(book, settings, view))


def builtin(name: str) -> Strategy:
    """Return a strategy of fortctl's own. Raises ``NotFoundError``."""
    if name != Grid.name:
        raise NotFoundError(f"there is no strategy '{name}'", hint="'fortctl plugins list' shows what is installed")
    return Grid()


def _own(settings: Settings) -> GridSettings:
    if not isinstance(settings, GridSettings):
        raise BadInputError("these are not the settings of a grid", hint="see 'robot configure --help'")
    return settings


def _trail(book: Book, settings: GridSettings, view: View) -> tuple[list[Event], list[Intent]]:
    """Move the lowest unfilled level up while the price is two steps above the highest (open cycles included)."""
    events: list[Event] = []
    cancels: list[Intent] = []
    if not settings.trail_up or book.anchor is None or _fills_on_the_way(book, view):
        return events, cancels
    by_level = {cycle.level: cycle for cycle in book.live_cycles()}
    levels = set(book.levels)
    free = sorted(level for level in levels if level not in by_level or empty_buy(book, by_level[level]))
    top = min({*levels, *by_level})
    while (
        free
        and view.price >= level_price(settings, book.anchor, top - 2, view.rules.tick_size)
        and within_bounds(settings, level_price(settings, book.anchor, top - 1, view.rules.tick_size))
    ):
        lowest, top = free.pop(), top - 1
        levels.discard(lowest)
        levels.add(top)
        free.insert(0, top)
        events.append(Trailed(lowest, top))
        cycle = by_level.pop(lowest, None)
        if cycle is not None:
            cancels.append(Cancel(cycle.orders["buy"]))
    return events, cancels


def _fills_on_the_way(book: Book, view: View) -> bool:
    """Return whether the market has reached a sell whose fill has not arrived: it frees a level, perhaps the lowest.

    Price and fills come on two streams; which level is unfilled must not depend on which of them is faster.
    """
    selling = (cycle for cycle in book.live_cycles() if cycle.state is CycleState.SELLING)
    return any(book.orders[cycle.orders["sell"]].price <= view.price for cycle in selling)


def _out_of_grid_orders(book: Book) -> list[Intent]:
    """Return cancels of the buys at levels that were given up: a kill, or a refusal, may have come between."""
    return [
        Cancel(cycle.orders["buy"])
        for cycle in book.live_cycles()
        if cycle.level not in book.levels and on_the_market(book, cycle)
    ]


def _quiet_below(book: Book, settings: GridSettings, view: View) -> Decimal | None:
    """Return the price below which the plan stays empty until an order changes; None where that is not certain.

    Trailing, and the levels that the price has fallen below, need a higher price; a lower one changes nothing once
    every level is occupied.
    """
    live = book.live_cycles()
    tick, anchor = view.rules.tick_size, book.anchor
    if anchor is None or view.buys_would_match or any(cycle.state is CycleState.BOUGHT for cycle in live):
        return None
    occupied = {cycle.level for cycle in live}
    waiting = [level_price(settings, anchor, level, tick) for level in book.levels - occupied]
    if any(price < view.price for price in waiting):
        return None
    top = min({*book.levels, *occupied})
    if settings.trail_up and within_bounds(settings, level_price(settings, anchor, top - 1, tick)):
        waiting.append(level_price(settings, anchor, top - 2, tick))
    return min(waiting, default=Decimal("Infinity"))


def _waits(book: Book, settings: GridSettings, view: View) -> tuple[BlockedReason, ...]:
    """Return why buys are not placed: filters forbid them, or every free level lies outside floor and ceiling."""
    filtered = _filtered(book, settings, view)
    if filtered:
        return tuple(
            BlockedReason(
                "BUY_WAITS",
                f"{name} forbids {len(prices)} buy{'s' if len(prices) != 1 else ''}"
                f" ({max(prices):f} to {min(prices):f}) now",
            )
            for name, prices in sorted(filtered.items())
        )
    live = book.live_cycles()
    free = book.levels - {cycle.level for cycle in live}
    if book.anchor is None or not free or any(cycle.state is CycleState.BUYING for cycle in live):
        return ()
    prices = sorted(level_price(settings, book.anchor, level, view.rules.tick_size) for level in free)
    if any(within_bounds(settings, price) for price in prices):
        return ()
    words = (
        f"nothing is bought because every free level ({prices[0]:f} to {prices[-1]:f}) lies outside floor and"
        " ceiling; 'robot stop' and 'robot start' lay the grid again at the present price"
    )
    return (BlockedReason("BOUNDS", words),)


def _filtered(book: Book, settings: GridSettings, view: View) -> dict[str, list[Decimal]]:
    """Return the prices of the buys that a filter of the symbol forbids now, by the filter's name."""
    filtered: dict[str, list[Decimal]] = {}
    rules, anchor = view.rules, book.anchor
    if anchor is None:
        return filtered
    for level in book.levels - {cycle.level for cycle in book.live_cycles()}:
        price = level_price(settings, anchor, level, rules.tick_size)
        if not 0 < price < view.price or not within_bounds(settings, price):
            continue
        quantity = buy_quantity(settings.order_quote, price, rules)
        name = violated_filter(rules, "buy", price, quantity, view.price)
        if name is None and rules.max_orders and len(book.live) >= rules.max_orders:
            name = "MAX_NUM_ORDERS"
        if name is not None:
            filtered.setdefault(name, []).append(price)
    return filtered


def _buys(book: Book, settings: GridSettings, view: View) -> list[Intent]:
    assert book.anchor is not None
    rules = view.rules
    live = book.live_cycles()
    free = sorted(book.levels - {cycle.level for cycle in live})
    intents: list[Intent] = []
    if not free:
        return intents
    # Levels that round to one price are one.
    prices = {cycle.buy_price for cycle in live}
    bound, cycles = book.committed_quote(), len(live)
    for level in free:
        price = level_price(settings, book.anchor, level, rules.tick_size)
        if price >= view.price or (rules.max_orders and cycles + len(intents) >= rules.max_orders):
            continue
        refusals = view.buys_would_match.get(level, 0)
        if refusals:
            # It would have matched at once although it lies below the last price, so the order book is lower still.
            price = floor_to(min(price, view.price) - post_only_offset(refusals, rules), rules.tick_size)
            if price <= level_price(settings, book.anchor, level + 1, rules.tick_size):
                continue
        place = buy(book, settings, view, level, price, bound) if price not in prices else None
        if place is not None:
            prices.add(price)
            bound += place.price * place.quantity
            intents.append(place)
    return intents
