"""Calls about the account and the calling key. No I/O. Sources: rest-api.md; the wallet API for ``/sapi``."""

from __future__ import annotations

from typing import Any

from fortctl.paper.engine import ZERO
from fortctl.paper.parameters import Context, Values, symbol_named
from fortctl.paper.symbols import text


def account(context: Context, values: Values) -> dict[str, Any]:
    found, symbol = context.account, next(iter(context.engine.symbols.values()))
    hide = values.get("omitZeroBalances", "false").lower() == "true"
    balances = [
        {
            "asset": asset,
            "free": text(found.free.get(asset, ZERO)),
            "locked": text(found.locked.get(asset, ZERO)),
        }
        for asset in found.assets()
        if not hide or found.free.get(asset, ZERO) or found.locked.get(asset, ZERO)
    ]
    maker, taker = symbol.maker, symbol.taker
    return {
        "makerCommission": int(maker * 10_000),
        "takerCommission": int(taker * 10_000),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {
            "maker": text(maker),
            "taker": text(taker),
            "buyer": "0.00000000",
            "seller": "0.00000000",
        },
        "canTrade": True,
        "canWithdraw": True,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": found.update_time,
        "accountType": "SPOT",
        "balances": balances,
        "permissions": ["SPOT"],
        "uid": found.uid,
    }


def commission(context: Context, values: Values) -> dict[str, Any]:
    symbol = symbol_named(context, values)
    none = {"maker": text(ZERO), "taker": text(ZERO), "buyer": text(ZERO), "seller": text(ZERO)}
    return {
        "symbol": symbol.name,
        "standardCommission": {**none, "maker": text(symbol.maker), "taker": text(symbol.taker)},
        "specialCommission": none,
        "taxCommission": none,
        "discount": {
            "enabledForAccount": False,
            "enabledForSymbol": False,
            "discountAsset": "BNB",
            "discount": "0.75000000",
        },
    }


def restrictions(context: Context, values: Values) -> dict[str, Any]:
    """``GET /sapi/v1/account/apiRestrictions``, about the calling key."""
    key = context.key
    assert key is not None

    def has(name: str) -> bool:
        return key.may(name, context.now)

    answer = {
        "ipRestrict": bool(key.ips),
        "createTime": key.created_at,
        "enableReading": has("reading"),
        "enableSpotAndMarginTrading": has("spot_trading"),
        "enableWithdrawals": has("withdrawals"),
        "enableInternalTransfer": has("internal_transfer"),
        "permitsUniversalTransfer": has("universal_transfer"),
        "enableMargin": has("margin"),
        "enableFutures": has("futures"),
        "enableVanillaOptions": has("options"),
        "enablePortfolioMarginTrading": False,
        "enableFixApiTrade": has("fix_trade"),
        "enableFixReadOnly": has("fix_read"),
    }
    if key.trading_expires_at is not None:
        answer["tradingAuthorityExpirationTime"] = key.trading_expires_at
    return answer


def account_status(context: Context, values: Values) -> dict[str, Any]:
    return {"data": "Normal"}


def trading_status(context: Context, values: Values) -> dict[str, Any]:
    return {
        "data": {
            "isLocked": False,
            "plannedRecoverTime": 0,
            "triggerCondition": {"GCR": 150, "IFER": 150, "UFR": 300},
            "updateTime": context.now,
        }
    }


def system_status(context: Context, values: Values) -> dict[str, Any]:
    return {"status": 0, "msg": "normal"}
