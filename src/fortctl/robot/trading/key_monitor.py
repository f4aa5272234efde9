"""Decide whether a refusal means that the key is lost, and follow the market since then (robot.md, "Behaviour")."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from decimal import Decimal

from fortctl.errors import FortctlError
from fortctl.keys.verification import verify_key
from fortctl.model import OrderRequest, OrderType, Role, Side, StreamDown, SymbolRules
from fortctl.ports import Exchange, ExchangeError, Outcome
from fortctl.robot.core.events import KeyStatusChanged
from fortctl.robot.core.filters import ceil_to, floor_to
from fortctl.robot.core.key_loss import TRADING, Cause, KeyLoss, cause_of
from fortctl.robot.core.lifecycle import Books, KeyEvent
from fortctl.robot.trading.state import RobotState

RETRY_S = 1.0
# How often a lost key is checked again: what took it may be undone at the exchange (an IP list, a right).
CHECK_AGAIN_S = 300.0
_KEY_CODES = (-2008, -2014, -2015, -1022)


class KeyMonitor:
    """Checks a refused key of one robot, and records its loss.

    Args:
        robot: the robot's state.
        end_user_stream: ends the user stream of a key that is lost.

    Attributes:
        check_due: when a lost key is to be checked again (monotonic seconds).
    """

    def __init__(self, robot: RobotState, end_user_stream: Callable[[], Awaitable[None]]) -> None:
        self._robot = robot
        self._end_user_stream = end_user_stream
        self.check_due = 0.0

    async def on_stream_down(self, event: StreamDown) -> None:
        """Check the key where the exchange ended its user stream with a code that speaks of the key."""
        if self._robot.has_key and event.code in _KEY_CODES:
            await self.confirm_loss(ExchangeError(Outcome.KEY_REFUSED, event.reason, code=event.code))

    async def confirm_loss(self, fault: ExchangeError) -> None:
        """Check the key a second time, without side effects, before it counts as lost.

        Nothing is placed until the result is known; a check that says nothing of the key (maintenance, a limit, the
        network, a clock) is repeated.
        """
        robot = self._robot
        exchange = robot.exchange
        if exchange is None or not robot.has_key or robot.key_in_doubt:
            return
        robot.key_in_doubt = True
        try:
            while exchange is robot.exchange:
                try:
                    cause = await self.check_key(exchange, fault)
                except (FortctlError, ExchangeError) as unknown:
                    robot.log.warning("the key may be lost (%s); the second check does not tell: %s", fault, unknown)
                    await asyncio.sleep(RETRY_S)
                    continue
                if exchange is not robot.exchange:
                    return
                if cause is None:
                    robot.log.warning("the exchange refused the key once, and accepts it: %s", fault)
                    await asyncio.sleep(RETRY_S)
                    robot.doubt_books()
                else:
                    await self._lose_key(cause, fault)
                return
        finally:
            robot.key_in_doubt = False

    async def check_key(
        self, exchange: Exchange, fault: ExchangeError, *, before_it_is_used: bool = False
    ) -> Cause | None:
        """Ask about the key; return why it is lost, or None where it is accepted.

        Args:
            exchange: the adapter of the key.
            fault: the refusal that made the robot check.
            before_it_is_used: the key counts as lost: it must satisfy what a new one must satisfy.

        Raises:
            FortctlError, ExchangeError: the answers say nothing of the key.
        """
        robot = self._robot
        verdict, probe = await verify_key(exchange, Role.ROBOT, allow=robot.allow, pinned_uid=robot.uid), None
        policy = verdict.policy
        known = not verdict.accepted or (policy is not None and TRADING in policy.missing)
        if before_it_is_used and not known and policy is not None and not policy.ok:
            return Cause("policy", "certain", f"it may do what its role must not: {', '.join(policy.excess)}", None)
        probed = None if known else await self._harmless_order()
        if probed is not None:
            try:
                await exchange.test_order(probed)
            except ExchangeError as refused:
                if refused.outcome is Outcome.KEY_REFUSED:
                    probe = refused
                elif refused.outcome not in (Outcome.REFUSED, Outcome.NO_FUNDS, Outcome.WOULD_TAKE):
                    raise
        return cause_of(verdict, probe, fault)

    async def _harmless_order(self) -> OrderRequest | None:
        """Return an order to be tried without effect, or None where there is nothing to trade."""
        robot = self._robot
        settings, rules, price = robot.book.settings, robot.rules, robot.price
        if settings is None:
            return None
        try:
            rules = rules or await robot.watcher().symbol_rules(settings.symbol)
            price = price or await robot.watcher().last_price(settings.symbol)
        except ExchangeError as fault:
            if fault.outcome is not Outcome.REFUSED:
                raise
            return None  # it is not traded any more
        return harmless(settings.symbol, rules, price)

    async def _lose_key(self, cause: Cause, fault: ExchangeError) -> None:
        robot = self._robot
        robot.turn_key(KeyEvent.LOSE)
        robot.books = Books.STALE
        since, price = robot.exchange_now(), robot.price
        earlier = robot.book.last_loss
        contact = robot.last_contact
        is_earlier_loss = earlier is not None and (contact is None or contact.at <= earlier.at)
        if earlier is not None and is_earlier_loss:
            # Nothing was accepted since: it is the loss of before (a robot that was restarted meanwhile).
            since, price = earlier.at, Decimal(earlier.price) if earlier.price else price
        robot.loss = KeyLoss(since, price, cause)
        self.check_due = robot.clock.monotonic() + CHECK_AGAIN_S
        if is_earlier_loss or price is None:
            self.learn_range(robot.loss)
        if robot.price is not None:
            robot.loss.follow_price(robot.price)
        price_text = f"{price:f}" if price is not None else ""
        robot.record(KeyStatusChanged("lost", since, price_text, cause.code, cause.reason, cause.certainty, cause.why))
        if contact is not None:
            robot.journal.keep_contact(contact)
        robot.log.error("key lost: %s, %s (%s); no order call from here on", cause.reason, cause.certainty, fault)
        robot.announce("on-key-lost", {"reason": cause.reason, "code": cause.code})
        await self._end_user_stream()

    def learn_range(self, loss: KeyLoss) -> None:
        """Learn, beside all else, what the market did since a loss whose beginning this process did not see."""
        settings = self._robot.book.settings
        if settings is not None:
            self._robot.spawn(self._learn_range(loss, settings.symbol), "price range")

    async def _learn_range(self, loss: KeyLoss, symbol: str) -> None:
        robot = self._robot
        while loss is robot.loss:
            with contextlib.suppress(FortctlError, ExchangeError):
                prices = await robot.watcher().price_range(symbol, loss.since)
                if prices is not None:
                    loss.include_range(prices)
                if robot.price is None:
                    robot.price = prices.last if prices is not None else await robot.watcher().last_price(symbol)
                return
            await robot.clock.sleep(RETRY_S)


def harmless(symbol: str, rules: SymbolRules, price: Decimal) -> OrderRequest:
    """Return an order for ``POST /api/v3/order/test``: within the filters, and never placed."""
    quantity = ceil_to(max(rules.min_quantity, rules.min_notional / price), rules.step_size or Decimal(1))
    return OrderRequest(
        symbol, Side.BUY, OrderType.LIMIT, quantity, floor_to(price, rules.tick_size), "fc-key-still-trades"
    )
