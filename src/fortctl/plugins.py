"""Commands from other distributions, through entry points of the group ``fortctl.commands``.

Discovery reads metadata alone; a plugin is imported only when it is named. It never overrides a core command, and
whatever it does at import is contained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fortctl.errors import FortctlError, InternalError
from fortctl.names import CORE

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "fortctl.commands"


@dataclass(frozen=True)
class Plugin:
    """A plugin command as its metadata tells it.

    Attributes:
        name: the command's name.
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
        return self.name in CORE


def discover() -> list[Plugin]:
    """Return every plugin's metadata, by name; nothing is imported."""
    from importlib.metadata import entry_points

    found = []
    for entry in entry_points(group=GROUP):
        distribution = entry.dist
        found.append(
            Plugin(
                entry.name,
                distribution.name if distribution else "?",
                distribution.version if distribution else "?",
                entry.value,
                entry,
            )
        )
    return sorted(found, key=lambda plugin: (plugin.name, plugin.distribution))


def find(name: str) -> Plugin | None:
    """Return the plugin of that name, or None; the first distribution by name wins."""
    return next((plugin for plugin in discover() if plugin.name == name and not plugin.shadowed), None)


def load(plugin: Plugin) -> Any:
    """Import a plugin's command.

    Raises:
        InternalError: it breaks at import, whatever it raises; it is not a click or Typer command.
    """
    try:
        command = plugin.entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise InternalError(
            f"the plugin '{plugin.name}' of {plugin.distribution} {plugin.version} cannot be imported:"
            f" {type(error).__name__}",
            hint=f"upgrade or remove the distribution {plugin.distribution}",
            details={"distribution": plugin.distribution, "target": plugin.target},
        ) from error
    if _kind(command) is None:
        raise InternalError(
            f"the plugin '{plugin.name}' of {plugin.distribution} is neither a Typer app nor a click command",
            hint="its entry point must name a typer.Typer or a click.Command",
        )
    return command


def inspect() -> list[dict[str, Any]]:
    """Return every plugin with its state; each is imported, and none can stop the others."""
    seen: set[str] = set()
    rows = []
    for plugin in discover():
        state, error, kind = "ok", None, None
        if plugin.shadowed:
            state, error = "shadowed", "a core command has this name"
        elif plugin.name in seen:
            state, error = "shadowed", "another plugin has this name"
        else:
            seen.add(plugin.name)
            try:
                kind = _kind(load(plugin))
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
        if isinstance(ended.code, int):
            return ended.code
        return 0 if ended.code is None else 1
    return 0


def _kind(command: Any) -> str | None:
    # By name, so that a click plugin does not cost the import of Typer.
    names = {f"{cls.__module__.split('.')[0]}.{cls.__name__}" for cls in type(command).__mro__}
    if "typer.Typer" in names:
        return "typer"
    return "click" if "click.Command" in names else None
