"""What the robot wants now: its strategy asked and guarded, with fresh rules and prices to reckon by. Over ports."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from fortctl.errors import BadInputError, FortctlError
from fortctl.model import SymbolRules
from fortctl.ports import Exchange, ExchangeError, Outcome
from fortctl.robot.core.events import AssetPriced
from fortctl.robot.core.settings import Settings
from fortctl.robot.strategy.api import Plan, Strategy, View, check_rules, out_of_bounds
from fortctl.robot.strategy.guard import apply_limits

if TYPE_CHECKING:
    from fortctl.robot.trading.runner import Runner

# What commissions are charged in besides base and quote (``discountAsset`` of GET account/commission).
DISCOUNT_ASSET = "BNB"
REFRESH_S, REFRESH_HALTED_S = 600.0, 30.0


class StrategyRunner:
    """Asks the strategy of one runner.

    Args:
        strategies: finds a strategy by name; raises ``FortctlError``.
    """

    def __init__(self, runner: Runner, strategies: Callable[[str], Strategy]) -> None:
        self._runner = runner
        self._strategies = strategies
        self._found: Strategy | None = None
        self._refreshed_at: float | None = None
        self._priceless: set[str] = set()
        self._complained: tuple[str, ...] = ()
        # Why something that would be wanted is not placed.
        self.waits: tuple[str, ...] = ()

    def strategy(self, settings: Settings) -> Strategy:
        """Return the strategy that settings name. Raises ``FortctlError`` when it cannot be had."""
        if self._found is None or self._found.name != settings.strategy:
            self._found = self._strategies(settings.strategy)
        return self._found

    async def admit(self, settings: Settings, exchange: Exchange) -> list[tuple[str, str]]:
        """Check settings, against the symbol's filters and the market too where the exchange can be asked.

        Returns:
            Warnings (code, message) about what they keep the robot from.

        Raises:
            BadInputError: the strategy makes no sense of them, or the symbol does not allow what they want.
        """
        strategy, known = self.strategy(settings), self._runner.last_price
        strategy.validate(settings)
        try:
            rules = await exchange.symbol_rules(settings.symbol)
            price = known or await exchange.last_price(settings.symbol)
        except ExchangeError as fault:
            if fault.outcome is Outcome.REFUSED:
                raise BadInputError(
                    f"the exchange does not trade {settings.symbol}: {fault.message}",
                    hint="symbols are written like BTCUSDT: base and quote without a separator, in capitals",
                ) from None
            return []
        check_rules(settings, rules)
        strategy.check(settings, price, rules, self._runner.rate)
        return out_of_bounds(settings, price)

    def wanted(self, view: View) -> Plan:
        """Return what the strategy wants, as far as the robot may do it.

        A strategy that cannot be had, or breaks, holds the robot.
        """
        runner, settings = self._runner, self._runner.book.settings
        if settings is None:
            return Plan()
        try:
            plan, complaints = apply_limits(self.strategy(settings).plan(runner.book, view), runner.book, view)
        except FortctlError as error:
            runner.hold_for(f"STRATEGY: {error.message}")
            return Plan()
        except Exception as error:
            runner.log.exception("the strategy '%s' broke", settings.strategy)
            runner.hold_for(f"STRATEGY: '{settings.strategy}' broke ({type(error).__name__}); see the log")
            return Plan()
        if complaints and tuple(complaints) != self._complained:
            runner.log.warning("the strategy '%s' may not: %s", settings.strategy, "; ".join(complaints))
        self._complained = tuple(complaints)
        self._tell(plan.waits)
        return plan

    def _tell(self, waits: tuple[str, ...]) -> None:
        for wait in waits:
            if wait not in self.waits:
                self._runner.log.warning("%s", wait)
        self.waits = waits

    async def refresh(self, exchange: Exchange, rules: SymbolRules) -> SymbolRules:
        """Return the symbol's rules, asked for anew when they are old; note what other assets are worth."""
        runner = self._runner
        trading = rules.status == "TRADING"
        if self._refreshed_at is not None:
            if runner.monotonic() - self._refreshed_at < (REFRESH_S if trading else REFRESH_HALTED_S):
                return rules
            rules = await exchange.symbol_rules(rules.symbol)
            account = await exchange.account()
            if not runner.foreign(account):
                # A fee tier changes while it trades.
                runner.see_account(account)
            if not trading and rules.status == "TRADING":
                runner.log.info("%s trades again", rules.symbol)
        self._refreshed_at = runner.monotonic()
        if rules.status != "TRADING":
            runner.log.warning("%s does not trade now (%s): nothing is placed", rules.symbol, rules.status)
        for asset in sorted(self._foreign() - self._priceless):
            await self._price(exchange, asset)
        return rules

    def doubt_rules(self) -> None:
        """An order was refused: the rules may be others than we know; ask before the next one."""
        if self._refreshed_at is not None:
            self._refreshed_at = min(self._refreshed_at, self._runner.monotonic() - REFRESH_S)

    def _foreign(self) -> set[str]:
        """Return the assets that commissions are, or soon may be, charged in besides base and quote."""
        book = self._runner.book
        found = {*book.other_commissions, *book.prices}
        if self._runner.holds(DISCOUNT_ASSET):
            found.add(DISCOUNT_ASSET)
        return found - {book.base, book.quote, ""}

    async def _price(self, exchange: Exchange, asset: str) -> None:
        runner = self._runner
        quote = runner.book.quote
        for symbol, inverse in ((asset + quote, False), (quote + asset, True)):
            try:
                price = await exchange.last_price(symbol)
            except ExchangeError as fault:
                if fault.outcome in (Outcome.BUSY, Outcome.KEY_REFUSED):
                    raise
                if fault.outcome is not Outcome.REFUSED:
                    return
                continue
            if price > 0:
                worth = (1 / price).quantize(Decimal("1e-12")) if inverse else price
                if worth != runner.book.prices.get(asset):
                    runner.record(AssetPriced(asset, worth, runner.exchange_now()))
                return
        self._priceless.add(asset)
        runner.log.warning("what a commission in %s is worth in %s cannot be told: it is reported apart", asset, quote)
