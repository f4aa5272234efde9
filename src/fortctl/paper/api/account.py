"""Calls about the account. No I/O. Source: rest-api.md, "Account endpoints"."""

from __future__ import annotations

from typing import Any

from fortctl.paper.api.parameters import Context, Values, flag_of, symbol_named
from fortctl.paper.api.responses import commissions
from fortctl.paper.engine.filters import ZERO
from fortctl.paper.engine.symbols import text

Row = dict[str, Any]


def account(context: Context, values: Values) -> Row:
    owner, symbol = context.account, next(iter(context.state.symbols.values()))
    hide = flag_of(values, "omitZeroBalances")
    balances = [
        {
            "asset": asset,
            "free": text(owner.free.get(asset, ZERO)),
            "locked": text(owner.locked.get(asset, ZERO)),
        }
        for asset in owner.assets()
        if not hide or owner.free.get(asset, ZERO) or owner.locked.get(asset, ZERO)
    ]
    maker, taker = symbol.maker, symbol.taker
    return {
        "makerCommission": int(maker * 10_000),
        "takerCommission": int(taker * 10_000),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": commissions(maker, taker),
        "canTrade": owner.can_trade,
        "canWithdraw": True,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": owner.update_time,
        "accountType": "SPOT",
        "balances": balances,
        "permissions": ["SPOT"],
        "uid": owner.uid,
    }


def commission(context: Context, values: Values) -> Row:
    symbol = symbol_named(context, values)
    return {
        "symbol": symbol.name,
        "standardCommission": commissions(symbol.maker, symbol.taker),
        "specialCommission": commissions(),
        "taxCommission": commissions(),
        "discount": {
            "enabledForAccount": context.account.pays_in_bnb,
            "enabledForSymbol": True,
            "discountAsset": "BNB",
            "discount": "0.75000000",
        },
    }


def order_counts(context: Context, values: Values) -> list[Row]:
    """``rateLimit/order``."""
    return context.order_counts()


def my_filters(context: Context, values: Values) -> Row:
    """``myFilters``: no filter applies to an account beyond those of ``exchangeInfo``."""
    symbol_named(context, values)
    return {"exchangeFilters": [], "symbolFilters": [], "assetFilters": [], "rateLimits": context.order_counts()}
