"""A grid over a recording in nautilus_trader's backtest, a JSON line a run; in an environment of its own."""

from __future__ import annotations

import csv
import json
import sys
import time
from decimal import Decimal

import nautilus_trader
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import ETH, XRP
from nautilus_trader.model.data import TradeTick
from nautilus_trader.model.enums import AccountType, AggressorSide, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TradeId, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

VENUE = Venue("BINANCE")
LEVELS, STEP, PROFIT, QUOTE, RATE = 8, Decimal("0.003"), Decimal("0.003"), Decimal("0.05"), Decimal("0.001")


def instrument() -> CurrencyPair:
    return CurrencyPair(
        instrument_id=InstrumentId(Symbol("XRPETH"), VENUE),
        raw_symbol=Symbol("XRPETH"),
        base_currency=XRP,
        quote_currency=ETH,
        price_precision=8,
        size_precision=0,
        price_increment=Price.from_str("0.00000001"),
        size_increment=Quantity.from_str("1"),
        lot_size=None,
        max_quantity=Quantity.from_str("90000000"),
        min_quantity=Quantity.from_str("1"),
        max_notional=None,
        min_notional=None,
        max_price=None,
        min_price=None,
        margin_init=Decimal(0),
        margin_maint=Decimal(0),
        maker_fee=RATE,
        taker_fee=RATE,
        ts_event=0,
        ts_init=0,
    )


class Grid(Strategy):
    """Buys on levels below the first price; each fill is answered by the opposite order."""

    def __init__(self, traded: CurrencyPair) -> None:
        super().__init__()
        self._traded = traded
        self._levels: dict[str, tuple[Decimal, Decimal]] = {}
        self.placed = 0

    def on_start(self) -> None:
        self.subscribe_trade_ticks(self._traded.id)

    def on_trade_tick(self, tick: TradeTick) -> None:
        if not self.placed:
            anchor = Decimal(str(tick.price))
            for level in range(1, LEVELS + 1):
                self._send(OrderSide.BUY, anchor / (1 + STEP) ** level, None)

    def on_order_filled(self, event: object) -> None:
        order = self.cache.order(event.client_order_id)
        if not order.is_closed:
            return
        buy, quantity = self._levels[str(event.client_order_id)]
        if order.side == OrderSide.BUY:
            self._send(OrderSide.SELL, buy * (1 + PROFIT) / (1 - RATE) ** 2, (buy, quantity))
        else:
            self._send(OrderSide.BUY, buy, None)

    def _send(self, side: OrderSide, price: Decimal, of: tuple[Decimal, Decimal] | None) -> None:
        buy, quantity = of or (price, (QUOTE / price).to_integral_value())
        order = self.order_factory.limit(
            instrument_id=self._traded.id,
            order_side=side,
            quantity=self._traded.make_qty(quantity),
            price=self._traded.make_price(price),
        )
        self._levels[str(order.client_order_id)] = (buy, quantity)
        self.placed += 1
        self.submit_order(order)


def main(path: str, repeat: int) -> None:
    traded, ticks = instrument(), []
    with open(path, encoding="utf-8") as lines:
        for row in csv.reader(lines):
            at = int(row[4]) * 1_000_000
            side = AggressorSide.SELLER if row[5] == "True" else AggressorSide.BUYER
            price, size = Price.from_str(row[1]), Quantity.from_str(f"{Decimal(row[2]):.0f}")
            ticks.append(TradeTick(traded.id, price, size, side, TradeId(row[0]), at, at))
    for _ in range(repeat):
        engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
        engine.add_venue(
            venue=VENUE,
            oms_type=OmsType.NETTING,
            account_type=AccountType.CASH,
            base_currency=None,
            starting_balances=[Money(30, ETH), Money(1_000_000, XRP)],
            trade_execution=True,
        )
        engine.add_instrument(traded)
        engine.add_data(ticks)
        strategy = Grid(traded)
        engine.add_strategy(strategy)
        began = time.perf_counter()
        engine.run()
        seconds = time.perf_counter() - began
        print(
            json.dumps(
                {
                    "trades": len(ticks),
                    "seconds": seconds,
                    "placed": strategy.placed,
                    "version": nautilus_trader.__version__,
                }
            ),
            flush=True,
        )
        engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
