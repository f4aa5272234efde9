"""Commands and strategies from other distributions: entry points ``fortctl.commands`` and ``fortctl.strategies``.

Discovery reads metadata alone; a plugin is imported only when it is named. It never overrides a core command, and
whatever it does at import is contained.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fortctl.cli.registry import COMMANDS
from fortctl.errors import FortctlError, InternalError, Terminated
from fortctl.secret import redact

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "fortctl.commands"
STRATEGIES = "fortctl.strategies"
OWN_STRATEGIES = ("grid",)


@dataclass(frozen=True)
class Plugin:
    """A plugin command or strategy as its metadata tells it.

    Attributes:
        name: the command's or strategy's name.
        distribution, version: where it comes from.
        target: ``module:attribute``.
    """

    name: str
    distribution: str
    version: str
    target: str
    entry: EntryPoint

    @property
    def shadowed(self) -> bool:
        return self.name in (COMMANDS if self.entry.group == GROUP else OWN_STRATEGIES)


def discover(group: str = GROUP) -> list[Plugin]:
    """Return the metadata of every plugin of a group, by name; nothing is imported.

    Broken metadata hide the plugins of their own distribution alone.
    """
    from importlib.metadata import distributions

    found: dict[tuple[str, str], Plugin] = {}
    for distribution in distributions():
        try:
            label, version = str(distribution.name), str(distribution.version)
            for entry in distribution.entry_points.select(group=group):
                # The first of two installations of one distribution is the one that would be imported.
                found.setdefault((entry.name, label), Plugin(entry.name, label, version, entry.value, entry))
        except Exception:  # noqa: S112 (somebody else's metadata, read on the way to every --help)
            continue
    return [found[key] for key in sorted(found)]


def find(name: str) -> Plugin | None:
    """Return the plugin of that name, or None; the first distribution by name wins."""
    return next((plugin for plugin in discover() if plugin.name == name and not plugin.shadowed), None)


def load(plugin: Plugin) -> Any:
    """Import a plugin's command.

    Raises:
        InternalError: it breaks at import, whatever it raises; it is not a click or Typer command.
    """
    command = _imported(plugin)
    if _kind(command) is None:
        raise InternalError(
            f"the plugin '{plugin.name}' of {plugin.distribution} is neither a Typer app nor a click command",
            hint="its entry point must name a typer.Typer or a click.Command",
        )
    return command


def _imported(plugin: Plugin) -> Any:
    try:
        return plugin.entry.load()
    except (KeyboardInterrupt, Terminated):
        raise
    except BaseException as error:
        reason = redact(f"{type(error).__name__}: {error}".splitlines()[0])[:200].removesuffix(": ")
        raise InternalError(
            f"the plugin '{plugin.name}' of {plugin.distribution} {plugin.version} cannot be imported: {reason}",
            hint=f"upgrade or remove the distribution {plugin.distribution}",
            details={"distribution": plugin.distribution, "target": plugin.target},
        ) from error


def find_strategy(name: str) -> Any:
    """Return a trading strategy (:class:`fortctl.robot.strategy.Strategy`): our own, or a plugin's.

    Raises:
        NotFoundError: there is none of that name.
        InternalError: it breaks at import, or is no strategy.
    """
    from fortctl.robot.strategy.grid import builtin

    plugin = None
    if name not in OWN_STRATEGIES:
        plugin = next((one for one in discover(STRATEGIES) if one.name == name), None)
    return builtin(name) if plugin is None else load_strategy(plugin)


def load_strategy(plugin: Plugin) -> Any:
    """Import a plugin's strategy: the object that its entry point names, or an instance of the class.

    Raises:
        InternalError: it breaks at import, or is no strategy.
    """
    found = _imported(plugin)
    strategy = found() if isinstance(found, type) else found
    wanted = all(callable(getattr(strategy, part, None)) for part in ("plan", "check", "validate"))
    if not wanted or getattr(strategy, "name", None) != plugin.name:
        raise InternalError(
            f"the plugin '{plugin.name}' of {plugin.distribution} is no strategy of that name",
            hint="its entry point must name what docs/plugins.md calls a strategy",
        )
    return strategy


def inspect() -> list[dict[str, Any]]:
    """Return every plugin with its state; each is imported, and none can stop the others."""
    return [*_inspect(GROUP), *_inspect(STRATEGIES)]


def _inspect(group: str) -> list[dict[str, Any]]:
    seen: set[str] = set()
    rows = []
    for plugin in discover(group):
        state, error, kind = "ok", None, None if group == GROUP else "strategy"
        if plugin.shadowed:
            state, error = (
                "shadowed",
                f"{'a core command' if group == GROUP else 'a strategy of our own'} has this name",
            )
        elif plugin.name in seen:
            state, error = "shadowed", "another plugin has this name"
        else:
            seen.add(plugin.name)
            try:
                # What it prints at import must not stand beside the one JSON document on stdout.
                with redirect_stdout(sys.stderr):
                    if group == GROUP:
                        kind = _kind(load(plugin))
                    else:
                        load_strategy(plugin)
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
        print(redact(str(ended.code)), file=sys.stderr)
        return 1
    return 0


def _kind(command: Any) -> str | None:
    # By name, so that a click plugin does not cost the import of Typer.
    names = {f"{cls.__module__.split('.')[0]}.{cls.__name__}" for cls in type(command).__mro__}
    if "typer.Typer" in names:
        return "typer"
    return "click" if "click.Command" in names else None
