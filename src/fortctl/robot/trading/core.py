"""What a robot knows and how it remembers it: facts, book, journal. The lowest layer of the runner."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from decimal import Decimal
from typing import Any

from fortctl.errors import JournalUnwritableError
from fortctl.model import AccountState, KeyPair, SymbolRules
from fortctl.ports import Clock, Exchange, LatchGuard
from fortctl.robot.core.book import Book
from fortctl.robot.core.events import Event, Held, ModeChanged
from fortctl.robot.core.hold_reasons import JOURNAL_BEHIND, OTHER_ROBOT, Acknowledged
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
from fortctl.robot.core.trading_gap import TradingGap
from fortctl.robot.strategy.api import Strategy
from fortctl.robot.strategy.grid import builtin
from fortctl.robot.trading.exchange_clock import ExchangeClock
from fortctl.robot.trading.journaled_book import Journal, JournaledBook

MARK_EVERY_MS = 5_000
# While it works, something is accepted at least every 30 s; what is longer was a break.
UNBROKEN_MS = 120_000
# A trade that is no older than this was the last one, as far as anybody can tell.
FRESH_MS = 5_000


class RobotCore:
    """What a robot knows, and how it remembers: the base of :class:`fortctl.robot.trading.runner.Runner`.

    Args:
        account: its name.
        robot_id: marks its orders.
        journal: the append-only journal; the book is rebuilt from it here.
        clock, latch, log: as named.
        connect: makes an exchange adapter; without a key it can only watch the market.
        limits: how long a break it bridges alone.
        strategies: finds a strategy by name.
        resume_running: go on trading where the journal says ``running`` (a service manager's restart).
        announce: hears of what a person wants to know (an event's name, its facts); returns at once.
    """

    def __init__(
        self,
        *,
        account: str,
        robot_id: str,
        journal: Journal,
        clock: Clock,
        latch: LatchGuard,
        connect: Callable[[KeyPair | None], Exchange],
        log: logging.Logger,
        limits: ResumeLimits | None = None,
        strategies: Callable[[str], Strategy] = builtin,
        resume_running: bool = False,
        announce: Callable[[str, Mapping[str, Any]], None] = lambda event, facts: None,
    ) -> None:
        self._account = account
        self._robot_id = robot_id
        self._journal = journal
        self._clock = clock
        self._latch = latch
        self._connect = connect
        self._log = log
        self._limits = limits or ResumeLimits()
        self._announce = announce
        # Why it places nothing for the moment, whatever the book says (deadman).
        self._silenced = ""
        # How often the books were doubted: what was doubted while they were made to agree is doubted still.
        self._doubts = 0
        self._strategies = strategies
        self._keeper = JournaledBook(journal, log)
        self._key, self._books, self._candidate = Key.NONE, Books.STALE, False
        self._exchange: Exchange | None = None
        self._public: Exchange | None = None
        self._rules: SymbolRules | None = None
        self._rate = Decimal(0)
        self._balances: AccountState | None = None
        self._price: Decimal | None = None
        self._uid: int | None = None
        # The rights that a person accepted although the role forbids them.
        self._allow: tuple[str, ...] = ()
        # When a lost key is looked at again (monotonic).
        self._look_due = 0.0
        # Whoever owned the account before has stamped nothing since.
        self._time = ExchangeClock(clock)
        # The exchange's time (ms) of the last trade that the market stream told.
        self._price_at = 0
        self._mark = journal.mark()
        self._mark_kept = self._mark.at if self._mark else 0
        self._loss: KeyLoss | None = None
        self._heard_at = clock.monotonic()
        self._beat_at = clock.monotonic()
        self._dirty = asyncio.Event()
        # The user stream of the loaded key has come up, or was refused, once.
        self._stream_told = asyncio.Event()
        # While the price is below this, a trade of the market changes nothing that is wanted.
        self._quiet_below: Decimal | None = None
        # The strategy wants to be asked again at this time of the exchange (ms).
        self._wake_at: int | None = None
        # What a person has looked at; after a restart somebody looks again.
        self._excuses = Acknowledged()
        # It was just started: beside another robot's orders it does not begin.
        self._begins = True
        self._others: dict[str, int] = {}
        self._suspect = False
        self._suspecting: asyncio.Task[None] | None = None
        self._stopping = False
        self._failure: BaseException | None = None
        self._user_task: asyncio.Task[None] | None = None
        # A key swapped in between two orders: the old one's stream is heard until the new one's is up.
        self._up: set[Exchange] = set()
        self._outgoing: Exchange | None = None
        self._seeing_out: asyncio.Task[None] | None = None
        self._gap = TradingGap()
        self._market_task: asyncio.Task[None] | None = None
        self._beside: set[asyncio.Task[None]] = set()
        if journal.behind():
            self.hold_for(
                f"{JOURNAL_BEHIND}: {journal.behind()}; nobody looks after orders and inventory that it does not know."
                " Put the newest journal back, or cancel and sell them by hand, then 'fortctl robot resume'"
            )
        if not resume_running and self.book.wish is TradingMode.RUNNING:
            self._wish(TradingModeEvent.BROUGHT_UP, "was_running")

    @property
    def book(self) -> Book:
        return self._keeper.book

    # -- life ------------------------------------------------------------------------------------------------------

    def beat(self, ahead_s: float = 0.0) -> None:
        """Note that the worker moves, or will not before ``ahead_s`` seconds have passed, and rightly so."""
        self._beat_at = max(self._beat_at, self._clock.monotonic() + ahead_s)

    def silent_for(self) -> float:
        """Return since how many seconds neither the exchange nor its stream was heard."""
        return max(0.0, self._clock.monotonic() - self._heard_at)

    def stuck_for(self) -> float:
        """Return for how many seconds the worker has not moved although it should have."""
        return max(0.0, self._clock.monotonic() - self._beat_at)

    # -- facts -----------------------------------------------------------------------------------------------------

    @property
    def facts(self) -> LifecycleFacts:
        hold = (*self.book.hold, *self.pauses)
        return LifecycleFacts(self.book.wish, self._key, self._candidate, self._books, hold, self._latch.is_latched())

    @property
    def pauses(self) -> tuple[str, ...]:
        """Why nothing is placed for the moment; it goes on by itself when they are over."""
        return tuple(filter(None, (self._silenced, self._keeper.trouble, self._keeper.low_space)))

    @property
    def state(self) -> str:
        return derive_state(self.facts)

    def exchange_now(self) -> int:
        return self._time.now()

    def record(self, *events: Event) -> None:
        """Journal events, then take them into the book."""
        if not events:
            return
        self._keeper.write(events)
        self._take_in(events)
        self._dirty.set()

    def take(self, *events: Event) -> None:
        """Take events into the book now, and journal them with the next write.

        Only for what the exchange tells again after a crash: a fill, and a sell that was made durable with its buy.
        """
        self._keeper.write_later(events)
        self._take_in(events)

    def flush(self) -> None:
        """Journal what was taken in and not written yet."""
        self._keeper.flush()

    def _take_in(self, events: Sequence[Event]) -> None:
        lost = self._keeper.take_in(events)
        if lost is not None:
            self.hold_for(lost)

    def _wish(self, event: TradingModeEvent, reason: str) -> None:
        wish = TRADING_MODE[self.book.wish, event]
        if wish is not self.book.wish or reason != self.book.reason:
            self.record(ModeChanged(wish.value, reason, self._clock.now_ms()))
            self._log.info("wish: %s (%s)", wish.value, reason)

    def _hold(self, reasons: list[str]) -> None:
        if tuple(reasons) != self.book.hold:
            self._keeper.write([Held(reasons)])
            self.book.apply(Held(reasons))
            self._log.warning("held: %s", "; ".join(reasons))
            self._announce("on-held", {"reasons": list(reasons)})

    def suspend_trading(self, reason: str) -> None:
        """Place nothing for a reason, until called with an empty one (deadman); cancelling goes on."""
        if reason != self._silenced:
            self._silenced = reason
            self._dirty.set()
            if reason:
                self._log.warning("silent: %s", reason)

    def hold_for(self, reason: str) -> None:
        """Hold until a person has looked, beside what holds already."""
        if reason not in self.book.hold:
            self._hold([*self.book.hold, reason])

    def _turn_key(self, event: KeyEvent) -> None:
        self._key = KEY_TABLE[self._key, event]

    def _accepted(self, *, agreed: bool = False) -> None:
        """Note that the exchange accepted a signed request just now.

        Args:
            agreed: the books were just made to agree, and the break until now was judged.
        """
        self._heard_at = self._clock.monotonic()
        self.beat()
        if self._price is None or self.book.hold:
            return
        if not agreed and not self._unbroken():
            # Whatever the cause (a frozen process, a suspended machine): the break is judged before anything goes on.
            self.doubt_books()
            return
        self._mark = LastContact(self.exchange_now(), self._price)
        if self._mark.at - self._mark_kept >= MARK_EVERY_MS:
            self._journal.keep_mark(self._mark)
            self._mark_kept = self._mark.at

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start work beside the worker; should it break, the robot ends rather than go on half-deaf."""
        task = asyncio.create_task(work, name=name)
        # The loop itself holds tasks weakly.
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        if isinstance(task.exception(), JournalUnwritableError):
            self._keeper.cannot_write(str(task.exception()))
        else:
            self._log.error("the %s broke: %s", task.get_name(), type(task.exception()).__name__)
            self._failure = task.exception()
        self._dirty.set()

    # -- what the order desk asks ----------------------------------------------------------------------------------

    @property
    def account(self) -> str:
        return self._account

    @property
    def limits(self) -> ResumeLimits:
        return self._limits

    def foreign(self, account: AccountState) -> bool:
        """Return whether an account is another than the one whose first key this robot was given."""
        return self._uid is not None and account.uid != self._uid

    def see_account(self, account: AccountState) -> None:
        self._balances, self._rate = account, max(account.maker_rate, account.taker_rate)

    def see_market(self, rules: SymbolRules, price: Decimal) -> None:
        self._rules, self._price = rules, price

    def see_others(self, others: Mapping[str, int]) -> list[str]:
        """Take note of the orders of other robots on this account; return why it must not begin beside them."""
        if others.keys() - self._others.keys():
            self._log.warning("another robot has orders on this account: %s", ", ".join(others))
        self._others = dict(others)
        if not self._begins or self.book.wish is TradingMode.STOPPED:
            return []
        return [
            f"{OTHER_ROBOT}: orders named {prefix}… are open and are not this robot's; {count} of them:"
            " two robots must not trade on one account"
            for prefix, count in others.items()
        ]

    def excuses(self, reason: str) -> bool:
        """Return whether a person has looked at a reason to hold, and let it be."""
        return self._excuses.covers(reason)

    def reserve_cycles(self, count: int) -> int:
        """Return the first of so many cycle numbers that no journal of this robot has ever used."""
        return self._journal.reserve(self.book.next_cycle, count)

    def present_break(self) -> tuple[LastContact | None, int, Decimal]:
        """Return the last accepted signed answer, the exchange's time now (ms), and the last price."""
        assert self._price is not None
        return self._mark, self.exchange_now(), self._price

    async def measure_time(self, exchange: Exchange) -> None:
        """Ask for the exchange's time, and carry it on by a clock that nobody sets."""
        asked_at = self._clock.monotonic()
        self._time.set(await exchange.server_time(), asked_at)

    def take_time(self, theirs: int, asked_at: float) -> bool:
        """Take the time that another answer bore (:meth:`ExchangeClock.take`)."""
        return self._time.take(theirs, asked_at)

    def began_at(self) -> int:
        return self._time.began_at()

    def fresh_price(self) -> Decimal | None:
        """Return the last price where the market stream told of a trade just now; None where it must be asked for."""
        return self._price if abs(self.exchange_now() - self._price_at) <= FRESH_MS else None

    @property
    def has_key(self) -> bool:
        """Whether a key is loaded that counts as accepted."""
        return self._key is Key.LOADED

    @property
    def robot_id(self) -> str:
        return self._robot_id

    @property
    def latch(self) -> LatchGuard:
        return self._latch

    @property
    def log(self) -> logging.Logger:
        return self._log

    @property
    def exchange(self) -> Exchange | None:
        return self._exchange

    def may_place(self) -> bool:
        """Return whether an order may leave this instant (lease and halt; the latch is read under its lock)."""
        return self.calm() and self._journal.owns()

    def calm(self) -> bool:
        """Return whether anything may be wanted now: it trades, nothing is in question, no break is unjudged."""
        return not self._stopping and not self._suspect and self._unbroken() and may_trade(self.facts)

    def _unbroken(self) -> bool:
        """Return whether no break lies between now and the last accepted signed answer.

        Where this host's clocks have parted, somebody set one of them or the machine slept: the exchange's time is
        asked for anew before anything is judged by it.
        """
        if self._time.parted:
            return False
        return self._mark is None or self.exchange_now() - self._mark.at <= min(UNBROKEN_MS, self._limits.max_gap_ms)

    @property
    def last_price(self) -> Decimal | None:
        """The market's last price, as far as it was heard or asked for."""
        return self._price

    @property
    def rate(self) -> Decimal:
        """The higher of the account's commission rates."""
        return self._rate

    @property
    def step_size(self) -> Decimal:
        return self._rules.step_size if self._rules is not None else Decimal(0)

    def holds(self, asset: str) -> bool:
        """Return whether the account has something of an asset, as far as it was told."""
        found = self._balances.balance(asset) if self._balances is not None else None
        return found is not None and found.free + found.locked > 0

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return self._spawn(work, name)

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    def accepted(self) -> None:
        self._accepted()

    def look_again(self) -> None:
        self._dirty.set()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def resync(self) -> None:
        """The clock was refused: measure it again before the next order."""
        self._time.refuse()
        self.doubt_books()

    def doubt_books(self) -> None:
        """Make the books agree again before anything is placed."""
        self._books = Books.STALE
        self._doubts += 1
        self._dirty.set()
