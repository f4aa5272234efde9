"""Whether an answer has exactly the fields of the SDK's model: none missing, none more, each of its type."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import requests
from pydantic import BaseModel

# rest-api.md, "Conditional fields in Order Responses": there only where they apply.
CONDITIONAL = frozenset(
    [
        *("icebergQty", "preventedMatchId", "preventedQuantity", "stopPrice", "strategyId", "strategyType"),
        *("trailingDelta", "trailingTime", "usedSor", "workingFloor", "pegPriceType", "pegOffsetType"),
        *("pegOffsetValue", "peggedPrice", "expiryReason", "tradeGroupId", "preventedMatches", "fills"),
        # Of a prevented match the side that expired; of an amendment the list, where there is one.
        *("takerPreventedQuantity", "makerPreventedQuantity", "listStatus"),
        # exchangeInfo: only where smart order routing exists. A filter's exponents are of the SBE schema alone.
        *("sors", "qtyExponent", "priceExponent", "multiplierExponent"),
    ]
)

# Fields that one of the SDK's models forgets, while its model of the same answer elsewhere (REST, or the WebSocket API)
# has them: where, and the model that has it.
FORGOTTEN = {
    "order_cancel_replace.result.newOrderResponse.workingTime": "OrderCancelReplaceResponseNewOrderResponse (REST)",
    "order_list_cancel.result.orderReports.origClientOrderId": "DeleteOrderListResponseOrderReportsInner (REST)",
    "delete_order_list.orderReports.selfTradePreventionMode": "OrderListCancelResponseResultOrderReportsInner",
    "delete_open_orders.orderReports.selfTradePreventionMode": "OpenOrdersCancelAllResponseResultInnerOrderReports…",
}


def compare(raw: Any, model: Any, where: str, *, short: bool = False) -> list[str]:
    """Return what differs between an answer and its parsed model.

    Args:
        short: fields of the model may be missing (ACK, MINI).
    """
    if raw == {}:
        return []
    if hasattr(model, "actual_instance"):
        model = model.actual_instance
    if isinstance(raw, list):
        if not isinstance(model, list):
            model = getattr(model, "root", model)
        if raw and not isinstance(model, list):
            return [f"{where}: a list was not parsed as one"]
        return [fault for index, one in enumerate(raw) for fault in compare(one, model[index], where, short=short)]
    if not isinstance(model, BaseModel):
        return [f"{where}: the SDK could not parse {json.dumps(raw)[:200]}"] if isinstance(raw, dict) and raw else []
    fields = {
        field.alias or name: name for name, field in type(model).model_fields.items() if name != "additional_properties"
    }
    optional = CONDITIONAL | (
        {"count"} if where.startswith("exchange_info") and where.endswith("rateLimits") else set()
    )
    unknown = [name for name in raw if name not in fields and name not in optional]
    faults = [f"{where}.{name}: not in the SDK's model" for name in unknown if f"{where}.{name}" not in FORGOTTEN]
    if not short:
        faults += [f"{where}.{name}: missing" for name in fields if name not in raw and name not in optional]
    for name, value in raw.items():
        if name in fields and isinstance(value, dict | list):
            inner = getattr(model, fields[name])
            plain = isinstance(value, list) and (not value or not isinstance(value[0], dict))
            if not plain:
                faults += compare(value, inner, f"{where}.{name}", short=short)
    return faults


class Watch(logging.Handler):
    """Keeps the SDK's own complaints, and the last raw answer."""

    def __init__(self) -> None:
        super().__init__()
        self.complaints: list[str] = []
        self.raw: Any = None

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "did not match" in text or "Failed to parse" in text:
            self.complaints.append(text)


@contextmanager
def overheard() -> Iterator[list[Any]]:
    """Look on at what the SDK's WebSockets receive."""
    heard: list[Any] = []
    receive = aiohttp.ClientWebSocketResponse.receive

    async def look(self: Any, *given: Any, **named: Any) -> Any:
        message = await receive(self, *given, **named)
        if message.type is aiohttp.WSMsgType.TEXT:
            heard.append(json.loads(message.data))
        return message

    aiohttp.ClientWebSocketResponse.receive = look  # type: ignore[method-assign]
    try:
        yield heard
    finally:
        aiohttp.ClientWebSocketResponse.receive = receive  # type: ignore[method-assign]


@contextmanager
def watched() -> Iterator[Watch]:
    """Look on at what the SDK receives and says."""
    watch, send = Watch(), requests.Session.send

    def look(self: requests.Session, request: Any, **more: Any) -> requests.Response:
        response = send(self, request, **more)
        if response.headers.get("Content-Type", "").startswith("application/json"):
            watch.raw = response.json()
        return response

    requests.Session.send = look  # type: ignore[method-assign]
    logging.getLogger().addHandler(watch)
    try:
        yield watch
    finally:
        requests.Session.send = send  # type: ignore[method-assign]
        logging.getLogger().removeHandler(watch)
