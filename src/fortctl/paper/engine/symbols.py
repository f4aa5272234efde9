"""A symbol of the paper exchange: its assets, filters, flags and commissions, as ``exchangeInfo`` states them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fortctl.errors import BadInputError
from fortctl.paper.engine.filters import EXTRA, KNOWN, Filters, default_filters, text

__all__ = ["ORDER_TYPES", "Symbol", "split", "symbol_of", "text"]

QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "USD")
ORDER_TYPES = ("LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
STATUSES = ("TRADING", "END_OF_DAY", "HALT", "BREAK", "CANCEL_ONLY")
STP_MODES = ("NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER")
MOST_WHOLE, MOST_NUMBER = 2**31, Decimal(10) ** 15
FLAGS = {
    "icebergAllowed": True,
    "ocoAllowed": True,
    "otoAllowed": True,
    "opoAllowed": False,
    "quoteOrderQtyMarketAllowed": True,
    "allowTrailingStop": True,
    "cancelReplaceAllowed": True,
    "amendAllowed": True,
    "pegInstructionsAllowed": False,
    "isSpotTradingAllowed": True,
    "isMarginTradingAllowed": False,
}


@dataclass
class Symbol:
    """One symbol; tick and step are the finest decimals seen in its recording.

    Attributes:
        filters: the filters of ``exchangeInfo``, by type; orders are checked against them.
        status: one of :data:`STATUSES`.
        flags: the booleans of ``exchangeInfo``.
        maker, taker: commission rates.
    """

    name: str
    base: str
    quote: str
    tick: Decimal
    step: Decimal
    filters: Filters
    status: str = "TRADING"
    maker: Decimal = Decimal("0.001")
    taker: Decimal = Decimal("0.001")
    flags: dict[str, bool] = field(default_factory=lambda: dict(FLAGS))
    order_types: tuple[str, ...] = ORDER_TYPES
    stp_default: str = "EXPIRE_MAKER"
    stp_modes: tuple[str, ...] = STP_MODES

    @property
    def trading(self) -> bool:
        return self.status == "TRADING"

    def info(self, *, permission_sets: bool = True) -> dict[str, Any]:
        """Return the symbol's entry of ``exchangeInfo`` (rest-api.md)."""
        return {
            "symbol": self.name,
            "status": self.status,
            "baseAsset": self.base,
            "baseAssetPrecision": 8,
            "quoteAsset": self.quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "baseCommissionPrecision": 8,
            "quoteCommissionPrecision": 8,
            "orderTypes": list(self.order_types),
            **self.flags,
            "filters": list(self.filters.values()),
            "permissions": [],
            "permissionSets": [["SPOT"]] if permission_sets else [],
            "defaultSelfTradePreventionMode": self.stp_default,
            "allowedSelfTradePreventionModes": list(self.stp_modes),
        }

    def edit(self, changes: dict[str, Any]) -> None:
        """Change status, commissions, a flag, the STP default, or a filter's field (``LOT_SIZE.stepSize``).

        Raises:
            BadInputError: there is no such setting, or it cannot have this value.
        """
        for name, value in changes.items():
            try:
                self._edit(name, str(value))
            except (ValueError, ArithmeticError, KeyError):
                raise BadInputError(
                    f"{name} cannot be set to {value!s:.40}", hint="see docs/paper-exchange.md"
                ) from None

    def _edit(self, name: str, value: str) -> None:
        kind, _, part = name.partition(".")
        if name == "status" and value in STATUSES:
            self.status = value
        elif name in ("maker", "taker"):
            rate = Decimal(value)
            if not 0 <= rate < 1:
                raise ValueError
            setattr(self, name, rate)
        elif name == "stp_default" and value in self.stp_modes:
            self.stp_default = value
        elif name in self.flags:
            self.flags[name] = {"true": True, "false": False}[value.lower()]
        elif kind in KNOWN and part not in ("", "filterType"):
            rule = self.filters[kind] if kind in self.filters else dict(EXTRA[kind])
            before = rule[part]
            if isinstance(before, bool):
                rule[part] = {"true": True, "false": False}[value.lower()]
            elif isinstance(before, int):
                rule[part] = _within(int(value), MOST_WHOLE)
            else:
                number = Decimal(value)
                if not number.is_finite() or not 0 <= number < MOST_NUMBER:
                    raise ValueError
                rule[part] = f"{number:f}" if "ultiplier" in part else text(number)
            self.filters[kind] = rule
        else:
            raise KeyError(name)

    def as_json(self) -> dict[str, Any]:
        """Return what :meth:`edit` can change."""
        return {
            "status": self.status,
            "maker": str(self.maker),
            "taker": str(self.taker),
            "stp_default": self.stp_default,
            "flags": self.flags,
            "filters": self.filters,
        }

    def restore(self, body: dict[str, Any]) -> None:
        """Set what :meth:`as_json` returned."""
        self.status, self.stp_default = body["status"], body["stp_default"]
        self.maker, self.taker = Decimal(body["maker"]), Decimal(body["taker"])
        self.flags, self.filters = body["flags"], body["filters"]


def _within(number: int, most: int) -> int:
    if not 0 <= number <= most:
        raise ValueError
    return number


def split(name: str) -> tuple[str, str]:
    """Return base and quote asset of a symbol's name."""
    for quote in QUOTES:
        if name.endswith(quote) and len(name) > len(quote):
            return name[: -len(quote)], quote
    return name[:-3], name[-3:]


def symbol_of(name: str, tick: Decimal, step: Decimal) -> Symbol:
    base, quote = split(name)
    return Symbol(name, base, quote, tick, step, default_filters(quote, tick, step))
