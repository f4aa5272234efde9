"""A symbol of the paper exchange: its filters, and whether an order passes them (filters.md). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fortctl.paper.refusals import filter_failure

QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "USD")
# What Binance asked as least notional in these quotes when the recordings were made, or asks today.
MIN_NOTIONAL = {"BTC": "0.0001", "ETH": "0.005", "BNB": "0.05"}
ORDER_TYPES = ("LIMIT", "LIMIT_MAKER", "MARKET")


@dataclass(frozen=True)
class Symbol:
    """One symbol; tick and step are the finest decimals seen in its recording."""

    name: str
    base: str
    quote: str
    tick: Decimal
    step: Decimal
    min_notional: Decimal
    maker: Decimal = Decimal("0.001")
    taker: Decimal = Decimal("0.001")
    max_orders: int = 200
    max_quantity: Decimal = Decimal("9000000000")
    up: Decimal = Decimal(5)
    down: Decimal = Decimal("0.2")

    def info(self) -> dict[str, Any]:
        """Return the symbol as ``exchangeInfo`` tells it (rest-api.md)."""
        return {
            "symbol": self.name,
            "status": "TRADING",
            "baseAsset": self.base,
            "baseAssetPrecision": 8,
            "quoteAsset": self.quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "baseCommissionPrecision": 8,
            "quoteCommissionPrecision": 8,
            "orderTypes": list(ORDER_TYPES),
            "icebergAllowed": False,
            "ocoAllowed": False,
            "otoAllowed": False,
            "opoAllowed": False,
            "quoteOrderQtyMarketAllowed": True,
            "allowTrailingStop": False,
            "cancelReplaceAllowed": False,
            "amendAllowed": False,
            "pegInstructionsAllowed": False,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": self.filters(),
            "permissions": [],
            "permissionSets": [["SPOT"]],
            "defaultSelfTradePreventionMode": "NONE",
            "allowedSelfTradePreventionModes": ["NONE"],
        }

    def filters(self) -> list[dict[str, Any]]:
        tick, step, high = text(self.tick), text(self.step), text(self.max_quantity)
        return [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": high, "stepSize": step},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": high, "stepSize": "0.00000000"},
            {
                "filterType": "PERCENT_PRICE_BY_SIDE",
                "bidMultiplierUp": f"{self.up:f}",
                "bidMultiplierDown": f"{self.down:f}",
                "askMultiplierUp": f"{self.up:f}",
                "askMultiplierDown": f"{self.down:f}",
                "avgPriceMins": 5,
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": text(self.min_notional),
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": self.max_orders},
        ]

    def check(self, *, price: Decimal | None, quantity: Decimal, reference: Decimal, open_orders: int) -> None:
        """Refuse an order that breaks a filter. ``price`` is None for MARKET; ``reference`` is the average price."""
        if price is not None:
            if price < self.tick or price > 1_000_000 or price % self.tick:
                raise filter_failure("PRICE_FILTER")
            if not reference * self.down <= price <= reference * self.up:
                raise filter_failure("PERCENT_PRICE_BY_SIDE")
        if quantity < self.step or quantity > self.max_quantity or quantity % self.step:
            raise filter_failure("LOT_SIZE")
        if not self.min_notional <= quantity * (price or reference) <= 9_000_000:
            raise filter_failure("NOTIONAL")
        if open_orders >= self.max_orders:
            raise filter_failure("MAX_NUM_ORDERS")


def text(value: Decimal) -> str:
    """Return a number as Binance prints it: eight decimals, no exponent."""
    return f"{value:.8f}"


def split(name: str) -> tuple[str, str]:
    """Return base and quote asset of a symbol's name."""
    for quote in QUOTES:
        if name.endswith(quote) and len(name) > len(quote):
            return name[: -len(quote)], quote
    return name[:-3], name[-3:]


def symbol_of(name: str, tick: Decimal, step: Decimal) -> Symbol:
    base, quote = split(name)
    return Symbol(name, base, quote, tick, step, Decimal(MIN_NOTIONAL.get(quote, "5")))
