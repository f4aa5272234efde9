"""Dollar-cost averaging with a take-profit: buy for ``order-quote`` at an interval, sell each purchase at its profit.

A buy that has not filled when the next one is due is cancelled. ``--set every=1h`` is the interval (``s``, ``m``,
``h``, ``d``), ``--set below=0.1`` the per cent below the last price at which it bids (default 0).
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from fortctl.robot.strategy import (
    BadInputError,
    Book,
    Cancel,
    Plan,
    PluginSettings,
    Settings,
    StrategyNote,
    SymbolRules,
    TradingMode,
    View,
    buy,
    buy_quantity,
    drain_plan,
    empty_buy,
    floor_to,
    sellable,
    sells,
)

HUNDRED = Decimal(100)
UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DUE = "due"


class DollarCostAveraging:
    """Each purchase is a cycle of its own, numbered upwards as its level; implements fortctl's ``Strategy``."""

    name = "dca"

    def validate(self, settings: Settings) -> None:
        options = _options(settings)
        unknown = options.keys() - {"every", "below"}
        if unknown or "every" not in options:
            raise BadInputError(
                "dca takes the options every and below", hint="for example --set every=1h --set below=0.1"
            )
        _every_ms(settings)
        _below(settings)

    def check(self, settings: Settings, price: Decimal, rules: SymbolRules, rate: Decimal) -> None:
        self.validate(settings)
        price = floor_to(price * (1 - _below(settings) / HUNDRED), rules.tick_size)
        quantity = buy_quantity(settings.order_quote, price, rules)
        if not sellable(floor_to(quantity * (1 - rate), rules.step_size), price, rules):
            raise BadInputError(
                f"order-quote {settings.order_quote:f} is below what {rules.symbol} takes after commission",
                hint=f"its minimum is {rules.min_notional:f} {rules.quote}",
            )

    def plan(self, book: Book, view: View) -> Plan:
        settings = book.settings
        if settings is None or book.mode is TradingMode.STOPPED:
            return Plan()
        if book.mode is TradingMode.DRAINING:
            return drain_plan(book, settings, view)
        events, intents = sells(book, settings, view)
        due = int(book.notes.get(DUE, "0"))
        if view.now < due:
            # In a quiet market nothing else would have the strategy asked in time.
            return Plan(tuple(events), tuple(intents), wake_at=due)
        late = [Cancel(cycle.orders["buy"]) for cycle in book.live_cycles() if empty_buy(book, cycle)]
        price = floor_to(view.price * (1 - _below(settings) / HUNDRED), view.rules.tick_size)
        place = buy(book, settings, view, book.next_cycle, price, book.committed_quote())
        if late or place is None or (view.rules.max_orders and len(book.live) >= view.rules.max_orders):
            # The quote of a late buy must be free first; what the exchange would refuse now is tried again soon.
            return Plan(tuple(events), (*intents, *late))
        events.append(StrategyNote(DUE, str(view.now + _every_ms(settings))))
        return Plan(tuple(events), (*intents, place))


def _options(settings: Settings) -> dict[str, str]:
    if not isinstance(settings, PluginSettings):
        raise BadInputError("these are not dca's settings", hint="robot configure --strategy dca --set every=1h …")
    return dict(settings.options)


def _every_ms(settings: Settings) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", _options(settings)["every"])
    if match is None:
        raise BadInputError("every must be a number and s, m, h or d", hint="for example every=30m")
    return int(match[1]) * UNITS_MS[match[2]]


def _below(settings: Settings) -> Decimal:
    try:
        below = Decimal(_options(settings).get("below", "0"))
    except InvalidOperation:
        below = Decimal(-1)
    if not 0 <= below < 50:
        raise BadInputError("below must lie between 0 and 50 per cent", hint="for example below=0.1")
    return below
