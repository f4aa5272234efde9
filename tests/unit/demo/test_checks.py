"""What the demo proves from the exchange's request log."""

from __future__ import annotations

from fortctl.demo.checks import Request, cancelled, repeated


def test_an_order_is_cancelled_by_its_name_or_by_its_number() -> None:
    sent = {"method": "DELETE", "path": "/api/v3/order", "status": 200}
    by_name = {**sent, "client_order_id": "fc-1", "query": {"origClientOrderId": "fc-1"}}
    by_number = {**sent, "client_order_id": None, "query": {"orderId": "17"}}
    refused = {**sent, "client_order_id": "fc-2", "query": {"orderId": "18"}, "status": 400}
    assert cancelled(map(Request.from_json, (by_name, by_number, refused))) == {"fc-1", "17"}


def test_an_order_that_was_accepted_twice_is_repeated_and_a_refused_one_is_not() -> None:
    first = Request("POST", "/api/v3/order", 200, "fc-1")
    refused = Request("POST", "/api/v3/order", 400, "fc-2")
    once = Request("POST", "/api/v3/order", 200, "fc-2")
    assert repeated([first, refused, once]) == []
    assert repeated([first, refused, once, first]) == ["fc-1"]
