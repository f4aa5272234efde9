"""Binance's JSON into our values. Pure. Sources: rest-api.md, user-data-stream.md, filters.md."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from fortctl.model import (
    AccountState,
    Balance,
    BalanceUpdate,
    Fill,
    KeyRestrictions,
    OrderState,
    OrderStatus,
    OrderUpdate,
    Side,
    SymbolRules,
)

ZERO = Decimal(0)


def order_state(row: Mapping[str, Any]) -> OrderState:
    """Read an order as ``GET /api/v3/order`` tells it (also RESULT and FULL answers, and cancels)."""
    when = int(row.get("transactTime") or row.get("updateTime") or 0)
    return OrderState(
        symbol=row["symbol"],
        order_id=int(row["orderId"]),
        # A cancel's answer names the order in origClientOrderId, and itself in clientOrderId.
        client_order_id=row.get("origClientOrderId") or row["clientOrderId"],
        side=Side(row["side"]),
        type=row["type"],
        price=Decimal(row["price"]),
        quantity=Decimal(row["origQty"]),
        executed=Decimal(row["executedQty"]),
        quote_executed=Decimal(row["cummulativeQuoteQty"]),
        status=OrderStatus(row["status"]),
        time=int(row.get("time") or row.get("workingTime") or when),
        update_time=when,
    )


def fill(row: Mapping[str, Any]) -> Fill:
    """Read a trade of ``GET /api/v3/myTrades``."""
    return Fill(
        symbol=row["symbol"],
        trade_id=int(row["id"]),
        order_id=int(row["orderId"]),
        side=Side.BUY if row["isBuyer"] else Side.SELL,
        price=Decimal(row["price"]),
        quantity=Decimal(row["qty"]),
        quote=Decimal(row["quoteQty"]),
        commission=Decimal(row["commission"]),
        commission_asset=row["commissionAsset"],
        time=int(row["time"]),
        is_maker=bool(row["isMaker"]),
    )


def account_state(row: Mapping[str, Any]) -> AccountState:
    """Read ``GET /api/v3/account``."""
    rates = row["commissionRates"]
    return AccountState(
        uid=int(row["uid"]),
        can_trade=bool(row["canTrade"]),
        maker_rate=Decimal(rates["maker"]),
        taker_rate=Decimal(rates["taker"]),
        balances=tuple(Balance(one["asset"], Decimal(one["free"]), Decimal(one["locked"])) for one in row["balances"]),
    )


def restrictions(row: Mapping[str, Any]) -> KeyRestrictions:
    """Read ``GET /sapi/v1/account/apiRestrictions``; rights that are not named are not there."""

    def has(name: str) -> bool:
        return bool(row.get(name, False))

    expires = row.get("tradingAuthorityExpirationTime")
    return KeyRestrictions(
        ip_restricted=has("ipRestrict"),
        reading=has("enableReading"),
        spot_trading=has("enableSpotAndMarginTrading"),
        withdrawals=has("enableWithdrawals"),
        internal_transfer=has("enableInternalTransfer"),
        universal_transfer=has("permitsUniversalTransfer"),
        margin=has("enableMargin"),
        futures=has("enableFutures"),
        options=has("enableVanillaOptions"),
        portfolio_margin=has("enablePortfolioMarginTrading"),
        fix_trade=has("enableFixApiTrade"),
        fix_read=has("enableFixReadOnly"),
        created_at=int(row["createTime"]) if row.get("createTime") else None,
        trading_expires_at=int(expires) if expires else None,
    )


def weight_limit(info: Mapping[str, Any]) -> int | None:
    """Return the request weight a minute of ``exchangeInfo``; None where it states none."""
    for limit in info.get("rateLimits", ()):
        kind = (limit.get("rateLimitType"), limit.get("interval"), limit.get("intervalNum"))
        if kind == ("REQUEST_WEIGHT", "MINUTE", 1):
            return int(limit["limit"])
    return None


def symbol_rules(info: Mapping[str, Any]) -> SymbolRules:
    """Read ``exchangeInfo`` of one symbol."""
    row = info["symbols"][0]
    filters = {one["filterType"]: one for one in row["filters"]}
    price, lot = filters.get("PRICE_FILTER", {}), filters.get("LOT_SIZE", {})
    notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or {}
    sided, plain = filters.get("PERCENT_PRICE_BY_SIDE", {}), filters.get("PERCENT_PRICE", {})

    def number(found: Mapping[str, Any], name: str) -> Decimal:
        return Decimal(str(found.get(name, "0")))

    return SymbolRules(
        symbol=row["symbol"],
        base=row["baseAsset"],
        quote=row["quoteAsset"],
        status=row["status"],
        tick_size=number(price, "tickSize"),
        min_price=number(price, "minPrice"),
        max_price=number(price, "maxPrice"),
        step_size=number(lot, "stepSize"),
        min_quantity=number(lot, "minQty"),
        max_quantity=number(lot, "maxQty"),
        min_notional=number(notional, "minNotional"),
        max_notional=number(notional, "maxNotional"),
        bid_multiplier_up=number(sided, "bidMultiplierUp") or number(plain, "multiplierUp"),
        bid_multiplier_down=number(sided, "bidMultiplierDown") or number(plain, "multiplierDown"),
        ask_multiplier_up=number(sided, "askMultiplierUp") or number(plain, "multiplierUp"),
        ask_multiplier_down=number(sided, "askMultiplierDown") or number(plain, "multiplierDown"),
        max_orders=int(filters.get("MAX_NUM_ORDERS", {}).get("maxNumOrders", 0)),
        order_types=tuple(row.get("orderTypes", ())),
        stp_modes=tuple(row.get("allowedSelfTradePreventionModes", ())),
        told_at=int(info.get("serverTime", 0)),
    )


def order_update(event: Mapping[str, Any]) -> OrderUpdate:
    """Read an ``executionReport`` (user-data-stream.md)."""
    # On a cancel, c is the cancel's own id and C the order's.
    name = event["C"] if event["x"] == "CANCELED" and event.get("C") else event["c"]
    order = OrderState(
        symbol=event["s"],
        order_id=int(event["i"]),
        client_order_id=name,
        side=Side(event["S"]),
        type=event["o"],
        price=Decimal(event["p"]),
        quantity=Decimal(event["q"]),
        executed=Decimal(event["z"]),
        quote_executed=Decimal(event["Z"]),
        status=OrderStatus(event["X"]),
        time=int(event["O"]),
        update_time=int(event["T"]),
    )
    done = None
    if event["x"] == "TRADE":
        quantity = Decimal(event["l"])
        done = Fill(
            symbol=event["s"],
            trade_id=int(event["t"]),
            order_id=int(event["i"]),
            side=Side(event["S"]),
            price=Decimal(event["L"]),
            quantity=quantity,
            quote=Decimal(event["Y"]),
            commission=Decimal(event["n"] or 0),
            commission_asset=event["N"] or "",
            time=int(event["T"]),
            is_maker=bool(event["m"]),
            client_order_id=name,
        )
    return OrderUpdate(order, done, event["x"], int(event["E"]))


def balance_update(event: Mapping[str, Any]) -> BalanceUpdate:
    """Read an ``outboundAccountPosition``."""
    balances = tuple(Balance(one["a"], Decimal(one["f"]), Decimal(one["l"])) for one in event["B"])
    return BalanceUpdate(balances, int(event["E"]))
