"""The robot's shell: feeds the pure core with what happens and carries out what it wants.

It knows the robot's pure modules and ports only. One worker decides; streams and replies only add to the book.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from fortctl.errors import ConflictError, FortctlError, JournalUnwritableError, KeyRejectedError
from fortctl.ports import Exchange, ExchangeError, Outcome
from fortctl.robot.core.cycle import order_row
from fortctl.robot.core.events import Configured, Held, Intent, Released
from fortctl.robot.core.hold_reasons import BALANCE, JOURNAL_BEHIND, SYMBOL, code_of, left_by_start
from fortctl.robot.core.lifecycle import Books, Key, TradingMode, TradingModeEvent
from fortctl.robot.core.reconciliation import LastContact, ResumeLimits, missed_something, other_robots, shortage
from fortctl.robot.core.settings import Settings, refuse_change
from fortctl.robot.core.status import balance_rows, numbered_reasons, resume_preview, robot_status
from fortctl.robot.strategy.api import drained
from fortctl.robot.trading.feeds import RETRY_S
from fortctl.robot.trading.keyed import Keyed
from fortctl.robot.trading.order_executor import OrderExecutor
from fortctl.robot.trading.order_lookup import OrderLookup, restore_client_ids
from fortctl.robot.trading.reconciler import Reconciler
from fortctl.robot.trading.strategy_runner import StrategyRunner

SECOND_LOOK_S = 30.0
# Asking costs as much as a glance at the open orders of one symbol; a lost fill or key costs more.
SILENCE_S = 30.0
SHORTEST_S = 0.05
# After a panic only 'robot resume' lets a robot go on.
PANIC = "PANIC"
# Reasons to hold that reconciling does not find again by itself.
LASTING = (PANIC, "BOOKS", "STRATEGY", JOURNAL_BEHIND)
LAND_S = 1.0
# The longest pause (s) between two tries of what the exchange refuses.
REFUSED_S = 60.0
# How long 'stop --now' asks the exchange what it leaves.
TELL_S = 5.0


class Runner(Keyed):
    """One account's robot: what its desk asks of it, and its worker."""

    # How often in a row the exchange refused what the worker asked for.
    _refused = 0

    @cached_property
    def _reconciler(self) -> Reconciler:
        return Reconciler(self)

    @property
    def lookups(self) -> OrderLookup:
        return self._orders.lookups

    @cached_property
    def _orders(self) -> OrderExecutor:
        return OrderExecutor(self)

    @cached_property
    def _trader(self) -> StrategyRunner:
        return StrategyRunner(self, self._strategies)

    def doubt_rules(self) -> None:
        self._trader.doubt_rules()

    def _fetch_fills(self, name: str) -> None:
        self.lookups.fetch_fills_of(name)

    def _sell_at_once(self, name: str) -> bool:
        self._orders.noted(name)
        # The lease is looked at once, after the sell is stamped and under the latch's lock (see robot/core/submission.py).
        if not self.calm() or self._rules is None or self._price is None:
            return False
        return self._orders.sell_at_once(name, self._orders.view(self._price, self._rules, self._rate))

    # -- what the desk asks ----------------------------------------------------------------------------------------

    async def start(self, *, by_person: bool) -> None:
        """Start trading. Raises ``ConflictError`` when running already, latched or not configured."""
        if self._latch.is_latched():
            raise ConflictError("the robot is latched", hint="'fortctl panic-clear' lifts the latch")
        if self.book.settings is None:
            raise ConflictError("the robot is not configured", hint="'fortctl robot configure' says what to trade")
        if self.state == "running":
            raise ConflictError("the robot is running already", details={"state": "running"})
        await self._trader.admit(self.book.settings, self._watcher())
        await self._expect_key()
        if by_person and not self.book.live:
            self._release(left_by_start(self.book.hold))
        self._wish(TradingModeEvent.START, "started")
        # While it stood still, a person may have sold what it had bought, and another robot may have begun.
        self._begins = True
        self.doubt_books()

    async def _expect_key(self) -> None:
        """Look at a lost key again. Raises ``KeyRejectedError`` when the exchange still refuses it."""
        if self._key is not Key.LOST:
            return
        try:
            good = await self.look_at_key()
        except (FortctlError, ExchangeError) as unknown:
            self._log.warning("whether the lost key is accepted again cannot be told now: %s", unknown)
            return
        if not good and self._loss is not None:
            raise KeyRejectedError(
                f"the exchange still does not accept the robot's key: {self._loss.cause.reason}",
                hint="see 'fortctl keys verify --role robot'; 'fortctl keys change --role robot' gives it another",
                details={"reason": self._loss.cause.reason, "certainty": self._loss.cause.certainty},
            )

    def _release(self, left: list[str]) -> None:
        """Hold for these reasons alone."""
        if len(left) < len(self.book.hold):
            self.record(Held(left) if left else Released())

    async def drain(self) -> None:
        self._wish(TradingModeEvent.DRAIN, "draining")

    async def stop_now(self, *, cancel_orders: bool) -> dict[str, Any]:
        """Stop at once; return which orders were cancelled, which stay at the exchange, and which are in doubt.

        Whatever was on its way at that instant has landed and is told of, as far as the exchange answers in time. Where
        it could not be asked (``checked``), it is what the journal knows; ``fault`` is why.
        """
        self._wish(TradingModeEvent.STOP, "stopped")
        await self._land()
        cancelled: list[str] = []
        faults: list[ExchangeError] = []
        checked = False
        if cancel_orders and self._key is Key.LOADED:
            cancelled, faults = await self._orders.cancel_all()
        if self._exchange is not None and self._key is Key.LOADED:
            try:
                async with asyncio.timeout(TELL_S):
                    await self._reconcile(self._exchange)
                checked = True
            except TimeoutError:
                faults.append(ExchangeError(Outcome.UNKNOWN, f"no answer within {TELL_S:.0f} s"))
            except ExchangeError as fault:
                faults.append(fault)
        orders = self.book.orders
        doubted = [name for name in self.lookups.unknown if name in orders and not (checked and orders[name].settled)]
        told = {"cancelled": cancelled, "orders_left": self.open_orders(), "in_doubt": doubted}
        # An order that was gone already is no failure.
        why = next((one.as_json() for one in faults if one.outcome is not Outcome.ABSENT), None)
        return {**told, "checked": checked, "key": self._key.value, "fault": why}

    async def _land(self) -> None:
        """Let what is under way land: a cancel that overtakes its order would leave it at the exchange."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAND_S):
                await self._orders.landed()

    async def resume(self) -> None:
        """Go on after a person has looked. Raises ``ConflictError`` when not held."""
        if not self.book.hold:
            raise ConflictError("the robot is not held", hint="see 'fortctl robot status'")
        if JOURNAL_BEHIND in map(code_of, self.book.hold):
            self._journal.adopt()
        self._excuses = self._excuses.and_(self.book.hold)
        self._release([])
        self._mark = LastContact(self.exchange_now(), self._price) if self._price is not None else None
        self.doubt_books()

    async def configure(self, settings: Settings) -> list[tuple[str, str]] | None:
        """Take new settings; return warnings (code, message), or None where they are the present ones.

        Raises ``ConflictError`` when cycles of another symbol or strategy are open, ``BadInputError``.
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
            self.doubt_books()
            self._restart_market()
        return warnings

    def place_nothing_more(self) -> None:
        """From this call on no order leaves (panic); cancels still may."""
        self._stopping = True

    async def halt(self, *, cancel_orders: bool) -> dict[str, Any]:
        """Panic: place nothing more, cancel our own orders, forget the key."""
        self.place_nothing_more()
        await self._land()
        cancelled, _faults = await self._orders.cancel_all() if cancel_orders else ([], [])
        left = self.open_orders()
        await self.forget_key()
        return {"cancelled": cancelled, "left": left}

    def open_orders(self) -> list[dict[str, Any]]:
        return [order_row(order) for order in self.book.unsettled() if not order.final]

    def cycles(self) -> list[dict[str, Any]]:
        return self.book.cycle_rows()

    def status(self) -> dict[str, Any]:
        """Return the contract's ``robot{…}`` as far as the robot knows it."""
        silent = self.silent_for() if self._exchange is not None else 0.0
        shown = robot_status(self.book, self.state, self._price, self._trader.waits, silent_s=silent)
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
            shown["reasons"] = numbered_reasons(self.facts.hold)
            shown["resume"] = resume_preview(self.book, self._wanted_now(), self._price)
        if self._gap.told is not None:
            # Heard: somebody listens with the new key.
            shown["key_swap"] = {**self._gap.told, "heard": self._exchange in self._up}
        shown["books"] = self._books.value if self._key is Key.LOADED else None
        if self._others:
            shown["other_robots"] = sorted(self._others)
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
                self._refused = 0
            except ExchangeError as fault:
                await self._met(fault)
            except JournalUnwritableError as trouble:
                self._keeper.cannot_write(trouble.message)
            except FortctlError as error:
                self._log.error("stopped working: %s", error.message)
                raise
            if self._keeper.trouble:
                continue
            # asyncio.timeout, not wait_for: that one can swallow a cancellation (fixed in Python 3.12).
            patience = self._patience()
            self.beat(patience)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._dirty.wait()
            # What it was allowed to rest is over, however early it was woken.
            self._beat_at = self._clock.monotonic()

    def _patience(self) -> float:
        """Return for how long the worker may sleep: until the silence is long, or the strategy wants to be asked."""
        due = (self._wake_at - self.exchange_now()) / 1000 if self._wake_at is not None else 0.0
        left = [rest for rest in (SILENCE_S - self.silent_for(), due) if rest > 0]
        # Not shorter than what a clock tells apart: a rounded rest of a second must not be waited for again and again.
        return min(SECOND_LOOK_S, max(min(left), SHORTEST_S)) if left else SECOND_LOOK_S

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
            except ExchangeError as fault:
                self._log.warning("looking up what is unknown: %s", fault)
        self.flush()
        return self.lookups.unknown

    def limit(self, limits: ResumeLimits) -> None:
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

    async def _met(self, fault: ExchangeError) -> None:
        """Live with a fault of a call that was not an order's."""
        if fault.outcome is Outcome.KEY_REFUSED:
            await self.confirm_key_loss(fault)
            return
        self._log.warning("the exchange: %s", fault)
        wait = fault.retry_after if fault.retry_after is not None else RETRY_S
        if fault.outcome is Outcome.REFUSED:
            # The symbol may be gone: the books tell. What is refused for another reason is tried ever less often.
            self.doubt_books()
            wait = max(wait, min(REFUSED_S, RETRY_S * 2**self._refused))
            self._refused = min(self._refused + 1, 10)
        self.beat(wait)
        await asyncio.sleep(wait)
        self._dirty.set()

    async def _step(self) -> None:
        self._keeper.look_for_room()
        await self._look_when_due()
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
            self.doubt_books()
        if not self.calm() or self._rules is None or self._price is None:
            return
        self._rules = await self._trader.refresh(self._exchange, self._rules)
        view = self._orders.view(self._price, self._rules, self._rate)
        wanted = self._trader.wanted(view)
        self._quiet_below, self._wake_at = wanted.quiet_below, wanted.wake_at
        self.record(*wanted.events)
        if wanted.intents:
            await self._orders.execute(self._exchange, wanted.intents)
        elif drained(self.book):
            self._wish(TradingModeEvent.DRAINED, "drained")

    async def _break_silence(self, exchange: Exchange) -> None:
        """Ask, when nothing was heard for long: a stream can die without a word, and so can a key."""
        settings = self.book.settings
        if settings is None or SYMBOL in map(code_of, self.book.hold):
            await exchange.account()
        else:
            ours = restore_client_ids(await exchange.open_orders(settings.symbol), self.book.orders)
            self.see_others(other_robots(self._robot_id, ours))
            if missed_something(self.book, ours):
                self._log.warning("the user stream has missed something; reconciling")
                self.doubt_books()
            elif self._runs_short():
                self._log.warning("less can be sold than our cycles have bought; reconciling")
                self.doubt_books()
        self._accepted()

    def _runs_short(self) -> bool:
        """Return whether the balances, as far as they were told, are lower than a person has been told."""
        if self._balances is None or self._price is None or BALANCE in map(code_of, self.book.hold):
            return False
        lack = shortage(self.book, self._balances, self._price)
        return lack is not None and not self.excuses(lack)

    async def _reconcile(self, exchange: Exchange) -> None:
        """Make the books agree; until then nothing is placed."""
        doubts = self._doubts
        held = await self._reconciler.reconcile(exchange)
        held = [reason for reason in held or () if not self.excuses(reason)]
        if held:
            # What holds already and cannot be seen again (a book that could not follow, a panic) holds on.
            kept = [reason for reason in self.book.hold if code_of(reason) in LASTING and reason not in held]
            self._hold([*kept, *held])
        self._loss = None
        if doubts == self._doubts:
            self._books = Books.AGREED
            self._begins = self._begins and self.book.wish is TradingMode.STOPPED
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
            except JournalUnwritableError as trouble:
                self._log.error("%s", trouble.message)
        self._keeper.read_again()
        self._orders.lookups.forget()
        self._keeper.trouble = ""
        self._log.warning("the journal can be written again")
        self._restart_market()
        if self._exchange is not None and self._key is Key.LOADED:
            await self._end_user_stream()
            self._user_task = self._spawn(self._follow_user(self._exchange), "user stream")
        self.doubt_books()
