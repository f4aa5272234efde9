"""User events (user-data-stream.md): executionReport, listStatus, outboundAccountPosition, balanceUpdate. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fortctl.paper.engine.accounts import Account
from fortctl.paper.engine.filters import ZERO, text
from fortctl.paper.engine.orders import OrderList, PaperOrder

NOTHING = "0.00000000"


def execution_report(
    order: PaperOrder,
    kind: str,
    now: int,
    execution_id: int,
    *,
    fill: dict[str, Any] | None = None,
    cancel_id: str = "",
    reason: str = "NONE",
    prevented: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return an ``executionReport``.

    Args:
        kind: the execution type (``x``).
        fill: the row of ``myTrades``, for TRADE.
        cancel_id: the client order id of the cancel; ``C`` then has the order's own.
        prevented: the fields of a prevented match, for TRADE_PREVENTION.
    """
    event: dict[str, Any] = {
        "e": "executionReport",
        "E": now,
        "s": order.symbol,
        "c": cancel_id or order.client_order_id,
        "S": order.side,
        "o": order.type,
        "f": order.time_in_force,
        "q": text(order.quantity),
        "p": text(order.price),
        "P": text(order.stop_price),
        "F": text(order.iceberg),
        "g": order.list_id,
        "C": order.client_order_id if cancel_id else "",
        "x": kind,
        "X": order.status,
        "r": reason,
        "i": order.id,
        "l": fill["qty"] if fill else NOTHING,
        "z": text(order.executed),
        "L": fill["price"] if fill else NOTHING,
        "n": fill["commission"] if fill else "0",
        "N": fill["commissionAsset"] if fill else None,
        "T": now,
        "t": fill["id"] if fill else -1,
        "I": execution_id,
        "w": order.open and order.working_time != -1,
        "m": bool(fill and fill["isMaker"]),
        "M": False,
        "O": order.time,
        "Z": text(order.quote_executed),
        "Y": fill["quoteQty"] if fill else NOTHING,
        "Q": text(order.quote_quantity),
    }
    if order.working_time != -1:
        event["W"] = order.working_time
    event["V"] = order.stp
    if order.trailing_delta is not None:
        event["d"] = order.trailing_delta
        if order.trailing_time is not None:
            event["D"] = order.trailing_time
    if order.strategy_id is not None:
        event["j"] = order.strategy_id
    if order.strategy_type is not None:
        event["J"] = order.strategy_type
    if order.prevented:
        event["v"], event["A"] = order.prevented_id, text(order.prevented)
    if order.expiry_reason is not None:
        event["eR"] = order.expiry_reason
    return event | (prevented or {})


def list_status(order_list: OrderList, client_ids: Iterable[tuple[int, str]], now: int) -> dict[str, Any]:
    """Return a ``listStatus``; ``client_ids`` are (order id, client order id) of its orders."""
    return {
        "e": "listStatus",
        "E": now,
        "s": order_list.symbol,
        "g": order_list.id,
        "c": order_list.contingency,
        "l": order_list.status_type,
        "L": order_list.order_status,
        "r": "NONE",
        "C": order_list.client_id,
        "T": now,
        "O": [{"s": order_list.symbol, "i": number, "c": name} for number, name in client_ids],
    }


def position(account: Account, assets: Iterable[str], now: int) -> dict[str, Any]:
    """Return an ``outboundAccountPosition`` of some assets."""
    return {
        "e": "outboundAccountPosition",
        "E": now,
        "u": account.update_time,
        "B": [
            {"a": asset, "f": text(account.free.get(asset, ZERO)), "l": text(account.locked.get(asset, ZERO))}
            for asset in assets
        ],
    }


def balance_update(asset: str, change: str, now: int) -> dict[str, Any]:
    """Return a ``balanceUpdate`` of a deposit or withdrawal."""
    return {"e": "balanceUpdate", "E": now, "a": asset, "d": change, "T": now}
