"""What the demo proves from the exchange's request log."""

from __future__ import annotations

from fortctl.demo.checks import cancels


def test_an_order_is_cancelled_by_its_name_or_by_its_number() -> None:
    by_name = {"client_order_id": "fc-1", "query": {"origClientOrderId": "fc-1"}}
    by_number = {"client_order_id": None, "query": {"orderId": "17"}}
    refused = {"client_order_id": "fc-2", "query": {"orderId": "18"}, "status": 400}
    sent = {"method": "DELETE", "path": "/api/v3/order", "status": 200}
    assert cancels([{**sent, **one} for one in (by_name, by_number, refused)]) == {"fc-1", "17"}
