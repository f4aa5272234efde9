"""What to trade, and how: the grid's settings, and those of any other strategy. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar, Protocol

from fortctl.errors import BadInputError, ConflictError

SPACINGS = ("geometric", "arithmetic")
OPTION_LENGTH = 200
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
STP_MODES = ("NONE", "EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER")


class Settings(Protocol):
    """What every strategy's settings have; money in quote, ``take_profit`` in per cent net of commissions."""

    @property
    def strategy(self) -> str: ...
    @property
    def symbol(self) -> str: ...
    @property
    def take_profit(self) -> Decimal: ...
    @property
    def order_quote(self) -> Decimal: ...
    @property
    def max_quote(self) -> Decimal | None: ...
    @property
    def price_floor(self) -> Decimal | None: ...
    @property
    def price_ceiling(self) -> Decimal | None: ...
    @property
    def maker_only(self) -> bool: ...
    @property
    def self_trade_prevention(self) -> str | None: ...
    def as_json(self) -> dict[str, Any]:
        """Return the settings with decimal strings."""


@dataclass(frozen=True)
class PluginSettings:
    """The settings of a strategy from another distribution; it reads ``options`` itself."""

    strategy: str
    symbol: str
    take_profit: Decimal
    order_quote: Decimal
    max_quote: Decimal | None = None
    price_floor: Decimal | None = None
    price_ceiling: Decimal | None = None
    maker_only: bool = False
    self_trade_prevention: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {**_shown(self), "options": dict(self.options)}

    def validate(self) -> None:
        """Raise ``BadInputError`` when the settings make no sense."""
        named = all(
            isinstance(part, str) and len(part) <= OPTION_LENGTH for pair in self.options.items() for part in pair
        )
        _check((*_common(self), (bool(_NAME.fullmatch(self.strategy)), "strategy"), (named, "set")))


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

    strategy: ClassVar[str] = "grid"
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
        return _shown(self)

    def validate(self) -> None:
        """Raise ``BadInputError`` when the settings make no sense."""
        _check(
            (
                *_common(self),
                (1 <= self.levels <= 500, "levels"),
                (0 < self.step < 50, "step"),
                (self.spacing in SPACINGS, "spacing"),
                (self.spacing == "geometric" or self.step * self.levels < 100, "levels"),
            )
        )


def _common(settings: Settings) -> tuple[tuple[bool, str], ...]:
    symbol, floor = settings.symbol, settings.price_floor
    return (
        (symbol.isalnum() and symbol == symbol.upper(), "symbol"),
        (0 < settings.take_profit < 100, "take_profit"),
        (settings.order_quote > 0, "order_quote"),
        (settings.max_quote is None or settings.max_quote >= settings.order_quote, "max_quote"),
        (floor is None or floor > 0, "price_floor"),
        (settings.price_ceiling is None or settings.price_ceiling > (floor or 0), "price_ceiling"),
        (settings.self_trade_prevention in (None, *STP_MODES), "stp"),
    )


def _check(checks: Iterable[tuple[bool, str]]) -> None:
    for good, name in checks:
        if not good:
            raise BadInputError(
                f"the setting {name.replace('_', '-')} is out of range", hint="see 'robot configure --help'"
            )


def _shown(settings: GridSettings | PluginSettings) -> dict[str, Any]:
    values = {"strategy": settings.strategy} | {part.name: getattr(settings, part.name) for part in fields(settings)}
    return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in values.items()}


_DECIMALS = ("step", "take_profit", "order_quote", "max_quote", "price_floor", "price_ceiling")


def parse_settings(given: Mapping[str, Any]) -> Settings:
    """Make settings of names and values (decimal strings); without a ``strategy`` they are the grid's.

    Raises:
        BadInputError: a value is missing, malformed or out of range.
    """
    values = dict(given)
    plugin = values.get("strategy", GridSettings.strategy) != GridSettings.strategy
    kind: type[GridSettings] | type[PluginSettings] = PluginSettings if plugin else GridSettings
    if not plugin:
        values.pop("strategy", None)
    parts = fields(kind)
    needed = {part.name for part in parts if part.default is MISSING and part.default_factory is MISSING}
    if not needed <= values.keys() <= {part.name for part in parts}:
        raise BadInputError("the robot's settings are not complete", hint="see 'robot configure --help'")
    for name in _DECIMALS:
        if values.get(name) is not None:
            values[name] = _decimal(name, values[name])
    try:
        if not plugin:
            values["levels"] = int(values["levels"])
        settings = kind(**values)
        settings.validate()
    except (TypeError, ValueError, AttributeError):
        raise BadInputError("the robot's settings are malformed", hint="see 'robot configure --help'") from None
    return settings


def _decimal(name: str, value: Any) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number) > Decimal(10) ** 15:
        raise BadInputError(f"the setting {name.replace('_', '-')} must be a number", hint="give a decimal number")
    return number


def refuse_change(old: Settings, new: Settings) -> None:
    """Raise ``ConflictError`` when open cycles could not continue under the new settings."""
    hint = "drain first ('fortctl robot stop'), then change the"
    if old.symbol != new.symbol:
        raise ConflictError(f"cycles in {old.symbol} are open", hint=f"{hint} symbol")
    if old.strategy != new.strategy:
        raise ConflictError(f"cycles of the strategy '{old.strategy}' are open", hint=f"{hint} strategy")
