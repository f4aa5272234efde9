"""A robot's status, as a process, a journal or a card in the mailbox reports it."""

from __future__ import annotations

from decimal import Decimal

from fortctl.robot.core.book import Book
from fortctl.robot.core.status import robot_status
from fortctl.services.robot.status import KeySwap, PublishedKey, RobotReport


def test_the_status_of_an_empty_book_is_read() -> None:
    status = robot_status(Book(), "stopped", Decimal("0.5"))
    report = RobotReport.from_json(status)
    assert report.document is status, "what results show is what the robot reported"
    assert (report.state, report.symbol, report.price, report.cycles_open) == ("stopped", None, "0.5", 0)
    assert report.drained and report.key is None and report.key_swap is None and not report.hold_codes


def test_what_a_status_may_add_is_read() -> None:
    report = RobotReport.from_json(
        {
            "state": "held",
            "cycles": {"open": 2, "closed": 3, "held": 0},
            "orders_open": 1,
            "orders_in_doubt": 4,
            "config": {"symbol": "XRPETH"},
            "reasons": [{"number": 1, "code": "GAP", "text": "…"}],
            "key": {"name": "robot-1", "status": "ok", "tail": "wxyz"},
            "key_loss": {"since": "2026-01-01T00:00:00.000Z", "reason": "unknown_key"},
            "key_swap": {"at": "2026-01-01T00:00:00.000Z", "gap_s": "0.250000"},
        }
    )
    assert (report.cycles_open, report.cycles_closed, report.orders_in_doubt, report.symbol) == (2, 3, 4, "XRPETH")
    assert report.hold_codes == {"GAP"} and report.key == PublishedKey("robot-1", "ok")
    assert (report.lost_since, report.lost_reason) == ("2026-01-01T00:00:00.000Z", "unknown_key")
    assert report.key_swap == KeySwap(0.25, stream_up=True), "older robots do not report whether the stream is up"


def test_a_stopped_robot_with_an_order_in_doubt_is_not_drained() -> None:
    stopped = RobotReport("stopped")
    assert stopped.drained
    assert not stopped._replace(orders_in_doubt=1).drained and not stopped._replace(cycles_open=1).drained
    assert not stopped._replace(orders_open=1).drained and not stopped._replace(state="draining").drained
