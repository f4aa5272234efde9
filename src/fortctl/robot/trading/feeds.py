"""What reaches the robot from outside: its own orders, the market, and the loss of its key. A layer of the runner."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from dataclasses import replace
from decimal import Decimal

from fortctl.errors import FortctlError
from fortctl.keys.verification import verify_key
from fortctl.model import (
    BalanceUpdate,
    Fill,
    OrderRequest,
    OrderState,
    OrderType,
    OrderUpdate,
    PublicTrade,
    Role,
    Side,
    StreamDown,
    StreamUp,
    SymbolRules,
)
from fortctl.ports import Exchange, ExchangeError, Outcome
from fortctl.robot.core.events import Event, KeyStatusChanged
from fortctl.robot.core.filters import ceil_to, floor_to
from fortctl.robot.core.key_loss import TRADING, Cause, KeyLoss, cause_of
from fortctl.robot.core.lifecycle import Books, Key, KeyEvent
from fortctl.robot.core.reconciliation import fill_record, status_report
from fortctl.robot.trading.core import RobotCore

RETRY_S = 1.0
STREAM_WITHIN_S = 1.0
# A request that went out with the old key has its answer by then, or never (exchange.client.TIMEOUT_S).
SEE_OUT_S = 10.0
# How often a lost key is looked at again: what took it may be undone at the exchange (an IP list, a right).
LOOK_AGAIN_S = 300.0
_KEY_CODES = (-2008, -2014, -2015, -1022)


class Feeds(RobotCore, ABC):
    """Follows the streams, and takes the second look before a key counts as lost."""

    @abstractmethod
    def _fetch_fills(self, name: str) -> None:
        """Fetch an order's trades soon, unless the stream brings them first."""

    @abstractmethod
    def _sell_at_once(self, name: str) -> bool:
        """Send the sell that was made durable with a buy which has just finished; True when it is on its way."""

    @abstractmethod
    def doubt_rules(self) -> None:
        """Ask for rules and commissions again before the next order."""

    # -- how long no order could leave ------------------------------------------------------------------------------

    def _begin_swap(self) -> None:
        """A key is to be replaced: every moment from here on in which no order can leave counts (``key_swap``)."""
        self._gap.begin(self._clock.monotonic())
        self._open_gap()

    def _open_gap(self) -> None:
        if self.state in ("running", "draining", "reconciling"):
            self._gap.open(self._clock.monotonic())

    def _close_gap(self) -> None:
        """Orders can leave again: add up for how long none could."""
        self._gap.close(self._clock.monotonic(), self._clock.now_ms())

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
            if not isinstance(event, PublicTrade):
                continue
            self._price_at = event.time
            if event.price != self._price:
                self._price = event.price
                if self._loss is not None:
                    self._loss.see(event.price)
                if self._quiet_below is None or event.price >= self._quiet_below:
                    self._dirty.set()

    async def _follow_user(self, exchange: Exchange) -> None:
        async for event in exchange.user_events():
            if exchange is not self._exchange and exchange is not self._outgoing:
                return
            self._heard_at = self._clock.monotonic()
            if isinstance(event, OrderUpdate):
                self._updated(event)
            elif isinstance(event, BalanceUpdate):
                self._balanced(event)
            elif isinstance(event, StreamUp):
                self._stream_told.set()
                if not self._up - {exchange}:
                    self._open_gap()
                    # What happened while nobody listened is not repeated.
                    self.doubt_books()
                self._up.add(exchange)
            elif isinstance(event, StreamDown):
                self._up.discard(exchange)
                self._stream_told.set()
                if exchange is not self._exchange:
                    return
                self._log.warning("user stream down: %s", event.reason)
                self._suspecting = self._spawn(self._suspect_key(event), "second look")

    async def _await_stream(self) -> None:
        """Wait a moment for the user stream to be up or refused: books that agree before it does are doubted again."""
        if not self._up:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STREAM_WITHIN_S):
                    await self._stream_told.wait()

    async def _suspect_key(self, event: StreamDown) -> None:
        if not self._suspect and self._key is Key.LOADED and event.code in _KEY_CODES:
            await self.confirm_key_loss(ExchangeError(Outcome.KEY_REFUSED, event.reason, code=event.code))

    def _updated(self, update: OrderUpdate) -> None:
        name = self._known_as(update.order)
        if name is None:
            return
        events: list[Event] = []
        if update.fill is not None and not self.book.has_booked(name, update.fill.trade_id):
            events.append(fill_record(update.fill, name))
            if self._dearer(update.fill):
                self.doubt_rules()
        told = status_report(update.order)
        events.append(told if told.client_order_id == name else replace(told, client_order_id=name))
        self.take(*events)
        if self._sell_at_once(name):
            # The write waits for the order to leave: what is lost by a crash until then, the exchange tells again.
            return
        # The worker wakes first: what it wants now is written together with what happened.
        self._dirty.set()
        self._spawn(self._write_soon(), "journal")
        if self.book.orders[name].missing:
            self._fetch_fills(name)

    def _dearer(self, fill: Fill) -> bool:
        """Return whether a commission was higher than what is reckoned with (by more than its rounding)."""
        whole = {self.book.base: fill.quantity, self.book.quote: fill.quote}.get(fill.commission_asset)
        return whole is not None and fill.commission > whole * self._rate * Decimal("1.01")

    async def _write_soon(self) -> None:
        self.flush()
        self._accepted()

    def _known_as(self, order: OrderState) -> str | None:
        """Return our name for an order, or None where it is none of ours; amended by hand, it bears another."""
        if order.client_order_id in self.book.orders:
            return order.client_order_id
        return next((one.client_order_id for one in self.book.unsettled() if one.order_id == order.order_id), None)

    def _balanced(self, update: BalanceUpdate) -> None:
        if self._balances is None:
            return
        changed = {balance.asset: balance for balance in update.balances}
        kept = [balance for balance in self._balances.balances if balance.asset not in changed]
        self._balances = replace(self._balances, balances=(*kept, *update.balances))

    async def _end_user_stream(self) -> None:
        if self._exchange is not None:
            self._up.discard(self._exchange)
        task, self._user_task = self._user_task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _retire_stream(self, old: Exchange) -> None:
        """Go on hearing a replaced key's stream until the new one's is up and what is under way has come."""
        follower, self._user_task = self._user_task, None
        self._outgoing = old
        self._seeing_out = self._spawn(self._see_out(old, follower), "old key's stream")

    async def _see_out(self, old: Exchange, follower: asyncio.Task[None] | None) -> None:
        try:
            await asyncio.sleep(SEE_OUT_S)
        finally:
            self._outgoing = None
            self._up.discard(old)
            if follower is not None:
                follower.cancel()
                await asyncio.gather(follower, return_exceptions=True)
            await old.close()

    async def _end_retired(self) -> None:
        """Hear the replaced key's stream no longer."""
        task, self._seeing_out = self._seeing_out, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # -- the key ---------------------------------------------------------------------------------------------------

    async def confirm_key_loss(self, fault: ExchangeError) -> None:
        """Take a second look, without effect, before the key counts as lost (robot.md, "key_lost").

        Nothing is placed until it is known; a look that tells nothing of the key (maintenance, a limit, the network, a
        clock) is taken again.
        """
        exchange = self._exchange
        if exchange is None or self._key is not Key.LOADED or self._suspect:
            return
        self._suspect = True
        try:
            while exchange is self._exchange:
                try:
                    cause = await self._second_look(exchange, fault)
                except (FortctlError, ExchangeError) as unknown:
                    self._log.warning("the key may be lost (%s); the second look told nothing: %s", fault, unknown)
                    await asyncio.sleep(RETRY_S)
                    continue
                if exchange is not self._exchange:
                    return
                if cause is None:
                    self._log.warning("the exchange refused once, and accepts the key: %s", fault)
                    await asyncio.sleep(RETRY_S)
                    self.doubt_books()
                else:
                    await self._lose_key(cause, fault)
                return
        finally:
            self._suspect = False

    async def _second_look(
        self, exchange: Exchange, fault: ExchangeError, *, before_it_is_used: bool = False
    ) -> Cause | None:
        """Ask about the key; raise where nothing could be learnt of it.

        Args:
            fault: the refusal that made the robot look.
            before_it_is_used: the key counts as lost: what a new one must satisfy, it must, too.
        """
        verdict, probe = await verify_key(exchange, Role.ROBOT, allow=self._allow, pinned_uid=self._uid), None
        policy = verdict.policy
        known = not verdict.accepted or (policy is not None and TRADING in policy.missing)
        if before_it_is_used and not known and policy is not None and not policy.ok:
            return Cause("policy", "certain", f"it may do what its role must not: {', '.join(policy.excess)}", None)
        probed = None if known else await self._harmless_order()
        if probed is not None:
            try:
                await exchange.test_order(probed)
            except ExchangeError as told:
                if told.outcome is Outcome.KEY_REFUSED:
                    probe = told
                elif told.outcome not in (Outcome.REFUSED, Outcome.NO_FUNDS, Outcome.WOULD_TAKE):
                    raise
        return cause_of(verdict, probe, fault)

    async def _harmless_order(self) -> OrderRequest | None:
        """Return an order to be tried without effect, or None where there is nothing to trade."""
        settings, rules, price = self.book.settings, self._rules, self._price
        if settings is None:
            return None
        try:
            rules = rules or await self._watcher().symbol_rules(settings.symbol)
            price = price or await self._watcher().last_price(settings.symbol)
        except ExchangeError as fault:
            if fault.outcome is not Outcome.REFUSED:
                raise
            return None  # it is not traded any more
        return harmless(settings.symbol, rules, price)

    async def _lose_key(self, cause: Cause, fault: ExchangeError) -> None:
        self._turn_key(KeyEvent.LOSE)
        self._books = Books.STALE
        since, price = self.exchange_now(), self._price
        earlier = self.book.last_loss
        earlier_loss = earlier is not None and (self._mark is None or self._mark.at <= earlier.at)
        if earlier is not None and earlier_loss:
            # Nothing was accepted since: it is the loss of before (a robot that was restarted meanwhile).
            since, price = earlier.at, Decimal(earlier.price) if earlier.price else price
        self._loss = KeyLoss(since, price, cause)
        self._look_due = self._clock.monotonic() + LOOK_AGAIN_S
        if earlier_loss or price is None:
            self._look_back(self._loss)
        if self._price is not None:
            self._loss.see(self._price)
        shown = f"{price:f}" if price is not None else ""
        self.record(KeyStatusChanged("lost", since, shown, cause.code, cause.reason, cause.certainty, cause.why))
        if self._mark is not None:
            self._journal.keep_mark(self._mark)
        self._log.error("key lost: %s, %s (%s); no order call from here on", cause.reason, cause.certainty, fault)
        self._announce("on-key-lost", {"reason": cause.reason, "code": cause.code})
        await self._end_user_stream()

    def _look_back(self, loss: KeyLoss) -> None:
        """Learn, beside all else, what the market did since a loss that this process did not see begin."""
        if self.book.settings is not None:
            self._spawn(self._learn_range(loss, self.book.settings.symbol), "look back")

    async def _learn_range(self, loss: KeyLoss, symbol: str) -> None:
        while loss is self._loss:
            with contextlib.suppress(FortctlError, ExchangeError):
                seen = await self._watcher().price_range(symbol, loss.since)
                if seen is not None:
                    loss.learn(seen)
                if self._price is None:
                    self._price = seen.last if seen is not None else await self._watcher().last_price(symbol)
                return
            await self._clock.sleep(RETRY_S)


def harmless(symbol: str, rules: SymbolRules, price: Decimal) -> OrderRequest:
    """Return an order for ``POST /api/v3/order/test``: within the filters, and never placed."""
    quantity = ceil_to(max(rules.min_quantity, rules.min_notional / price), rules.step_size or Decimal(1))
    return OrderRequest(
        symbol, Side.BUY, OrderType.LIMIT, quantity, floor_to(price, rules.tick_size), "fc-key-still-trades"
    )
