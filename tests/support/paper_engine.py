"""An engine of the paper exchange to call as a client would, without a server."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from fortctl.paper.api import registry
from fortctl.paper.api.parameters import Context, check_parameters
from fortctl.paper.engine.accounts import ApiKey
from fortctl.paper.engine.exchange import Engine
from fortctl.paper.engine.market_data import Recording
from fortctl.paper.engine.symbols import symbol_of
from fortctl.paper.engine.trades.table import Trade

SYMBOL = "BTCUSDT"
NOW = 1_700_000_000_000


def first_trade(price: str = "100") -> Trade:
    return Trade(1, Decimal(price), Decimal(1), NOW, True)


def bare(model: str = "through", price: str = "100") -> Engine:
    """Return an engine without accounts, whose market has not traded."""
    symbol = symbol_of(SYMBOL, Decimal("0.01"), Decimal("0.001"))
    return Engine({SYMBOL: Recording(symbol, (first_trade(price),))}, model)


def made(model: str = "through", price: str = "100", engine: Engine | None = None) -> Engine:
    """Return an engine with two accounts, alice and bob, whose market has traded once."""
    first = first_trade(price)
    engine = engine or bare(model, price)
    for name in ("alice", "bob"):
        engine.create_account(name, {"BTC": Decimal(10), "USDT": Decimal(10_000)}, NOW)
        engine.add_key(ApiKey(name, name, (name * 20)[:64].ljust(64, "0"), "hmac", ("reading", "spot_trading"), NOW))
    engine.apply_trade(SYMBOL, first, NOW)
    return engine


def ask(engine: Engine, account: str, method: str, path: str, **values: Any) -> Any:
    """Make a call of ``/api/v3`` as an account; a value of None is not sent."""
    key = next(key for key in engine.state.keys.values() if key.account == account)
    call = registry.CALLS[method, f"/api/v3/{path}"]
    known = {*call.required, *call.optional}
    texts = {"symbol": SYMBOL} if "symbol" in known else {}
    texts |= {name: str(value) for name, value in values.items()}
    texts = {name: text for name, text in texts.items() if text != "None"}
    check_parameters(call, {**texts, "timestamp": "1"} if call.security != "NONE" else texts)
    return call.handler(Context(engine, NOW, key, []), texts)


def limit(engine: Engine, account: str, side: str, price: str, quantity: str, **more: Any) -> Any:
    values = {"side": side, "type": "LIMIT", "timeInForce": "GTC", "price": price, "quantity": quantity, **more}
    return ask(engine, account, "POST", "order", **values)


def trade(engine: Engine, price: str, quantity: str, *, maker: bool = True) -> None:
    """Let one recorded trade happen; ``maker`` says that the buyer was."""
    engine.apply_trade(SYMBOL, Trade(9, Decimal(price), Decimal(quantity), NOW, maker), NOW)


def book_depth(engine: Engine, side: str) -> dict[Decimal, Decimal]:
    return dict(engine.state.books[SYMBOL].levels(side))
