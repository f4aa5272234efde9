"""The steps by which an order leaves the robot, and what stops it (robot.md, rules 1, 5, 6). Pure.

The order executor takes these steps, and the exhaustive exploration (tests/simulation) takes the same ones. Their order
is the safety rule. The timestamp is fixed before the lease is checked, so that the exchange refuses a request that was
delayed after the check for longer than its receive window. The latch is read under the shared lock that panic takes
exclusively, so that no order leaves once panic has taken it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# How long after its timestamp the exchange accepts an order (ms).
RECV_WINDOW_MS = 1_000
# An order that is not found this long after its timestamp (ms, the exchange's clock) was never accepted, and never
# will be.
PROVED_AFTER_MS = RECV_WINDOW_MS + 1_000


class SubmissionStep(StrEnum):
    STAMP = "stamp"  # fix the request's timestamp, by the exchange's clock
    JOURNAL = "journal"  # its intent is durable (or was, with the cycle's buy)
    LOCK = "lock"  # take the latch's lock, shared
    LATCH = "latch"  # read the latch under it
    LEASE = "lease"  # check that the account is still ours and that trading is still allowed
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
        order: the steps; the exploration passes wrong orders, which it must find to be unsafe.
        at: how many of them are done.
        stopped: the step that stopped it, or None.
    """

    order: tuple[SubmissionStep, ...] = SUBMISSION_STEPS
    at: int = 0
    stopped: SubmissionStep | None = None

    @property
    def step(self) -> SubmissionStep | None:
        """The step to take now; None at the end."""
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
        """Return the state after the present step; where *well* is false, the unlocking or the end comes next."""
        if well or self.step is None:
            return Submission(self.order, self.at + 1, self.stopped)
        refused = self.step
        held = self.locked and refused is not SubmissionStep.LOCK
        end = self.order.index(SubmissionStep.UNLOCK) if held else len(self.order)
        return Submission(self.order, end, refused)


# An order that is stamped and whose intent is durable.
READY = Submission().advance().advance()
