"""Make the books agree with the exchange before anything is placed: book what was missed, find reasons to hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fortctl.model import AccountState, OrderState, SymbolRules
from fortctl.ports import Exchange, ExchangeError, Outcome
from fortctl.robot.core.events import AssetsNamed
from fortctl.robot.core.hold_reasons import BALANCE, SYMBOL, code_of
from fortctl.robot.core.reconciliation import (
    Outage,
    missed_events,
    other_robots,
    reasons_to_hold,
    regressed_orders,
    rollback_reason,
    to_look_up,
)
from fortctl.robot.trading.order_lookup import restore_client_ids

if TYPE_CHECKING:
    from fortctl.robot.trading.runner import Runner

# What the exchange tells may lag behind what it told before: it is asked again before a person is.
LOOKS, BETWEEN_LOOKS_S = 3, 1.0


class Reconciler:
    """Reconciles one runner's book."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def reconcile(self, exchange: Exchange) -> list[str] | None:
        """Make the books agree; return the reasons to hold, or None while the robot has nothing to trade.

        Raises:
            ExchangeError: it could not be asked; nothing is half done, what was booked is booked.
        """
        runner, book = self._runner, self._runner.book
        rules = await self._rules_and_time(exchange)
        account = await exchange.account()
        runner.see_account(account)
        if runner.foreign(account):
            return [f"ACCOUNT: the key belongs to another account than {runner.account}"]
        if book.settings is None:
            return None
        symbol = book.settings.symbol
        if rules is None:
            return [f"{SYMBOL}: the exchange does not trade {symbol} any more"]
        if (rules.base, rules.quote) != (book.base, book.quote):
            runner.record(AssetsNamed(rules.base, rules.quote))
        open_orders = restore_client_ids(await exchange.open_orders(symbol), book.orders)
        lookups = runner.lookups
        back = [await self._has_gone_back(exchange, name) for name in regressed_orders(book, open_orders)]
        looked: dict[str, OrderState | None] = {}
        unsure = to_look_up(book, open_orders)
        listed = await lookups.survey(exchange, unsure)
        for order in unsure:
            found = listed.get(order.client_order_id) or await lookups.look_up(exchange, order)
            if rollback_reason(order, found):
                back.append(await self._has_gone_back(exchange, order.client_order_id))
            if not back or back[-1] is None:
                looked[order.client_order_id] = found
        fills = await lookups.missing_fills(exchange, [*open_orders, *filter(None, looked.values())])
        runner.record(*missed_events(book, open_orders, looked, fills))
        await lookups.resolve_doubts(exchange, open_orders)
        runner.see_market(rules, runner.fresh_price() or await exchange.last_price(symbol))
        beside = runner.see_others(other_robots(runner.robot_id, open_orders))
        return [*filter(None, back), *beside, *await self._reasons(exchange, open_orders, account)]

    async def _rules_and_time(self, exchange: Exchange) -> SymbolRules | None:
        """Return the symbol's rules, and measure the time by the same answer; None where it is traded no more."""
        runner, settings = self._runner, self._runner.book.settings
        rules, asked_at = None, runner.monotonic()
        if settings is not None:
            try:
                rules = await exchange.symbol_rules(settings.symbol)
            except ExchangeError as fault:
                if fault.outcome is not Outcome.REFUSED:
                    raise
                runner.log.error("the exchange refuses %s: %s", settings.symbol, fault.message)
        if rules is None or not runner.take_time(rules.told_at, asked_at):
            await runner.measure_time(exchange)
        return rules

    async def _has_gone_back(self, exchange: Exchange, name: str) -> str | None:
        """Return what speaks for an exchange that lost what it had told, if it says so each time that it is asked."""
        reason = None
        for look in range(LOOKS):
            if look:
                await self._runner.sleep(BETWEEN_LOOKS_S)
            order = self._runner.book.orders[name]
            reason = rollback_reason(order, await self._runner.lookups.look_up(exchange, order))
            if reason is None:
                return None
        return reason

    async def _reasons(self, exchange: Exchange, open_orders: Sequence[OrderState], account: AccountState) -> list[str]:
        runner = self._runner
        reasons: list[str] = []
        for look in range(LOOKS):
            reasons = reasons_to_hold(
                runner.book, runner.robot_id, open_orders, account, Outage(*runner.present_break()), runner.limits
            )
            if not any(code_of(reason) == BALANCE and not runner.excuses(reason) for reason in reasons):
                break
            # A buy that filled after the balances were read looks just like this.
            if look:
                await runner.sleep(BETWEEN_LOOKS_S)
            account = await exchange.account()
            runner.see_account(account)
        return reasons
