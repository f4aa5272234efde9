"""Order amendments that keep the priority (faqs/order_amend_keep_priority.md). No I/O, no clock."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any

from fortctl.paper.engine import errors
from fortctl.paper.engine.filters import text
from fortctl.paper.engine.order_funds import release_excess
from fortctl.paper.engine.order_reports import OrderReports
from fortctl.paper.engine.orders import PaperOrder
from fortctl.paper.engine.state import ExchangeState


def amend(
    state: ExchangeState, reports: OrderReports, order: PaperOrder, quantity: Decimal, client_id: str, now: int
) -> dict[str, Any]:
    """Reduce an order's quantity, keeping its priority; return the row of ``order/amendments``.

    Raises:
        BinanceError: -2038 with the reason.
    """
    symbol = state.symbols[order.symbol]
    if not symbol.flags["amendAllowed"]:
        raise errors.NO_AMEND
    if quantity == order.quantity:
        raise errors.NO_CHANGE
    if quantity > order.quantity:
        raise errors.NO_INCREASE
    lots = symbol.filters["LOT_SIZE"]
    if quantity < Decimal(lots["minQty"]) or (Decimal(lots["stepSize"]) and quantity % Decimal(lots["stepSize"])):
        raise errors.filter_failure("LOT_SIZE")
    if quantity <= order.executed + order.prevented:
        raise errors.BinanceError(-2038, "Order amend quantity must be greater than the executed quantity.")
    if order.amends >= int(symbol.filters.get("MAX_NUM_ORDER_AMENDS", {}).get("maxNumOrderAmends", 10)):
        raise errors.BinanceError(-2038, "Filter failure: MAX_NUM_ORDER_AMENDS")
    order.amends += 1
    before, name = order.quantity, order.client_order_id
    new_name = client_id or hashlib.sha256(f"{order.id}/{order.amends}".encode()).hexdigest()[:22]
    if new_name != name:
        holder = state.by_client_id.get((order.account, order.symbol, new_name))
        if holder is not None and state.orders[holder].open:
            raise errors.BinanceError(-2038, "Duplicate order sent.")
        # The order is found by its new client order id alone.
        if state.by_client_id.get((order.account, order.symbol, name)) == order.id:
            del state.by_client_id[order.account, order.symbol, name]
        state.by_client_id[order.account, order.symbol, new_name] = order.id
    order.quantity, order.client_order_id, order.update_time = quantity, new_name, now
    if order.iceberg:
        order.shown = min(order.shown, order.left)
    release_excess(state, order)
    reports.mark(order)
    row: dict[str, Any] = {
        "symbol": order.symbol,
        "orderId": order.id,
        "executionId": state.next_execution,
        "origClientOrderId": name,
        "newClientOrderId": new_name,
        "origQty": text(before),
        "newQty": text(quantity),
        "time": now,
    }
    state.amendments.setdefault(order.id, []).append(row)
    state.changed.add(("amendment", f"{order.id}/{row['executionId']}"))
    reports.report(order, "REPLACED", now)
    reports.send_positions(now)
    return row
