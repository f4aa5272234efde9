"""The table of calls, shared by REST and the WebSocket API. No I/O.

Each call states its security, weight, parameters and handler. Sources: rest-api.md, web-socket-api.md; for ``/sapi``
the models of binance-sdk-wallet and binance-sdk-sub-account.
"""

from __future__ import annotations

from dataclasses import replace

from fortctl.paper.api import account, market, order_lists, tickers, wallet
from fortctl.paper.api import orders as order_calls
from fortctl.paper.api import sub_accounts as sub
from fortctl.paper.api.order_parameters import LEG
from fortctl.paper.api.parameters import Call, Handler, Values

_SPAN = ("startTime", "endTime", "limit")
_SELECT = ("symbol", "symbols", "symbolStatus")
_NAMED = ("orderId", "origClientOrderId")
_ORDER = (
    *("quantity", "quoteOrderQty", "newClientOrderId", "newOrderRespType", "selfTradePreventionMode"),
    *LEG,
)
_NEW = ("symbol", "side", "type")
_SOR = tuple(name for name in _ORDER if name not in ("quoteOrderQty", "stopPrice", "trailingDelta"))
SUB = "/sub-account/subAccountApi"


def _list(handler: Handler, required: tuple[str, ...], optional: tuple[str, ...], orders: int) -> Call:
    return Call(handler, "TRADE", 1, required, optional, orders=orders, free=True)


def _open_orders_weight(values: Values) -> int:
    return 6 if "symbol" in values else 80


def _my_trades_weight(values: Values) -> int:
    return 5 if "orderId" in values else 20


def _prevented_weight(values: Values) -> int:
    return 20 if "orderId" in values else 2


def _test_weight(values: Values) -> int:
    return 20 if values.get("computeCommissionRates") == "true" else 1


def _market(handler: Handler, weight: int, required: tuple[str, ...] = ("symbol",), *optional: str) -> Call:
    return Call(handler, "NONE", weight, required, optional)


