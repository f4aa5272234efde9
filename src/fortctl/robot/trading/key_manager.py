"""Load, swap and forget the robot's key, while its orders stay what they are."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal

from fortctl.errors import FortctlError
from fortctl.keys.verification import DeletionStatus, check_deleted, verify_new_key
from fortctl.model import Drift, KeyCard, KeyPair, KeyRestrictions, KeyVerdict, Role
from fortctl.ports import Exchange, ExchangeError, Outcome
from fortctl.robot.core.events import KeyStatusChanged
from fortctl.robot.core.key_loss import Cause, KeyLoss
from fortctl.robot.core.lifecycle import Books, Key, KeyEvent
from fortctl.robot.trading.drift_watch import DriftWatch
from fortctl.robot.trading.key_monitor import CHECK_AGAIN_S, KeyMonitor
from fortctl.robot.trading.state import RobotState
from fortctl.robot.trading.streams import StreamFollower

# Before a lost key is checked again where a check said nothing of it.
CHECK_SOON_S = 30.0


class KeyManager:
    """Owns the key of one robot: which adapter signs, and which user stream is followed.

    Args:
        robot: the robot's state.
        streams: follows the user streams.
        monitor: checks a key that the exchange refused.
        drift: watches what the key may do.
    """

    def __init__(self, robot: RobotState, streams: StreamFollower, monitor: KeyMonitor, drift: DriftWatch) -> None:
        self._robot = robot
        self._streams = streams
        self._monitor = monitor
        self._drift = drift

    async def verify_candidate(
        self, pair: KeyPair, *, allow: Collection[str] = (), pinned_uid: int | None = None
    ) -> KeyVerdict:
        """Ask the exchange about a key beside the loaded one; trading is not interrupted."""
        self._robot.candidate = True
        try:
            return await verify_new_key(self._robot.connect, pair, Role.ROBOT, allow=allow, pinned_uid=pinned_uid)
        finally:
            self._robot.candidate = False

    async def load(self, pair: KeyPair, *, uid: int, allow: Collection[str] = (), card: KeyCard | None = None) -> None:
        """Load the key that the vault holds, when a process begins.

        What the journal says of its loss is believed until the exchange accepts an order without effect.

        Args:
            uid: the number of the account that it belongs to.
            allow: permissions that a person accepted although the role forbids them.
            card: the key as it may be shown; None: unknown.
        """
        robot, stored = self._robot, self._robot.book.key_status
        self._drift.follow(card)
        if stored is None or stored.what != "lost":
            await self._connect(pair, uid=uid, allow=allow)
            return
        robot.exchange, robot.uid, robot.allow = robot.connect(pair), uid, tuple(allow)
        robot.turn_key(KeyEvent.SET)
        robot.turn_key(KeyEvent.LOSE)
        price = Decimal(stored.price) if stored.price else None
        robot.loss = KeyLoss(stored.at, price, Cause(stored.reason, stored.certainty, stored.why, stored.code))
        self._monitor.check_due = robot.clock.monotonic()
        self._monitor.learn_range(robot.loss)
        robot.log.warning("the journal says that the key was lost (%s); checking it again", stored.reason)
        robot.wake()

    async def check_lost(self) -> bool:
        """Check a lost key again; return whether it is loaded again, its orders being what they were.

        Raises:
            FortctlError, ExchangeError: the answers say nothing of it.
        """
        robot, monitor = self._robot, self._monitor
        exchange, loss = robot.exchange, robot.loss
        if exchange is None or loss is None or robot.key is not Key.LOST:
            return robot.has_key
        monitor.check_due = robot.clock.monotonic() + CHECK_SOON_S
        fault = ExchangeError(Outcome.KEY_REFUSED, loss.cause.reason, code=loss.cause.code)
        cause = await monitor.check_key(exchange, fault, before_it_is_used=True)
        if exchange is not robot.exchange or robot.has_key:
            return robot.has_key
        if cause is not None:
            loss.cause, monitor.check_due = cause, robot.clock.monotonic() + CHECK_AGAIN_S
            return False
        self._use(exchange)
        robot.log.warning("the key that was lost is accepted again; reconciling")
        return True

    async def check_lost_when_due(self) -> None:
        """Check a lost key again when that is due; what cannot be learnt is logged."""
        robot = self._robot
        if robot.key is not Key.LOST or robot.clock.monotonic() < self._monitor.check_due:
            return
        try:
            await self.check_lost()
        except (FortctlError, ExchangeError) as unknown:
            robot.log.warning("the lost key was checked again, and the answers say nothing of it: %s", unknown)

    async def set(self, pair: KeyPair, *, uid: int, allow: Collection[str] = (), card: KeyCard | None = None) -> None:
        """Load a key that was entered and verified: the next order leaves with it, after the books agree."""
        self._drift.follow_entered(card)
        await self._connect(pair, uid=uid, allow=allow)

    async def _connect(self, pair: KeyPair, *, uid: int, allow: Collection[str]) -> None:
        robot = self._robot
        old, robot.allow = robot.exchange, tuple(allow)
        robot.begin_swap()
        await self._streams.end_user()
        robot.exchange, robot.uid = robot.connect(pair), uid
        self._use(robot.exchange)
        robot.log.info("key loaded; reconciling")
        if old is not None:
            await old.close()

    def _use(self, exchange: Exchange) -> None:
        robot = self._robot
        robot.turn_key(KeyEvent.SET)
        robot.books, robot.key_in_doubt = Books.STALE, False
        robot.record(KeyStatusChanged("set", robot.clock.now_ms()))
        self._streams.follow_user(exchange)
        robot.wake()

    async def swap(self, pair: KeyPair, *, uid: int, allow: Collection[str] = (), card: KeyCard | None = None) -> None:
        """Put a verified second key of the same account in the loaded one's place, between two orders.

        The books stay as they are, since a stream is followed throughout: the old key's ends once the new one's is up.
        Where that cannot be, the key is loaded as any other (:meth:`set`).
        """
        robot, streams = self._robot, self._streams
        await streams.end_retired()
        old, fresh = robot.exchange, robot.connect(pair)
        try:
            # Opens the connection that the next order will use; the old key trades meanwhile.
            account = await fresh.account()
        except ExchangeError as fault:
            robot.log.warning("the new key's first call: %s", fault)
            account = None
        continuous = old is robot.exchange and old in streams.up and robot.books is Books.AGREED
        if old is None or account is None or {account.uid, robot.uid} != {uid} or not continuous:
            await fresh.close()
            await self.set(pair, uid=uid, allow=allow, card=card)
            return
        robot.begin_swap()
        robot.exchange, robot.allow = fresh, tuple(allow)
        self._drift.follow_entered(card)
        robot.close_gap()
        robot.record(KeyStatusChanged("set", robot.clock.now_ms()))
        robot.log.info("key swapped between two orders")
        streams.retire_user(old)
        streams.follow_user(fresh)
        robot.wake()

    async def check_deleted(self, old: KeyPair) -> DeletionStatus:
        """Ask the exchange whether a key that was replaced is deleted there."""
        exchange = self._robot.connect(old)
        try:
            return await check_deleted(exchange, self._robot.exchange, self._robot.clock)
        finally:
            await exchange.close()

    def observe_rights(self, restrictions: KeyRestrictions) -> tuple[Drift, ...]:
        """Judge what the exchange has just said that the loaded key may do; return its drift."""
        if self._robot.has_key:
            self._drift.observe(restrictions.rights())
        return self._robot.book.drift

    async def forget(self) -> None:
        """Forget the key; its orders stay at the exchange."""
        robot = self._robot
        self._drift.forget()
        await self._streams.end_user()
        if robot.exchange is not None:
            await robot.exchange.close()
            robot.exchange = None
        robot.turn_key(KeyEvent.FORGET)
        robot.books, robot.loss = Books.STALE, None
        robot.record(KeyStatusChanged("forgotten", robot.clock.now_ms()))
