"""A symbol's filters as the robot keeps to them (Binance ``filters.md``). Pure.

The exchange checks an order's price against an average of some minutes, which the robot does not know; it takes the
last price in its place, and a refusal all the same is tried again later.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from fortctl.model import SymbolRules


def violated_filter(rules: SymbolRules, leg: str, price: Decimal, quantity: Decimal, reference: Decimal) -> str | None:
    """Return the name of the filter that an order would break, or None.

    Args:
        leg: ``buy`` or ``sell``.
        reference: the market's price.
    """
    up, down = (
        (rules.bid_multiplier_up, rules.bid_multiplier_down)
        if leg == "buy"
        else (rules.ask_multiplier_up, rules.ask_multiplier_down)
    )
    notional = price * quantity
    checks = (
        ("STATUS", rules.status == "TRADING"),
        ("PRICE_FILTER", price > 0 and price >= rules.min_price),
        ("PRICE_FILTER", not rules.max_price or price <= rules.max_price),
        ("PRICE_FILTER", not rules.tick_size or price % rules.tick_size == 0),
        ("LOT_SIZE", quantity > 0 and quantity >= rules.min_quantity),
        ("LOT_SIZE", not rules.max_quantity or quantity <= rules.max_quantity),
        ("LOT_SIZE", not rules.step_size or quantity % rules.step_size == 0),
        ("NOTIONAL", notional >= rules.min_notional),
        ("NOTIONAL", not rules.max_notional or notional <= rules.max_notional),
        ("PERCENT_PRICE", not up or price <= reference * up),
        ("PERCENT_PRICE", not down or price >= reference * down),
    )
    return next((name for name, kept in checks if not kept), None)


def sellable(quantity: Decimal, price: Decimal, rules: SymbolRules) -> bool:
    """Return whether a quantity is large enough for an order at that price."""
    return quantity >= max(rules.min_quantity, rules.step_size) and quantity * price >= rules.min_notional


def capped_quantity(quantity: Decimal, price: Decimal, rules: SymbolRules) -> Decimal:
    """Return a quantity rounded down to the step, and to what one order at that price may be at the most."""
    if rules.max_quantity:
        quantity = min(quantity, rules.max_quantity)
    if rules.max_notional and price > 0:
        quantity = min(quantity, rules.max_notional / price)
    return floor_to(quantity, rules.step_size)


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """Round down to a multiple of a tick or step (0: no rounding)."""
    return value if not step else (value / step).to_integral_value(ROUND_FLOOR) * step


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """Round up to a multiple of a tick or step (0: no rounding)."""
    return value if not step else (value / step).to_integral_value(ROUND_CEILING) * step


def format_money(amount: Decimal) -> str:
    """Return an amount as people see it: to the exchange's eight decimals at most, half to even.

    No exponent, and no noughts at its end. The journal keeps the exact amount.
    """
    text = f"{amount:.8f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
