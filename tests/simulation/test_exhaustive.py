"""No order after the halt, none twice, in every interleaving; and steps in the wrong order are found out."""

from __future__ import annotations

from pathlib import Path

import pytest

from fortctl.robot.core.submission import SUBMISSION_STEPS, Submission, SubmissionStep
from simulation.exhaustive import Bounds, explore
from simulation.loop import simulated
from support.robot_world import Robot, World

TWICE, AFTER_HALT = "an order was executed twice", "an order left after the halt"


@pytest.mark.parametrize("one_host", [False, True], ids=["two hosts", "one host"])
def test_nothing_twice_and_nothing_after_the_halt(one_host: bool) -> None:
    found = explore(Bounds(one_host=one_host))
    assert not found.bad, found.bad
    assert found.states > 20_000 and found.depth > 25


S = SubmissionStep
WRONG = {
    "the lease is checked before the timestamp is fixed": (
        (S.JOURNAL, S.LEASE, S.STAMP, S.LOCK, S.LATCH, S.SEND, S.UNLOCK),
        TWICE,
    ),
    "the latch is read before its lock is held": (
        (S.STAMP, S.JOURNAL, S.LATCH, S.LOCK, S.LEASE, S.SEND, S.UNLOCK),
        AFTER_HALT,
    ),
    "the lock is given back before the order has left": (
        (S.STAMP, S.JOURNAL, S.LOCK, S.LATCH, S.LEASE, S.UNLOCK, S.SEND),
        AFTER_HALT,
    ),
    "the latch is not read": ((S.STAMP, S.JOURNAL, S.LOCK, S.LEASE, S.SEND, S.UNLOCK), AFTER_HALT),
    "the intent is journaled after the order has left": (
        (S.STAMP, S.LOCK, S.LATCH, S.LEASE, S.SEND, S.UNLOCK, S.JOURNAL),
        TWICE,
    ),
}


@pytest.mark.parametrize("bug", sorted(WRONG))
def test_steps_in_a_wrong_order_are_found_out(bug: str) -> None:
    order, expected = WRONG[bug]
    found = explore(Bounds(order=order), until=expected)
    assert expected in found.bad, f"{bug}: {found.states} states, and nothing wrong"
    assert len(found.bad[expected]) < 25


def test_a_step_that_fails_gives_the_lock_back() -> None:
    for number, step in enumerate(SUBMISSION_STEPS):
        going = Submission()
        for _ in range(number):
            going = going.advance()
        failed = going.advance(False)
        assert failed.stopped is step and (failed.step is SubmissionStep.UNLOCK) is going.locked
        assert (not failed.advance().locked and failed.advance().step is None) or not going.locked


@simulated
async def test_the_runner_goes_these_steps(tmp_path: Path) -> None:
    """What is explored is what runs: each order of the real runner leaves by these steps, in this order."""
    world = World()
    robot = Robot(world, tmp_path, world.key("a"))
    await robot.up()
    seen: list[SubmissionStep] = []
    runner, journal, latch = robot.runner, robot.journal, robot.latch
    now, owns, append, placing, is_latched = (
        runner.robot.exchange_now,
        journal.owns,
        journal.append,
        latch.placing,
        latch.is_latched,
    )

    def note(step: SubmissionStep, real):  # type: ignore[no-untyped-def]
        def call(*arguments):  # type: ignore[no-untyped-def]
            seen.append(step)
            return real(*arguments)

        return call

    runner.robot.exchange_now = note(SubmissionStep.STAMP, now)  # type: ignore[method-assign]
    journal.append = note(SubmissionStep.JOURNAL, append)  # type: ignore[method-assign]
    latch.placing = note(SubmissionStep.LOCK, placing)  # type: ignore[method-assign]
    latch.is_latched = note(SubmissionStep.LATCH, is_latched)  # type: ignore[method-assign]
    journal.owns = note(SubmissionStep.LEASE, owns)  # type: ignore[method-assign]
    world.before = lambda name: seen.append(SubmissionStep.SEND) if name == "POST /api/v3/order" else None
    await robot.does(runner.start(by_person=True))
    await robot.settle()
    sent = seen.index(SubmissionStep.SEND)
    # The last time before the order left that each of them happened.
    last = {step: sent - 1 - seen[:sent][::-1].index(step) for step in (S.JOURNAL, S.LOCK, S.LEASE)}
    assert last[S.JOURNAL] < last[S.LOCK] < last[S.LEASE] < sent
    assert S.STAMP in seen[: last[S.JOURNAL]]
    await robot.down()
