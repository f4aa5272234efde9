"""Rounding to a symbol's ticks and steps. Pure."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """Round down to a multiple of a tick or step (0: no rounding)."""
    return value if not step else (value / step).to_integral_value(ROUND_FLOOR) * step


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """Round up to a multiple of a tick or step (0: no rounding)."""
    return value if not step else (value / step).to_integral_value(ROUND_CEILING) * step
