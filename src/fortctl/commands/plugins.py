"""``fortctl plugins``: what is loaded, from which distribution, what failed and why."""

from __future__ import annotations

from fortctl.cli.commands import group
from fortctl.cli.context import CommandContext
from fortctl.cli.render import table
from fortctl.cli.result import Result

plugins = group("plugins", "Commands from other distributions.")


@plugins.command("list", help="Every plugin, with its state; a broken one stops nothing.")
def list_plugins(context: CommandContext) -> Result:
    from fortctl.cli.plugins import inspect

    rows = inspect()
    headings = ("name", "distribution", "version", "kind", "state", "error")
    text = table(headings, [[row[heading] for heading in headings] for row in rows]) if rows else "no plugins"
    return Result({"plugins": rows}, text=text)
