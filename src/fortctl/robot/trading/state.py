"""What a robot knows while it runs: one plain object that the collaborators of the runner share.

:class:`RobotState` holds the book with its journal, the key, prices, balances and clocks, and the few operations that
keep them consistent: recording events, holding, noting an accepted answer. It makes no request and decides nothing
about orders; the modules beside it do, and none of them inherits from another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from decimal import Decimal
from typing import Any

from fortctl.errors import JournalUnwritableError
from fortctl.model import AccountState, BalanceUpdate, KeyPair, SymbolRules
from fortctl.ports import Clock, Exchange, LatchGuard
from fortctl.robot.core.book import Book
from fortctl.robot.core.drift_settings import DriftSettings
from fortctl.robot.core.events import Event, Held, ModeChanged, Released
from fortctl.robot.core.foreign_activity import ForeignSettings
from fortctl.robot.core.hold_reasons import Acknowledged, HoldCode, HoldReason
from fortctl.robot.core.key_loss import KeyLoss
from fortctl.robot.core.lifecycle import KEY as KEY_TABLE
from fortctl.robot.core.lifecycle import (
    TRADING_MODE,
    Books,
    Key,
    KeyEvent,
    LifecycleFacts,
    TradingMode,
    TradingModeEvent,
    derive_state,
    may_trade,
)
from fortctl.robot.core.reconciliation import LastContact, ResumeLimits
from fortctl.robot.core.status import Contact
from fortctl.robot.core.trading_gap import TradingGap
from fortctl.robot.trading.exchange_clock import ExchangeClock
from fortctl.robot.trading.journaled_book import SNAPSHOT_EVERY, EventJournal, JournaledBook

KEEP_CONTACT_EVERY_MS = 5_000
# While it works, the exchange accepts something at least every 30 s; what is longer was a break.
UNBROKEN_MS = 120_000
# For so long (ms) a trade of the market stream counts as the last one.
FRESH_MS = 5_000


class RobotState:
    """The state of one robot.

    Args:
        account: its name.
        robot_id: marks its orders.
        journal: the append-only journal; the book is rebuilt from it here.
        clock, latch, log: as named.
        connect: makes an exchange adapter; without a key it can only watch the market.
        limits: how long a break the robot bridges alone.
        resume_running: keep trading where the journal says ``running`` (a service manager's restart).
        announce: is called with an event's name and its facts when a person should know; returns at once.
        drift_settings: how the robot watches its key.
        foreign_settings: which activity on the account is somebody else's, and what the robot does about it.
        snapshot_every: how many events lie between two snapshots of the book.

    Attributes:
        key, books, candidate: see :mod:`fortctl.robot.core.lifecycle`.
        exchange: the adapter of the loaded key, or of a lost one; None without a key.
        rules, price, rate, balances: the symbol's filters, the last price, the higher commission rate, the account.
        price_at: the exchange's time (ms) of the last trade of the market stream.
        uid: the number of the Binance account whose first key this robot was given.
        allow: the rights that a person accepted although the role forbids them.
        last_contact: the last accepted signed answer.
        loss: the loss of the key, while it is lost.
        key_in_doubt: a refusal of the key is being checked; nothing is placed meanwhile.
        stopping: nothing is placed any more (panic, or the process ends).
        just_started: it was started and has not traded since: beside another robot's orders it does not begin.
        other_robots: prefixes of other robots' orders, with how many are open.
        acknowledged: the reasons to hold that a person has accepted.
        doubts: how often the books were doubted; reconciling compares it before and after.
        quiet_below: while the price is below this, a trade of the market changes nothing of the plan.
        wake_at: the strategy is to be asked again at this time of the exchange (ms).
        swap_gap: for how long no order could leave while a key was replaced.
        woken: set when the worker has something to do.
        failure: what broke a task beside the worker; the robot ends with it.
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
        resume_running: bool = False,
        announce: Callable[[str, Mapping[str, Any]], None] = lambda event, facts: None,
        drift_settings: DriftSettings | None = None,
        foreign_settings: ForeignSettings | None = None,
        snapshot_every: int = SNAPSHOT_EVERY,
    ) -> None:
        self.account = account
        self.robot_id = robot_id
        self.journal = journal
        self.clock = clock
        self.latch = latch
        self.connect = connect
        self.log = log
        self.limits = limits or ResumeLimits()
        self.announce = announce
        self.drift_settings = drift_settings or DriftSettings()
        self.foreign_settings = foreign_settings or ForeignSettings()
        self.journaled = JournaledBook(journal, log, snapshot_every=snapshot_every)
        self.key, self.books, self.candidate = Key.NONE, Books.STALE, False
        self.exchange: Exchange | None = None
        self._public: Exchange | None = None
        self.rules: SymbolRules | None = None
        self.rate = Decimal(0)
        self.balances: AccountState | None = None
        self.price: Decimal | None = None
        self.price_at = 0
        self.uid: int | None = None
        self.allow: tuple[str, ...] = ()
        self.exchange_clock = ExchangeClock(clock)
        self.last_contact = journal.last_contact()
        self._contact_kept_at = self.last_contact.at if self.last_contact else 0
        self.loss: KeyLoss | None = None
        self.key_in_doubt = False
        self.stopping = False
        self.just_started = True
        self.other_robots: dict[str, int] = {}
        self.acknowledged = Acknowledged()
        self.doubts = 0
        self.quiet_below: Decimal | None = None
        self.wake_at: int | None = None
        self.swap_gap = TradingGap()
        self.woken = asyncio.Event()
        self.failure: BaseException | None = None
        # Why nothing is placed for the moment, whatever the book says (deadman).
        self._suspended: HoldReason | None = None
        self._contact_at = clock.monotonic()
        # What the status says of exchange and market; the market's is monotonic, None: no trade yet.
        self._has_contact = False
        self._exchange_fault = self.market_fault = ""
        self._market_at: float | None = None
        self._noted_state, self._noted_at = "", 0
        self._beat_at = clock.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()
        if journal.behind():
            self.hold_for(
                HoldReason(
                    HoldCode.JOURNAL_BEHIND,
                    f"{journal.behind()}; nobody looks after orders and inventory that it does not know."
                    " Put the newest journal back, or cancel and sell them by hand, then 'fortctl robot resume'",
                )
            )
        if not resume_running and self.book.mode is TradingMode.RUNNING:
            self.change_mode(TradingModeEvent.BROUGHT_UP, "was_running")

    @property
    def book(self) -> Book:
        return self.journaled.book

    # -- life ------------------------------------------------------------------------------------------------------

    def beat(self, ahead_s: float = 0.0) -> None:
        """Note that the worker moves, or rightly will not before ``ahead_s`` seconds have passed."""
        self._beat_at = max(self._beat_at, self.clock.monotonic() + ahead_s)

    def end_rest(self) -> None:
        """Note that the worker moves now, although it was allowed to rest longer."""
        self._beat_at = self.clock.monotonic()

    def note_contact(self) -> None:
        """Note that the exchange or one of its streams sent something just now."""
        self._contact_at = self.clock.monotonic()
        self._has_contact, self._exchange_fault = True, ""

    def note_unanswered(self, why: str) -> None:
        """Note that the exchange left a request unanswered, or that the user stream went down."""
        self._exchange_fault = why

    def note_trade(self) -> None:
        """Note that the market stream brought a trade just now."""
        self._market_at = self.clock.monotonic()

    def note_another_market(self) -> None:
        """Note that the market stream starts again: what is known of the one before does not count."""
        self._market_at, self.market_fault = None, ""

    def contact(self) -> Contact:
        """Return when exchange and market last spoke, for the status."""
        now, monotonic = self.clock.now_ms(), self.clock.monotonic()

        def at(moment: float | None) -> int:
            return now - round((monotonic - moment) * 1000) if moment is not None else 0

        answered_at = at(self._contact_at) if self._has_contact else self.last_contact.at if self.last_contact else 0
        asks = self.exchange is not None
        return Contact(
            *(now, answered_at, at(self._market_at)), self._exchange_fault if asks else "", self.market_fault
        )

    def silent_for(self) -> float:
        """Return the seconds since the exchange or one of its streams last sent something."""
        return max(0.0, self.clock.monotonic() - self._contact_at)

    def stuck_for(self) -> float:
        """Return for how many seconds the worker has not moved although it should have."""
        return max(0.0, self.clock.monotonic() - self._beat_at)

    def wake(self) -> None:
        """Wake the worker, so that it plans again."""
        self.woken.set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start work beside the worker; if it breaks, the robot ends rather than trade without it."""
        task = asyncio.create_task(work, name=name)
        # The loop itself holds only weak references to tasks.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._on_task_end)
        return task

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        if isinstance(task.exception(), JournalUnwritableError):
            self.journaled.cannot_write(str(task.exception()))
        else:
            self.log.error("the %s broke: %s", task.get_name(), type(task.exception()).__name__)
            self.failure = task.exception()
        self.wake()

    # -- lifecycle -------------------------------------------------------------------------------------------------

    @property
    def lifecycle(self) -> LifecycleFacts:
        hold = (*self.book.hold, *self.pauses)
        return LifecycleFacts(self.book.mode, self.key, self.candidate, self.books, hold, self.latch.is_latched())

    @property
    def pauses(self) -> tuple[HoldReason, ...]:
        """Why nothing is placed for the moment; each pause ends by itself."""
        # A full disk is one reason, whether a write has failed yet or not.
        every = (self._suspended, self.journaled.write_error or self.journaled.low_space)
        return tuple(pause for pause in every if pause is not None)

    @property
    def name(self) -> str:
        """The state that people see."""
        return derive_state(self.lifecycle)

    def note_state(self) -> None:
        """Note since when the robot is in its state, if that changed."""
        name = self.name
        if name != self._noted_state:
            self._noted_state, self._noted_at = name, self.clock.now_ms()

    def state_since(self) -> int:
        """Return when the robot came into its state (this host's clock, ms), also where an earlier process did."""
        self.note_state()
        book = self.book
        known = {
            "stopped": max(book.since, book.hold_changed_at),
            "draining": max(book.since, book.hold_changed_at),
            "held": book.hold_changed_at if book.hold else 0,
            "key_lost": self.loss.since if self.loss is not None else 0,
        }
        return known.get(self._noted_state) or self._noted_at

    @property
    def has_key(self) -> bool:
        """Whether a key is loaded that counts as accepted."""
        return self.key is Key.LOADED

    @property
    def signing(self) -> Exchange | None:
        """The adapter for signed calls: of the loaded key, unless the robot is stopping."""
        return self.exchange if self.has_key and not self.stopping else None

    def turn_key(self, event: KeyEvent) -> None:
        """Change what is known of the key, by its table."""
        self.key = KEY_TABLE[self.key, event]

    def change_mode(self, event: TradingModeEvent, reason: str) -> None:
        """Change the trading mode, by its table, and journal it."""
        mode = TRADING_MODE[self.book.mode, event]
        if mode is not self.book.mode or reason != self.book.reason:
            self.record(ModeChanged(mode.value, reason, self.clock.now_ms()))
            self.log.info("mode: %s (%s)", mode.value, reason)

    def hold(self, reasons: Sequence[HoldReason]) -> None:
        """Hold for these reasons alone."""
        if tuple(reasons) != self.book.hold:
            held = Held(tuple(reasons), self.clock.now_ms())
            self.journaled.write([held])
            self.book.apply(held)
            sentences = [str(reason) for reason in reasons]
            self.log.warning("held: %s", "; ".join(sentences))
            self.announce("on-held", {"reasons": sentences})

    def hold_for(self, reason: HoldReason) -> None:
        """Add a reason to hold until a person resumes the robot."""
        if reason not in self.book.hold:
            self.hold([*self.book.hold, reason])

    def release(self, left: Sequence[HoldReason]) -> None:
        """Hold for these of the present reasons alone."""
        if len(left) < len(self.book.hold):
            now = self.clock.now_ms()
            self.record(Held(tuple(left), now) if left else Released(now))

    def suspend_trading(self, reason: HoldReason | None) -> None:
        """Place nothing for a reason, until called with None (deadman); cancelling is still allowed."""
        if reason != self._suspended:
            self._suspended = reason
            self.wake()
            if reason is not None:
                self.log.warning("suspended: %s", reason)

    # -- events ----------------------------------------------------------------------------------------------------

    def record(self, *events: Event) -> None:
        """Journal events, then apply them to the book."""
        if not events:
            return
        self.journaled.write(events)
        self._apply(events)
        self.wake()

    def record_with_next(self, *events: Event) -> None:
        """Apply events to the book now, and journal them with the next write.

        Only for what the exchange reports again after a crash: a fill, and a sell that was made durable with its buy.
        """
        self.journaled.write_with_next(events)
        self._apply(events)

    def flush(self) -> None:
        """Journal what was applied and not written yet."""
        self.journaled.flush()

    def _apply(self, events: Sequence[Event]) -> None:
        reason = self.journaled.apply(events)
        if reason is not None:
            self.hold_for(reason)

    def reserve_cycles(self, count: int) -> int:
        """Return the first of so many cycle numbers that no journal of this robot has ever used."""
        return self.journal.reserve(self.book.next_cycle, count)

    # -- what the exchange said ------------------------------------------------------------------------------------

    def watcher(self) -> Exchange:
        """Return the adapter for public calls, which needs no key."""
        if self._public is None:
            self._public = self.connect(None)
        return self._public

    def accepted(self, *, agreed: bool = False) -> None:
        """Note that the exchange accepted a signed request just now.

        Args:
            agreed: the books were just made to agree, and the break until now was judged.
        """
        self.note_contact()
        self.beat()
        if self.price is None or self.book.hold:
            return
        if not agreed and not self.unbroken():
            # Whatever the cause (a frozen process, a suspended machine): the break is judged before anything is placed.
            self.doubt_books()
            return
        self.last_contact = LastContact(self.exchange_now(), self.price)
        if self.last_contact.at - self._contact_kept_at >= KEEP_CONTACT_EVERY_MS:
            self.journal.keep_contact(self.last_contact)
            self._contact_kept_at = self.last_contact.at

    def is_foreign(self, account: AccountState) -> bool:
        """Return whether an account is another than the one whose first key this robot was given."""
        return self.uid is not None and account.uid != self.uid

    def update_account(self, account: AccountState) -> None:
        """Take the account's balances and commission rates."""
        self.balances, self.rate = account, max(account.maker_rate, account.taker_rate)

    def update_balances(self, update: BalanceUpdate) -> None:
        """Take the balances that changed."""
        if self.balances is not None:
            self.balances = self.balances.updated(update.balances)

    def update_market(self, rules: SymbolRules, price: Decimal) -> None:
        """Take the symbol's filters and its last price."""
        self.rules, self.price = rules, price

    def forget_market(self) -> None:
        """Forget filters and price: another symbol is to be traded."""
        self.rules = self.price = None
        self.price_at = 0

    def update_other_robots(self, others: Mapping[str, int]) -> list[HoldReason]:
        """Note the open orders of other robots on this account; return why it must not begin beside them."""
        if others.keys() - self.other_robots.keys():
            self.log.warning("another robot has orders on this account: %s", ", ".join(others))
        self.other_robots = dict(others)
        if not self.just_started or self.book.mode is TradingMode.STOPPED:
            return []
        return [
            HoldReason(
                HoldCode.OTHER_ROBOT,
                f"orders named {prefix}… are open and are not this robot's; {count} of them:"
                " two robots must not trade on one account",
                subject=prefix,
            )
            for prefix, count in others.items()
        ]

    def holds_asset(self, asset: str) -> bool:
        """Return whether the account has something of an asset, as far as the exchange reported it."""
        balance = self.balances.balance(asset) if self.balances is not None else None
        return balance is not None and balance.free + balance.locked > 0

    # -- time ------------------------------------------------------------------------------------------------------

    def exchange_now(self) -> int:
        """Return the exchange's time (ms)."""
        return self.exchange_clock.now()

    def fresh_price(self) -> Decimal | None:
        """Return the last price where the market stream brought a trade just now; None where it must be asked for."""
        return self.price if abs(self.exchange_now() - self.price_at) <= FRESH_MS else None

    def resync(self) -> None:
        """The exchange refused the clock: measure it again before the next order."""
        self.exchange_clock.invalidate()
        self.doubt_books()

    # -- may an order leave? ---------------------------------------------------------------------------------------

    def may_place(self) -> bool:
        """Return whether an order may leave this instant (lease and halt; the latch is read under its lock)."""
        return self.calm() and self.journal.owns()

    def calm(self) -> bool:
        """Return whether anything may be planned now: it trades, nothing is in doubt, every break was judged."""
        return not self.stopping and not self.key_in_doubt and self.unbroken() and may_trade(self.lifecycle)

    def unbroken(self) -> bool:
        """Return whether no break lies between now and the last accepted signed answer.

        Where this host's clocks have drifted apart, somebody set one of them or the machine slept: the exchange's time
        is asked for again before anything is judged by it.
        """
        if self.exchange_clock.drifted:
            return False
        if self.last_contact is None:
            return True
        return self.exchange_now() - self.last_contact.at <= min(UNBROKEN_MS, self.limits.max_gap_ms)

    def doubt_books(self) -> None:
        """Make the books agree again before anything is placed."""
        self.books = Books.STALE
        self.doubts += 1
        self.wake()

    # -- how long no order could leave while a key was replaced ------------------------------------------------------

    def begin_swap(self) -> None:
        """A key is to be replaced: every moment from here on in which no order can leave counts (``key_swap``)."""
        self.swap_gap.begin(self.clock.monotonic())
        self.open_gap()

    def open_gap(self) -> None:
        """No order can leave from now on."""
        if self.name in ("running", "draining", "reconciling"):
            self.swap_gap.open(self.clock.monotonic())

    def close_gap(self) -> None:
        """Orders can leave again."""
        self.swap_gap.close(self.clock.monotonic(), self.clock.now_ms())

    async def close(self) -> None:
        """Close the connections."""
        for exchange in (self.exchange, self._public):
            if exchange is not None:
                await exchange.close()