CALLS: dict[tuple[str, str], Call] = {
    # -- the exchange and its market --
    ("GET", "/api/v3/ping"): Call(lambda context, values: {}),
    ("GET", "/api/v3/time"): Call(lambda context, values: {"serverTime": context.now}),
    ("GET", "/api/v3/exchangeInfo"): _market(
        market.exchange_info, 20, (), *_SELECT, "permissions", "showPermissionSets"
    ),
    ("GET", "/api/v3/executionRules"): Call(market.execution_rules, "NONE", 2, (), _SELECT),
    ("GET", "/api/v3/depth"): Call(market.depth, "NONE", market.depth_weight, ("symbol",), ("limit", "symbolStatus")),
    ("GET", "/api/v3/trades"): _market(market.trades, 25, ("symbol",), "limit"),
    ("GET", "/api/v3/historicalTrades"): _market(market.historical_trades, 25, ("symbol",), "limit", "fromId"),
    ("GET", "/api/v3/historicalBlockTrades"): _market(market.no_block_trades, 25, ("symbol", "fromId"), "limit"),
    ("GET", "/api/v3/aggTrades"): _market(market.aggregate_trades, 4, ("symbol",), "fromId", *_SPAN),
    ("GET", "/api/v3/klines"): _market(market.klines, 2, ("symbol", "interval"), *_SPAN, "timeZone"),
    ("GET", "/api/v3/uiKlines"): _market(market.klines, 2, ("symbol", "interval"), *_SPAN, "timeZone"),
    ("GET", "/api/v3/avgPrice"): _market(market.avg_price, 2),
    ("GET", "/api/v3/referencePrice"): _market(market.no_reference_price, 2),
    ("GET", "/api/v3/referencePrice/calculation"): _market(market.no_reference_price, 2, ("symbol",), "symbolStatus"),
    ("GET", "/api/v3/ticker/24hr"): Call(tickers.ticker_24h, "NONE", tickers.ticker_weight, (), (*_SELECT, "type")),
    ("GET", "/api/v3/ticker/tradingDay"): Call(
        tickers.trading_day, "NONE", tickers.per_symbol_weight, (), (*_SELECT, "timeZone", "type")
    ),
    ("GET", "/api/v3/ticker"): Call(
        tickers.rolling, "NONE", tickers.per_symbol_weight, (), (*_SELECT, "windowSize", "type")
    ),
    ("GET", "/api/v3/ticker/price"): Call(tickers.ticker_price, "NONE", tickers.one_or_all_weight, (), _SELECT),
    ("GET", "/api/v3/ticker/bookTicker"): Call(tickers.book_ticker, "NONE", tickers.one_or_all_weight, (), _SELECT),
    # -- orders --
    ("POST", "/api/v3/order"): Call(order_calls.new_order, "TRADE", 1, _NEW, _ORDER, orders=1, free=True),
    ("POST", "/api/v3/order/test"): Call(
        order_calls.test_order, "TRADE", _test_weight, _NEW, (*_ORDER, "computeCommissionRates")
    ),
    ("GET", "/api/v3/order"): Call(order_calls.query_order, "USER_DATA", 4, ("symbol",), _NAMED),
    ("DELETE", "/api/v3/order"): Call(
        *(order_calls.cancel_order, "TRADE", 1, ("symbol",), (*_NAMED, "newClientOrderId", "cancelRestrictions")),
        free=True,
    ),
    ("POST", "/api/v3/order/cancelReplace"): Call(
        order_calls.cancel_replace,
        "TRADE",
        1,
        (*_NEW, "cancelReplaceMode"),
        (
            *_ORDER,
            *("cancelNewClientOrderId", "cancelOrigClientOrderId", "cancelOrderId", "cancelRestrictions"),
            "orderRateLimitExceededMode",
        ),
        orders=1,
        over_limit=order_calls.replace_over_limit,
        free=True,
    ),
    ("PUT", "/api/v3/order/amend/keepPriority"): Call(
        order_calls.amend_order, "TRADE", 4, ("symbol", "newQty"), (*_NAMED, "newClientOrderId")
    ),
    ("GET", "/api/v3/order/amendments"): Call(
        order_calls.amendments, "USER_DATA", 4, ("symbol", "orderId"), ("fromExecutionId", "limit")
    ),
    ("GET", "/api/v3/openOrders"): Call(order_calls.open_orders, "USER_DATA", _open_orders_weight, (), ("symbol",)),
    ("DELETE", "/api/v3/openOrders"): Call(order_calls.cancel_open_orders, "TRADE", 1, ("symbol",), free=True),
    ("GET", "/api/v3/allOrders"): Call(order_calls.all_orders, "USER_DATA", 20, ("symbol",), ("orderId", *_SPAN)),
    ("GET", "/api/v3/myTrades"): Call(
        order_calls.my_trades, "USER_DATA", _my_trades_weight, ("symbol",), ("orderId", "fromId", *_SPAN)
    ),
    ("GET", "/api/v3/myPreventedMatches"): Call(
        *(order_calls.prevented_matches, "USER_DATA", _prevented_weight, ("symbol",)),
        ("preventedMatchId", "orderId", "fromPreventedMatchId", "limit"),
    ),
    ("GET", "/api/v3/myAllocations"): Call(
        order_calls.allocations, "USER_DATA", 20, ("symbol",), (*_SPAN, "fromAllocationId", "orderId")
    ),
    ("POST", "/api/v3/sor/order"): Call(order_calls.no_routing, "TRADE", 1, (*_NEW, "quantity"), _SOR, orders=1),
    ("POST", "/api/v3/sor/order/test"): Call(
        order_calls.no_routing, "TRADE", 1, (*_NEW, "quantity"), (*_SOR, "computeCommissionRates")
    ),
    # -- order lists --
    ("POST", "/api/v3/orderList/oco"): _list(order_lists.new_oco, order_lists.OCO_NEEDED, order_lists.OCO_OPTIONAL, 2),
    ("POST", "/api/v3/orderList/oto"): _list(order_lists.new_oto, order_lists.OTO_NEEDED, order_lists.OTO_OPTIONAL, 2),
    ("POST", "/api/v3/orderList/otoco"): _list(
        order_lists.new_otoco, order_lists.OTOCO_NEEDED, order_lists.OTOCO_OPTIONAL, 3
    ),
    ("POST", "/api/v3/orderList/opo"): _list(order_lists.no_opo, order_lists.OPO_NEEDED, order_lists.OTO_OPTIONAL, 2),
    ("POST", "/api/v3/orderList/opoco"): _list(
        order_lists.no_opo, order_lists.OPOCO_NEEDED, order_lists.OTOCO_OPTIONAL, 3
    ),
    ("POST", "/api/v3/order/oco"): _list(
        order_lists.old_oco, order_lists.OLD_OCO_NEEDED, order_lists.OLD_OCO_OPTIONAL, 2
    ),
    ("GET", "/api/v3/orderList"): Call(
        order_lists.query_list, "USER_DATA", 4, (), ("orderListId", "origClientOrderId")
    ),
    ("DELETE", "/api/v3/orderList"): Call(
        *(order_lists.cancel_list, "TRADE", 1, ("symbol",), ("orderListId", "listClientOrderId", "newClientOrderId")),
        free=True,
    ),
    ("GET", "/api/v3/allOrderList"): Call(order_lists.all_lists, "USER_DATA", 20, (), ("fromId", *_SPAN)),
    ("GET", "/api/v3/openOrderList"): Call(order_lists.open_lists, "USER_DATA", 6),
    # -- the account --
    ("GET", "/api/v3/account"): Call(account.account, "USER_DATA", 20, (), ("omitZeroBalances",)),
    ("GET", "/api/v3/account/commission"): Call(account.commission, "USER_DATA", 20, ("symbol",)),
    ("GET", "/api/v3/rateLimit/order"): Call(account.order_counts, "USER_DATA", 40),
    ("GET", "/api/v3/myFilters"): Call(account.my_filters, "USER_DATA", 40, ("symbol",)),
    # -- the wallet --
    ("GET", "/sapi/v1/system/status"): Call(wallet.system_status),
    ("GET", "/sapi/v1/account/apiRestrictions"): Call(wallet.restrictions, "USER_DATA"),
    ("GET", "/sapi/v1/account/status"): Call(wallet.account_status, "USER_DATA"),
    ("GET", "/sapi/v1/account/apiTradingStatus"): Call(wallet.trading_status, "USER_DATA"),
    ("GET", "/sapi/v1/asset/tradeFee"): Call(wallet.trade_fee, "USER_DATA", 1, (), ("symbol",)),
    ("POST", "/sapi/v3/asset/getUserAsset"): Call(
        wallet.user_assets, "USER_DATA", 5, (), ("asset", "needBtcValuation")
    ),
    ("GET", "/sapi/v1/capital/config/getall"): Call(wallet.coins, "USER_DATA", 10),
    ("GET", "/sapi/v1/bnbBurn"): Call(wallet.get_bnb_burn, "USER_DATA"),
    ("POST", "/sapi/v1/bnbBurn"): Call(wallet.set_bnb_burn, "USER_DATA", 1, (), ("spotBNBBurn", "interestBNBBurn")),
    ("GET", "/sapi/v1/margin/allPairs"): Call(wallet.no_pairs, "USER_DATA", 1, (), ("symbol",)),
    ("GET", "/sapi/v1/margin/isolated/allPairs"): Call(wallet.no_pairs, "USER_DATA", 10, (), ("symbol",)),
    ("GET", "/fapi/v1/exchangeInfo"): Call(wallet.no_contracts),
    ("GET", "/dapi/v1/exchangeInfo"): Call(wallet.no_contracts),
    # -- sub-accounts' keys --
    ("POST", f"/sapi/v1{SUB}"): Call(sub.create, "USER_DATA", sub.WEIGHT, sub.CREATE_NEEDED, sub.V1_OPTIONAL),
    ("POST", f"/sapi/v2{SUB}"): Call(
        *(sub.create_v2, "USER_DATA", sub.WEIGHT, sub.CREATE_NEEDED, sub.V2_OPTIONAL), body_only=("publicKey",)
    ),
    ("DELETE", f"/sapi/v1{SUB}"): Call(sub.delete, "USER_DATA", sub.WEIGHT, sub.NAMED),
    ("GET", f"/sapi/v1{SUB}"): Call(
        sub.query, "USER_DATA", sub.WEIGHT, ("email",), ("subAccountApiKey", "page", "size")
    ),
    ("POST", f"/sapi/v1{SUB}Permission"): Call(sub.permission, "USER_DATA", sub.WEIGHT, sub.NAMED, tuple(sub.FLAGS)),
    ("POST", f"/sapi/v2{SUB}/ipRestriction"): Call(
        sub.set_ips, "USER_DATA", sub.WEIGHT, (*sub.NAMED, "status"), ("ipAddress",)
    ),
    ("GET", f"/sapi/v1{SUB}/ipRestriction"): Call(sub.get_ips, "USER_DATA", sub.WEIGHT, sub.NAMED),
    ("DELETE", f"/sapi/v1{SUB}/ipRestriction/ipList"): Call(
        sub.delete_ips, "USER_DATA", sub.WEIGHT, (*sub.NAMED, "ipAddress")
    ),
}

