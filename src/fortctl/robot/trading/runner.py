"""The robot's loop: composes the collaborators, and answers what commands ask.

One worker decides; streams and replies only add to the book and wake it. Each turn of the worker makes the books agree
if they are in doubt, looks up what is unknown, asks the strategy for a plan, and executes it. The collaborators share
one :class:`~fortctl.robot.trading.state.RobotState` and know each other only as far as their constructors say:

- ``StreamFollower`` follows market and account, ``KeyMonitor`` finds out whether a key is lost, ``DriftWatch`` whether
  it may do more than a person accepted, ``KeyManager`` loads, swaps and forgets it;
- ``ForeignWatch`` reports what somebody else does on the account;
- ``OrderExecutor`` places and cancels, ``OrderLookup`` asks what became of orders, ``Reconciler`` makes the books
  agree;
- ``StrategyRunner`` asks the strategy and keeps it within its limits;
- ``SnapshotKeeper`` proves the snapshot of the book that this start believed, and makes the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fortctl.errors import ConflictError, FortctlError, JournalUnwritableError, KeyRejectedError
from fortctl.mailbox.receipts import TradingStopped
from fortctl.model import HaltReport, KeyPair, OrderState, OrderUpdate, RobotOrder, StreamDown
from fortctl.ports import Clock, Exchange, ExchangeError, LatchGuard, Outcome
from fortctl.robot.core.book import Book
from fortctl.robot.core.cycle import describe_order
from fortctl.robot.core.drift_settings import DriftSettings
from fortctl.robot.core.events import Configured, Intent
from fortctl.robot.core.foreign_activity import ForeignSettings
from fortctl.robot.core.hold_reasons import HoldCode, HoldReason, codes, left_by_start
from fortctl.robot.core.key_loss import KeyLoss
from fortctl.robot.core.lifecycle import Books, Key, TradingMode, TradingModeEvent
from fortctl.robot.core.order_ids import prefix_of
from fortctl.robot.core.reconciliation import (
    LastContact,
    ResumeLimits,
    has_missed_events,
    other_robots,
    shortage,
    twin_reasons,
    twins,
)
from fortctl.robot.core.settings import Settings, refuse_change
from fortctl.robot.core.status import (
    KeyFacts,
    ResumePreview,
    RobotFacts,
    balance_rows,
    numbered_reasons,
    orders_at_exchange,
    rights_row,
    robot_status,
)
from fortctl.robot.strategy.api import Strategy, is_drained
from fortctl.robot.strategy.grid import builtin
from fortctl.robot.trading.drift_watch import DriftWatch
from fortctl.robot.trading.foreign_watch import ForeignWatch
from fortctl.robot.trading.journaled_book import SNAPSHOT_EVERY, EventJournal
from fortctl.robot.trading.key_manager import KeyManager
from fortctl.robot.trading.key_monitor import RETRY_S, KeyMonitor
from fortctl.robot.trading.order_executor import OrderExecutor
from fortctl.robot.trading.order_lookup import OrderLookup, restore_client_ids
from fortctl.robot.trading.reconciler import Reconciler
from fortctl.robot.trading.snapshot_keeper import SnapshotKeeper
from fortctl.robot.trading.state import RobotState
from fortctl.robot.trading.strategy_runner import StrategyRunner
from fortctl.robot.trading.streams import StreamFollower

LONGEST_REST_S = 30.0
# Asking costs as much as a glance at the open orders of one symbol; a lost fill or key costs more.
SILENCE_S = 30.0
SHORTEST_S = 0.05
# Reasons to hold that reconciling does not find again by itself.
LASTING = frozenset({HoldCode.PANIC, HoldCode.BOOKS, HoldCode.STRATEGY, HoldCode.JOURNAL_BEHIND, HoldCode.KEY_DRIFT})
IN_FLIGHT_S = 1.0
# The longest pause (s) between two tries of what the exchange refuses.
REFUSED_S = 60.0
# How long 'stop --now' asks the exchange what it leaves.
REPORT_S = 5.0


class Runner:
    """One account's robot.

    Args:
        account: its name.
        robot_id: marks its orders.
        journal: the append-only journal.
        clock, latch, log: as named.
        connect: makes an exchange adapter; without a key it can only watch the market.
        limits: how long a break it bridges alone.
        strategies: finds a strategy by name.
        resume_running: keep trading where the journal says ``running`` (a service manager's restart).
        announce: is called with an event's name and its facts when a person should know; returns at once.
        drift_settings: how the robot watches its key.
        foreign_settings: which activity on the account is somebody else's, and what the robot does about it.
        panic: starts a panic of this robot, for a reason; returns at once.
        snapshot_every: how many events lie between two snapshots of the book.

    Attributes:
        robot: the shared state.
        keys: what commands ask about the key.
        strategy, executor, lookup, streams, drift: the other collaborators.
    """

    def __init__(
        self,
        *,
        account: str,
        robot_id: str,
        journal: EventJournal,
        clock: Clock,
        latch: LatchGuard,
        connect: Callable[[KeyPair | None], Exchange],
        log: logging.Logger,
        limits: ResumeLimits | None = None,
        strategies: Callable[[str], Strategy] = builtin,
        resume_running: bool = False,
        announce: Callable[[str, Mapping[str, Any]], None] = lambda event, facts: None,
        drift_settings: DriftSettings | None = None,
        foreign_settings: ForeignSettings | None = None,
        panic: Callable[[str], None] = lambda why: None,
        snapshot_every: int = SNAPSHOT_EVERY,
    ) -> None:
        self.robot = robot = RobotState(
            account=account,
            robot_id=robot_id,
            journal=journal,
            clock=clock,
            latch=latch,
            connect=connect,
            log=log,
            limits=limits,
            resume_running=resume_running,
            announce=announce,
            drift_settings=drift_settings,
            foreign_settings=foreign_settings,
            snapshot_every=snapshot_every,
        )
        self.strategy = StrategyRunner(robot, strategies)
        self.lookup = OrderLookup(robot)
        self.executor = OrderExecutor(
            robot, self.lookup, on_key_refused=self._confirm_key_loss, on_rules_doubted=self.strategy.doubt_rules
        )
        self._foreign = ForeignWatch(robot, panic, self.executor.has_asked_to_cancel)
        self.streams = StreamFollower(
            robot,
            on_order_update=self._on_order_update,
            on_funds_moved=self._foreign.on_funds_moved,
            on_down=self._on_stream_down,
        )
        self._monitor = KeyMonitor(robot, self.streams.end_user)
        self.drift = DriftWatch(robot, panic)
        self.keys = KeyManager(robot, self.streams, self._monitor, self.drift)
        self._reconciler = Reconciler(robot, self.lookup)
        self._snapshots = SnapshotKeeper(journal, robot.journaled, log, self._distrust_snapshot)
        self._keeping: asyncio.Task[None] | None = None
        # How often in a row the exchange refused what the worker asked for.
        self._refused = 0

    async def _confirm_key_loss(self, fault: ExchangeError) -> None:
        await self._monitor.confirm_loss(fault)

    def _on_order_update(self, update: OrderUpdate) -> None:
        self._foreign.on_order_update(update, self.executor.our_name(update.order))
        self.executor.on_order_update(update)

    async def _on_stream_down(self, event: StreamDown) -> None:
        await self._monitor.on_stream_down(event)

    @property
    def book(self) -> Book:
        return self.robot.book

    @property
    def state(self) -> str:
        """The state that people see."""
        return self.robot.name

    # -- what commands ask: trading ----------------------------------------------------------------------------------

    async def start(self, *, by_person: bool) -> None:
        """Start trading. Raises ``ConflictError`` when it trades already, is latched or not configured."""
        robot = self.robot
        if robot.latch.is_latched():
            raise ConflictError("the robot is latched", hint="'fortctl panic-clear' lifts the latch")
        if robot.book.settings is None:
            raise ConflictError("the robot is not configured", hint="'fortctl robot configure' says what to trade")
        if robot.name == "running":
            raise ConflictError("the robot is running already", details={"state": "running"})
        await self.strategy.validate_settings(robot.book.settings, robot.watcher())
        await self._require_key()
        if by_person and not robot.book.live:
            robot.release(left_by_start(robot.book.hold))
        robot.change_mode(TradingModeEvent.START, "started")
        # While it stood still, a person may have sold what it had bought, and another robot may have begun.
        robot.just_started = True
        robot.doubt_books()

    async def _require_key(self) -> None:
        """Check a lost key again. Raises ``KeyRejectedError`` when the exchange still refuses it."""
        robot = self.robot
        if robot.key is not Key.LOST:
            return
        try:
            good = await self.keys.check_lost()
        except (FortctlError, ExchangeError) as unknown:
            robot.log.warning("the exchange does not say now whether it accepts the lost key again: %s", unknown)
            return
        if not good and robot.loss is not None:
            cause = robot.loss.cause
            raise KeyRejectedError(
                f"the exchange still does not accept the robot's key: {cause.reason}",
                hint="see 'fortctl keys verify --role robot'; 'fortctl keys change --role robot' gives it another",
                details={"reason": cause.reason, "certainty": cause.certainty},
            )

    async def drain(self) -> None:
        """Begin no new cycle, and stop when the open ones are finished."""
        self.robot.change_mode(TradingModeEvent.DRAIN, "draining")

    async def stop_now(self, *, cancel_orders: bool) -> TradingStopped:
        """Stop at once; return which orders were cancelled, which stay at the exchange, and which are in doubt.

        What was on its way at that instant has arrived and is included, as far as the exchange answers in time. Where
        it could not be asked (``checked``), the journal's knowledge is returned; ``fault`` is why.
        """
        robot = self.robot
        robot.change_mode(TradingModeEvent.STOP, "stopped")
        await self._wait_for_in_flight()
        cancelled: list[str] = []
        faults: list[ExchangeError] = []
        checked = False
        listing: tuple[OrderState, ...] | None = None
        unjournaled: list[OrderState] = []
        left: list[OrderState] = []
        if cancel_orders and robot.has_key:
            listing = await self._listing()
            cancelled, faults = await self.executor.cancel_all()
            unjournaled = self._not_in_the_journal(listing or ())
            left, unlisted_faults = await self.executor.cancel_by_number(unjournaled)
            faults += unlisted_faults
        if robot.exchange is not None and robot.has_key:
            try:
                async with asyncio.timeout(REPORT_S):
                    await self._reconcile(robot.exchange)
                checked = True
            except TimeoutError:
                faults.append(ExchangeError(Outcome.UNKNOWN, f"no answer within {REPORT_S:.0f} s"))
            except ExchangeError as fault:
                faults.append(fault)
        orders = robot.book.orders
        in_doubt = [name for name in self.lookup.unknown if name in orders and not (checked and orders[name].settled)]
        return TradingStopped(
            cancelled=tuple(cancelled),
            orders_left=(*self.open_orders(), *map(_as_robot_order, left)),
            unlisted=_missing_in(listing, cancelled),
            unjournaled=tuple(map(_as_robot_order, unjournaled)),
            in_doubt=tuple(in_doubt),
            checked=checked,
            key=robot.key.value,
            # An order that had ended already is not a failure.
            fault=next((fault for fault in faults if fault.outcome is not Outcome.ABSENT), None),
        )

    async def _listing(self) -> tuple[OrderState, ...] | None:
        """Return the open orders that the exchange lists, with our names; None where it does not answer in time."""
        robot, settings = self.robot, self.book.settings
        if robot.exchange is None or settings is None:
            return None
        with contextlib.suppress(TimeoutError, ExchangeError):
            async with asyncio.timeout(REPORT_S):
                return restore_client_ids(await robot.exchange.open_orders(settings.symbol), robot.book.orders)
        return None

    def _not_in_the_journal(self, listing: Sequence[OrderState]) -> list[OrderState]:
        """Return listed orders with our prefix that the journal does not know, or knows another order by their name."""
        prefix, orders = prefix_of(self.robot.robot_id), self.book.orders
        strangers = [o for o in listing if o.client_order_id.startswith(prefix) and o.client_order_id not in orders]
        return [*strangers, *twins(self.book, listing)]

    async def _wait_for_in_flight(self) -> None:
        """Let what is under way arrive: a cancel that overtakes its order would leave it at the exchange."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IN_FLIGHT_S):
                await self.executor.wait_for_in_flight()

    async def resume(self) -> None:
        """Trade again, because a person has accepted the reasons to hold, and what the key may do now.

        Raises:
            ConflictError: the robot is not held, and its key has not drifted.
        """
        robot = self.robot
        if not robot.book.hold and not self.drift.can_accept:
            raise ConflictError("the robot is not held", hint="see 'fortctl robot status'")
        self.drift.accept()
        if not robot.book.hold:
            return
        if HoldCode.JOURNAL_BEHIND in codes(robot.book.hold):
            robot.journal.adopt()
        robot.acknowledged = robot.acknowledged.with_reasons(robot.book.hold)
        robot.release([])
        robot.last_contact = LastContact(robot.exchange_now(), robot.price) if robot.price is not None else None
        robot.doubt_books()

    async def configure(self, settings: Settings) -> list[tuple[str, str]] | None:
        """Take new settings; return warnings (code, message), or None where they are the present ones.

        Raises:
            ConflictError: cycles of another symbol or strategy are open.
            BadInputError: the strategy or the symbol does not allow them.
        """
        robot, old = self.robot, self.book.settings
        if old == settings:
            return None
        if old is not None and robot.book.live:
            refuse_change(old, settings)
        warnings = await self.strategy.validate_settings(settings, robot.watcher())
        robot.record(Configured(settings.as_json()))
        if old is None or old.symbol != settings.symbol:
            robot.forget_market()
            robot.doubt_books()
            self.streams.restart_market()
        return warnings

    def place_nothing_more(self) -> None:
        """Let no order leave from this call on (panic); cancels still may."""
        self.robot.stopping = True

    def suspend_trading(self, reason: HoldReason | None) -> None:
        """Place nothing for a reason, until called with None (deadman)."""
        self.robot.suspend_trading(reason)

    async def halt(self, *, cancel_orders: bool) -> HaltReport:
        """Panic: place nothing more, cancel our own orders, forget the key."""
        self.place_nothing_more()
        await self._wait_for_in_flight()
        cancelled, _faults = await self.executor.cancel_all() if cancel_orders else ([], [])
        left = self.open_orders()
        await self.keys.forget()
        return HaltReport(tuple(cancelled), left)

    # -- what commands ask: status -----------------------------------------------------------------------------------

    def open_orders(self) -> tuple[RobotOrder, ...]:
        """Return our orders that are not final."""
        return tuple(describe_order(order) for order in self.book.unsettled() if not order.final)

    def cycles(self) -> list[dict[str, Any]]:
        """Return the cycles, as rows of the JSON output."""
        return self.book.cycle_rows()

    def facts(self) -> RobotFacts:
        """Return what this process reads of the robot."""
        robot, book, loss = self.robot, self.book, self._loss
        paused = robot.pauses and robot.name == "held"
        return RobotFacts(
            state=robot.name,
            symbol=book.symbol,
            orders_open=len(orders_at_exchange(book, self.lookup.unknown)),
            cycles=book.counts(),
            hold=tuple(robot.lifecycle.hold if paused else book.hold),
            profit=book.profit,
            profit_asset=book.quote,
            last_event_age=max(0.0, (robot.exchange_now() - book.last_at) / 1000) if book.last_at else None,
            heard_age=robot.silent_for(),
            stuck=robot.stuck_for(),
            key=KeyFacts(
                lost_at=loss.since if loss is not None else None,
                rights=self.drift.observed,
                rights_at=self.drift.asked_at,
                drift=book.drift,
                books_agree=robot.has_key and robot.books is Books.AGREED,
            ),
        )

    @property
    def _loss(self) -> KeyLoss | None:
        """The loss of the key; None while it is not lost."""
        lost = self.book.key_status is not None and self.robot.key is Key.LOST
        return self.robot.loss if lost else None

    def status(self) -> dict[str, Any]:
        """Return the ``robot{…}`` of ``robot status --json`` as far as the robot knows it."""
        robot, state = self.robot, self.robot.name
        waits = self.executor.waits(self.strategy.blocked_reasons)
        status = robot_status(
            *(robot.book, state, robot.price, waits),
            since=robot.state_since(),
            contact=robot.contact(),
            in_doubt=self.lookup.unknown,
        )
        hold = robot.lifecycle.hold
        if robot.pauses and state == "held":
            status["hold"] = [str(reason) for reason in hold]
            status["reason"] = "; ".join(status["hold"])
        loss = self._loss
        if loss is not None:
            status["reason"] = loss.cause.reason
            status["key_loss"] = loss.describe(
                *(robot.price, robot.book),
                now=robot.exchange_now(),
                rate=robot.rate,
                last_contact=robot.last_contact,
                limits=robot.limits,
            ).to_json()
        if state == "held":
            status["reasons"] = numbered_reasons(hold)
            status["resume"] = ResumePreview.of(robot.book, self._planned_now(), robot.price).to_json()
        if robot.swap_gap.report is not None:
            # True once the new key's stream is up.
            status["key_swap"] = {**robot.swap_gap.report, "heard": robot.exchange in self.streams.up}
        status["books"] = robot.books.value if robot.has_key else None
        status["key_rights"] = rights_row(self.drift.observed, self.drift.asked_at, self.drift.unread)
        if robot.other_robots:
            status["other_robots"] = sorted(robot.other_robots)
        if robot.balances is not None:
            status["balances"] = balance_rows(robot.book, robot.balances)
        return status

    def _planned_now(self) -> Sequence[Intent]:
        robot = self.robot
        if robot.rules is None or robot.price is None:
            return ()
        return self.strategy.plan(self.executor.view(robot.price, robot.rules, robot.rate)).intents

    # -- running ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled. Trouble with the exchange is logged and tried again, never raised."""
        robot = self.robot
        self.streams.restart_market()
        self._keeping = robot.spawn(self._snapshots.run(), "snapshot keeper")
        while True:
            robot.woken.clear()
            robot.beat()
            robot.note_state()
            if robot.failure is not None:
                raise robot.failure
            if robot.journaled.write_error is not None:
                await self._wait_for_journal()
            try:
                await self._step()
                self._refused = 0
            except ExchangeError as fault:
                await self._live_with(fault)
            except JournalUnwritableError as trouble:
                robot.journaled.cannot_write(trouble.message)
            except FortctlError as error:
                robot.log.error("stopped working: %s", error.message)
                raise
            # After the step: the books agree before the key is asked about.
            self.drift.ask_when_due()
            if robot.journaled.write_error is not None:
                continue
            # asyncio.timeout, not wait_for: that one can swallow a cancellation (fixed in Python 3.12).
            rest = self._rest()
            robot.beat(rest)
            robot.note_state()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await robot.woken.wait()
            robot.end_rest()

    def _rest(self) -> float:
        """Return how long the worker may sleep (s): until the silence is long, or the strategy asked to be called."""
        robot = self.robot
        due = (robot.wake_at - robot.exchange_now()) / 1000 if robot.wake_at is not None else 0.0
        left = [rest for rest in (SILENCE_S - robot.silent_for(), due, self.drift.due_in()) if rest > 0]
        # Not shorter than a clock's resolution, or the rounded rest of a second would be waited for again and again.
        return min(LONGEST_REST_S, max(min(left), SHORTEST_S)) if left else LONGEST_REST_S

    async def _step(self) -> None:
        """Take one turn: make the books agree, look up what is unknown, plan, execute."""
        robot = self.robot
        robot.journaled.check_space()
        await self.keys.check_lost_when_due()
        if robot.signing is None:
            return
        if robot.books is Books.STALE:
            await self.streams.wait_until_decided()
        exchange = robot.signing
        if exchange is None:
            return
        if robot.books is Books.STALE:
            await self._reconcile(exchange)
        elif robot.silent_for() >= SILENCE_S:
            await self._break_silence(exchange)
        if robot.exchange is None:
            return
        await self.lookup.resolve_unknown(robot.exchange)
        await self.lookup.resolve_doubted_sells(robot.exchange, ())
        if not robot.unbroken() and not robot.book.hold:
            robot.doubt_books()
        if not robot.calm() or robot.rules is None or robot.price is None:
            return
        robot.rules = await self.strategy.refresh(robot.exchange, robot.rules)
        plan = self.strategy.plan(self.executor.view(robot.price, robot.rules, robot.rate))
        robot.quiet_below, robot.wake_at = plan.quiet_below, plan.wake_at
        robot.record(*plan.events)
        if plan.intents:
            await self.executor.execute(robot.exchange, plan.intents)
        elif is_drained(robot.book):
            robot.change_mode(TradingModeEvent.DRAINED, "drained")

    async def _live_with(self, fault: ExchangeError) -> None:
        """Handle a fault of a call that was not an order's: wait, and try again."""
        robot = self.robot
        if fault.outcome is Outcome.KEY_REFUSED:
            await self._monitor.confirm_loss(fault)
            return
        robot.log.warning("the exchange: %s", fault)
        if fault.outcome in (Outcome.UNREACHABLE, Outcome.UNKNOWN):
            robot.note_unanswered(fault.message)
        wait = fault.retry_after if fault.retry_after is not None else RETRY_S
        if fault.outcome is Outcome.REFUSED:
            # The symbol may be gone, which reconciling finds out. What is refused for another reason is tried ever less
            # often.
            robot.doubt_books()
            wait = max(wait, min(REFUSED_S, RETRY_S * 2**self._refused))
            self._refused = min(self._refused + 1, 10)
        robot.beat(wait)
        await asyncio.sleep(wait)
        robot.wake()

    async def _break_silence(self, exchange: Exchange) -> None:
        """Ask the exchange after a long silence: a stream can die without a word, and so can a key."""
        robot, settings = self.robot, self.book.settings
        if settings is None or HoldCode.SYMBOL in codes(robot.book.hold):
            await exchange.account()
        else:
            ours = restore_client_ids(await exchange.open_orders(settings.symbol), robot.book.orders)
            robot.update_other_robots(other_robots(robot.robot_id, ours))
            others = twins(robot.book, ours)
            ours = tuple(order for order in ours if order not in others)
            if any(not robot.acknowledged.covers(reason) for reason in twin_reasons(others)) and not robot.book.hold:
                robot.log.warning("an open order has the client order id of another order of ours; reconciling")
                robot.doubt_books()
            elif has_missed_events(robot.book, ours):
                robot.log.warning("the user stream has missed something; reconciling")
                robot.doubt_books()
            elif self._runs_short():
                robot.log.warning("less can be sold than our cycles have bought; reconciling")
                robot.doubt_books()
        robot.accepted()

    def _runs_short(self) -> bool:
        """Return whether the reported balances are lower than a person has accepted."""
        robot = self.robot
        if robot.balances is None or robot.price is None or HoldCode.BALANCE in codes(robot.book.hold):
            return False
        lack = shortage(robot.book, robot.balances, robot.price)
        return lack is not None and not robot.acknowledged.covers(lack)

    async def _reconcile(self, exchange: Exchange) -> None:
        """Make the books agree; until then nothing is placed."""
        robot = self.robot
        doubts = robot.doubts
        reasons = await self._reconciler.reconcile(exchange)
        held = [reason for reason in reasons or () if not robot.acknowledged.covers(reason)]
        if held:
            # What holds already and cannot be seen again (a book that could not follow, a panic) still holds.
            kept = [reason for reason in robot.book.hold if reason.code in LASTING and reason not in held]
            robot.hold([*kept, *held])
        robot.loss = None
        if doubts == robot.doubts:
            robot.books = Books.AGREED
            robot.just_started = robot.just_started and robot.book.mode is TradingMode.STOPPED
        robot.close_gap()
        robot.accepted(agreed=True)
        robot.log.info("books agree: %d orders open, %d cycles", len(robot.book.open_orders), len(robot.book.live))

    async def _wait_for_journal(self) -> None:
        """Wait until the journal can be written, then work as after a restart: from what it says."""
        robot = self.robot
        await self.executor.wait_for_in_flight()
        while True:
            robot.beat(RETRY_S)
            await asyncio.sleep(RETRY_S)
            self.drift.ask_when_due()
            robot.journaled.check_space()
            if robot.journaled.is_full:
                continue
            try:
                robot.journal.probe()
                break
            except JournalUnwritableError as trouble:
                robot.log.error("%s", trouble.message)
        robot.journaled.read_again()
        self.lookup.forget()
        robot.journaled.write_error = None
        robot.log.warning("the journal can be written again")
        self.streams.restart_market()
        if robot.exchange is not None and robot.has_key:
            await self.streams.end_user()
            self.streams.follow_user(robot.exchange)
        robot.doubt_books()

    async def _distrust_snapshot(self) -> None:
        """Hold, and make the book of all events: the snapshot that it began with is not what they make."""
        robot = self.robot
        robot.journaled.distrust_snapshots()
        words = (
            "the book that this start read from a snapshot is not what the journal's events make; look at the orders"
        )
        while True:
            try:
                robot.hold_for(HoldReason(HoldCode.BOOKS, words))
                break
            except JournalUnwritableError:
                await asyncio.sleep(RETRY_S)
        robot.journaled.must_be_read_again("the book is made again from the journal; no order leaves until it is")
        robot.wake()

    async def finish(self) -> list[str]:
        """Place nothing more and leave no order in doubt: wait for what is under way, then look up what is unknown.

        Returns:
            The orders that the exchange could not be asked about; the next start looks them up.
        """
        robot = self.robot
        self.place_nothing_more()
        await self.executor.wait_for_in_flight()
        if robot.exchange is not None and robot.has_key:
            try:
                await self.lookup.resolve_unknown(robot.exchange)
            except ExchangeError as fault:
                robot.log.warning("cannot look up orders of unknown outcome: %s", fault)
        robot.flush()
        return self.lookup.unknown

    async def close(self) -> None:
        """End the streams and the connections."""
        if self._keeping is not None:
            self._keeping.cancel()
        self.robot.flush()
        await self.streams.close()
        await self.robot.close()


def _missing_in(listing: Sequence[OrderState] | None, names: Sequence[str]) -> tuple[str, ...]:
    """Return the orders that were open and that a listing left out; none where there was no listing."""
    listed = {order.client_order_id for order in listing or ()}
    return tuple(name for name in names if listing is not None and name not in listed)


def _as_robot_order(order: OrderState) -> RobotOrder:
    return RobotOrder(
        *(order.client_order_id, order.order_id, order.side.value, f"{order.price:f}", f"{order.quantity:f}"),
        *(f"{order.executed:f}", order.status.value),
    )
