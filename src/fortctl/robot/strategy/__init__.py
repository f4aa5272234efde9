"""Everything that a strategy is written with; a plugin imports from here and from :mod:`fortctl.robot.testing` alone.

A strategy is pure: the book and a :class:`View` of the market in, a :class:`Plan` of events and intents out. It keeps
no state of its own. Whatever it must remember it writes as a :class:`StrategyNote`, which the robot journals and the
book shows again as ``notes``, so that a restart at any point continues with the same plan.

The robot calls :meth:`Strategy.plan` whenever something happened (a fill, a price, a refusal, a timer), and calls it
again until the plan is empty. So a plan says what should be at the exchange *now*, and never names an order
twice. A cycle is one buy and the sell of what it bought; :func:`buy` makes the first, :func:`sells` the second,
and both respect the symbol's filters, the budget, and the dust that earlier cycles left.

No strategy is trusted. :mod:`fortctl.robot.strategy.guard` removes from each plan what the robot may not do and logs
why, and the property suite in :mod:`fortctl.robot.testing` plays a strategy against a market that misbehaves.

Inside: ``api`` is this interface, ``grid`` the built-in strategy, ``guard`` the limits, ``simulator`` the market of the
property suite, ``plugins`` finds strategies of other distributions. Nothing here does I/O but ``plugins``, which reads
entry points.
"""

from __future__ import annotations

from fortctl.errors import BadInputError
from fortctl.model import OrderStatus, SymbolRules
from fortctl.robot.core.blocked_reason import BlockedReason
from fortctl.robot.core.book import Book
from fortctl.robot.core.cycle import Cycle, CycleState, Order
from fortctl.robot.core.events import Cancel, DustLeft, Event, Intent, Place, StrategyNote
from fortctl.robot.core.filters import capped_quantity, ceil_to, floor_to, sellable, violated_filter
from fortctl.robot.core.lifecycle import TradingMode
from fortctl.robot.core.settings import PluginSettings, Settings
from fortctl.robot.strategy.api import (
    Plan,
    Strategy,
    View,
    buy,
    buy_quantity,
    cancel_buys,
    drain_plan,
    empty_buy,
    on_the_market,
    post_only_offset,
    sell_price,
    sells,
    within_bounds,
    would_self_trade,
)

__all__ = [
    "BadInputError",
    "BlockedReason",
    "Book",
    "Cancel",
    "Cycle",
    "CycleState",
    "DustLeft",
    "Event",
    "Intent",
    "Order",
    "OrderStatus",
    "Place",
    "Plan",
    "PluginSettings",
    "Settings",
    "Strategy",
    "StrategyNote",
    "SymbolRules",
    "TradingMode",
    "View",
    "buy",
    "buy_quantity",
    "cancel_buys",
    "capped_quantity",
    "ceil_to",
    "drain_plan",
    "empty_buy",
    "floor_to",
    "on_the_market",
    "post_only_offset",
    "sell_price",
    "sellable",
    "sells",
    "violated_filter",
    "within_bounds",
    "would_self_trade",
]
