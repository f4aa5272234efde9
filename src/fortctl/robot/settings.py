"""The grid's settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from typing import Any

from fortctl.errors import BadInput

SPACINGS = ("geometric", "arithmetic")
STP_MODES = ("NONE", "EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER")


@dataclass(frozen=True)
class GridSettings:
    """What to trade, and how.

    Attributes:
        symbol: for example ``XRPETH``.
        levels: number of grid levels.
        step, take_profit: per cent; take-profit is net of commissions.
        order_quote: quote amount of one buy.
        max_quote: budget for open buys and inventory, or None.
        price_floor, price_ceiling: no buy outside, or None.
        trail_up: follow a rising market.
        spacing: ``geometric`` or ``arithmetic``.
        maker_only: only LIMIT_MAKER orders.
        self_trade_prevention: Binance's mode, or None.
    """

    symbol: str
    levels: int
    step: Decimal
    take_profit: Decimal
    order_quote: Decimal
    max_quote: Decimal | None = None
    price_floor: Decimal | None = None
    price_ceiling: Decimal | None = None
    trail_up: bool = True
    spacing: str = "geometric"
    maker_only: bool = False
    self_trade_prevention: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the settings with decimal strings."""
        shown = {part.name: getattr(self, part.name) for part in fields(self)}
        return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in shown.items()}

    def validate(self) -> None:
        """Raise ``BadInput`` when the settings make no sense."""
        checks = (
            (self.symbol.isascii() and self.symbol.isalnum() and self.symbol == self.symbol.upper(), "symbol"),
            (1 <= self.levels <= 500, "levels"),
            (0 < self.step < 50, "step"),
            (0 < self.take_profit < 100, "take_profit"),
            (self.order_quote > 0, "order_quote"),
            (self.max_quote is None or self.max_quote >= self.order_quote, "max_quote"),
            (self.price_floor is None or self.price_floor > 0, "price_floor"),
            (self.price_ceiling is None or self.price_ceiling > (self.price_floor or 0), "price_ceiling"),
            (self.spacing in SPACINGS, "spacing"),
            (self.self_trade_prevention in (None, *STP_MODES), "stp"),
            (self.spacing == "geometric" or self.step * self.levels < 100, "levels"),
        )
        for good, name in checks:
            if not good:
                raise BadInput(
                    f"the setting {name.replace('_', '-')} is out of range", hint="see 'robot configure --help'"
                )


_DECIMALS = ("step", "take_profit", "order_quote", "max_quote", "price_floor", "price_ceiling")


def parse_settings(given: Mapping[str, Any]) -> GridSettings:
    """Make settings of names and values (decimal strings).

    Raises:
        BadInput: a value is missing, malformed or out of range.
    """
    known = {part.name for part in fields(GridSettings)}
    if not {"symbol", "levels", "step", "take_profit", "order_quote"} <= given.keys() <= known:
        raise BadInput("the robot's settings are not complete", hint="see 'robot configure --help'")
    values = dict(given)
    for name in _DECIMALS:
        if values.get(name) is not None:
            values[name] = _decimal(name, values[name])
    try:
        settings = GridSettings(**{**values, "levels": int(values["levels"])})
        settings.validate()
    except (TypeError, ValueError, AttributeError):
        raise BadInput("the robot's settings are malformed", hint="see 'robot configure --help'") from None
    return settings


def _decimal(name: str, value: Any) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number) > Decimal(10) ** 15:
        raise BadInput(f"the setting {name.replace('_', '-')} is no number", hint="give a decimal number")
    return number
