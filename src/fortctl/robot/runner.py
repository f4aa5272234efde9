"""The robot's shell: feeds the pure core with what happens and carries out what it wants.

It knows the robot's pure modules and ports only. One worker decides; streams and replies only add to the book.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from decimal import Decimal
from typing import Any, Protocol

from fortctl.errors import Conflict, FortctlError
from fortctl.keycheck import check_key
from fortctl.model import (
    AccountState,
    BalanceUpdate,
    KeyPair,
    KeyVerdict,
    OrderUpdate,
    PublicTrade,
    Role,
    StreamDown,
    StreamUp,
    SymbolRules,
)
from fortctl.ports import Clock, Exchange, ExchangeFault, LatchGuard, Outcome
from fortctl.robot import grid
from fortctl.robot.book import Book, order_row
from fortctl.robot.cycle import IllegalTransition
from fortctl.robot.describe import describe
from fortctl.robot.events import AssetsNamed, Configured, Event, Held, KeyMarked, Released, Wished
from fortctl.robot.keyloss import KeyLoss
from fortctl.robot.lifecycle import KEY as KEY_TABLE
from fortctl.robot.lifecycle import WISH, Books, Facts, Key, KeyEvent, Wish, WishEvent, derive_state, may_trade
from fortctl.robot.orders import OrderDesk
from fortctl.robot.reconcile import Limits, Mark, agree, booked_of, reasons_to_hold, to_look_up, told_of
from fortctl.robot.settings import GridSettings

SECOND_LOOK_S = 30.0
RETRY_S = 1.0
MARK_EVERY_MS = 5_000
# An unknown order is proved absent only after its request can no longer be accepted (robot.md, rule 2).
RECV_WINDOW_MS = 1_000


class Journal(Protocol):
    """What the runner asks of the journal."""

    def append(self, events: Sequence[Event]) -> None: ...

    def events(self) -> Any: ...

    def owns(self) -> bool: ...

    def keep_mark(self, mark: Mark) -> None: ...

    def mark(self) -> Mark | None: ...


class Runner:
    """One account's robot.

    Args:
        account: its name.
        robot_id: marks its orders.
        journal: the append-only journal; the book is rebuilt from it here.
        clock, latch, log: as named.
        connect: makes an exchange adapter; without a key it can only watch the market.
        limits: how long a break it bridges alone.
        resume_running: go on trading where the journal says ``running`` (a service manager's restart).
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
        limits: Limits | None = None,
        resume_running: bool = False,
    ) -> None:
        self._account = account
        self._robot_id = robot_id
        self._journal = journal
        self._clock = clock
        self._latch = latch
        self._connect = connect
        self._log = log
        self._limits = limits or Limits()
        self.book = Book()
        self.book.replay(journal.events())
        self._key, self._books, self._candidate = Key.NONE, Books.STALE, False
        self._exchange: Exchange | None = None
        self._public: Exchange | None = None
        self._rules: SymbolRules | None = None
        self._rate = Decimal(0)
        self._balances: AccountState | None = None
        self._price: Decimal | None = None
        self._uid: int | None = None
        self._offset_ms = 0
        self._mark = journal.mark()
        self._mark_kept = self._mark.at if self._mark else 0
        self._loss: KeyLoss | None = None
        self._dirty = asyncio.Event()
        self._suspect = False
        self._suspecting: asyncio.Task[None] | None = None
        self._stopping = False
        self._failure: BaseException | None = None
        self._user_task: asyncio.Task[None] | None = None
        self._market_task: asyncio.Task[None] | None = None
        self._orders = OrderDesk(self)
        if not resume_running and self.book.wish is Wish.RUNNING:
            self._wish(WishEvent.BROUGHT_UP, "was_running")

    # -- facts -----------------------------------------------------------------------------------------------------

    @property
    def facts(self) -> Facts:
        return Facts(self.book.wish, self._key, self._candidate, self._books, self.book.hold, self._latch.is_latched())

    @property
    def state(self) -> str:
        return derive_state(self.facts)

    def exchange_now(self) -> int:
        """Return the exchange's time (ms), by the offset last measured."""
        return self._clock.now_ms() + self._offset_ms

    def record(self, *events: Event) -> None:
        """Journal events, then take them into the book."""
        if not events:
            return
        self._journal.append(events)
        try:
            self.book.replay(events)
        except (IllegalTransition, KeyError) as error:
            self._log.error("the book cannot follow the exchange: %s", error)
            self._hold([f"BOOKS: {error}"])
        self._dirty.set()

    def _wish(self, event: WishEvent, reason: str) -> None:
        wish = WISH[self.book.wish, event]
        if wish is not self.book.wish or reason != self.book.reason:
            self.record(Wished(wish.value, reason, self._clock.now_ms()))
            self._log.info("wish: %s (%s)", wish.value, reason)

    def _hold(self, reasons: list[str]) -> None:
        if tuple(reasons) != self.book.hold:
            self._journal.append([Held(reasons)])
            self.book.apply(Held(reasons))
            self._log.warning("held: %s", "; ".join(reasons))

    def _turn_key(self, event: KeyEvent) -> None:
        self._key = KEY_TABLE[self._key, event]

    # -- what the desk asks ----------------------------------------------------------------------------------------

    async def verify_candidate(
        self, pair: KeyPair, *, allow: Collection[str] = (), pinned_uid: int | None = None
    ) -> KeyVerdict:
        """Ask the exchange about a key beside the loaded one; trading goes on meanwhile."""
        exchange = self._connect(pair)
        self._candidate = True
        try:
            return await check_key(exchange, Role.ROBOT, allow=allow, pinned_uid=pinned_uid)
        finally:
            self._candidate = False
            await exchange.close()

    async def set_key(self, pair: KeyPair, *, uid: int) -> None:
        """Load a verified key: the next order goes out with it, after the books agree."""
        old = self._exchange
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
        await self._check_settings(self.book.settings)
        if by_person and not self.book.live and self.book.hold:
            self.record(Released())
        self._wish(WishEvent.START, "started")

    async def drain(self) -> None:
        self._wish(WishEvent.DRAIN, "draining")

    async def stop_now(self, *, cancel_orders: bool) -> dict[str, Any]:
        """Stop at once; return which orders were cancelled and which stay at the exchange."""
        self._wish(WishEvent.STOP, "stopped")
        cancelled = await self._orders.cancel_all() if cancel_orders else []
        return {"cancelled": cancelled, "orders_left": self.open_orders()}

    async def resume(self) -> None:
        """Go on after a person has looked. Raises ``Conflict`` when not held."""
        if not self.book.hold:
            raise Conflict("the robot is not held", hint="see 'fortctl robot status'")
        self.record(Released())
        self._mark = Mark(self.exchange_now(), self._price) if self._price is not None else None
        self._books = Books.STALE
        self._dirty.set()

    async def configure(self, settings: GridSettings) -> None:
        """Take new settings. Raises ``Conflict`` when cycles of another symbol are open, ``BadInput``."""
        old = self.book.settings
        if old == settings:
            return
        if old is not None and old.symbol != settings.symbol and self.book.live:
            raise Conflict(
                f"cycles in {old.symbol} are open", hint="drain first ('fortctl robot stop'), then change the symbol"
            )
        await self._check_settings(settings)
        self.record(Configured(settings.as_json()))
        if old is None or old.symbol != settings.symbol:
            self._rules = self._price = None
            self._books = Books.STALE
            self._restart_market()

    async def _check_settings(self, settings: GridSettings) -> None:
        """Check settings against the symbol's filters where the exchange can be asked."""
        try:
            rules = await self._watcher().symbol_rules(settings.symbol)
            price = self._price or await self._watcher().last_price(settings.symbol)
        except ExchangeFault as fault:
            if fault.outcome is Outcome.REFUSED:
                from fortctl.errors import BadInput

                raise BadInput(f"the exchange does not trade {settings.symbol}: {fault.message}") from None
            return
        grid.check_settings(settings, price, rules, self._rate)

    def place_nothing_more(self) -> None:
        """From this call on no order leaves (panic); cancels still may."""
        self._stopping = True

    async def halt(self, *, cancel_orders: bool) -> dict[str, Any]:
        """Panic: place nothing more, cancel our own orders, forget the key."""
        self.place_nothing_more()
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
        shown = describe(self.book, self.state, self._price)
        if self.book.key_mark is not None and self._key is Key.LOST and self._loss is not None:
            shown["reason"] = self._loss.reason
            shown["key_loss"] = self._loss.describe(self._price, self.book)
        if self._balances is not None:
            assets = {self.book.base, self.book.quote, *self.book.moved}
            shown["balances"] = [
                {"asset": one.asset, "free": f"{one.free:f}", "locked": f"{one.locked:f}"}
                for one in self._balances.balances
                if one.asset in assets
            ]
        return shown

    # -- running ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled. Trouble with the exchange is logged and tried again, never raised."""
        self._restart_market()
        while True:
            self._dirty.clear()
            if self._failure is not None:
                raise self._failure
            try:
                await self._step()
            except ExchangeFault as fault:
                await self._met(fault)
            except FortctlError as error:
                self._log.error("stopped working: %s", error.message)
                raise
            # asyncio.timeout, not wait_for: that one can swallow a cancellation (fixed in Python 3.12).
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SECOND_LOOK_S):
                    await self._dirty.wait()

    async def close(self) -> None:
        """End the streams and the connections."""
        await self._end_user_stream()
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
        await asyncio.sleep(fault.retry_after if fault.retry_after is not None else RETRY_S)
        self._dirty.set()

    async def _step(self) -> None:
        if self._exchange is None or self._key is not Key.LOADED or self._stopping:
            return
        if self._books is Books.STALE:
            await self._reconcile(self._exchange)
        await self._orders.resolve_unknown(self._exchange)
        if not may_trade(self.facts) or self._suspect or self._rules is None or self._price is None:
            return
        view = self._orders.view(self._price, self._rules, self._rate)
        wanted = grid.plan(self.book, view)
        self.record(*wanted.events)
        if wanted.intents:
            await self._orders.carry_out(self._exchange, wanted.intents)
        elif grid.drained(self.book):
            self._wish(WishEvent.DRAINED, "drained")

    async def _reconcile(self, exchange: Exchange) -> None:
        """Make the books agree; until then nothing is placed."""
        settings = self.book.settings
        before = self._clock.now_ms()
        server = await exchange.server_time()
        self._offset_ms = server - (before + self._clock.now_ms()) // 2
        account = await exchange.account()
        self._balances, self._rate = account, max(account.maker_rate, account.taker_rate)
        if self._uid is not None and account.uid != self._uid:
            self._hold([f"ACCOUNT: the key belongs to another account than {self._account}"])
            return
        if settings is None:
            self._books = Books.AGREED
            return
        rules = await exchange.symbol_rules(settings.symbol)
        if (rules.base, rules.quote) != (self.book.base, self.book.quote):
            self.record(AssetsNamed(rules.base, rules.quote))
        self._rules, self._price = rules, await exchange.last_price(settings.symbol)
        open_orders = await exchange.open_orders(settings.symbol)
        looked = {
            order.client_order_id: await self._orders.look_up(exchange, order)
            for order in to_look_up(self.book, open_orders)
        }
        fills = await self._orders.missing_fills(exchange, [*open_orders, *filter(None, looked.values())])
        self.record(*agree(self.book, open_orders, looked, fills))
        held = reasons_to_hold(
            *(self.book, self._robot_id, open_orders, account, self._price, self.exchange_now()),
            *(self._mark, self._limits),
        )
        if held and self.book.wish is not Wish.STOPPED:
            self._hold(held)
        self._books, self._loss = Books.AGREED, None
        self._accepted()
        self._log.info("books agree: %d orders open, %d cycles", len(self.book.open_orders), len(self.book.live))

    def _accepted(self) -> None:
        """Note that the exchange accepted a signed request just now."""
        if self._price is None or self.book.hold:
            return
        self._mark = Mark(self.exchange_now(), self._price)
        if self._mark.at - self._mark_kept >= MARK_EVERY_MS:
            self._journal.keep_mark(self._mark)
            self._mark_kept = self._mark.at

    async def confirm_key_loss(self, fault: ExchangeFault) -> None:
        """Take a second look, without effect, before the key counts as lost (robot.md, "key_lost")."""
        exchange = self._exchange
        if exchange is None or self._key is not Key.LOADED:
            return
        self._suspect = True
        try:
            while exchange is self._exchange:
                try:
                    verdict = await check_key(exchange, Role.ROBOT)
                except FortctlError:
                    await asyncio.sleep(RETRY_S)
                    continue
                policy = verdict.policy
                if verdict.accepted and (policy is None or "spot_trading" not in policy.missing):
                    self._log.warning("the exchange refused once, and accepts the key: %s", fault)
                    await asyncio.sleep(RETRY_S)
                    self._books = Books.STALE
                    self._dirty.set()
                    return
                if exchange is self._exchange:
                    await self._lose_key(verdict, fault)
                return
        finally:
            self._suspect = False

    async def _lose_key(self, verdict: KeyVerdict, fault: ExchangeFault) -> None:
        reason = verdict.reason if not verdict.accepted else "trading_right_removed"
        self._turn_key(KeyEvent.LOSE)
        self._books = Books.STALE
        self._loss = KeyLoss(self.exchange_now(), self._price, reason, verdict.exchange_code or fault.code)
        price = f"{self._price:f}" if self._price is not None else ""
        self.record(KeyMarked("lost", self.exchange_now(), price, self._loss.code, reason))
        if self._mark is not None:
            self._journal.keep_mark(self._mark)
        self._log.error("key lost: %s (%s); no order call from here on", reason, fault)
        await self._end_user_stream()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start work beside the worker; should it break, the robot ends rather than go on half-deaf."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._log.error("the %s broke: %s", task.get_name(), type(task.exception()).__name__)
            self._failure = task.exception()
            self._dirty.set()

    # -- streams ---------------------------------------------------------------------------------------------------

    def _watcher(self) -> Exchange:
        if self._public is None:
            self._public = self._connect(None)
        return self._public

    def _restart_market(self) -> None:
        if self._market_task is not None:
            self._market_task.cancel()
            self._market_task = None
        if self.book.settings is not None:
            self._market_task = self._spawn(self._follow_market(self.book.settings.symbol), "market stream")

    async def _follow_market(self, symbol: str) -> None:
        async for event in self._watcher().market_events(symbol):
            if isinstance(event, PublicTrade) and event.price != self._price:
                self._price = event.price
                if self._loss is not None:
                    self._loss.see(event.price)
                self._dirty.set()

    async def _follow_user(self, exchange: Exchange) -> None:
        async for event in exchange.user_events():
            if exchange is not self._exchange:
                return
            if isinstance(event, OrderUpdate):
                self._updated(event)
            elif isinstance(event, BalanceUpdate):
                self._balanced(event)
            elif isinstance(event, StreamUp):
                # What happened while nobody listened is not repeated.
                self._books = Books.STALE
                self._dirty.set()
            elif isinstance(event, StreamDown):
                self._log.warning("user stream down: %s", event.reason)
                self._suspecting = self._spawn(self._suspect_key(event), "second look")

    async def _suspect_key(self, event: StreamDown) -> None:
        if not self._suspect and self._key is Key.LOADED:
            outcome = Outcome.KEY_REFUSED if event.code in (-2008, -2014, -2015, -1022) else Outcome.UNKNOWN
            if outcome is Outcome.KEY_REFUSED:
                await self.confirm_key_loss(ExchangeFault(outcome, event.reason, code=event.code))

    def _updated(self, update: OrderUpdate) -> None:
        name = update.order.client_order_id
        if name not in self.book.orders:
            return
        events: list[Event] = []
        if update.fill is not None and update.fill.trade_id not in self.book.trades:
            events.append(booked_of(update.fill, name))
        events.append(told_of(update.order))
        self.record(*events)
        self._accepted()
        if self.book.orders[name].missing:
            self._orders.fetch_fills_of(name)

    def _balanced(self, update: BalanceUpdate) -> None:
        if self._balances is None:
            return
        from dataclasses import replace

        changed = {balance.asset: balance for balance in update.balances}
        kept = [balance for balance in self._balances.balances if balance.asset not in changed]
        self._balances = replace(self._balances, balances=(*kept, *update.balances))

    async def _end_user_stream(self) -> None:
        task, self._user_task = self._user_task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # -- what the order desk asks ----------------------------------------------------------------------------------

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
        return not self._stopping and not self._suspect and self._key is Key.LOADED and self._journal.owns()

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
        self._books = Books.STALE
        self._dirty.set()
