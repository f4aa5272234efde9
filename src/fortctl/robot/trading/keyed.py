"""How a key comes, is replaced, and goes, while its orders stay what they are. A layer of the runner."""

from __future__ import annotations

from abc import ABC
from collections.abc import Collection
from decimal import Decimal

from fortctl.errors import FortctlError
from fortctl.keys.verification import DeletionStatus, check_deleted, verify_new_key
from fortctl.model import KeyPair, KeyVerdict, Role
from fortctl.ports import ExchangeError, Outcome
from fortctl.robot.core.events import KeyStatusChanged
from fortctl.robot.core.key_loss import Cause, KeyLoss
from fortctl.robot.core.lifecycle import Books, Key, KeyEvent
from fortctl.robot.trading.feeds import LOOK_AGAIN_S, Feeds

# Before a lost key is looked at again where a look told nothing.
UNTOLD_S = 30.0


class Keyed(Feeds, ABC):
    """Loads, swaps and forgets the key."""

    async def verify_candidate(
        self, pair: KeyPair, *, allow: Collection[str] = (), pinned_uid: int | None = None
    ) -> KeyVerdict:
        """Ask the exchange about a key beside the loaded one; trading goes on meanwhile."""
        self._candidate = True
        try:
            return await verify_new_key(self._connect, pair, Role.ROBOT, allow=allow, pinned_uid=pinned_uid)
        finally:
            self._candidate = False

    async def load_key(self, pair: KeyPair, *, uid: int, allow: Collection[str] = ()) -> None:
        """Load the key that the vault holds, when a process begins.

        What the journal says of its loss is believed until the exchange takes an order without effect.
        """
        mark = self.book.key_mark
        if mark is None or mark.what != "lost":
            await self.set_key(pair, uid=uid, allow=allow)
            return
        self._exchange, self._uid, self._allow = self._connect(pair), uid, tuple(allow)
        self._turn_key(KeyEvent.SET)
        self._turn_key(KeyEvent.LOSE)
        price = Decimal(mark.price) if mark.price else None
        self._loss = KeyLoss(mark.at, price, Cause(mark.reason, mark.certainty, mark.why, mark.code))
        self._look_due = self._clock.monotonic()
        self._look_back(self._loss)
        self._log.warning("the journal says that the key was lost (%s); looking at it again", mark.reason)
        self._dirty.set()

    async def look_at_key(self) -> bool:
        """Ask about a lost key again; return whether it is loaded again, its orders being what they were.

        Raises:
            FortctlError, ExchangeError: nothing could be learnt of it.
        """
        exchange, loss = self._exchange, self._loss
        if exchange is None or loss is None or self._key is not Key.LOST:
            return self.has_key
        self._look_due = self._clock.monotonic() + UNTOLD_S
        fault = ExchangeError(Outcome.KEY_REFUSED, loss.cause.reason, code=loss.cause.code)
        cause = await self._second_look(exchange, fault, before_it_is_used=True)
        if exchange is not self._exchange or self.has_key:
            return self.has_key
        if cause is not None:
            loss.cause, self._look_due = cause, self._clock.monotonic() + LOOK_AGAIN_S
            return False
        self._turn_key(KeyEvent.SET)
        self._books, self._suspect = Books.STALE, False
        self.record(KeyStatusChanged("set", self._clock.now_ms()))
        self._log.warning("the key that was lost is accepted again; reconciling")
        self._user_task = self._spawn(self._follow_user(exchange), "user stream")
        self._dirty.set()
        return True

    async def _look_when_due(self) -> None:
        if self._key is not Key.LOST or self._clock.monotonic() < self._look_due:
            return
        try:
            await self.look_at_key()
        except (FortctlError, ExchangeError) as unknown:
            self._log.warning("the lost key was looked at again, which told nothing: %s", unknown)

    async def set_key(self, pair: KeyPair, *, uid: int, allow: Collection[str] = ()) -> None:
        """Load a verified key: the next order goes out with it, after the books agree."""
        old, self._allow = self._exchange, tuple(allow)
        self._begin_swap()
        await self._end_user_stream()
        self._exchange = self._connect(pair)
        self._uid = uid
        self._turn_key(KeyEvent.SET)
        self._books, self._suspect = Books.STALE, False
        self.record(KeyStatusChanged("set", self._clock.now_ms()))
        self._log.info("key loaded; reconciling")
        self._user_task = self._spawn(self._follow_user(self._exchange), "user stream")
        if old is not None:
            await old.close()
        self._dirty.set()

    async def swap_key(self, pair: KeyPair, *, uid: int, allow: Collection[str] = ()) -> None:
        """Put a verified second key of the same account in the loaded one's place, between two orders.

        The books stay as they are, since somebody listens throughout: the old key's stream ends once the new one's is
        up. Where that cannot be, the key is loaded as any other (:meth:`set_key`).
        """
        await self._end_retired()
        old, fresh = self._exchange, self._connect(pair)
        try:
            # Opens the connection that the next order will use; the old key trades on meanwhile.
            account = await fresh.account()
        except ExchangeError as fault:
            self._log.warning("the new key's first call: %s", fault)
            account = None
        continuous = old is self._exchange and old in self._up and self._books is Books.AGREED
        if old is None or account is None or {account.uid, self._uid} != {uid} or not continuous:
            await fresh.close()
            await self.set_key(pair, uid=uid, allow=allow)
            return
        self._begin_swap()
        self._exchange, self._allow = fresh, tuple(allow)
        self._close_gap()
        self.record(KeyStatusChanged("set", self._clock.now_ms()))
        self._log.info("key swapped between two orders")
        self._retire_stream(old)
        self._user_task = self._spawn(self._follow_user(fresh), "user stream")
        self._dirty.set()

    async def check_deleted(self, old: KeyPair) -> DeletionStatus:
        """Ask the exchange whether a key that was replaced is dead."""
        exchange = self._connect(old)
        try:
            return await check_deleted(exchange, self._exchange)
        finally:
            await exchange.close()

    async def forget_key(self) -> None:
        """Forget the key; its orders stay at the exchange."""
        await self._end_user_stream()
        if self._exchange is not None:
            await self._exchange.close()
            self._exchange = None
        self._turn_key(KeyEvent.FORGET)
        self._books, self._loss = Books.STALE, None
        self.record(KeyStatusChanged("forgotten", self._clock.now_ms()))
