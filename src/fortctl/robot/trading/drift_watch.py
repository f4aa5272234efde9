"""Watch what the robot's key may do: ask the exchange every few minutes, and report what a person did not accept.

What the key may do is compared with what a person accepted, which the journal keeps. A right to move funds out of the
account holds the robot until the right is gone or a person accepts it (decision 0027).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from fortctl.keys.drift import acceptable, compare_rights, first_accepted, moving_funds, near_expiry, rights_of_card
from fortctl.model import Drift, KeyCard, KeyRights
from fortctl.ports import Exchange, ExchangeError, Outcome
from fortctl.robot.core.drift_settings import WatchAction
from fortctl.robot.core.events import KeyDriftReported, KeyRightsAccepted
from fortctl.robot.core.hold_reasons import HoldCode, HoldReason
from fortctl.robot.trading.state import RobotState

# After a question that was not answered, the next one comes so soon (s), or after the interval where that is shorter.
ASK_AGAIN_S = 30.0


class DriftWatch:
    """Watches the key of one robot.

    Args:
        robot: the robot's state.
        panic: starts a panic of this robot, for a reason; returns at once.

    Attributes:
        observed: what the exchange last said that the key may do; None: nothing yet.
        asked_at: when it said so (ms since the epoch).
        unread: why the last question was not answered; empty where it was.
    """

    def __init__(self, robot: RobotState, panic: Callable[[str], None]) -> None:
        self._robot = robot
        self._panic = panic
        self._fingerprint = ""
        self._asking = False
        # When the exchange was last asked (monotonic seconds); None: not since the key was loaded.
        self._tried_at: float | None = None
        # It is asked again soon, because it did not answer.
        self._soon = False
        self.observed: KeyRights | None = None
        self.asked_at: int | None = None
        self.unread = ""

    # -- the key ---------------------------------------------------------------------------------------------------

    def follow(self, card: KeyCard | None) -> None:
        """Watch the key that the vault holds; what the journal says was accepted of it still is.

        Args:
            card: the key as it may be shown; None: unknown.
        """
        accepted = self._robot.book.accepted_rights
        self._begin(card)
        if card is not None and (accepted is None or accepted.fingerprint != card.fingerprint):
            self._accept_card()

    def follow_entered(self, card: KeyCard | None) -> None:
        """Watch a key that a person has just entered: what it may do now is accepted."""
        self._begin(card)
        self._accept_card()

    def forget(self) -> None:
        """Watch nothing: the key is gone, and its drift with it."""
        self._begin(None)
        self._clear()

    def _begin(self, card: KeyCard | None) -> None:
        self._fingerprint = card.fingerprint if card is not None else ""
        self.observed = rights_of_card(card) if card is not None else None
        self.asked_at = card.permissions_at if card is not None else None
        self.unread = ""
        self._tried_at, self._soon = None, False

    def _accept_card(self) -> None:
        if self.observed is not None:
            self._record_accepted(self.observed)
        self._clear()

    def _record_accepted(self, rights: KeyRights) -> None:
        robot = self._robot
        robot.record(KeyRightsAccepted(self._fingerprint, rights, robot.clock.now_ms()))

    def _clear(self) -> None:
        report = self._robot.book.drift_report
        if report is not None and report.drift:
            self._robot.record(KeyDriftReported((), report.rights, self._robot.clock.now_ms()))
        self._release(())

    # -- asking ----------------------------------------------------------------------------------------------------

    def due_in(self) -> float:
        """Return in how many seconds the exchange is to be asked; 0 or less: now, or nothing is to be asked."""
        robot = self._robot
        if self._tried_at is None or self._asking or not robot.has_key:
            return 0.0
        interval = robot.drift_settings.interval_s
        wait = min(interval, ASK_AGAIN_S) if self._soon else interval
        return self._tried_at + wait - robot.clock.monotonic()

    def ask_when_due(self) -> None:
        """Ask beside the worker, so that no order waits for the answer."""
        robot, exchange = self._robot, self._robot.signing
        if exchange is None or self._asking or self.due_in() > 0:
            return
        self._asking = True
        robot.spawn(self._ask(exchange), "question about the key's rights")

    async def _ask(self, exchange: Exchange) -> None:
        robot = self._robot
        try:
            restrictions = await exchange.key_restrictions()
            if exchange is robot.exchange:
                self._tried_at, self._soon = robot.clock.monotonic(), False
                self.observe(restrictions.rights())
        except ExchangeError as fault:
            if exchange is robot.exchange:
                self._note_unread(fault)
        finally:
            self._asking = False
            # It rests until the next question is due.
            robot.wake()

    def _note_unread(self, fault: ExchangeError) -> None:
        if not self.unread:
            self._robot.log.warning("the exchange does not say what the key may do: %s", fault.message)
        self.unread, self._tried_at = fault.message, self._robot.clock.monotonic()
        # Without an HTTP status the refusal is the adapter's own: the target has no such call.
        self._soon = fault.outcome is not Outcome.REFUSED or fault.http_status is not None

    # -- judging ---------------------------------------------------------------------------------------------------

    def observe(self, rights: KeyRights) -> None:
        """Compare what the exchange just said of the key with what was accepted; report, hold or panic."""
        robot = self._robot
        now = robot.clock.now_ms()
        self.observed, self.asked_at, self.unread = rights, now, ""
        drift = self._compare(rights, now)
        dangerous = moving_funds(drift, robot.allow)
        action = robot.drift_settings.action
        if dangerous and action is WatchAction.PANIC:
            # First of all: a journal that cannot be written keeps no panic from beginning.
            self._panic("; ".join(one.detail for one in dangerous))
        before = robot.book.drift
        if drift != before:
            robot.record(KeyDriftReported(drift, rights, now))
            self._announce([one for one in drift if one not in before])
            if not drift:
                robot.log.info("the key may do again what was accepted, and no more")
        self._release(dangerous)
        if action is not WatchAction.WARN:
            for one in dangerous:
                robot.hold_for(HoldReason(HoldCode.KEY_DRIFT, one.detail, subject=one.permission))

    def _compare(self, rights: KeyRights, now: int) -> tuple[Drift, ...]:
        robot = self._robot
        near = near_expiry(rights, now, robot.drift_settings.expiry_warning_ms)
        accepted = robot.book.accepted_rights
        if accepted is None or accepted.fingerprint != self._fingerprint:
            self._record_accepted(first_accepted(rights, robot.allow))
            accepted = robot.book.accepted_rights
            assert accepted is not None
        return (*compare_rights(accepted.rights, rights), *near)

    def _announce(self, new: Collection[Drift]) -> None:
        robot = self._robot
        for one in new:
            robot.log.warning("key drift: %s", one.detail)
        if new:
            facts = {
                "role": "robot",
                "fingerprint": self._fingerprint,
                "drift": [one.to_json() for one in new],
                "action": robot.drift_settings.action.value,
            }
            robot.announce("on-key-drift", facts)

    def _release(self, dangerous: Collection[Drift]) -> None:
        """Hold no longer for rights that are gone, or that a person accepted."""
        still, hold = {one.permission for one in dangerous}, self._robot.book.hold
        left = [reason for reason in hold if reason.code != HoldCode.KEY_DRIFT or reason.subject in still]
        if len(left) < len(hold):
            self._robot.log.warning("the key's rights no longer hold the robot")
            self._robot.release(left)

    # -- accepting -------------------------------------------------------------------------------------------------

    @property
    def can_accept(self) -> bool:
        """Whether there is a drift that a person can accept."""
        return bool(acceptable(self._robot.book.drift))

    def accept(self) -> None:
        """Accept what was reported of the key, because a person said so."""
        robot, report = self._robot, self._robot.book.drift_report
        if report is None or not self.can_accept:
            return
        self._record_accepted(report.rights)
        left = tuple(one for one in report.drift if one not in acceptable(report.drift))
        robot.record(KeyDriftReported(left, report.rights, robot.clock.now_ms()))
