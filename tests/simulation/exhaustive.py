"""Every interleaving of two robots, a panic, kills, and an exchange that delays, loses, or executes without answering.

The robots go :class:`fortctl.robot.core.submission.Submission`, the very steps that the runner goes. The states are
explored
breadth-first, each once, to the end: time is a handful of ticks, and each robot wants one and the same order (the sell
of one cycle, say), under a new attempt number each time that an attempt is proved absent.

The rules around the steps (robot.md, 2, 5 and 6): a request is taken in until its timestamp + WINDOW; an attempt that
is not found is proved absent after its timestamp + WINDOW + MARGIN; another robot becomes the owner once the lease has
ended WINDOW + MARGIN ago, or at once where the one before is dead (its file lock is free); panic writes the latch,
waits for the lock, and kills whoever holds it too long.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from fortctl.robot.core.submission import SUBMISSION_STEPS, Submission, SubmissionStep

WINDOW, MARGIN = 1, 1
LEASE_TICKS = 1


@dataclass(frozen=True)
class Bounds:
    """How far it is explored.

    Attributes:
        ticks: how long the world lasts.
        attempts: how often each robot may try.
        one_host: the lease is a file lock: another robot takes over only once the one before is dead.
        order: the robots' steps.
    """

    ticks: int = 4
    attempts: int = 2
    one_host: bool = False
    order: tuple[SubmissionStep, ...] = SUBMISSION_STEPS


@dataclass(frozen=True)
class Robot:
    """One robot.

    Attributes:
        owns: it took the account over, and has not been overtaken.
        going: its order on the way out, or None.
        stamp: that order's timestamp.
        attempt: the number of the attempt under way or done; 0: none.
        sent: the attempt has left, or may have.
        settled: the order is known to be at the exchange: nothing more is wanted.
    """

    alive: bool = True
    owns: bool = False
    going: Submission | None = None
    stamp: int = -1
    attempt: int = 0
    sent: bool = False
    settled: bool = False


@dataclass(frozen=True)
class State:
    """Everything there is.

    Attributes:
        owner: whose the lease is, and until when (ticks).
        journal: attempts whose intents are durable, with their timestamps.
        flying: requests on their way: attempt and timestamp.
        taken: attempts that the exchange took in.
        latched, halted: panic has written the latch; its halt step is done.
        bad: the first invariant that did not hold.
    """

    now: int = 0
    owner: int = 0
    lease_end: int = LEASE_TICKS
    robots: tuple[Robot, Robot] = (Robot(owns=True), Robot())
    journal: tuple[tuple[int, int], ...] = ()
    flying: frozenset[tuple[int, int]] = frozenset()
    taken: tuple[int, ...] = ()
    latched: bool = False
    halted: bool = False
    bad: str = ""


@dataclass
class Explored:
    """What the exploration found.

    Attributes:
        states, depth: how many states there are, and how many steps the longest way to one has.
        bad: the invariants that did not hold, each with one shortest way to it.
    """

    states: int = 0
    depth: int = 0
    bad: dict[str, list[str]] = field(default_factory=dict)


def explore(bounds: Bounds, until: str = "") -> Explored:
    """Explore every state that can be reached, or until a certain violation is found."""
    found, start = Explored(), State()
    came: dict[State, tuple[State, str] | None] = {start: None}
    queue = deque([(start, 0)])
    while queue:
        state, depth = queue.popleft()
        found.states, found.depth = found.states + 1, max(found.depth, depth)
        if state.bad:
            if state.bad not in found.bad:
                found.bad[state.bad] = _way(state, came)
            if state.bad == until:
                return found
            continue
        for what, after in _next(state, bounds):
            if after not in came:
                came[after] = (state, what)
                queue.append((after, depth + 1))
    return found


def _way(state: State, came: dict[State, tuple[State, str] | None]) -> list[str]:
    steps = []
    while (before := came[state]) is not None:
        state, what = before
        steps.append(what)
    return steps[::-1]


def _next(state: State, bounds: Bounds) -> Iterator[tuple[str, State]]:
    if state.now < bounds.ticks:
        yield "tick", replace(state, now=state.now + 1)
    yield from _panic(state)
    yield from _exchange(state)
    for number in (0, 1):
        robot = state.robots[number]
        if robot.alive:
            yield f"robot {number} is killed", _with(state, number, replace(robot, alive=False, going=None))
            yield from _robot(state, number, bounds)


def _with(state: State, number: int, robot: Robot) -> State:
    robots = (robot, state.robots[1]) if number == 0 else (state.robots[0], robot)
    return replace(state, robots=robots)


def _panic(state: State) -> Iterator[tuple[str, State]]:
    if not state.latched:
        yield "panic latches", replace(state, latched=True)
    elif not state.halted:
        # It waits a little for the lock, and kills whoever holds it still: both ends are possible at any time.
        robots = tuple(
            replace(robot, alive=False, going=None) if robot.going is not None and robot.going.locked else robot
            for robot in state.robots
        )
        yield "panic has the lock, or has killed its holder", replace(state, robots=robots, halted=True)  # type: ignore[arg-type]


def _exchange(state: State) -> Iterator[tuple[str, State]]:
    for request in sorted(state.flying):
        attempt, stamp = request
        left = state.flying - {request}
        yield f"attempt {attempt} is lost", replace(state, flying=left)
        if state.now > stamp + WINDOW:
            yield f"attempt {attempt} is refused", replace(state, flying=left)
            continue
        taken = (*state.taken, attempt)
        bad = "an order was executed twice" if len(taken) > 1 else ""
        yield f"attempt {attempt} is executed", replace(state, flying=left, taken=taken, bad=bad)


def _robot(state: State, number: int, bounds: Bounds) -> Iterator[tuple[str, State]]:
    robot, name = state.robots[number], f"robot {number}"
    if not robot.owns:
        yield from _take_over(state, number, bounds)
    elif robot.going is not None:
        yield from _step(state, number)
    elif state.owner == number and not robot.settled:
        if state.owner == number and state.now <= state.lease_end and not bounds.one_host:
            yield f"{name} renews", replace(state, lease_end=state.now + LEASE_TICKS)
        yield from _look(state, number, bounds)


def _take_over(state: State, number: int, bounds: Bounds) -> Iterator[tuple[str, State]]:
    other = state.robots[1 - number]
    free = not other.alive if bounds.one_host else state.now > state.lease_end + WINDOW + MARGIN
    if free and state.owner != number:
        mine = replace(state.robots[number], owns=True, attempt=max((a for a, _at in state.journal), default=0))
        after = replace(state, owner=number, lease_end=state.now + LEASE_TICKS)
        yield f"robot {number} takes over", _with(after, number, replace(mine, sent=mine.attempt > 0))


def _look(state: State, number: int, bounds: Bounds) -> Iterator[tuple[str, State]]:
    """Look up what may have left; begin an attempt only when each one before is proved absent (rule 2)."""
    robot = state.robots[number]
    if robot.attempt and state.taken:
        yield f"robot {number} finds the order", _with(state, number, replace(robot, settled=True))
        return
    stamps = [at for attempt, at in state.journal if attempt == robot.attempt]
    proved = all(state.now > at + WINDOW + MARGIN for at in stamps)
    if (not robot.sent or proved) and len(state.journal) < bounds.attempts:
        fresh = replace(robot, going=Submission(bounds.order), attempt=robot.attempt + 1, sent=False, stamp=-1)
        yield f"robot {number} wants attempt {fresh.attempt}", _with(state, number, fresh)


def _step(state: State, number: int) -> Iterator[tuple[str, State]]:
    robot = state.robots[number]
    going = robot.going
    assert going is not None
    step, what = going.step, f"robot {number}: {going.step}"
    if step is None:
        yield f"robot {number} has done", _with(state, number, replace(robot, going=None))
        return
    well, after, fresh = True, state, robot
    if step is SubmissionStep.STAMP:
        fresh = replace(robot, stamp=state.now)
    elif step is SubmissionStep.JOURNAL:
        # The fencing token is checked in the transaction of the write.
        well = state.owner == number
        if well:
            # A bug that journals before it stamps writes down the time of then.
            stamp = robot.stamp if robot.stamp >= 0 else state.now
            after = replace(state, journal=(*state.journal, (robot.attempt, stamp)))
    elif step is SubmissionStep.LATCH:
        well = not state.latched
    elif step is SubmissionStep.LEASE:
        well = state.owner == number
    elif step is SubmissionStep.SEND:
        bad = "an order left after the halt" if state.halted else ""
        after = replace(state, flying=state.flying | {(robot.attempt, robot.stamp)}, bad=bad)
        fresh = replace(robot, sent=True)
    yield what, _with(after, number, replace(fresh, going=going.advance(well)))


def main(words: list[str]) -> int:
    """Explore with as many ticks as wanted, and say how much that was."""
    for one_host in (False, True):
        found = explore(Bounds(ticks=int(words[0]) if words else 6, one_host=one_host))
        where = "one host" if one_host else "two hosts"
        print(f"{where}: {found.states} states, {found.depth} steps deep, {len(found.bad)} violations")
        if found.bad:
            print(found.bad)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
