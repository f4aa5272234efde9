"""A robot, and the commands, whose exchange answers in a shape that nobody expected: real processes."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from typing import Any

import pytest

from fortctl.paper.admin_client import ask
from support.harness import Shell
from support.hosted_exchange import HostedExchange
from support.paper_client import SignedClient

LEVELS = 4
BY_HAND = "by-hand"
CONFIGURE = (
    *("robot", "configure", "--symbol", "BTCUSDT", "--levels", str(LEVELS), "--step", "0.3"),
    *("--take-profit", "0.3", "--order-quote", "50"),
)
ORDER = ("POST", "/api/v3/order")
OPEN_ORDERS = ("GET", "/api/v3/openOrders")
ACCOUNT = ("GET", "/api/v3/account")
LOOK_UP = ("GET", "/api/v3/order")


@dataclass
class Desk:
    """A keyed home, its exchange, and what the exchange itself knows."""

    shell: Shell

    def fault(self, kind: str, match: tuple[str, str], **more: Any) -> None:
        ask(self.shell.home / "paper", "fault/set", {"kind": kind, "method": match[0], "path": match[1], **more})

    def clear(self) -> None:
        ask(self.shell.home / "paper", "fault/clear", {})

    def hits(self) -> int:
        return sum(fault["hits"] for fault in ask(self.shell.home / "paper", "fault/list", {})["faults"])

    def orders(self) -> list[dict[str, Any]]:
        """Return every order that the exchange accepted."""
        orders: list[dict[str, Any]] = ask(self.shell.home / "paper", "orders/list", {"limit": 500})["orders"]
        return orders

    def start(self) -> int:
        """Configure and start the robot; return its process."""
        self.shell.ok(*CONFIGURE)
        self.shell.run("robot", "start")
        pid: int = self.shell.await_status(lambda status: status["pid"] is not None)["pid"]
        return pid

    def await_the_grid(self, pid: int) -> None:
        """Wait for a robot that trades, in the same process, with one order of each level on the exchange."""

        def whole(status: dict[str, Any]) -> bool:
            placed = [order for order in self.orders() if order["status"] == "NEW"]
            return (status["state"], status["orders_open"]) == ("running", LEVELS) and len(placed) >= LEVELS

        assert self.shell.await_status(whole, 60, "the whole grid")["pid"] == pid, "no answer ended the process"
        orders = [order for order in self.orders() if order["client_order_id"] != BY_HAND]
        assert len(orders) == len({order["client_order_id"] for order in orders}) == LEVELS, "nothing was placed twice"
        assert len({order["price"] for order in orders}) == LEVELS


@pytest.fixture
def desk(keyed: Shell) -> Desk:
    return Desk(keyed)


@pytest.mark.parametrize(
    "change",
    [
        {"body": "{}"},
        {"body": "null"},
        {"body": ""},
        {"body": '{"code": -1001}'},
        {"merge": {"status": "PENDING_REVIEW"}},
        {"merge": {"price": None}},
        {"drop": ["orderId", "status"]},
    ],
    ids=json.dumps,
)
def test_an_odd_answer_to_an_order_is_looked_up_and_doubles_nothing(desk: Desk, change: dict[str, Any]) -> None:
    desk.fault("answer", ORDER, count=2, **change)
    pid = desk.start()
    desk.await_the_grid(pid)
    assert desk.hits() == 2


@pytest.mark.parametrize("kind", ["endless", "deep", "redirect:http://127.0.0.1:9"])
def test_an_answer_without_end_or_a_redirect_doubles_nothing(desk: Desk, kind: str) -> None:
    desk.fault(kind, ORDER, count=1)
    pid = desk.start()
    desk.await_the_grid(pid)
    assert desk.hits() == 1


def test_a_persons_order_of_an_unknown_status_ends_no_robot(desk: Desk, paper: HostedExchange) -> None:
    key = ask(desk.shell.home / "paper", "keys/create", {"name": "person", "permissions": ["reading", "spot_trading"]})
    person = SignedClient(paper.ready["url"], key)
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
    person.ok("POST", "order", **order, price="20000.00", newClientOrderId=BY_HAND)
    desk.fault("answer", OPEN_ORDERS, merge={"status": "PENDING_REVIEW"})
    pid = desk.start()
    desk.shell.await_status(lambda _status: desk.hits() > 0, what="an answer with the unknown status")
    assert desk.shell.status()["pid"] == pid
    desk.clear()
    desk.await_the_grid(pid)


def test_account_orders_names_the_rows_that_it_cannot_read(desk: Desk, paper: HostedExchange) -> None:
    key = ask(desk.shell.home / "paper", "keys/create", {"name": "person", "permissions": ["reading", "spot_trading"]})
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
    placed = SignedClient(paper.ready["url"], key).ok(
        "POST", "order", **order, price="20000.00", newClientOrderId=BY_HAND
    )
    desk.fault("answer", OPEN_ORDERS, merge={"status": "PENDING_REVIEW"})
    ran = desk.shell.run("account", "orders")
    assert ran.code == 0 and ran.data["orders"] == []
    (warning,) = ran.doc["warnings"]
    named = f"order {placed['orderId']} ({BY_HAND}) of BTCUSDT: order.status is a status that fortctl does not know"
    assert warning["code"] == "UNREADABLE_ORDER" and warning["message"].startswith(named)
    assert named in desk.shell.run("account", "orders", json_mode=False).err
    desk.clear()
    desk.fault("answer", OPEN_ORDERS, drop=["orderId", "clientOrderId", "symbol"])
    (warning,) = desk.shell.run("account", "orders").doc["warnings"]
    assert warning["message"].startswith("an order without a number: ")


def test_an_event_of_an_unknown_shape_ends_no_stream(desk: Desk) -> None:
    desk.fault("answer", ("EVENT", "executionReport"), count=2, merge={"Z": None}, drop=["Y"])
    pid = desk.start()
    desk.await_the_grid(pid)


@pytest.mark.parametrize("body", ["{}", "null", "", "[]"])
def test_doctor_reads_an_odd_account_without_an_internal_error(desk: Desk, body: str) -> None:
    desk.fault("answer", ACCOUNT, body=body)
    ran = desk.shell.run("doctor")
    assert ran.code != 1 and '"INTERNAL"' not in ran.out and desk.hits() > 0
    for words in (("account", "balances"), ("keys", "verify", "--role", "site")):
        ran = desk.shell.run(*words)
        assert ran.code not in (0, 1) and ran.error["code"] != "INTERNAL", ran.out


def test_a_live_order_that_is_said_not_to_exist_holds_the_robot_and_is_not_doubled(desk: Desk) -> None:
    """The user stream has reported it, and then -2013 says that there is no such order: a person decides."""
    desk.fault("executed-1007", ORDER, count=1)
    desk.fault("code-2013", LOOK_UP, count=4)
    pid = desk.start()
    status = desk.shell.await_status(lambda one: one["state"] == "held", 60, "a hold")
    assert status["reason"].startswith("ROLLED_BACK: ") and desk.hits() >= 2
    assert len(desk.orders()) == LEVELS, "nothing was placed once more"
    desk.clear()
    desk.shell.ok("robot", "resume")
    desk.await_the_grid(pid)


def test_an_order_that_only_a_listing_shows_is_not_doubled(desk: Desk) -> None:
    """Its answer is lost, the user stream says nothing, and -2013 says that there is no such order."""
    desk.fault("executed-1007", ORDER, count=1)
    desk.fault("event-dropped", ("EVENT", "executionReport"), count=1)
    desk.fault("code-2013", LOOK_UP, count=4)
    pid = desk.start()
    desk.await_the_grid(pid)
    assert desk.hits() >= 3


def test_an_empty_listing_is_not_believed(desk: Desk) -> None:
    pid = desk.start()
    desk.await_the_grid(pid)
    desk.fault("empty", OPEN_ORDERS)
    stopped = desk.shell.run("robot", "stop", "--now", "--cancel-orders")
    assert stopped.code == 0 and desk.hits() > 0
    assert len(stopped.data["cancelled"]) == LEVELS and sorted(stopped.data["unlisted"]) == stopped.data["unlisted"]
    assert set(stopped.data["unlisted"]) == set(stopped.data["cancelled"]) and stopped.data["orders_left"] == []
    assert [warning["code"] for warning in stopped.doc["warnings"]] == ["ORDERS_UNLISTED"]
    assert {order["status"] for order in desk.orders()} == {"CANCELED"}


def test_a_listing_that_is_empty_at_a_start_doubles_nothing(desk: Desk) -> None:
    pid = desk.start()
    desk.await_the_grid(pid)
    desk.fault("empty", OPEN_ORDERS)
    os.kill(pid, signal.SIGKILL)
    desk.shell.await_status(lambda status: status["pid"] is None)
    desk.shell.ok("robot", "start")
    again = desk.shell.await_status(lambda status: status["pid"] is not None and status["state"] == "running")
    desk.await_the_grid(again["pid"])


def test_a_twin_under_one_client_order_id_holds_the_robot_and_is_cancelled_with_its_orders(desk: Desk) -> None:
    desk.fault("order-twin", ORDER, count=1)
    desk.start()
    status = desk.shell.await_status(lambda one: one["state"] == "held", 60, "a hold")
    assert status["reason"].startswith("UNKNOWN_ORDER: order ") and "of another order of ours" in status["reason"]
    names = [order["client_order_id"] for order in desk.orders()]
    (name,) = {name for name in names if names.count(name) == 2}
    assert len(names) == len(set(names)) + 1, "nothing else is doubled"
    stopped = desk.shell.run("robot", "stop", "--now", "--cancel-orders")
    assert stopped.code == 0 and [order["client_order_id"] for order in stopped.data["unjournaled"]] == [name]
    assert [warning["code"] for warning in stopped.doc["warnings"]] == ["ORDERS_UNJOURNALED"]
    assert {order["status"] for order in desk.orders()} == {"CANCELED"}


def test_the_command_sets_an_answer(desk: Desk) -> None:
    words = ("paper", "fault", "set", "answer", "--match", *OPEN_ORDERS)
    fault = desk.shell.ok(*words, "--merge", '{"status": "ODD"}', "--drop", "price,side", "--status", "202")["fault"]
    assert fault["change"] == {"merge": {"status": "ODD"}, "drop": ["price", "side"], "body": None, "status": 202}
    assert desk.shell.run(*words, "--merge", "[]").code == 2 and desk.shell.run(*words).code == 2
