"""What can be asked of the paper exchange: one table of calls, shared by REST and the WebSocket API. No I/O.

Each call states its security, weight, parameters and handler. Sources: rest-api.md, web-socket-api.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fortctl.paper import refusals
from fortctl.paper.accounts import Account, ApiKey
from fortctl.paper.engine import ZERO, Engine
from fortctl.paper.matching import PaperOrder
from fortctl.paper.symbols import ORDER_TYPES, Symbol, text

CLIENT_ID = "^[a-zA-Z0-9-_]{1,36}$"
NUMBER = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
WHOLE = "^[0-9]{1,20}$"
SIGNED = ("timestamp", "signature", "recvWindow")
INTERVALS = {"1s": 1, "1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "4h": 14400, "1d": 86400}

Values = Mapping[str, str]


@dataclass(frozen=True)
class Context:
    """What a handler may look at."""

    engine: Engine
    now: int
    key: ApiKey | None
    limits: list[dict[str, Any]]

    @property
    def account(self) -> Account:
        assert self.key is not None
        return self.engine.accounts[self.key.account]


@dataclass(frozen=True)
class Call:
    """One endpoint or method.

    Attributes:
        security: ``NONE``, ``USER_DATA`` or ``TRADE``.
        weight: request weight (rest-api.md).
        needed, optional: parameter names besides the signed ones.
    """

    handler: Callable[[Context, Values], Any]
    security: str = "NONE"
    weight: int = 1
    needed: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    orders: int = 0
    names: tuple[str, ...] = field(default=())


def check_parameters(call: Call, values: Values) -> None:
    """Refuse missing and unknown parameters as Binance does."""
    for name in call.needed:
        if not values.get(name):
            raise refusals.missing(name)
    known = {*call.needed, *call.optional, *(SIGNED if call.security != "NONE" else ()), "apiKey"}
    unknown = [name for name in values if name not in known]
    if unknown:
        read = len(values) - len(unknown)
        text_ = f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(values)}'."
        raise refusals.Refusal(-1104, text_)


def _symbol(context: Context, values: Values) -> Symbol:
    name = values.get("symbol", "")
    if not re.fullmatch("[A-Z0-9-_.]{1,20}", name):
        raise refusals.illegal("symbol", "^[A-Z0-9-_.]{1,20}$")
    found = context.engine.symbols.get(name)
    if found is None:
        raise refusals.BAD_SYMBOL
    return found


def _decimal(values: Values, name: str) -> Decimal:
    value = values.get(name, "")
    if not value:
        raise refusals.missing(name)
    if not re.fullmatch(NUMBER.strip("^$"), value):
        raise refusals.illegal(name, NUMBER)
    number = Decimal(value)
    if -number.as_tuple().exponent > 8 and number != round(number, 8):  # type: ignore[operator]
        raise refusals.Refusal(-1111, refusals.BAD_PRECISION.format(name))
    return number


def _whole(values: Values, name: str) -> int | None:
    value = values.get(name)
    if value in (None, ""):
        return None
    if not re.fullmatch(WHOLE.strip("^$"), value):
        raise refusals.illegal(name, WHOLE)
    return int(value)


def _limit(values: Values, default: int = 500, most: int = 1000) -> int:
    return min(_whole(values, "limit") or default, most)


# -- the market --------------------------------------------------------------------------------------------------------


def exchange_info(context: Context, values: Values) -> dict[str, Any]:
    import json

    names = list(context.engine.symbols)
    if "symbol" in values:
        names = [_symbol(context, values).name]
    elif "symbols" in values:
        try:
            names = [_symbol(context, {"symbol": str(name)}).name for name in json.loads(values["symbols"])]
        except (ValueError, TypeError):
            raise refusals.illegal("symbols", r'^\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}")*\]$') from None
    return {
        "timezone": "UTC",
        "serverTime": context.now,
        "rateLimits": context.limits,
        "exchangeFilters": [],
        "symbols": [context.engine.symbols[name].info() for name in names],
    }


def depth(context: Context, values: Values) -> dict[str, Any]:
    book = context.engine.books[_symbol(context, values).name]
    limit = min(_whole(values, "limit") or 100, 5000)

    def rows(side: str) -> list[list[str]]:
        return [[text(price), text(size)] for price, size in book.levels(side)[:limit]]

    return {"lastUpdateId": book.update_id, "bids": rows("bids"), "asks": rows("asks")}


def trades(context: Context, values: Values) -> list[dict[str, Any]]:
    found = context.engine.public[_symbol(context, values).name][-_limit(values) :]
    return [
        {
            "id": trade.id,
            "price": text(trade.price),
            "qty": text(trade.quantity),
            "quoteQty": text(trade.price * trade.quantity),
            "time": trade.time,
            "isBuyerMaker": trade.buyer_is_maker,
            "isBestMatch": True,
        }
        for trade in found
    ]


def klines(context: Context, values: Values) -> list[list[Any]]:
    symbol = _symbol(context, values)
    seconds = INTERVALS.get(values["interval"])
    if seconds is None:
        raise refusals.Refusal(-1120, "Invalid interval.")
    width = seconds * 1000
    rows: dict[int, list[Any]] = {}
    start, end = _whole(values, "startTime") or 0, _whole(values, "endTime")
    for trade in context.engine.public[symbol.name]:
        if trade.time < start or (end is not None and trade.time > end):
            continue
        opens = trade.time // width * width
        row = rows.setdefault(opens, [trade.price, trade.price, trade.price, trade.price, ZERO, ZERO, 0, ZERO, ZERO])
        row[1], row[2], row[3] = max(row[1], trade.price), min(row[2], trade.price), trade.price
        quote = trade.price * trade.quantity
        row[4], row[5], row[6] = row[4] + trade.quantity, row[5] + quote, row[6] + 1
        if not trade.buyer_is_maker:
            row[7], row[8] = row[7] + trade.quantity, row[8] + quote
    shown = []
    for opens, row in sorted(rows.items())[-_limit(values) :]:
        opened, high, low, close, volume, quote, count, taker, taker_quote = row
        prices = [text(value) for value in (opened, high, low, close)]
        tail = [text(quote), count, text(taker), text(taker_quote), "0"]
        shown.append([opens, *prices, text(volume), opens + width - 1, *tail])
    return shown


def _price(context: Context, name: str) -> Decimal:
    last = context.engine.books[name].last
    return last.price if last else ZERO


def ticker_price(context: Context, values: Values) -> Any:
    if "symbol" in values:
        name = _symbol(context, values).name
        return {"symbol": name, "price": text(_price(context, name))}
    return [{"symbol": name, "price": text(_price(context, name))} for name in context.engine.symbols]


def _best(context: Context, name: str) -> dict[str, Any]:
    book = context.engine.books[name]
    bids, asks = book.levels("bids")[:1], book.levels("asks")[:1]
    (bid, bid_size), (ask, ask_size) = (bids or [(ZERO, ZERO)])[0], (asks or [(ZERO, ZERO)])[0]
    return {
        "symbol": name,
        "bidPrice": text(bid),
        "bidQty": text(bid_size),
        "askPrice": text(ask),
        "askQty": text(ask_size),
    }


def book_ticker(context: Context, values: Values) -> Any:
    if "symbol" in values:
        return _best(context, _symbol(context, values).name)
    return [_best(context, name) for name in context.engine.symbols]


def avg_price(context: Context, values: Values) -> dict[str, Any]:
    name = _symbol(context, values).name
    recent = [trade for trade in context.engine.public[name] if trade.time > context.now - 300_000]
    volume = sum((trade.quantity for trade in recent), ZERO)
    quote = sum((trade.quantity * trade.price for trade in recent), ZERO)
    average = quote / volume if volume else _price(context, name)
    return {"mins": 5, "price": text(average), "closeTime": recent[-1].time if recent else context.now}


# -- orders ------------------------------------------------------------------------------------------------------------


def _read_order(context: Context, values: Values) -> PaperOrder:
    symbol, kind = _symbol(context, values), values["type"]
    if values["side"] not in ("BUY", "SELL"):
        raise refusals.Refusal(-1117, "Invalid side.")
    if kind not in ORDER_TYPES:
        raise refusals.Refusal(-1116, "Invalid orderType.")
    name = values.get("newClientOrderId", "")
    if name and not re.fullmatch(CLIENT_ID.strip("^$"), name):
        raise refusals.illegal("newClientOrderId", CLIENT_ID)
    force, price, quote = "GTC", ZERO, ZERO
    if kind == "LIMIT":
        force = values.get("timeInForce", "")
        if not force:
            raise refusals.missing("timeInForce")
        if force not in ("GTC", "IOC", "FOK"):
            raise refusals.Refusal(-1115, "Invalid timeInForce.")
    elif "timeInForce" in values:
        raise refusals.Refusal(-1106, "Parameter 'timeInForce' sent when not required.")
    if kind == "MARKET":
        if "price" in values:
            raise refusals.Refusal(-1106, "Parameter 'price' sent when not required.")
        if "quoteOrderQty" in values:
            quote = _decimal(values, "quoteOrderQty")
    else:
        price = _decimal(values, "price")
    quantity = ZERO if quote else _decimal(values, "quantity")
    if values.get("selfTradePreventionMode", "NONE") != "NONE":
        raise refusals.Refusal(-1013, "This symbol does not allow the specified self-trade prevention mode.")
    account = context.account.name
    return PaperOrder(0, account, symbol.name, name, values["side"], kind, force, price, quantity, quote, context.now)


def new_order(context: Context, values: Values) -> dict[str, Any]:
    order = _read_order(context, values)
    kind = values.get("newOrderRespType") or ("FULL" if order.type in ("MARKET", "LIMIT") else "ACK")
    if kind not in ("ACK", "RESULT", "FULL"):
        raise refusals.illegal("newOrderRespType", "^(ACK|RESULT|FULL)$")
    fills = context.engine.new_order(context.account.name, order, context.now)
    answer: dict[str, Any] = {
        "symbol": order.symbol,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.client_order_id,
        "transactTime": context.now,
    }
    if kind != "ACK":
        answer |= _numbers(order)
        answer |= {"workingTime": order.time, "selfTradePreventionMode": order.stp}
    if kind == "FULL":
        answer["fills"] = [
            {
                "price": fill["price"],
                "qty": fill["qty"],
                "commission": fill["commission"],
                "commissionAsset": fill["commissionAsset"],
                "tradeId": fill["id"],
            }
            for fill in fills
        ]
    return answer


def test_order(context: Context, values: Values) -> dict[str, Any]:
    context.engine.check_order(context.account.name, _read_order(context, values))
    return {}


def _numbers(order: PaperOrder) -> dict[str, Any]:
    return {
        "price": text(order.price),
        "origQty": text(order.quantity),
        "executedQty": text(order.executed),
        "origQuoteOrderQty": text(order.quote_quantity),
        "cummulativeQuoteQty": text(order.quote_executed),
        "status": order.status,
        "timeInForce": order.time_in_force,
        "type": order.type,
        "side": order.side,
    }


def order_row(order: PaperOrder) -> dict[str, Any]:
    """Return an order as ``GET /api/v3/order`` tells it."""
    numbers = _numbers(order)
    quote = numbers.pop("origQuoteOrderQty")
    return {
        "symbol": order.symbol,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.client_order_id,
        **numbers,
        "stopPrice": "0.00000000",
        "icebergQty": "0.00000000",
        "time": order.time,
        "updateTime": order.update_time,
        "isWorking": True,
        "workingTime": order.time,
        "origQuoteOrderQty": quote,
        "selfTradePreventionMode": order.stp,
    }


def _named_order(context: Context, values: Values, absent: refusals.Refusal) -> PaperOrder:
    order_id, name = _whole(values, "orderId"), values.get("origClientOrderId")
    if order_id is None and not name:
        raise refusals.Refusal(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
    symbol = _symbol(context, values)
    order = context.engine.find(context.account.name, symbol.name, order_id, name)
    if order is None:
        raise absent
    if order_id is not None and name and order.client_order_id != name:
        raise refusals.Refusal(-2039, "Client order ID is not correct for this order ID.")
    return order


def query_order(context: Context, values: Values) -> dict[str, Any]:
    return order_row(_named_order(context, values, refusals.NO_SUCH_ORDER))


def cancel_order(context: Context, values: Values) -> dict[str, Any]:
    order = _named_order(context, values, refusals.UNKNOWN_ORDER)
    return _cancelled(context, order, values.get("newClientOrderId", ""))


def _cancelled(context: Context, order: PaperOrder, cancel_id: str) -> dict[str, Any]:
    cancel_id = cancel_id or f"cancel{order.id:016d}"
    context.engine.cancel(context.account.name, order, context.now, cancel_id)
    return {
        "symbol": order.symbol,
        "origClientOrderId": order.client_order_id,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": cancel_id,
        "transactTime": context.now,
        **_numbers(order),
        "selfTradePreventionMode": order.stp,
    }


def _open(context: Context, symbol: str | None) -> list[PaperOrder]:
    books = [context.engine.books[symbol]] if symbol else list(context.engine.books.values())
    name = context.account.name
    return sorted((one for book in books for one in book.resting.values() if one.account == name), key=lambda o: o.id)


def open_orders(context: Context, values: Values) -> list[dict[str, Any]]:
    symbol = _symbol(context, values).name if "symbol" in values else None
    return [order_row(order) for order in _open(context, symbol)]


def cancel_open_orders(context: Context, values: Values) -> list[dict[str, Any]]:
    found = _open(context, _symbol(context, values).name)
    if not found:
        raise refusals.UNKNOWN_ORDER
    return [_cancelled(context, order, "") for order in found]


def all_orders(context: Context, values: Values) -> list[dict[str, Any]]:
    symbol, account = _symbol(context, values).name, context.account.name
    first, start = _whole(values, "orderId"), _whole(values, "startTime")
    found = [
        order
        for order in context.engine.orders.values()
        if order.account == account
        and order.symbol == symbol
        and (first is None or order.id >= first)
        and (start is None or order.time >= start)
    ]
    limit = _limit(values)
    return [order_row(order) for order in (found[:limit] if first is not None or start is not None else found[-limit:])]


def my_trades(context: Context, values: Values) -> list[dict[str, Any]]:
    symbol = _symbol(context, values).name
    order_id, first = _whole(values, "orderId"), _whole(values, "fromId")
    start, end = _whole(values, "startTime"), _whole(values, "endTime")
    found = [
        fill
        for fill in context.engine.fills.get((context.account.name, symbol), [])
        if (order_id is None or fill["orderId"] == order_id)
        and (first is None or fill["id"] >= first)
        and (start is None or fill["time"] >= start)
        and (end is None or fill["time"] <= end)
    ]
    limit = _limit(values)
    return found[:limit] if first is not None or start is not None else found[-limit:]


# -- the account -------------------------------------------------------------------------------------------------------


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
    symbol = _symbol(context, values)
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


_NAMED = ("orderId", "origClientOrderId")
_ORDER = (
    *("timeInForce", "quantity", "quoteOrderQty", "price", "newClientOrderId", "newOrderRespType"),
    "selfTradePreventionMode",
)

CALLS: dict[tuple[str, str], Call] = {
    ("GET", "/api/v3/ping"): Call(lambda context, values: {}),
    ("GET", "/api/v3/time"): Call(lambda context, values: {"serverTime": context.now}),
    ("GET", "/api/v3/exchangeInfo"): Call(
        exchange_info,
        weight=20,
        optional=("symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"),
    ),
    ("GET", "/api/v3/depth"): Call(depth, weight=5, needed=("symbol",), optional=("limit",)),
    ("GET", "/api/v3/trades"): Call(trades, weight=25, needed=("symbol",), optional=("limit",)),
    ("GET", "/api/v3/klines"): Call(
        klines, weight=2, needed=("symbol", "interval"), optional=("startTime", "endTime", "limit")
    ),
    ("GET", "/api/v3/avgPrice"): Call(avg_price, weight=2, needed=("symbol",)),
    ("GET", "/api/v3/ticker/price"): Call(ticker_price, weight=2, optional=("symbol",)),
    ("GET", "/api/v3/ticker/bookTicker"): Call(book_ticker, weight=2, optional=("symbol",)),
    ("POST", "/api/v3/order"): Call(new_order, "TRADE", 1, ("symbol", "side", "type"), _ORDER, orders=1),
    ("POST", "/api/v3/order/test"): Call(test_order, "TRADE", 1, ("symbol", "side", "type"), _ORDER),
    ("GET", "/api/v3/order"): Call(query_order, "USER_DATA", 4, ("symbol",), _NAMED),
    ("DELETE", "/api/v3/order"): Call(cancel_order, "TRADE", 1, ("symbol",), (*_NAMED, "newClientOrderId")),
    ("GET", "/api/v3/openOrders"): Call(open_orders, "USER_DATA", 6, (), ("symbol",)),
    ("DELETE", "/api/v3/openOrders"): Call(cancel_open_orders, "TRADE", 1, ("symbol",)),
    ("GET", "/api/v3/allOrders"): Call(
        all_orders, "USER_DATA", 20, ("symbol",), ("orderId", "startTime", "endTime", "limit")
    ),
    ("GET", "/api/v3/myTrades"): Call(
        my_trades, "USER_DATA", 20, ("symbol",), ("orderId", "fromId", "startTime", "endTime", "limit")
    ),
    ("GET", "/api/v3/account"): Call(account, "USER_DATA", 20, (), ("omitZeroBalances",)),
    ("GET", "/api/v3/account/commission"): Call(commission, "USER_DATA", 20, ("symbol",)),
    ("GET", "/sapi/v1/account/apiRestrictions"): Call(restrictions, "USER_DATA"),
    ("GET", "/sapi/v1/account/status"): Call(account_status, "USER_DATA"),
    ("GET", "/sapi/v1/account/apiTradingStatus"): Call(trading_status, "USER_DATA"),
    ("GET", "/sapi/v1/system/status"): Call(system_status),
}

METHODS: dict[str, tuple[str, str]] = {
    "ping": ("GET", "/api/v3/ping"),
    "time": ("GET", "/api/v3/time"),
    "exchangeInfo": ("GET", "/api/v3/exchangeInfo"),
    "depth": ("GET", "/api/v3/depth"),
    "trades.recent": ("GET", "/api/v3/trades"),
    "klines": ("GET", "/api/v3/klines"),
    "avgPrice": ("GET", "/api/v3/avgPrice"),
    "ticker.price": ("GET", "/api/v3/ticker/price"),
    "ticker.book": ("GET", "/api/v3/ticker/bookTicker"),
    "order.place": ("POST", "/api/v3/order"),
    "order.test": ("POST", "/api/v3/order/test"),
    "order.status": ("GET", "/api/v3/order"),
    "order.cancel": ("DELETE", "/api/v3/order"),
    "openOrders.status": ("GET", "/api/v3/openOrders"),
    "openOrders.cancelAll": ("DELETE", "/api/v3/openOrders"),
    "allOrders": ("GET", "/api/v3/allOrders"),
    "myTrades": ("GET", "/api/v3/myTrades"),
    "account.status": ("GET", "/api/v3/account"),
    "account.commission": ("GET", "/api/v3/account/commission"),
}
