"""Read Binance's JSON into our values. Pure. Sources: rest-api.md, user-data-stream.md, filters.md.

Each function takes a decoded document and raises :class:`~fortctl.exchange.decoding.UnreadableAnswerError`, which names
the field, where the document is not what the source promises. Unknown fields, filters and permissions are ignored,
except that an unknown permission which is switched on is named (:attr:`fortctl.model.KeyRestrictions.unknown`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, TypeVar

from fortctl.exchange.decoding import Answer, UnreadableAnswerError, answers, rows
from fortctl.model import (
    AccountState,
    Balance,
    BalanceUpdate,
    Fill,
    FundsMoved,
    KeyRestrictions,
    OrderState,
    OrderStatus,
    OrderUpdate,
    PublicTrade,
    Side,
    SymbolRules,
    UnreadableOrder,
)
from fortctl.ports import ExchangeError, Outcome

T = TypeVar("T")
ZERO = Decimal(0)
_SIDES = {side.value: side for side in Side}
_STATUSES = {status.value: status for status in OrderStatus}
# Flag of apiRestrictions → our name of the permission. Source: apiRestrictions of the wallet endpoints.
_REQUIRED_RIGHTS = {
    "ipRestrict": "ip_restricted",
    "enableReading": "reading",
    "enableSpotAndMarginTrading": "spot_trading",
    "enableWithdrawals": "withdrawals",
}
# Not every target sends these flags; a missing one counts as off.
_OTHER_RIGHTS = {
    "enableInternalTransfer": "internal_transfer",
    "permitsUniversalTransfer": "universal_transfer",
    "enableMargin": "margin",
    "enableFutures": "futures",
    "enableVanillaOptions": "options",
    "enablePortfolioMarginTrading": "portfolio_margin",
    "enableFixApiTrade": "fix_trade",
    "enableFixReadOnly": "fix_read",
}


def read(reader: Callable[[object], T], value: object, outcome: Outcome = Outcome.UNREACHABLE) -> T:
    """Return what *reader* makes of a decoded answer.

    Args:
        reader: a function of this module.
        value: the decoded document.
        outcome: how to read an answer that is not what the call promises: ``UNKNOWN`` where the call may have had an
            effect.

    Raises:
        ExchangeError: the answer cannot be read.
    """
    try:
        return reader(value)
    except UnreadableAnswerError as error:
        raise unreadable(error, outcome) from None


def unreadable(error: UnreadableAnswerError, outcome: Outcome = Outcome.UNREACHABLE) -> ExchangeError:
    """Return the error of the port for an answer that cannot be read."""
    return ExchangeError(outcome, f"the exchange's answer cannot be read: {error}")


def server_time(value: object) -> int:
    """Read ``GET /api/v3/time``; milliseconds since the epoch."""
    return Answer(value, "time").time("serverTime")


def last_price(value: object) -> Decimal:
    """Read ``GET /api/v3/ticker/price`` of one symbol."""
    ticker = Answer(value, "ticker")
    price = ticker.decimal("price")
    if price <= 0:
        raise ticker.error("price", "is not positive")
    return price


def order_state(value: object) -> OrderState:
    """Read an order as ``GET /api/v3/order`` sends it (also RESULT and FULL answers, and cancels).

    Raises:
        UnreadableAnswerError: also for an unknown status, because it is neither open nor final.
    """
    row = Answer(value, "order")
    when = row.optional_time("transactTime") or row.optional_time("updateTime") or 0
    return OrderState(
        symbol=row.text("symbol"),
        order_id=row.integer("orderId"),
        # A cancel's answer names the order in origClientOrderId, and itself in clientOrderId.
        client_order_id=row.optional_text("origClientOrderId") or row.text("clientOrderId"),
        side=_side(row, "side"),
        type=row.text("type"),
        price=row.amount("price"),
        quantity=row.amount("origQty"),
        executed=row.amount("executedQty"),
        # Negative where Binance no longer has it (rest-api.md, "Query order").
        quote_executed=row.decimal("cummulativeQuoteQty"),
        status=_status(row, "status"),
        time=row.optional_time("time") or row.optional_time("workingTime") or when,
        update_time=when,
    )


def _side(row: Answer, name: str) -> Side:
    side = _SIDES.get(row.text(name))
    if side is None:
        raise row.error(name, "is neither BUY nor SELL")
    return side


def _status(row: Answer, name: str) -> OrderStatus:
    status = _STATUSES.get(row.text(name))
    if status is None:
        raise row.error(name, "is a status that fortctl does not know")
    return status


def order_states(value: object) -> tuple[tuple[OrderState, ...], tuple[UnreadableOrder, ...]]:
    """Read a list of orders; return also the rows that cannot be read."""
    orders: list[OrderState] = []
    unreadable: list[UnreadableOrder] = []
    for row in rows(value, "the list of orders"):
        try:
            orders.append(order_state(row))
        except UnreadableAnswerError as error:
            unreadable.append(_unreadable_order(row, str(error)))
    return tuple(orders), tuple(unreadable)


def _unreadable_order(value: object, why: str) -> UnreadableOrder:
    """Name a row by what of it can be read."""
    row = Answer(value if isinstance(value, dict) else {}, "order")
    number, texts = None, {"clientOrderId": "", "symbol": ""}
    with suppress(UnreadableAnswerError):
        number = row.integer("orderId")
    for name in texts:
        with suppress(UnreadableAnswerError):
            texts[name] = row.optional_text(name)
    return UnreadableOrder(number, texts["clientOrderId"], texts["symbol"], why)


def fill(value: object) -> Fill:
    """Read a trade of ``GET /api/v3/myTrades``."""
    row = Answer(value, "trade")
    return Fill(
        symbol=row.text("symbol"),
        trade_id=row.integer("id"),
        order_id=row.integer("orderId"),
        side=Side.BUY if row.flag("isBuyer") else Side.SELL,
        price=row.amount("price"),
        quantity=row.amount("qty"),
        quote=row.amount("quoteQty"),
        commission=row.amount("commission"),
        commission_asset=_commission_asset(row, row.amount("commission"), "commissionAsset"),
        time=row.time("time"),
        is_maker=row.flag("isMaker"),
    )


def _commission_asset(row: Answer, commission: Decimal, name: str) -> str:
    """Return the asset of a commission; only a commission of 0 may name no asset (user-data-stream.md, ``N``)."""
    return row.text(name) if commission else row.optional_text(name)


def fills(value: object) -> tuple[Fill, ...]:
    """Read a page of ``GET /api/v3/myTrades``; one unreadable trade fails the page, as the books need all."""
    return tuple(fill(row) for row in rows(value, "the list of trades"))


def previous_client_order_ids(value: object) -> tuple[str, ...]:
    """Read ``GET /api/v3/order/amendments``."""
    return tuple(row.text("origClientOrderId") for row in answers(value, "the list of amendments", "amendment"))


def account_state(value: object) -> AccountState:
    """Read ``GET /api/v3/account``."""
    row = Answer(value, "account")
    rates = row.answer("commissionRates")
    return AccountState(
        uid=row.integer("uid", least=1),
        can_trade=row.flag("canTrade"),
        maker_rate=rates.amount("maker"),
        taker_rate=rates.amount("taker"),
        balances=tuple(
            Balance(one.text("asset"), one.amount("free"), one.amount("locked"))
            for one in row.answers("balances", "balance")
        ),
    )


def restrictions(value: object) -> KeyRestrictions:
    """Read ``GET /sapi/v1/account/apiRestrictions``.

    A permission with an unknown name that is switched on is kept in ``unknown``, and counts as excess.
    """
    row = Answer(value, "apiRestrictions")
    held = {name: row.flag(flag) for flag, name in _REQUIRED_RIGHTS.items()}
    held |= {name: row.flag(flag) if flag in row else False for flag, name in _OTHER_RIGHTS.items()}
    unknown = tuple(
        sorted(
            name
            for name in row.names()
            if name.startswith(("enable", "permits"))
            and name not in _REQUIRED_RIGHTS
            and name not in _OTHER_RIGHTS
            and row.flag(name)
        )
    )
    return KeyRestrictions(
        **held,
        created_at=row.optional_time("createTime"),
        trading_expires_at=row.optional_time("tradingAuthorityExpirationTime"),
        unknown=unknown,
    )


def weight_limit(value: object) -> int | None:
    """Return the request weight a minute that ``exchangeInfo`` states; None where it states none."""
    limits = value.get("rateLimits") if isinstance(value, dict) else None
    for limit in limits if isinstance(limits, list) else ():
        if not isinstance(limit, dict):
            continue
        kind = (limit.get("rateLimitType"), limit.get("interval"), limit.get("intervalNum"))
        if kind == ("REQUEST_WEIGHT", "MINUTE", 1):
            most = limit.get("limit")
            return most if isinstance(most, int) and not isinstance(most, bool) and most > 0 else None
    return None


def symbol_rules(value: object) -> SymbolRules:
    """Read ``exchangeInfo`` of one symbol."""
    info = Answer(value, "exchangeInfo")
    symbols = info.answers("symbols", "symbol")
    if not symbols:
        raise info.error("symbols", "is empty")
    row = symbols[0]
    # A filter with no name or an unknown one is ignored.
    filters = {one.optional_text("filterType"): one for one in row.answers("filters", "filter")}
    none = Answer({}, "filter")

    price, lot = filters.get("PRICE_FILTER", none), filters.get("LOT_SIZE", none)
    notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or none
    sided, plain = filters.get("PERCENT_PRICE_BY_SIDE", none), filters.get("PERCENT_PRICE", none)
    most = filters.get("MAX_NUM_ORDERS", none)
    return SymbolRules(
        symbol=row.text("symbol"),
        base=row.text("baseAsset"),
        quote=row.text("quoteAsset"),
        status=row.text("status"),
        tick_size=price.amount("tickSize") if price is not none else ZERO,
        min_price=price.optional_decimal("minPrice"),
        max_price=price.optional_decimal("maxPrice"),
        step_size=lot.amount("stepSize") if lot is not none else ZERO,
        min_quantity=lot.optional_decimal("minQty"),
        max_quantity=lot.optional_decimal("maxQty"),
        min_notional=notional.optional_decimal("minNotional"),
        max_notional=notional.optional_decimal("maxNotional"),
        bid_multiplier_up=sided.optional_decimal("bidMultiplierUp") or plain.optional_decimal("multiplierUp"),
        bid_multiplier_down=sided.optional_decimal("bidMultiplierDown") or plain.optional_decimal("multiplierDown"),
        ask_multiplier_up=sided.optional_decimal("askMultiplierUp") or plain.optional_decimal("multiplierUp"),
        ask_multiplier_down=sided.optional_decimal("askMultiplierDown") or plain.optional_decimal("multiplierDown"),
        max_orders=most.integer("maxNumOrders") if "maxNumOrders" in most else 0,
        order_types=row.texts("orderTypes"),
        stp_modes=row.texts("allowedSelfTradePreventionModes"),
        stated_at=info.optional_time("serverTime") or 0,
    )


def candle(value: object) -> tuple[int, Decimal, Decimal, Decimal, int]:
    """Read one row of ``GET /api/v3/klines``; opening time (ms), high, low, close and number of trades."""
    row: Sequence[Any] = rows(value, "a candle")
    if len(row) < 9:
        raise UnreadableAnswerError("a candle", "has fewer than nine columns")
    named = Answer({"open time": row[0], "high": row[2], "low": row[3], "close": row[4], "trades": row[8]}, "candle")
    return (
        named.time("open time"),
        named.amount("high"),
        named.amount("low"),
        named.amount("close"),
        named.integer("trades"),
    )


def candles(value: object) -> list[tuple[int, Decimal, Decimal, Decimal, int]]:
    """Read a page of ``GET /api/v3/klines``."""
    return [candle(row) for row in rows(value, "the list of candles")]


def public_trade(value: object) -> PublicTrade:
    """Read a ``trade`` event (web-socket-streams.md)."""
    event = Answer(value, "trade")
    price = event.decimal("p")
    if price <= 0:
        raise event.error("p", "is not positive")
    return PublicTrade(event.text("s"), price, event.amount("q"), event.time("T"))


def order_update(value: object) -> OrderUpdate:
    """Read an ``executionReport`` (user-data-stream.md)."""
    event = Answer(value, "executionReport")
    execution = event.text("x")
    # On a cancel, c is the cancel's own id and C the order's.
    name = (event.optional_text("C") if execution == "CANCELED" else "") or event.text("c")
    symbol, order_id, side, when = event.text("s"), event.integer("i"), _side(event, "S"), event.time("T")
    order = OrderState(
        symbol=symbol,
        order_id=order_id,
        client_order_id=name,
        side=side,
        type=event.text("o"),
        price=event.amount("p"),
        quantity=event.amount("q"),
        executed=event.amount("z"),
        quote_executed=event.amount("Z"),
        status=_status(event, "X"),
        time=event.time("O"),
        update_time=when,
    )
    done = None
    if execution == "TRADE":
        commission = event.amount("n") if "n" in event else ZERO
        done = Fill(
            symbol=symbol,
            trade_id=event.integer("t"),
            order_id=order_id,
            side=side,
            price=event.amount("L"),
            quantity=event.amount("l"),
            quote=event.amount("Y"),
            commission=commission,
            commission_asset=_commission_asset(event, commission, "N"),
            time=when,
            is_maker=event.flag("m"),
            client_order_id=name,
        )
    return OrderUpdate(order, done, execution, event.time("E"))


def balance_update(value: object) -> BalanceUpdate:
    """Read an ``outboundAccountPosition``."""
    event = Answer(value, "outboundAccountPosition")
    balances = tuple(Balance(one.text("a"), one.amount("f"), one.amount("l")) for one in event.answers("B", "balance"))
    return BalanceUpdate(balances, event.time("E"))


def funds_moved(value: object) -> FundsMoved:
    """Read a ``balanceUpdate``: a deposit, a withdrawal or a transfer (user-data-stream.md)."""
    event = Answer(value, "balanceUpdate")
    return FundsMoved(event.text("a"), event.decimal("d"), event.time("E"))
