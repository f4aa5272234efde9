"""``/sapi``: the calling key, the account's state, its assets; and what clients request when they load markets. No I/O.

Source: the wallet API's pages; the models of binance-sdk-wallet.
"""

from __future__ import annotations

from typing import Any

from fortctl.paper.api.parameters import Context, Values, choice_of, flag_of, symbol_named
from fortctl.paper.engine import errors
from fortctl.paper.engine.filters import ZERO
from fortctl.paper.engine.symbols import text

Row = dict[str, Any]
NAMES = {"BTC": "Bitcoin", "ETH": "Ethereum", "BNB": "BNB", "XRP": "Ripple", "USDT": "TetherUS"}
FIAT = ("EUR", "TRY", "USD")


def restrictions(context: Context, values: Values) -> Row:
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


def account_status(context: Context, values: Values) -> Row:
    return {"data": "Normal"}


def trading_status(context: Context, values: Values) -> Row:
    return {
        "data": {
            "isLocked": not context.account.can_trade,
            "plannedRecoverTime": 0,
            "triggerCondition": {"GCR": 150, "IFER": 150, "UFR": 300},
            "updateTime": context.account.update_time,
        }
    }


def system_status(context: Context, values: Values) -> Row:
    return {"status": 0, "msg": "normal"}


def trade_fee(context: Context, values: Values) -> list[Row]:
    symbols = [symbol_named(context, values)] if "symbol" in values else list(context.state.symbols.values())
    return [
        {"symbol": symbol.name, "makerCommission": f"{symbol.maker:f}", "takerCommission": f"{symbol.taker:f}"}
        for symbol in symbols
    ]


def user_assets(context: Context, values: Values) -> list[Row]:
    """``POST /sapi/v3/asset/getUserAsset``: the assets with a balance."""
    account, state = context.account, context.state
    asset_filter = values.get("asset")
    rows = []
    for asset in account.assets():
        free, locked = account.free.get(asset, ZERO), account.locked.get(asset, ZERO)
        if not (free or locked) or asset_filter not in (None, asset):
            continue
        row = {
            "asset": asset,
            "free": text(free),
            "locked": text(locked),
            "freeze": "0",
            "withdrawing": "0",
            "ipoable": "0",
        }
        if flag_of(values, "needBtcValuation"):
            worth = next(
                (
                    state.last_price(symbol.name)
                    for symbol in state.symbols.values()
                    if (symbol.base, symbol.quote) == (asset, "BTC")
                ),
                ZERO,
            )
            row["btcValuation"] = text((free + locked) * (1 if asset == "BTC" else worth))
        else:
            row["btcValuation"] = "0"
        rows.append(row)
    return rows


def coins(context: Context, values: Values) -> list[Row]:
    """``GET /sapi/v1/capital/config/getall``: the assets of the symbols here; none can be moved over a network."""
    assets = {asset for symbol in context.state.symbols.values() for asset in (symbol.base, symbol.quote)}
    account = context.account
    return [
        {
            "coin": asset,
            "depositAllEnable": False,
            "free": text(account.free.get(asset, ZERO)),
            "freeze": "0",
            "ipoable": "0",
            "ipoing": "0",
            "isLegalMoney": asset in FIAT,
            "locked": text(account.locked.get(asset, ZERO)),
            "name": NAMES.get(asset, asset),
            "networkList": [],
            "storage": "0",
            "trading": True,
            "withdrawAllEnable": False,
            "withdrawing": "0",
        }
        for asset in sorted(assets | set(account.assets()))
    ]


def get_bnb_burn(context: Context, values: Values) -> Row:
    return {"spotBNBBurn": context.account.pays_in_bnb, "interestBNBBurn": False}


def set_bnb_burn(context: Context, values: Values) -> Row:
    """``POST /sapi/v1/bnbBurn``: pay commissions in BNB."""
    if "spotBNBBurn" not in values and "interestBNBBurn" not in values:
        raise errors.either("spotBNBBurn", "interestBNBBurn")
    if "interestBNBBurn" in values:
        choice_of(values, "interestBNBBurn", ("true", "false"))
    if "spotBNBBurn" in values:
        context.account.pays_in_bnb = flag_of(values, "spotBNBBurn")
        context.state.changed.add(("account", context.account.name))
    return get_bnb_burn(context, values)


def no_pairs(context: Context, values: Values) -> list[Row]:
    """Margin pairs, which some clients request when they load markets: none."""
    return []


def no_contracts(context: Context, values: Values) -> Row:
    """``exchangeInfo`` of the futures API, which some clients request when they load markets: no contracts."""
    return {
        "timezone": "UTC",
        "serverTime": context.now,
        "rateLimits": [],
        "exchangeFilters": [],
        "assets": [],
        "symbols": [],
    }