for _route, _call in list(CALLS.items()):
    if not _route[1].startswith("/api/"):
        CALLS[_route] = replace(_call, lenient=True)

METHODS: dict[str, tuple[str, str]] = {
    "ping": ("GET", "/api/v3/ping"),
    "time": ("GET", "/api/v3/time"),
    "exchangeInfo": ("GET", "/api/v3/exchangeInfo"),
    "executionRules": ("GET", "/api/v3/executionRules"),
    "depth": ("GET", "/api/v3/depth"),
    "trades.recent": ("GET", "/api/v3/trades"),
    "trades.historical": ("GET", "/api/v3/historicalTrades"),
    "trades.aggregate": ("GET", "/api/v3/aggTrades"),
    "blockTrades.historical": ("GET", "/api/v3/historicalBlockTrades"),
    "klines": ("GET", "/api/v3/klines"),
    "uiKlines": ("GET", "/api/v3/uiKlines"),
    "avgPrice": ("GET", "/api/v3/avgPrice"),
    "referencePrice": ("GET", "/api/v3/referencePrice"),
    "referencePrice.calculation": ("GET", "/api/v3/referencePrice/calculation"),
    "ticker.24hr": ("GET", "/api/v3/ticker/24hr"),
    "ticker.tradingDay": ("GET", "/api/v3/ticker/tradingDay"),
    "ticker": ("GET", "/api/v3/ticker"),
    "ticker.price": ("GET", "/api/v3/ticker/price"),
    "ticker.book": ("GET", "/api/v3/ticker/bookTicker"),
    "order.place": ("POST", "/api/v3/order"),
    "order.test": ("POST", "/api/v3/order/test"),
    "order.status": ("GET", "/api/v3/order"),
    "order.cancel": ("DELETE", "/api/v3/order"),
    "order.cancelReplace": ("POST", "/api/v3/order/cancelReplace"),
    "order.amend.keepPriority": ("PUT", "/api/v3/order/amend/keepPriority"),
    "order.amendments": ("GET", "/api/v3/order/amendments"),
    "openOrders.status": ("GET", "/api/v3/openOrders"),
    "openOrders.cancelAll": ("DELETE", "/api/v3/openOrders"),
    "orderList.place": ("POST", "/api/v3/order/oco"),
    "orderList.place.oco": ("POST", "/api/v3/orderList/oco"),
    "orderList.place.oto": ("POST", "/api/v3/orderList/oto"),
    "orderList.place.otoco": ("POST", "/api/v3/orderList/otoco"),
    "orderList.place.opo": ("POST", "/api/v3/orderList/opo"),
    "orderList.place.opoco": ("POST", "/api/v3/orderList/opoco"),
    "orderList.status": ("GET", "/api/v3/orderList"),
    "orderList.cancel": ("DELETE", "/api/v3/orderList"),
    "openOrderLists.status": ("GET", "/api/v3/openOrderList"),
    "allOrderLists": ("GET", "/api/v3/allOrderList"),
    "sor.order.place": ("POST", "/api/v3/sor/order"),
    "sor.order.test": ("POST", "/api/v3/sor/order/test"),
    "allOrders": ("GET", "/api/v3/allOrders"),
    "myTrades": ("GET", "/api/v3/myTrades"),
    "myPreventedMatches": ("GET", "/api/v3/myPreventedMatches"),
    "myAllocations": ("GET", "/api/v3/myAllocations"),
    "myFilters": ("GET", "/api/v3/myFilters"),
    "account.status": ("GET", "/api/v3/account"),
    "account.commission": ("GET", "/api/v3/account/commission"),
    "account.rateLimits.orders": ("GET", "/api/v3/rateLimit/order"),
}
