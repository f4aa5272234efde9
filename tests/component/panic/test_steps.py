"""The table of steps: it is complete, nothing in it waits in a circle, and no step that hangs or breaks stops
another.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

from fortctl.robot.storage.latch import LatchFile
from fortctl.services.panic import panic as player
from fortctl.services.panic import plan, read_keys
from fortctl.services.panic.actions import ActionKind
from fortctl.services.panic.known_key import KeysRead
from fortctl.services.panic.plan import PLAN, PanicStepKind, TimeLimit
from fortctl.services.panic.report import failure_of
from fortctl.services.panic.state import PanicContext
from fortctl.services.panic.steps import ON_FAILURE, STEPS
from support.panic_bench import Bench, Issuer, Process, Reader, issued, key, step, told

SHORT = TimeLimit(0.05)
NAMES = [kind.name for kind in PLAN]


def limited(*names: str) -> tuple[PanicStepKind, ...]:
    """Return the table with short limits for the named steps."""
    return tuple(replace(kind, limit=SHORT) if kind.name in names else kind for kind in PLAN)


def test_every_row_has_a_function_and_no_step_waits_in_a_circle() -> None:
    assert list(STEPS) == NAMES and set(ON_FAILURE) <= set(NAMES)
    order = TopologicalSorter({kind.name: (*kind.after, *kind.then_after) for kind in PLAN})
    assert set(order.static_order()) == set(NAMES)
    for number, kind in enumerate(PLAN):
        assert set(kind.after) <= set(NAMES[:number]), f"{kind.name} stands before a step that it follows"
        assert kind.does and kind.on_failure and kind.at_limit and kind.limit.seconds > 0


def test_nothing_is_destroyed_before_the_names_are_noted_and_the_latch_comes_first() -> None:
    before = {kind.name: set(kind.after) for kind in PLAN}
    for kind in PLAN:
        for name in kind.after:
            before[kind.name] |= before[name]
    assert all(plan.LATCH in before[name] for name in NAMES if name != plan.LATCH)
    assert plan.READ_KEYS in before[plan.DESTROY_KEYS] & before[plan.EMPTY_MAILBOX] & before[plan.DELETE_AT_EXCHANGE]
    assert {plan.HALT, plan.ORDER} <= before[plan.CANCEL_ORDERS]
    assert plan.READ_KEYS not in before[plan.HALT], "a vault that hangs keeps no robot alive"


def with_every_step(bench: Bench) -> Bench:
    """Have every row of the table be part of the panic: another host, an issuer, a rotation that stays open."""
    issuer = Issuer(bench, *(issued(known) for known in bench.keys.keys))
    bench.changes |= {
        "issuer": lambda: issuer,
        "remote": lambda: lambda *how: None,
        "fire": lambda event, facts, wait_s: (),
    }
    return bench


async def hang(_panic: PanicContext) -> str:
    await asyncio.Event().wait()
    raise AssertionError


async def crash(_panic: PanicContext) -> str:
    raise AttributeError("no such thing")


@pytest.mark.parametrize("broken", [hang, crash])
@pytest.mark.parametrize("name", NAMES)
async def test_a_step_that_hangs_or_breaks_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, broken: Any
) -> None:
    ran: list[str] = []

    def noting(kind: str, function: Any) -> Any:
        async def run(panic: PanicContext) -> str:
            ran.append(kind)
            result: str = await function(panic)
            return result

        return run

    for kind, function in STEPS.items():
        monkeypatch.setitem(STEPS, kind, noting(kind, broken if kind == name else function))
    bench = with_every_step(Bench(tmp_path / "robot", Process("silent")))
    report = await bench.made(wait_dead_s=0.1, plan=limited(name)).run()
    assert set(ran) == set(NAMES)
    failed = {one.name for one in report.steps if one.state == "failed"} - {plan.ORDER}
    visible = {plan.HOOKS: {"hook hooks"}, plan.LOCATE_ROBOT: set(), plan.ORDER: set()}
    assert failed == visible.get(name, {name})
    remedies = {action.step for action in report.actions if action.kind is ActionKind.FINISH_STEP}
    expected = {kind.name for kind in PLAN if kind.name == name and kind.remedy}
    assert expected <= remedies <= {name}
    if name not in (plan.LATCH, plan.HALT):
        assert bench.process.state == "ended" and bench.latch.is_latched()


async def test_a_step_that_hangs_while_it_closes_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stubborn(_panic: PanicContext) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(30)
        raise AssertionError

    monkeypatch.setattr(player, "CLOSE_WITHIN_S", 0.05)
    monkeypatch.setitem(STEPS, plan.ABORT_OPERATION, stubborn)
    began = time.monotonic()
    report = await Bench(tmp_path / "robot").made(plan=limited(plan.ABORT_OPERATION)).run()
    assert step(report, plan.ABORT_OPERATION).detail == "it took too long" and time.monotonic() - began < 20


async def test_waiting_for_other_steps_does_not_count_against_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(_panic: PanicContext) -> str:
        await asyncio.sleep(0.5)
        return "slow"

    monkeypatch.setitem(STEPS, plan.CANCEL_ORDERS, slow)
    bench = with_every_step(Bench(tmp_path / "robot"))
    table = tuple(
        replace(kind, limit=TimeLimit(0.4)) if kind.name == plan.DELETE_AT_EXCHANGE else kind for kind in PLAN
    )
    report = await bench.made(plan=table).run()
    assert step(report, plan.DELETE_AT_EXCHANGE).state == "done"


async def test_what_was_done_is_published_before_the_wait_for_the_keys_begins(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "robot")
    report = await bench.made(wait_dead_s=1.0).run()
    (published,) = bench.published
    assert [one.name for one in published.steps] == [one.name for one in report.steps][:-1]
    assert report.steps[-1].name == plan.WAIT_DEAD and {one.state for one in published.steps} <= {"done", "skipped"}
    await bench.panic()
    assert len(bench.published) == 1, "without --wait-dead there is one report, at the end"


# -- a disk that hangs -------------------------------------------------------------------------------------------------


class HangingReader(Reader):
    """One place hangs for ever, the others can be read."""

    hangs = ""

    def _maybe(self, place: str) -> None:
        if place == self.hangs:
            threading.Event().wait()

    def site_vault(self) -> KeysRead:
        self._maybe("site")
        return KeysRead((key("site"),))

    def robot_vault(self) -> KeysRead:
        self._maybe("robot")
        return KeysRead((key("robot"),))

    def deliveries(self) -> Sequence[str]:
        self._maybe("mailbox")
        return ()


@pytest.mark.parametrize(
    ("hangs", "late", "left"),
    [
        ("site", "the site's vault", [("robot", "robot-1"), ("site", "")]),
        ("robot", "the robot's vault", [("site", "site-1"), ("robot", "")]),
        ("mailbox", "the mailbox", [("site", "site-1"), ("robot", "robot-1")]),
    ],
)
async def test_what_was_read_well_is_used_though_another_read_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: str, late: str, left: list[tuple[str, str]]
) -> None:
    monkeypatch.setattr(read_keys, "VAULTS_WITHIN_S", 0.2)
    reader = HangingReader(KeysRead())
    reader.hangs = hangs
    bench = Bench(tmp_path / "robot", changes={"keys": reader})
    report = await bench.made(plan=limited(plan.EMPTY_MAILBOX)).run()
    reading = step(report, plan.READ_KEYS)
    assert reading.state == "failed" and reading.detail.startswith(f"not read in time: {late}")
    assert told(report) == left and bench.destroyed == ()
    assert {entry["role"] for entry in bench.latch.read()["keys"]} == {role for role, name in left if name}
    if hangs != "robot":
        assert step(report, plan.CANCEL_ORDERS).state == "done", "with the robot's key"


@pytest.mark.parametrize(
    ("port", "name"),
    [
        ("destroy", plan.DESTROY_KEYS),
        ("empty_mailbox", plan.EMPTY_MAILBOX),
        ("abort_operation", plan.ABORT_OPERATION),
        ("own_prefix", plan.CANCEL_ORDERS),
        ("issuer", plan.DELETE_AT_EXCHANGE),
        ("audit", plan.RECORD),
        ("remote", plan.ORDER),
    ],
)
async def test_a_machine_that_hangs_in_one_place_costs_that_step_alone(tmp_path: Path, port: str, name: str) -> None:
    bench = Bench(tmp_path / "robot", Process("silent"), changes={port: lambda *_words: threading.Event().wait()})
    short = [kind.name for kind in PLAN if kind.name not in (plan.LATCH, plan.HALT, plan.READ_KEYS)]
    report = await bench.made(plan=limited(*short)).run()
    assert bench.process.state == "ended" and step(report, plan.READ_KEYS).state == "done"
    if port != "remote":
        assert step(report, name).detail == "it took too long"
    if port != "destroy":
        assert bench.destroyed == ()


class HangingLock(LatchFile):
    def drain_placers(self, timeout_s: float) -> bool:
        return threading.Event().wait()


async def test_a_lock_that_hangs_keeps_no_robot_alive(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "robot", Process("silent"))
    bench.changes["latch"] = HangingLock(bench.folder)
    report = await bench.panic()
    assert step(report, plan.HALT).detail == "the robot did not acknowledge: killed (pid 7)"


async def test_a_robot_that_may_run_elsewhere_for_all_that_is_known_was_not_reached(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "robot", changes={"remote": lambda: threading.Event().wait()})
    report = await bench.made(plan=limited(plan.LOCATE_ROBOT)).run()
    failure = failure_of([report], "")
    assert failure is not None and failure.exit_code == 9
    assert "whether the robot runs on another host" in step(report, plan.ORDER).detail
