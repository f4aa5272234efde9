"""The robot's shell: feeds the pure core with what happens and carries out what it wants.

It knows the robot's pure modules and ports only. One worker decides; streams and replies only add to the book.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

from fortctl.errors import Conflict, FortctlError, JournalUnwritable
from fortctl.keycheck import Death, ask_if_dead, check_entered
from fortctl.model import KeyPair, KeyVerdict, Role
from fortctl.ports import Exchange, ExchangeFault, Outcome
from fortctl.robot.describe import balance_rows, describe
from fortctl.robot.events import Configured, Intent, KeyMarked, Released
from fortctl.robot.feeds import RETRY_S, Feeds
from fortctl.robot.lifecycle import Books, Key, KeyEvent, WishEvent
from fortctl.robot.lookups import LookUps, under_our_names
from fortctl.robot.orders import OrderDesk
from fortctl.robot.outlook import after_resume, numbered
from fortctl.robot.reconcile import Limits, Mark, missed_something
from fortctl.robot.reconciling import Reconciler
from fortctl.robot.records import order_row
from fortctl.robot.settings import Settings, refuse_change
from fortctl.robot.strategy import drained
from fortctl.robot.trader import Trader

SECOND_LOOK_S = 30.0
# Asking costs as much as a glance at the open orders of one symbol; a lost fill or key costs more.
SILENCE_S = 30.0
SHORTEST_S = 0.05
# After a panic only 'robot resume' lets a robot go on.
PANIC = "PANIC"
# Reasons to hold that reconciling does not find again by itself.
LASTING = (PANIC, "BOOKS", "STRATEGY")
LAND_S = 1.0
# How long 'stop --now' asks the exchange what it leaves.
TELL_S = 5.0


class Runner(Feeds):
    """One account's robot: what its desk asks of it, and its worker."""

    @cached_property
    def _reconciler(self) -> Reconciler:
        return Reconciler(self)

    @property
    def lookups(self) -> LookUps:
        return self._orders.lookups

    @cached_property
    def _orders(self) -> OrderDesk:
        return OrderDesk(self)

    @cached_property
    def _trader(self) -> Trader:
        return Trader(self, self._strategies)

    def doubt_rules(self) -> None:
        self._trader.doubt_rules()

    def _fetch_fills(self, name: str) -> None:
        self.lookups.fetch_fills_of(name)

    def _sell_at_once(self, name: str) -> bool:
        self._orders.noted(name)
        # The lease is looked at once, after the sell is stamped and under the latch's lock (see robot/leaving.py).
        if not self.calm() or self._rules is None or self._price is None:
            return False
        return self._orders.sell_at_once(name, self._orders.view(self._price, self._rules, self._rate))

    # -- what the desk asks ----------------------------------------------------------------------------------------

    async def verify_candidate(
        self, pair: KeyPair, *, allow: Collection[str] = (), pinned_uid: int | None = None
    ) -> KeyVerdict:
        """Ask the exchange about a key beside the loaded one; trading goes on meanwhile."""
        self._candidate = True
        try:
            return await check_entered(self._connect, pair, Role.ROBOT, allow=allow, pinned_uid=pinned_uid)
        finally:
            self._candidate = False

    async def set_key(self, pair: KeyPair, *, uid: int) -> None:
        """Load a verified key: the next order goes out with it, after the books agree."""
        old = self._exchange
        self._begin_swap()
        await self._end_user_stream()
        self._exchange = self._connect(pair)
        self._uid = uid
        self._turn_key(KeyEvent.SET)
        self._books, self._suspect = Books.STALE, False
        self.record(KeyMarked("set", self._clock.now_ms()))
        self._log.info("key loaded; reconciling")
        self._user_task = self._spawn(self._follow_user(self._exchange), "user stream")
        if old is not None:
            await old.close()
        self._dirty.set()

    async def swap_key(self, pair: KeyPair, *, uid: int) -> None:
        """Put a verified second key of the same account in the loaded one's place, between two orders.

        The books stay as they are, since somebody listens throughout: the old key's stream ends once the new one's is
        up. Where that cannot be, the key is loaded as any other (:meth:`set_key`).
        """
        await self._end_retired()
        old, fresh = self._exchange, self._connect(pair)
        try:
            # Opens the connection that the next order will use; the old key trades on meanwhile.
            account = await fresh.account()
        except ExchangeFault as fault:
            self._log.warning("the new key's first call: %s", fault)
            account = None
        continuous = old is self._exchange and old in self._up and self._books is Books.AGREED
        if old is None or account is None or {account.uid, self._uid} != {uid} or not continuous:
            await fresh.close()
            await self.set_key(pair, uid=uid)
            return
        self._begin_swap()
        self._exchange = fresh
        self._close_gap()
        self.record(KeyMarked("set", self._clock.now_ms()))
        self._log.info("key swapped between two orders")
        self._retire_stream(old)
        self._user_task = self._spawn(self._follow_user(fresh), "user stream")
        self._dirty.set()

    async def ask_if_dead(self, old: KeyPair) -> Death:
        """Ask the exchange whether a key that was replaced is dead."""
        exchange = self._connect(old)
        try:
            return await ask_if_dead(exchange, self._exchange)
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
        self.record(KeyMarked("forgotten", self._clock.now_ms()))

    async def start(self, *, by_person: bool) -> None:
        """Start trading. Raises ``Conflict`` when running already, latched or not configured."""
        if self._latch.is_latched():
            raise Conflict("the robot is latched", hint="'fortctl panic-clear' lifts the latch")
        if self.book.settings is None:
            raise Conflict("the robot is not configured", hint="'fortctl robot configure' says what to trade")
        if self.state == "running":
            raise Conflict("the robot is running already", details={"state": "running"})
        await self._trader.admit(self.book.settings, self._watcher())
        panicked = any(reason.startswith(PANIC) for reason in self.book.hold)
        if by_person and not self.book.live and self.book.hold and not panicked:
            self.record(Released())
        self._wish(WishEvent.START, "started")

    async def drain(self) -> None:
        self._wish(WishEvent.DRAIN, "draining")

    async def stop_now(self, *, cancel_orders: bool) -> dict[str, Any]:
        """Stop at once; return which orders were cancelled, which stay at the exchange, and which are in doubt.

        Whatever was on its way at that instant has landed and is told of, as far as the exchange answers in time.
        """
        self._wish(WishEvent.STOP, "stopped")
        await self._land()
        cancelled = await self._orders.cancel_all() if cancel_orders else []
        exchange = self._exchange
        if exchange is not None and self._key is Key.LOADED:
            with contextlib.suppress(TimeoutError, ExchangeFault):
                async with asyncio.timeout(TELL_S):
                    await self._reconcile(exchange)
        return {"cancelled": cancelled, "orders_left": self.open_orders(), "in_doubt": self.lookups.unknown}

    async def _land(self) -> None:
        """Let what is under way land: a cancel that overtakes its order would leave it at the exchange."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAND_S):
                await self._orders.landed()

    async def resume(self) -> None:
        """Go on after a person has looked. Raises ``Conflict`` when not held."""
        if not self.book.hold:
            raise Conflict("the robot is not held", hint="see 'fortctl robot status'")
        self._excused = frozenset(self.book.hold)
        self.record(Released())
        self._mark = Mark(self.exchange_now(), self._price) if self._price is not None else None
        self._doubt_books()

    async def configure(self, settings: Settings) -> list[tuple[str, str]] | None:
        """Take new settings; return warnings (code, message), or None where they are the present ones.

        Raises ``Conflict`` when cycles of another symbol or strategy are open, ``BadInput``.
        """
        old = self.book.settings
        if old == settings:
            return None
        if old is not None and self.book.live:
            refuse_change(old, settings)
        warnings = await self._trader.admit(settings, self._watcher())
        self.record(Configured(settings.as_json()))
        if old is None or old.symbol != settings.symbol:
            self._rules = self._price = None
            self._price_at = 0
            self._doubt_books()
            self._restart_market()
        return warnings

    def place_nothing_more(self) -> None:
        """From this call on no order leaves (panic); cancels still may."""
        self._stopping = True

    async def halt(self, *, cancel_orders: bool) -> dict[str, Any]:
        """Panic: place nothing more, cancel our own orders, forget the key."""
        self.place_nothing_more()
        await self._land()
        cancelled = await self._orders.cancel_all() if cancel_orders and self._exchange else []
        left = self.open_orders()
        await self.forget_key()
        return {"cancelled": cancelled, "left": left}

    def open_orders(self) -> list[dict[str, Any]]:
        return [order_row(order) for order in self.book.unsettled() if not order.final]

    def cycles(self) -> list[dict[str, Any]]:
        return self.book.cycle_rows()

    def status(self) -> dict[str, Any]:
        """Return the contract's ``robot{…}`` as far as the robot knows it."""
        shown = describe(self.book, self.state, self._price, self._trader.waits)
        if self.pauses and self.state == "held":
            shown["hold"] = list(self.facts.hold)
            shown["reason"] = "; ".join(shown["hold"])
        if self.book.key_mark is not None and self._key is Key.LOST and self._loss is not None:
            shown["reason"] = self._loss.cause.reason
            shown["key_loss"] = self._loss.describe(
                *(self._price, self.book),
                now=self.exchange_now(),
                rate=self._rate,
                mark=self._mark,
                limits=self._limits,
            )
        if self.state == "held":
            shown["reasons"] = numbered(self.facts.hold)
            shown["resume"] = after_resume(self.book, self._wanted_now(), self._price)
        if self._key_swap is not None:
            # Heard: the new key's stream is up, and the old one's is needed no more.
            shown["key_swap"] = {**self._key_swap, "heard": self._exchange in self._up}
        if self._balances is not None:
            shown["balances"] = balance_rows(self.book, self._balances)
        return shown

    def _wanted_now(self) -> Sequence[Intent]:
        if self._rules is None or self._price is None:
            return ()
        return self._trader.wanted(self._orders.view(self._price, self._rules, self._rate)).intents

    # -- running ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled. Trouble with the exchange is logged and tried again, never raised."""
        self._restart_market()
        while True:
            self._dirty.clear()
            self.beat()
            if self._failure is not None:
                raise self._failure
            if self._keeper.trouble:
                await self._write_again()
            try:
                await self._step()
            except ExchangeFault as fault:
                await self._met(fault)
            except JournalUnwritable as trouble:
                self._keeper.cannot_write(trouble.message)
            except FortctlError as error:
                self._log.error("stopped working: %s", error.message)
                raise
            if self._keeper.trouble:
                continue
            # asyncio.timeout, not wait_for: that one can swallow a cancellation (fixed in Python 3.12).
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience()):
                    await self._dirty.wait()

    def _patience(self) -> float:
        """Return for how long the worker may sleep: no longer than until the silence is long."""
        left = SILENCE_S - self.silent_for()
        # Not shorter than what a clock tells apart: a rounded rest of a second must not be waited for again and again.
        return min(SECOND_LOOK_S, max(left, SHORTEST_S)) if left > 0 else SECOND_LOOK_S

    async def finish(self) -> list[str]:
        """Place nothing more and leave no order in doubt: wait for what is under way, then look up what is unknown.

        Returns:
            The orders that the exchange could not be asked about; the next start looks them up.
        """
        self.place_nothing_more()
        await self._orders.landed()
        if self._exchange is not None and self._key is Key.LOADED:
            try:
                await self.lookups.resolve_unknown(self._exchange)
            except ExchangeFault as fault:
                self._log.warning("looking up what is unknown: %s", fault)
        self.flush()
        return self.lookups.unknown

    def limit(self, limits: Limits) -> None:
        """Take other limits for the breaks that are bridged alone."""
        self._limits = limits

    async def close(self) -> None:
        """End the streams and the connections."""
        self.flush()
        await self._end_user_stream()
        await self._end_retired()
        if self._market_task is not None:
            self._market_task.cancel()
            await asyncio.gather(self._market_task, return_exceptions=True)
        for exchange in (self._exchange, self._public):
            if exchange is not None:
                await exchange.close()

    async def _met(self, fault: ExchangeFault) -> None:
        """Live with a fault of a call that was not an order's."""
        if fault.outcome is Outcome.KEY_REFUSED:
            await self.confirm_key_loss(fault)
            return
        self._log.warning("the exchange: %s", fault)
        wait = fault.retry_after if fault.retry_after is not None else RETRY_S
        self.beat(wait)
        await asyncio.sleep(wait)
        self._dirty.set()

    async def _step(self) -> None:
        self._keeper.look_for_room()
        if self._exchange is None or self._key is not Key.LOADED or self._stopping:
            return
        if self._books is Books.STALE:
            await self._await_stream()
        if self._exchange is None or self._key is not Key.LOADED or self._stopping:
            return
        if self._books is Books.STALE:
            await self._reconcile(self._exchange)
        elif self._clock.monotonic() - self._heard_at >= SILENCE_S:
            await self._break_silence(self._exchange)
        await self.lookups.resolve_unknown(self._exchange)
        await self.lookups.resolve_doubts(self._exchange, ())
        if not self._unbroken() and not self.book.hold:
            self._doubt_books()
        if not self.calm() or self._rules is None or self._price is None:
            return
        self._rules = await self._trader.refresh(self._exchange, self._rules)
        view = self._orders.view(self._price, self._rules, self._rate)
        wanted = self._trader.wanted(view)
        self._quiet_below = wanted.quiet_below
        self.record(*wanted.events)
        if wanted.intents:
            await self._orders.carry_out(self._exchange, wanted.intents)
        elif drained(self.book):
            self._wish(WishEvent.DRAINED, "drained")

    async def _break_silence(self, exchange: Exchange) -> None:
        """Ask, when nothing was heard for long: a stream can die without a word, and so can a key."""
        settings = self.book.settings
        if settings is None:
            await exchange.account()
        else:
            ours = self.book.orders
            if missed_something(self.book, under_our_names(await exchange.open_orders(settings.symbol), ours)):
                self._log.warning("the user stream has missed something; reconciling")
                self._doubt_books()
        self._accepted()

    async def _reconcile(self, exchange: Exchange) -> None:
        """Make the books agree; until then nothing is placed."""
        doubts = self._doubts
        held = await self._reconciler.reconcile(exchange)
        held = [reason for reason in held or () if reason not in self._excused]
        if held:
            # What holds already and cannot be seen again (a book that could not follow, a panic) holds on.
            kept = [reason for reason in self.book.hold if reason.startswith(LASTING) and reason not in held]
            self._hold([*kept, *held])
        self._loss = None
        if doubts == self._doubts:
            self._books = Books.AGREED
        self._close_gap()
        self._accepted(agreed=True)
        self._log.info("books agree: %d orders open, %d cycles", len(self.book.open_orders), len(self.book.live))

    async def _write_again(self) -> None:
        """Wait until the journal can be written, then go on as after a restart: from what it says."""
        await self._orders.landed()
        while True:
            self.beat(RETRY_S)
            await asyncio.sleep(RETRY_S)
            try:
                self._journal.probe()
                break
            except JournalUnwritable as trouble:
                self._log.error("%s", trouble.message)
        self._keeper.read_again()
        self._orders.lookups.forget()
        self._keeper.trouble = ""
        self._log.warning("the journal can be written again")
        self._restart_market()
        if self._exchange is not None and self._key is Key.LOADED:
            await self._end_user_stream()
            self._user_task = self._spawn(self._follow_user(self._exchange), "user stream")
        self._doubt_books()
