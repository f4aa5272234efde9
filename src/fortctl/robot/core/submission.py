"""The steps by which an order leaves the robot, and what stops it on its way (robot.md, rules 1, 5, 6). Pure.

The runner goes these steps, and the exhaustive exploration (tests/simulation) goes the very same ones. Their order
is the rule: the timestamp is fixed before the lease is looked at, so that what is delayed after that is refused by the
exchange once its receive window is over; the latch is read under the shared lock that panic takes exclusively.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# How long the exchange takes an order after its timestamp (ms).
RECV_WINDOW_MS = 1_000
# An order that is not found after this long (ms, the exchange's clock) was never taken in, and never will be.
PROVED_AFTER_MS = RECV_WINDOW_MS + 1_000


class SubmissionStep(StrEnum):
    STAMP = "stamp"  # fix the request's timestamp, by the exchange's clock
    JOURNAL = "journal"  # its intent is durable (or was, with the cycle's buy)
    LOCK = "lock"  # take the latch's lock, shared
    LATCH = "latch"  # read the latch under it
    LEASE = "lease"  # look whether the account is still ours, and trading still wanted
    SEND = "send"  # hand it to the network
    UNLOCK = "unlock"


SUBMISSION_STEPS = (
    SubmissionStep.STAMP,
    SubmissionStep.JOURNAL,
    SubmissionStep.LOCK,
    SubmissionStep.LATCH,
    SubmissionStep.LEASE,
    SubmissionStep.SEND,
    SubmissionStep.UNLOCK,
)


@dataclass(frozen=True)
class Submission:
    """One order on its way out.

    Attributes:
        order: the steps; another order than :data:`SUBMISSION_STEPS` is a bug that the exploration must find.
        at: how many of them are done.
        stopped: the step that did not let it pass, or None.
    """

    order: tuple[SubmissionStep, ...] = SUBMISSION_STEPS
    at: int = 0
    stopped: SubmissionStep | None = None

    @property
    def step(self) -> SubmissionStep | None:
        """The step to be taken now; None at the end."""
        return self.order[self.at] if self.at < len(self.order) else None

    @property
    def locked(self) -> bool:
        """Whether the latch's lock is held."""
        done = self.order[: self.at]
        return (
            SubmissionStep.LOCK in done
            and SubmissionStep.UNLOCK not in done
            and self.stopped is not SubmissionStep.LOCK
        )

    def advance(self, well: bool = True) -> Submission:
        """Return the state after the present step; one that did not go well leads to the unlocking, or to the end."""
        if well or self.step is None:
            return Submission(self.order, self.at + 1, self.stopped)
        refused = self.step
        held = self.locked and refused is not SubmissionStep.LOCK
        end = self.order.index(SubmissionStep.UNLOCK) if held else len(self.order)
        return Submission(self.order, end, refused)


# An order that is stamped, and whose intent is durable.
READY = Submission().advance().advance()
