"""What a panic deletes at the exchange with an issuer, what it takes for gone, and what it leaves to a person."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fortctl.errors import ConflictError
from fortctl.ports import ExchangeError, IssuedKey, Outcome
from fortctl.secret import Secret
from fortctl.services.panic.actions import ActionKind
from fortctl.services.panic.known_key import KeysRead
from fortctl.services.panic.ports import AbortedOperation
from support.panic_bench import LOST, NOW_S, PREFIX, TRADING, Bench, Issuer, Process, issued, key, order, step, told

NEW = "fortctl-robot-r1-1"


def bench_with(tmp_path: Path, *more: IssuedKey, process: Process | None = None) -> tuple[Bench, Issuer]:
    bench = Bench(tmp_path / "robot", process or Process("none"))
    issuer = Issuer(bench, *(issued(one) for one in bench.keys.keys), *more)
    bench.changes["issuer"] = lambda: issuer
    return bench, issuer


async def test_every_key_of_ours_is_deleted_and_no_persons(tmp_path: Path) -> None:
    bench, issuer = bench_with(tmp_path, IssuedKey("site-1", Secret("P" * 64)))
    report = await bench.panic()
    assert told(report) == [] and [one.api_key.reveal() for one in issuer.keys] == ["P" * 64]
    assert bench.latch.read()["keys"] == []


async def test_the_robots_key_is_deleted_once_it_has_cancelled_what_came_late(tmp_path: Path) -> None:
    bench, issuer = bench_with(tmp_path, process=Process("stopped"))
    bench.exchange.coming = [(NOW_S + 0.8, order(1, f"{PREFIX}-1"))]
    report = await bench.panic()
    assert step(report, "cancel orders").detail == "1 orders cancelled" and issuer.deleted == ["site-1", "robot-1"]


@pytest.mark.parametrize("times", [1, 99])
async def test_one_that_cannot_be_deleted_keeps_no_other(tmp_path: Path, times: int) -> None:
    bench, issuer = bench_with(tmp_path)
    third = key("site", "site-0", "z" * 64)
    bench.keys = KeysRead((*bench.keys.keys, third))
    issuer.keys.append(issued(third))
    issuer.refusals = {"robot-1": [LOST] * times, "site-1": [LOST] * times}
    report = await bench.panic()
    lives = [("site", "site-1"), ("robot", "robot-1")] if times == 99 else []
    assert told(report) == lives and "site-0" in issuer.deleted
    assert step(report, "delete at exchange").state == ("failed" if lives else "done")


async def test_an_issuer_that_comes_back_is_asked_again(tmp_path: Path) -> None:
    bench, issuer = bench_with(tmp_path)
    issuer.silent = 5
    assert told(await bench.panic()) == [] and sorted(issuer.deleted) == ["robot-1", "site-1"]


async def test_a_master_key_that_is_refused_is_not_asked_again(tmp_path: Path) -> None:
    bench, issuer = bench_with(tmp_path)
    issuer.refusal, issuer.silent = ExchangeError(Outcome.KEY_REFUSED, "no", code=-2015), 1_000
    assert step(await bench.panic(), "delete at exchange").state == "failed" and issuer.silent >= 995


async def test_another_sub_accounts_list_proves_nothing(tmp_path: Path) -> None:
    bench, issuer = bench_with(tmp_path)
    issuer.keys = [IssuedKey("somebody's", Secret("Q" * 64))]
    for _again in range(2):
        report = await bench.panic()
        assert told(report) == [("site", "site-1"), ("robot", "robot-1")] and issuer.deleted == []
        assert all("the issuer's list does not name it" in action.text for action in report.actions), report
        bench.keys = KeysRead()  # the copies are destroyed


async def test_one_that_a_person_had_deleted_before_is_proved_by_asking(tmp_path: Path) -> None:
    bench, issuer = bench_with(tmp_path)
    issuer.keys = []
    bench.exchange.restrictions = ExchangeError(Outcome.KEY_REFUSED, "no such key", code=-2008)
    assert told(await bench.panic()) == []


async def test_one_that_a_person_deletes_between_two_panics_is_gone(tmp_path: Path) -> None:
    bench, issuer = bench_with(tmp_path)
    fingerprint = lambda api_key: f"print-{api_key.reveal()[-4:]}"  # noqa: E731
    issuer.refusals = {"robot-1": [LOST] * 99}
    assert told(await bench.panic()) == [("robot", "robot-1")]
    bench.keys = KeysRead(fingerprint=fingerprint)
    issuer.keys = []
    assert told(await bench.panic()) == []


# -- a rotation is in the middle ---------------------------------------------------------------------------------------


def aborted(names: Sequence[str] = (NEW,), *, at_ms: int | None = int(NOW_S * 1000), **facts: Any) -> AbortedOperation:
    return AbortedOperation("the rotation r1 was aborted", at_ms, {"robot": tuple(names)}, **facts)


async def test_a_key_that_is_made_after_the_panic_began_is_deleted(tmp_path: Path) -> None:
    bench, issuer = bench_with(tmp_path)
    bench.changes["abort_operation"] = aborted
    issuer.coming = [(NOW_S + 1.0, IssuedKey(NEW, Secret("N" * 64), TRADING))]
    report = await bench.panic()
    assert told(report) == [] and NEW in issuer.deleted and bench.latch.read()["issued"] == []
    assert bench.clock.s < NOW_S + 6.0, "once it has come and gone there is nothing to wait for"


async def test_one_that_never_comes_is_waited_for_as_long_as_it_could(tmp_path: Path) -> None:
    bench, issuer = bench_with(tmp_path)
    bench.changes["abort_operation"] = aborted
    report = await bench.panic()
    assert told(report) == [] and bench.clock.s >= NOW_S + 6.0 and issuer.keys == []


async def test_a_silent_issuer_leaves_the_name_to_a_person_until_it_is_settled(tmp_path: Path) -> None:
    bench, issuer = bench_with(tmp_path)
    issuer.keys.append(IssuedKey(NEW, Secret("N" * 64), TRADING))
    bench.changes["abort_operation"] = aborted
    issuer.silent = 1_000
    assert told(await bench.panic()) == [("site", "site-1"), ("robot", "robot-1"), ("robot", NEW)]
    bench.changes["abort_operation"] = lambda: None
    bench.keys = KeysRead()
    assert ("robot", NEW) in told(await bench.panic())
    issuer.silent = 0
    assert ("robot", NEW) not in told(await bench.panic()) and NEW in issuer.deleted
    assert ("robot", NEW) not in told(await bench.panic())


async def test_without_an_issuer_that_opens_the_name_is_said(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "robot", changes={"abort_operation": aborted})
    report = await bench.panic()
    assert ("robot", NEW) in told(report)


async def test_an_operation_that_could_not_be_ended_is_ended_at_the_end(tmp_path: Path) -> None:
    bench, issuer = bench_with(tmp_path)
    issuer.keys.append(IssuedKey(NEW, Secret("N" * 64), TRADING))
    tries: list[int] = []

    def busy() -> AbortedOperation:
        tries.append(1)
        if len(tries) == 1:
            raise ConflictError("the operation store cannot be written: database is locked")
        return aborted()

    bench.changes["abort_operation"] = busy
    report = await bench.panic()
    assert step(report, "abort operation again").state == "done" and NEW in issuer.deleted and report.actions == ()


async def test_one_that_stays_open_is_said(tmp_path: Path) -> None:
    bench, issuer = bench_with(tmp_path)
    issuer.keys.append(IssuedKey(NEW, Secret("N" * 64), TRADING))
    problem = ConflictError("the operation store cannot be written: database is locked")
    bench.changes["abort_operation"] = lambda: aborted(at_ms=None, problem=problem)
    report = await bench.panic()
    assert NEW in issuer.deleted, "its names could be read"
    assert [action.kind for action in report.actions] == [ActionKind.FINISH_STEP]
    assert "the rotation of account default could not be ended" in report.actions[0].text


async def test_ctrl_c_ends_the_waiting_and_tells_what_was_done(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "robot", Process("answers", {"cancelled": [], "left": []}))
    waiting = asyncio.Event()

    class Alive:
        async def key_restrictions(self) -> None:
            waiting.set()
            await asyncio.Event().wait()

        async def close(self) -> None:
            return

    bench.changes["connect"] = lambda pair: Alive()
    panic = bench.made(wait_dead_s=60.0)
    task = asyncio.create_task(panic.run())
    await waiting.wait()
    panic.stop_waiting()
    report = await task
    assert (step(report, "wait dead").state, step(report, "destroy keys").state) == ("unproved", "done")
    assert "a backup made before still opens its copy" in step(report, "destroy keys").detail
    assert told(report) == [("site", "site-1"), ("robot", "robot-1")]
