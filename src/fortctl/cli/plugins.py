"""Commands and strategies from other distributions: entry points ``fortctl.commands`` and ``fortctl.strategies``.

Discovery reads metadata alone; a plugin is imported only when it is named. It never overrides a core command, and
whatever it does at import is contained.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import redirect_stdout
from typing import Any

from fortctl.cli.registry import COMMANDS
from fortctl.errors import FortctlError, InternalError
from fortctl.secret import redact
from fortctl.system.entry_points import Plugin, discover, import_plugin
from fortctl.terminal.printable import printable

GROUP = "fortctl.commands"


def command_plugins() -> list[Plugin]:
    """Return the plugins that add a command; those that have the name of a core command are left out."""
    return [plugin for plugin in discover(GROUP) if plugin.name not in COMMANDS]


def find(name: str) -> Plugin | None:
    """Return the plugin of that name, or None; the first distribution by name wins."""
    return next((plugin for plugin in command_plugins() if plugin.name == name), None)


def load(plugin: Plugin) -> Any:
    """Import a plugin's command.

    Raises:
        InternalError: it breaks at import, whatever it raises; it is not a click or Typer command.
    """
    command = import_plugin(plugin)
    if _kind(command) is None:
        raise InternalError(
            f"the plugin '{plugin.name}' of {plugin.distribution} is neither a Typer app nor a click command",
            hint="its entry point must name a typer.Typer or a click.Command",
        )
    return command


def inspect() -> list[dict[str, Any]]:
    """Return every plugin with its state; each is imported, and none can stop the others."""
    from fortctl.robot.strategy.plugins import BUILTIN, load_strategy
    from fortctl.robot.strategy.plugins import GROUP as STRATEGIES

    def kind_of_strategy(plugin: Plugin) -> str:
        load_strategy(plugin)
        return "strategy"

    commands = _inspect(GROUP, None, COMMANDS, "a core command has this name", lambda plugin: _kind(load(plugin)))
    strategies = _inspect(STRATEGIES, "strategy", BUILTIN, "a strategy of our own has this name", kind_of_strategy)
    return [*commands, *strategies]


def _inspect(
    group: str,
    kind_unloaded: str | None,
    reserved: Collection[str],
    why_reserved: str,
    kind_of: Callable[[Plugin], str | None],
) -> list[dict[str, Any]]:
    """Return the rows of one entry point group.

    Args:
        kind_unloaded: the kind of a plugin that is not imported.
        reserved, why_reserved: the names that no plugin may have.
        kind_of: imports a plugin and returns its kind; raises ``FortctlError`` where that fails.
    """
    names: set[str] = set()
    rows = []
    for plugin in discover(group):
        state, error, kind = "ok", None, kind_unloaded
        if plugin.name in reserved:
            state, error = "shadowed", why_reserved
        elif plugin.name in names:
            state, error = "shadowed", "another plugin has this name"
        else:
            names.add(plugin.name)
            try:
                # What it prints at import must not stand beside the one JSON document on stdout.
                with redirect_stdout(sys.stderr):
                    kind = kind_of(plugin)
            except FortctlError as broken:
                state, error = "failed", broken.message
        rows.append(
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "kind": kind,
                "state": state,
                "error": error,
            }
        )
    return rows


def run(command: Any, name: str, words: Sequence[str]) -> int:
    """Run a plugin's command by its own library with the remaining words; return its exit code.

    Typer carries its own click (0.26 and later), so a Typer app must not be hung into a click group: its usage errors
    and exits are exceptions of another class.
    """
    if _kind(command) == "typer":
        from typer.main import get_command

        command = get_command(command)
    try:
        command.main(args=list(words), prog_name=f"fortctl {name}", standalone_mode=True)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        # As the interpreter does with sys.exit("why").
        print(printable(redact(str(ended.code))), file=sys.stderr)
        return 1
    return 0


def _kind(command: Any) -> str | None:
    # By name, so that a click plugin does not cost the import of Typer.
    names = {f"{cls.__module__.split('.')[0]}.{cls.__name__}" for cls in type(command).__mro__}
    if "typer.Typer" in names:
        return "typer"
    return "click" if "click.Command" in names else None
