"""Make the books agree with the exchange before anything is placed: book missed fills, find reasons to hold."""

from __future__ import annotations

from collections.abc import Sequence

from fortctl.model import AccountState, OrderState, SymbolRules
from fortctl.ports import Exchange, ExchangeError, Outcome
from fortctl.robot.core.events import AssetsNamed
from fortctl.robot.core.hold_reasons import HoldCode, HoldReason
from fortctl.robot.core.reconciliation import (
    Outage,
    missed_events,
    orders_to_look_up,
    other_robots,
    reasons_to_hold,
    regressed_orders,
    rollback_reason,
    twin_reasons,
    twins,
)
from fortctl.robot.core.settings import Settings
from fortctl.robot.trading.order_lookup import OrderLookup, restore_client_ids
from fortctl.robot.trading.state import RobotState

# An answer of the exchange may lag behind an earlier one: it is asked again before a person is.
LOOKS, BETWEEN_LOOKS_S = 3, 1.0


class Reconciler:
    """Reconciles the book of one robot with the exchange.

    Args:
        robot: the robot's state.
        lookup: looks orders up.
    """

    def __init__(self, robot: RobotState, lookup: OrderLookup) -> None:
        self._robot = robot
        self._lookup = lookup

    async def reconcile(self, exchange: Exchange) -> list[HoldReason] | None:
        """Make the books agree; return the reasons to hold, or None while the robot has nothing to trade.

        Raises:
            ExchangeError: it could not be asked; nothing is half done, what was booked is booked.
        """
        robot, book = self._robot, self._robot.book
        asked = _symbol(book.settings)
        rules = await self._rules_and_time(exchange)
        account = await exchange.account()
        robot.update_account(account)
        if robot.is_foreign(account):
            return [HoldReason(HoldCode.ACCOUNT, f"the key belongs to another account than {robot.account}")]
        if book.settings is None or asked != book.settings.symbol:
            # Another symbol was configured meanwhile: the books are in doubt again, and its rules are asked for then.
            return None
        symbol = book.settings.symbol
        if rules is None:
            return [HoldReason(HoldCode.SYMBOL, f"the exchange does not trade {symbol} any more", subject=symbol)]
        if (rules.base, rules.quote) != (book.base, book.quote):
            robot.record(AssetsNamed(rules.base, rules.quote))
        listing = restore_client_ids(await exchange.open_orders(symbol), book.orders)
        others = twins(book, listing)
        open_orders = tuple(order for order in listing if order not in others)
        lookup = self._lookup
        rollbacks = [await self._confirmed_rollback(exchange, name) for name in regressed_orders(book, open_orders)]
        states: dict[str, OrderState | None] = {}
        unsure = orders_to_look_up(book, open_orders)
        listed = await lookup.list_orders(exchange, unsure)
        for order in unsure:
            state = listed.get(order.client_order_id) or await lookup.look_up(exchange, order)
            if rollback_reason(order, state):
                rollbacks.append(await self._confirmed_rollback(exchange, order.client_order_id))
            if not rollbacks or rollbacks[-1] is None:
                states[order.client_order_id] = state
        fills = await lookup.missing_fills(exchange, [*open_orders, *filter(None, states.values())])
        robot.record(*missed_events(book, open_orders, states, fills))
        await lookup.resolve_doubted_sells(exchange, open_orders)
        robot.update_market(rules, robot.fresh_price() or await exchange.last_price(symbol))
        beside = robot.update_other_robots(other_robots(robot.robot_id, open_orders))
        reasons = [*beside, *twin_reasons(others), *await self._reasons(exchange, open_orders, account)]
        return [*filter(None, rollbacks), *reasons]

    async def _rules_and_time(self, exchange: Exchange) -> SymbolRules | None:
        """Return the symbol's rules, and measure the time by the same answer; None where it is traded no more."""
        robot, settings = self._robot, self._robot.book.settings
        rules, asked_at = None, robot.clock.monotonic()
        if settings is not None:
            try:
                rules = await exchange.symbol_rules(settings.symbol)
            except ExchangeError as fault:
                if fault.outcome is not Outcome.REFUSED:
                    raise
                robot.log.error("the exchange refuses %s: %s", settings.symbol, fault.message)
        if rules is None or not robot.exchange_clock.try_set(rules.stated_at, asked_at):
            # Asked for by itself, and carried on by a clock that nobody sets.
            asked_at = robot.clock.monotonic()
            robot.exchange_clock.set(await exchange.server_time(), asked_at)
        return rules

    async def _confirmed_rollback(self, exchange: Exchange, name: str) -> HoldReason | None:
        """Return a reason to hold if the exchange, each time it is asked, reports less of an order than before."""
        reason = None
        for look in range(LOOKS):
            if look:
                await self._robot.clock.sleep(BETWEEN_LOOKS_S)
            order = self._robot.book.orders[name]
            reason = rollback_reason(order, await self._lookup.look_up(exchange, order))
            if reason is None:
                return None
        return reason

    async def _reasons(
        self, exchange: Exchange, open_orders: Sequence[OrderState], account: AccountState
    ) -> list[HoldReason]:
        robot = self._robot
        reasons: list[HoldReason] = []
        assert robot.price is not None
        for look in range(LOOKS):
            outage = Outage(robot.last_contact, robot.exchange_now(), robot.price)
            reasons = reasons_to_hold(robot.book, robot.robot_id, open_orders, account, outage, robot.limits)
            if not any(reason.code == HoldCode.BALANCE and not robot.acknowledged.covers(reason) for reason in reasons):
                break
            # A buy that filled after the balances were read looks the same.
            if look:
                await robot.clock.sleep(BETWEEN_LOOKS_S)
            account = await exchange.account()
            robot.update_account(account)
        return reasons


def _symbol(settings: Settings | None) -> str | None:
    return settings.symbol if settings is not None else None
