"""Strategies of our own: they buy at once, and part with it soon, or leave that to the stop at the exchange."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

from freqtrade.persistence import Trade
from freqtrade.strategy import IStrategy
from pandas import DataFrame


class SoldSoon(IStrategy):
    """Bids at the best bid and sells at the market a few seconds after the bid was filled; once."""

    INTERFACE_VERSION = 3
    timeframe = "1m"
    startup_candle_count = 10
    minimal_roi: ClassVar = {}
    stoploss = -0.1
    order_types: ClassVar = {"entry": "limit", "exit": "market", "stoploss": "limit", "stoploss_on_exchange": True}

    def populate_indicators(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        dataframe["enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe: DataFrame, metadata: dict[str, Any]) -> DataFrame:
        return dataframe

    def confirm_trade_entry(self, *_: Any, **__: Any) -> bool:
        # What the test compares must not change while it looks.
        return not Trade.get_trades_proxy(is_open=False)

    def custom_exit(self, pair: str, trade: Trade, current_time: datetime, *_: Any, **__: Any) -> str | None:
        filled = trade.date_entry_fill_utc
        return "soon" if filled and current_time - filled > timedelta(seconds=4) else None


class SoldByItsStop(SoldSoon):
    """Never sells; only the stop order at the exchange does."""

    stoploss = -0.01

    def custom_exit(self, *_: Any, **__: Any) -> str | None:
        return None
