"""The property suite that every strategy must pass; plugin authors import it (docs/plugins.md). Needs hypothesis.

Write ``TestMine = strategy_suite(Mine(), settings)`` in a test file. The suite plays the strategy against a market that
does whatever an exchange may do (moves, fills in parts, refuses, expires, halts, charges commission in any asset) and
an operator who starts, drains and stops. After every step it checks the robot's invariants with code that shares
nothing with the strategy. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from fortctl.model import SymbolRules
from fortctl.robot.core.cycle import CycleState
from fortctl.robot.core.settings import Settings
from fortctl.robot.strategy.api import Strategy
from fortctl.robot.strategy.simulator import KINDS, RULES, InvariantViolationError, SimulatedStep, StrategySimulator

__all__ = [
    "KINDS",
    "RULES",
    "InvariantViolationError",
    "SimulatedStep",
    "StrategySimulator",
    "profits",
    "strategy_suite",
]


def profits(played: StrategySimulator) -> None:
    """Check that each closed cycle earned its take-profit, net of both commissions at the rate it reckoned with.

    For strategies that sell at the take-profit alone; where dust of dearer cycles went along, its cost counts too.
    """
    for cycle in played.book.cycles.values():
        if cycle.state is CycleState.CLOSED and not cycle.dust:
            least = cycle.sold * cycle.unit_cost * played.settings.take_profit / 100
            if cycle.profit < least * Decimal("0.9999999"):
                raise InvariantViolationError(f"cycle {cycle.id} earned {cycle.profit}, not {least}")


def strategy_suite(
    strategy: Strategy,
    settings: Settings,
    *,
    rules: SymbolRules = RULES,
    price: Decimal = Decimal("0.0014"),
    takes_profit: bool = True,
    examples: int = 60,
    shrink: bool = True,
) -> type:
    """Return a pytest class with the property suite over one strategy and its settings.

    Args:
        takes_profit: the strategy sells at its take-profit or higher, never lower.
        examples: how many histories of each kind.
        shrink: look for the shortest history that breaks it.
    """
    from hypothesis import Phase, given, strategies
    from hypothesis import settings as limits

    steps = strategies.builds(
        SimulatedStep,
        strategies.sampled_from(KINDS),
        strategies.decimals("-4", "4", places=2),
        strategies.integers(0, 50),
    )
    histories = strategies.lists(steps, min_size=10, max_size=50)
    phases = tuple(Phase) if shrink else (Phase.generate,)
    assets = strategies.sampled_from(["", "", "BNB", rules.quote])

    def play(history: Sequence[SimulatedStep], commission: str) -> StrategySimulator:
        played = StrategySimulator(strategy, settings, rules, price, commission=commission)
        played.step(SimulatedStep("start"))
        for step in history:
            played.step(step)
        return played

    def property_of(check: Callable[[StrategySimulator], None]) -> Any:
        @limits(max_examples=examples, deadline=None, phases=phases)
        @given(history=histories, commission=assets)
        def test(self: object, history: list[SimulatedStep], commission: str) -> None:
            check(play(history, commission))

        return test

    def test_its_settings_survive_their_json(self: object) -> None:
        from fortctl.robot.core.settings import parse_settings

        assert parse_settings(settings.as_json()) == settings
        strategy.validate(settings)
        strategy.check(settings, price, rules, Decimal("0.001"))

    def test_it_trades_at_all(self: object) -> None:
        assert play([], "").open_orders(), "started on a quiet market, it places no order"

    tests: dict[str, Any] = {
        "test_the_invariants_hold_whatever_happens": property_of(StrategySimulator.check),
        "test_a_drain_ends": property_of(StrategySimulator.drains),
        "test_its_settings_survive_their_json": test_its_settings_survive_their_json,
        "test_it_trades_at_all": test_it_trades_at_all,
    }
    if takes_profit:
        tests["test_every_cycle_earns_its_profit"] = property_of(profits)
    return type(f"Suite of {strategy.name}", (), tests)
