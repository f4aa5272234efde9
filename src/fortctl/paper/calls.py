"""What can be asked of the paper exchange: one table of calls, shared by REST and the WebSocket API. No I/O.

Each call states its security, weight, parameters and handler. Sources: rest-api.md, web-socket-api.md.
"""

from __future__ import annotations

from fortctl.paper import account_calls, market_calls, order_calls
from fortctl.paper.parameters import Call

_NAMED = ("orderId", "origClientOrderId")
_ORDER = (
    *("timeInForce", "quantity", "quoteOrderQty", "price", "newClientOrderId", "newOrderRespType"),
    "selfTradePreventionMode",
)

CALLS: dict[tuple[str, str], Call] = {
    ("GET", "/api/v3/ping"): Call(lambda context, values: {}),
    ("GET", "/api/v3/time"): Call(lambda context, values: {"serverTime": context.now}),
    ("GET", "/api/v3/exchangeInfo"): Call(
        market_calls.exchange_info,
        weight=20,
        optional=("symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"),
    ),
    ("GET", "/api/v3/depth"): Call(market_calls.depth, weight=5, needed=("symbol",), optional=("limit",)),
    ("GET", "/api/v3/trades"): Call(market_calls.trades, weight=25, needed=("symbol",), optional=("limit",)),
    ("GET", "/api/v3/klines"): Call(
        market_calls.klines, weight=2, needed=("symbol", "interval"), optional=("startTime", "endTime", "limit")
    ),
    ("GET", "/api/v3/avgPrice"): Call(market_calls.avg_price, weight=2, needed=("symbol",)),
    ("GET", "/api/v3/ticker/price"): Call(market_calls.ticker_price, weight=2, optional=("symbol",)),
    ("GET", "/api/v3/ticker/bookTicker"): Call(market_calls.book_ticker, weight=2, optional=("symbol",)),
    ("POST", "/api/v3/order"): Call(order_calls.new_order, "TRADE", 1, ("symbol", "side", "type"), _ORDER, orders=1),
    ("POST", "/api/v3/order/test"): Call(order_calls.test_order, "TRADE", 1, ("symbol", "side", "type"), _ORDER),
    ("GET", "/api/v3/order"): Call(order_calls.query_order, "USER_DATA", 4, ("symbol",), _NAMED),
    ("DELETE", "/api/v3/order"): Call(order_calls.cancel_order, "TRADE", 1, ("symbol",), (*_NAMED, "newClientOrderId")),
    ("GET", "/api/v3/openOrders"): Call(order_calls.open_orders, "USER_DATA", 6, (), ("symbol",)),
    ("DELETE", "/api/v3/openOrders"): Call(order_calls.cancel_open_orders, "TRADE", 1, ("symbol",)),
    ("GET", "/api/v3/allOrders"): Call(
        order_calls.all_orders, "USER_DATA", 20, ("symbol",), ("orderId", "startTime", "endTime", "limit")
    ),
    ("GET", "/api/v3/myTrades"): Call(
        order_calls.my_trades, "USER_DATA", 20, ("symbol",), ("orderId", "fromId", "startTime", "endTime", "limit")
    ),
    ("GET", "/api/v3/account"): Call(account_calls.account, "USER_DATA", 20, (), ("omitZeroBalances",)),
    ("GET", "/api/v3/account/commission"): Call(account_calls.commission, "USER_DATA", 20, ("symbol",)),
    ("GET", "/sapi/v1/account/apiRestrictions"): Call(account_calls.restrictions, "USER_DATA"),
    ("GET", "/sapi/v1/account/status"): Call(account_calls.account_status, "USER_DATA"),
    ("GET", "/sapi/v1/account/apiTradingStatus"): Call(account_calls.trading_status, "USER_DATA"),
    ("GET", "/sapi/v1/system/status"): Call(account_calls.system_status),
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
