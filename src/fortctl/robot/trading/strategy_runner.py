"""Ask the strategy for a plan, keep it within its limits, and refresh the rules and prices that it calculates with."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from fortctl.errors import BadInputError, FortctlError
from fortctl.model import SymbolRules
from fortctl.ports import Exchange, ExchangeError, Outcome
from fortctl.robot.core.blocked_reason import BlockedReason
from fortctl.robot.core.events import AssetPriced
from fortctl.robot.core.hold_reasons import HoldCode, HoldReason
from fortctl.robot.core.settings import Settings
from fortctl.robot.strategy.api import Plan, Strategy, View, bounds_warnings, check_rules
from fortctl.robot.strategy.guard import apply_limits
from fortctl.robot.trading.state import RobotState

# What commissions are charged in besides base and quote (``discountAsset`` of GET account/commission).
DISCOUNT_ASSET = "BNB"
REFRESH_S, REFRESH_HALTED_S = 600.0, 30.0


class StrategyRunner:
    """Asks the strategy of one robot, and keeps it within its limits.

    Args:
        robot: the robot's state.
        strategies: finds a strategy by name; raises ``FortctlError``.

    Attributes:
        blocked_reasons: why something that the strategy plans is not placed.
    """

    def __init__(self, robot: RobotState, strategies: Callable[[str], Strategy]) -> None:
        self._robot = robot
        self._strategies = strategies
        self._strategy: Strategy | None = None
        self._refreshed_at: float | None = None
        self._priceless: set[str] = set()
        self._complained: tuple[str, ...] = ()
        self.blocked_reasons: tuple[BlockedReason, ...] = ()

    def strategy(self, settings: Settings) -> Strategy:
        """Return the strategy that settings name. Raises ``FortctlError`` when it cannot be had."""
        if self._strategy is None or self._strategy.name != settings.strategy:
            self._strategy = self._strategies(settings.strategy)
        return self._strategy

    async def validate_settings(self, settings: Settings, exchange: Exchange) -> list[tuple[str, str]]:
        """Check settings, against the symbol's filters and the market too where the exchange can be asked.

        Returns:
            Warnings (code, message) about orders that these settings prevent.

        Raises:
            BadInputError: the strategy rejects them, or the symbol does not allow them.
        """
        strategy, known = self.strategy(settings), self._robot.price
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
        strategy.check(settings, price, rules, self._robot.rate)
        return bounds_warnings(settings, price)

    def plan(self, view: View) -> Plan:
        """Return what the strategy plans, as far as the robot may do it.

        A strategy that cannot be had, or breaks, holds the robot.
        """
        robot, settings = self._robot, self._robot.book.settings
        if settings is None:
            return Plan()
        try:
            plan, complaints = apply_limits(self.strategy(settings).plan(robot.book, view), robot.book, view)
        except FortctlError as error:
            robot.hold_for(HoldReason(HoldCode.STRATEGY, error.message))
            return Plan()
        except Exception as error:
            robot.log.exception("the strategy '%s' broke", settings.strategy)
            words = f"'{settings.strategy}' broke ({type(error).__name__}); see the log"
            robot.hold_for(HoldReason(HoldCode.STRATEGY, words))
            return Plan()
        if complaints and tuple(complaints) != self._complained:
            robot.log.warning("the strategy '%s' may not: %s", settings.strategy, "; ".join(complaints))
        self._complained = tuple(complaints)
        self._note_blocked(tuple(map(BlockedReason.from_plugin, plan.blocked_reasons)))
        return plan

    def _note_blocked(self, waits: tuple[BlockedReason, ...]) -> None:
        for wait in waits:
            if wait not in self.blocked_reasons:
                self._robot.log.warning("%s", wait)
        self.blocked_reasons = waits

    async def refresh(self, exchange: Exchange, rules: SymbolRules) -> SymbolRules:
        """Return the symbol's rules, asked for again when they are old; record the prices of other assets."""
        robot = self._robot
        trading = rules.status == "TRADING"
        if self._refreshed_at is not None:
            if robot.clock.monotonic() - self._refreshed_at < (REFRESH_S if trading else REFRESH_HALTED_S):
                return rules
            rules = await exchange.symbol_rules(rules.symbol)
            account = await exchange.account()
            if not robot.is_foreign(account):
                # A fee tier changes while it trades.
                robot.update_account(account)
            if not trading and rules.status == "TRADING":
                robot.log.info("%s trades again", rules.symbol)
        self._refreshed_at = robot.clock.monotonic()
        if rules.status != "TRADING":
            robot.log.warning("%s does not trade now (%s): nothing is placed", rules.symbol, rules.status)
        for asset in sorted(self._foreign() - self._priceless):
            await self._price(exchange, asset)
        return rules

    def doubt_rules(self) -> None:
        """Ask for the symbol's rules again before the next order, because they may have changed."""
        if self._refreshed_at is not None:
            self._refreshed_at = min(self._refreshed_at, self._robot.clock.monotonic() - REFRESH_S)

    def _foreign(self) -> set[str]:
        """Return the assets that commissions are, or soon may be, charged in besides base and quote."""
        book = self._robot.book
        assets = {*book.other_commissions, *book.prices}
        if self._robot.holds_asset(DISCOUNT_ASSET):
            assets.add(DISCOUNT_ASSET)
        return assets - {book.base, book.quote, ""}

    async def _price(self, exchange: Exchange, asset: str) -> None:
        robot = self._robot
        quote = robot.book.quote
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
                if worth != robot.book.prices.get(asset):
                    robot.record(AssetPriced(asset, worth, robot.exchange_now()))
                return
        self._priceless.add(asset)
        robot.log.warning("commissions in %s have no known price in %s; they are reported separately", asset, quote)
