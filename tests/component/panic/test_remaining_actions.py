"""What a panic leaves to a person: keys that nobody proved deleted, orders that nobody could cancel; and its hooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fortctl.errors import ActionRequiredError, BadInputError
from fortctl.model import KeyPair
from fortctl.ports import ExchangeError, HookReport, Outcome
from fortctl.services.panic import plan
from fortctl.services.panic.actions import ActionKind
from fortctl.services.panic.known_key import KeysRead
from fortctl.services.panic.report import PanicReport, failure_of
from support.panic_bench import NOW_S, PREFIX, Bench, Exchange, Process, key, order, step, told

DEAD = ExchangeError(Outcome.KEY_REFUSED, "no such key", code=-2008)


def left_in_latch(bench: Bench) -> list[str]:
    return [entry["name"] for entry in bench.latch.read()["keys"]]


def with_dead(bench: Bench, *names: str) -> Bench:
    """Have the exchange refuse the named keys as deleted, and answer the others."""
    dead = Exchange(bench.clock)
    dead.restrictions = DEAD

    def connect(pair: KeyPair) -> Exchange:
        return dead if pair.name in names else bench.exchange

    bench.changes["connect"] = connect
    return bench


# -- keys --------------------------------------------------------------------------------------------------------------


async def test_keys_that_the_exchange_still_answers_stay_a_persons_to_delete(tmp_path: Path) -> None:
    """With every key taken for deleted, nobody was asked to delete the one that lived."""
    bench = Bench(tmp_path / "robot")
    report = await bench.made(wait_dead_s=1.0).run()
    waiting = step(report, plan.WAIT_DEAD)
    assert (waiting.state, waiting.detail) == ("unproved", "unproved: site-1, robot-1")
    assert told(report) == [("site", "site-1"), ("robot", "robot-1")] and left_in_latch(bench) == ["site-1", "robot-1"]
    failure = failure_of([report], "")
    assert isinstance(failure, ActionRequiredError)


@pytest.mark.parametrize(("dead", "alive"), [("site-1", "robot-1"), ("robot-1", "site-1")])
async def test_a_key_that_is_proved_deleted_leaves_the_other_to_a_person(tmp_path: Path, dead: str, alive: str) -> None:
    bench = with_dead(Bench(tmp_path / "robot"), dead)
    report = await bench.made(wait_dead_s=1.0).run()
    waiting = step(report, plan.WAIT_DEAD)
    assert (waiting.state, waiting.detail) == ("unproved", f"unproved: {alive}")
    assert [name for _role, name in told(report)] == [alive] == left_in_latch(bench)


async def test_once_every_key_is_proved_deleted_nothing_is_left(tmp_path: Path) -> None:
    bench = with_dead(Bench(tmp_path / "robot"), "site-1", "robot-1")
    report = await bench.made(wait_dead_s=1.0).run()
    waiting = step(report, plan.WAIT_DEAD)
    assert (waiting.state, waiting.detail) == ("done", "every old key is proved deleted")
    assert told(report) == [] == left_in_latch(bench) and failure_of([report], "") is None
    # A panic that is run again asks nobody to delete what is gone.
    bench.keys = KeysRead()
    assert told(await bench.panic()) == []


async def test_without_a_wait_no_key_is_asked_about(tmp_path: Path) -> None:
    bench = with_dead(Bench(tmp_path / "robot"), "site-1", "robot-1")
    report = await bench.panic()
    assert plan.WAIT_DEAD not in {one.name for one in report.steps}
    assert told(report) == [("site", "site-1"), ("robot", "robot-1")]


# -- orders ------------------------------------------------------------------------------------------------------------


def orders_action(report: PanicReport) -> list[str]:
    return [action.text for action in report.actions if action.kind is ActionKind.CANCEL_ORDERS]


LOOK = "look for the robot's open orders on Binance's page (their names begin with 'fc') and cancel them"


async def test_a_person_cancels_the_orders_of_a_robot_whose_key_cannot_be_read(tmp_path: Path) -> None:
    locked = replace(key("robot"), pair=None)
    bench = Bench(tmp_path / "robot", Process("silent"), KeysRead((key("site"), locked)))
    bench.exchange.orders = [order(1, f"{PREFIX}-1")]
    report = await bench.panic()
    cancelling = step(report, plan.CANCEL_ORDERS)
    assert (cancelling.state, orders_action(report)) == ("skipped", [LOOK])
    assert cancelling.detail == "no robot key could be read: the robot's open orders, if any, stay at the exchange"
    assert not bench.latch.read()["orders_done"] and len(bench.exchange.orders) == 1


@pytest.mark.parametrize("read", [KeysRead(unknown=("robot",)), KeysRead((key("site"),), unknown=("robot",))])
async def test_a_person_looks_for_orders_where_a_robot_may_have_had_a_key(tmp_path: Path, read: KeysRead) -> None:
    assert orders_action(await Bench(tmp_path / "robot", keys=read).panic()) == [LOOK]


async def test_a_robot_that_ran_without_a_readable_key_may_have_left_orders(tmp_path: Path) -> None:
    report = await Bench(tmp_path / "robot", Process("silent"), KeysRead()).panic()
    assert orders_action(report) == [LOOK] and told(report) == [("site|robot", "")]


async def test_an_account_without_a_robot_has_no_orders_of_one(tmp_path: Path) -> None:
    report = await Bench(tmp_path / "robot", keys=KeysRead((key("site"),))).panic()
    assert step(report, plan.CANCEL_ORDERS).detail == "the account has no robot key" and orders_action(report) == []


async def test_a_robot_whose_prefix_is_not_known_leaves_its_orders_to_a_person(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "robot", changes={"own_prefix": lambda: None})
    bench.exchange.orders = [order(1, "a person's own")]
    report = await bench.panic()
    assert orders_action(report) == [LOOK] and len(bench.exchange.orders) == 1


# -- how long an order may still arrive --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latched_s", "waited_s"),
    [(3600.0, 2.0), (0.0, 2.0), (-1.5, 0.5), (-3600.0, 0.0)],
    ids=["the clock was put back", "just now", "a moment ago", "long ago"],
)
async def test_orders_are_waited_for_until_two_seconds_after_the_latch(
    tmp_path: Path, latched_s: float, waited_s: float
) -> None:
    """A clock that is put back makes the latch lie in the future: the panic waited for an hour."""
    bench = Bench(tmp_path / "robot", Process("none"))
    bench.latch.update(lambda facts: {**facts, "at_ms": int((NOW_S + latched_s) * 1000)})
    report = await bench.panic()
    assert step(report, plan.CANCEL_ORDERS).state == "done"
    assert bench.clock.s - NOW_S == pytest.approx(waited_s, abs=0.01)


# -- hooks -------------------------------------------------------------------------------------------------------------


async def test_each_hook_is_a_step_of_the_report(tmp_path: Path) -> None:
    fired: list[tuple[str, Mapping[str, Any], float]] = []

    def fire(event: str, facts: Mapping[str, Any], wait_s: float) -> tuple[HookReport, ...]:
        fired.append((event, facts, wait_s))
        return (HookReport(event, "done", ""), HookReport("notify", "failed", "no route to host"))

    bench = Bench(tmp_path / "robot", changes={"fire": fire})
    report = await bench.panic()
    hooks = [(one.name, one.state, one.detail) for one in report.steps if one.name.startswith("hook ")]
    assert hooks == [("hook on-panic", "done", ""), ("hook notify", "failed", "no route to host")]
    assert "hook notify" in {entry["name"] for entry in report.as_json()["steps"]}
    ((event, facts, wait_s),) = fired
    assert (event, facts["by"], wait_s) == ("on-panic", "panic-disconnect", 1.0)
    assert (
        facts["account"] == "default"
        and [entry["what"] for entry in facts["actions"]] == ["delete_key_at_exchange"] * 2
    )


async def test_hooks_that_cannot_be_read_are_a_failed_step(tmp_path: Path) -> None:
    def fire(event: str, facts: Mapping[str, Any], wait_s: float) -> tuple[HookReport, ...]:
        raise BadInputError("the configuration is no TOML")

    report = await Bench(tmp_path / "robot", changes={"fire": fire}).panic()
    hooks = [(one.name, one.state, one.detail) for one in report.steps if one.name.startswith("hook ")]
    assert hooks == [("hook hooks", "failed", "the configuration is no TOML")]
