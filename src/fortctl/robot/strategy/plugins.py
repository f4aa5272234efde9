"""Strategies from other distributions: the entry points of the group ``fortctl.strategies`` (docs/plugins.md)."""

from __future__ import annotations

from fortctl.errors import InternalError
from fortctl.robot.strategy.api import Strategy
from fortctl.robot.strategy.grid import Grid, builtin
from fortctl.system.entry_points import Plugin, discover, import_plugin

GROUP = "fortctl.strategies"
# No plugin replaces one of these.
BUILTIN = (Grid.name,)


def find_strategy(name: str) -> Strategy:
    """Return the built-in strategy of that name, or a plugin's.

    Raises:
        NotFoundError: no strategy has that name.
        InternalError: the plugin cannot be imported, or is not a strategy.
    """
    plugin = None
    if name not in BUILTIN:
        plugin = next((plugin for plugin in discover(GROUP) if plugin.name == name), None)
    return builtin(name) if plugin is None else load_strategy(plugin)


def load_strategy(plugin: Plugin) -> Strategy:
    """Import a plugin's strategy: the object that its entry point names, or an instance of the class.

    Raises:
        InternalError: the plugin cannot be imported, or is not a strategy.
    """
    named = import_plugin(plugin)
    strategy: Strategy = named() if isinstance(named, type) else named
    complete = all(callable(getattr(strategy, method, None)) for method in ("plan", "check", "validate"))
    if not complete or getattr(strategy, "name", None) != plugin.name:
        raise InternalError(
            f"the plugin '{plugin.name}' of {plugin.distribution} is not a strategy of that name",
            hint="its entry point must name an object with the methods that docs/plugins.md lists",
        )
    return strategy
