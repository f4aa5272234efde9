"""Rounding: to a symbol's ticks and steps, and for people's eyes. Pure."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """Round down to a multiple of a tick or step (0: no rounding)."""
    return value if not step else (value / step).to_integral_value(ROUND_FLOOR) * step


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """Round up to a multiple of a tick or step (0: no rounding)."""
    return value if not step else (value / step).to_integral_value(ROUND_CEILING) * step


def shown(amount: Decimal) -> str:
    """Return an amount as people see it: to the exchange's eight decimals at most, half to even.

    No exponent, and no noughts at its end. The journal keeps the exact amount.
    """
    text = f"{amount:.8f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
