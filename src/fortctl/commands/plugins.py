"""``fortctl plugins``: what is loaded, from which distribution, what failed and why."""

from __future__ import annotations

from fortctl.cli.commands import group
from fortctl.cli.context import CommandContext
from fortctl.cli.render import table
from fortctl.cli.result import Result

plugins = group("plugins", "Show commands and strategies of other packages.")


@plugins.command("list", help="List the plugins and their state.")
def list_plugins(context: CommandContext) -> Result:
    from fortctl.cli.plugins import inspect

    rows = inspect()
    headings = ("name", "distribution", "version", "kind", "state", "error")
    text = table(headings, [[row[heading] for heading in headings] for row in rows]) if rows else "no plugins"
    return Result({"plugins": rows}, text=text)
