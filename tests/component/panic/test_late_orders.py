"""What a robot had on its way when it was killed comes to be an order after the latch: the panic waits for it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from fortctl.errors import VaultDamagedError
from fortctl.ports import ExchangeError, Outcome
from fortctl.services.panic.actions import ActionKind
from fortctl.services.panic.ports import JournaledOrder
from support.clock import FakeClock
from support.panic_bench import NOW_S, PREFIX, Bench, Process, order, step

LATE_S = 0.8


@pytest.mark.parametrize("state", ["stopped", "silent", "none"], ids=["hangs", "gives no answer", "crashed"])
async def test_an_order_in_flight_is_cancelled_too(tmp_path: Path, state: str) -> None:
    bench = Bench(tmp_path / "robot", Process(state))
    bench.exchange.orders = [order(1, f"{PREFIX}-1"), order(2, "a person's own")]
    bench.exchange.coming = [(NOW_S + LATE_S, order(number, f"{PREFIX}-{number}")) for number in range(3, 9)]
    report = await bench.panic()
    assert [one.client_order_id for one in bench.exchange.orders] == ["a person's own"]
    assert step(report, "cancel orders").detail == "7 orders cancelled" and bench.latch.read()["orders_done"] is True


class Held(FakeClock):
    """Nobody's sleep ends before the copies are destroyed."""

    def __init__(self) -> None:
        super().__init__()
        self.destroyed = threading.Event()

    async def sleep(self, seconds: float) -> None:
        assert await asyncio.to_thread(self.destroyed.wait, 30), "the copies are kept until the orders are settled"
        await super().sleep(seconds)


async def test_the_keys_are_destroyed_meanwhile(tmp_path: Path) -> None:
    clock = Held()

    def destroy() -> tuple[str, ...]:
        clock.destroyed.set()
        return ()

    bench = Bench(tmp_path / "robot", Process("stopped"), clock=clock, changes={"destroy": destroy})
    assert step(await bench.panic(), "cancel orders").state == "done" and clock.s >= NOW_S + 2


async def test_a_robot_that_says_what_it_left_is_believed(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "robot", Process("answers", {"cancelled": [1], "left": []}))
    report = await bench.panic()
    assert step(report, "cancel orders").state == "skipped" and bench.exchange.looks == 0
    bench = Bench(tmp_path / "other", Process("answers", {"cancelled": [1], "left": [{"id": "unknown"}]}))
    bench.exchange.coming = [(NOW_S + LATE_S, order(1, f"{PREFIX}-1"))]
    await bench.panic()
    assert bench.exchange.orders == [] and bench.exchange.coming == []


async def test_a_panic_that_was_killed_meanwhile_is_not_done(tmp_path: Path) -> None:
    """Run again, it goes on until the time is over that the first one had begun."""
    bench = Bench(tmp_path / "robot", Process("stopped"))
    bench.exchange.faults = [ExchangeError(Outcome.KEY_REFUSED, "no")]
    assert step(await bench.panic(), "cancel orders").state == "failed"
    assert not bench.latch.read()["orders_done"]
    bench.exchange.coming = [(NOW_S + LATE_S, order(1, f"{PREFIX}-1"))]
    report = await bench.panic()
    assert step(report, "cancel orders").detail == "1 orders cancelled" and bench.clock.s >= NOW_S + 2
    assert step(await bench.panic(), "cancel orders").detail == "an earlier panic cancelled them"


@pytest.mark.parametrize(
    ("fault", "looks"),
    [
        (ExchangeError(Outcome.UNREACHABLE, "no connection"), 5),
        (ExchangeError(Outcome.KEY_REFUSED, "no", code=-2008), 1),
        (ExchangeError(Outcome.BUSY, "banned", retry_after=120.0), 1),
    ],
    ids=["unreachable", "the key is dead", "banned"],
)
async def test_what_cannot_be_asked_is_said(tmp_path: Path, fault: ExchangeError, looks: int) -> None:
    bench = Bench(tmp_path / "robot", Process("stopped"))
    bench.exchange.faults = [fault] * 9
    report = await bench.panic()
    assert bench.exchange.looks == looks and step(report, "cancel orders").state == "failed"
    assert any(action.kind is ActionKind.CANCEL_ORDERS for action in report.actions)


async def test_an_exchange_that_comes_back_is_asked_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "robot", Process("stopped"))
    bench.exchange.orders = [order(1, f"{PREFIX}-1")]
    bench.exchange.faults = [ExchangeError(Outcome.UNREACHABLE, "no connection")]
    report = await bench.panic()
    assert bench.exchange.orders == [] and step(report, "cancel orders").state == "done"
    assert all(action.kind is not ActionKind.CANCEL_ORDERS for action in report.actions)


async def test_orders_that_the_list_leaves_out_are_cancelled_by_the_journals_names(tmp_path: Path) -> None:
    """An empty list of 200 gave "0 orders cancelled: done" with four orders open."""
    bench = Bench(tmp_path / "robot", Process("stopped"))
    bench.exchange.unlisted = [order(number, f"{PREFIX}-{number}") for number in range(1, 5)]
    bench.journaled = [JournaledOrder("BTCUSDT", f"{PREFIX}-{number}", number) for number in range(1, 7)]
    report = await bench.panic()
    detail = step(report, "cancel orders").detail
    assert bench.exchange.unlisted == []
    assert detail == ("4 orders cancelled; the exchange's list left out 4 of them, which the robot's journal names"), (
        "two of six had ended already"
    )


@pytest.mark.parametrize("broken", ["hangs", "raises"])
async def test_a_journal_that_cannot_be_read_is_named_and_the_list_is_used(tmp_path: Path, broken: str) -> None:
    def read() -> list[JournaledOrder]:
        if broken == "hangs":
            threading.Event().wait()
        raise VaultDamagedError("the journal is damaged")

    bench = Bench(tmp_path / "robot", Process("stopped"), changes={"journaled_orders": read})
    bench.exchange.orders = [order(1, f"{PREFIX}-1")]
    report = await bench.panic()
    detail = step(report, "cancel orders").detail
    assert bench.exchange.orders == [] and detail.startswith("1 orders cancelled; the robot's journal c")
    assert detail.endswith("the exchange's list alone was used")
