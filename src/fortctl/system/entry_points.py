"""Entry points of installed distributions: read from metadata alone, imported only when named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fortctl.errors import InternalError, Terminated
from fortctl.secret import redact

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@dataclass(frozen=True)
class Plugin:
    """A plugin as its distribution's metadata describe it.

    Attributes:
        name: the name of the command or strategy.
        distribution, version: where it comes from.
        target: ``module:attribute``.
        entry: the entry point itself.
    """

    name: str
    distribution: str
    version: str
    target: str
    entry: EntryPoint


def discover(group: str) -> list[Plugin]:
    """Return the metadata of every plugin of an entry point group, by name; import nothing.

    Broken metadata hide the plugins of their own distribution alone.
    """
    from importlib.metadata import distributions

    plugins: dict[tuple[str, str], Plugin] = {}
    for distribution in distributions():
        try:
            label, version = str(distribution.name), str(distribution.version)
            for entry in distribution.entry_points.select(group=group):
                # The first of two installations of one distribution is the one that would be imported.
                plugins.setdefault((entry.name, label), Plugin(entry.name, label, version, entry.value, entry))
        except Exception:  # noqa: S112 (somebody else's metadata, read on the way to every --help)
            continue
    return [plugins[key] for key in sorted(plugins)]


def import_plugin(plugin: Plugin) -> Any:
    """Import the object that a plugin's entry point names. Raises ``InternalError`` whatever the import raises."""
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
