"""``fortctl audit``: the hash-chained record of every operation."""

from __future__ import annotations

import click

from fortctl.commands.context import App, Result, group
from fortctl.commands.render import table

audit = group("audit", "The record of every operation.")


@audit.command("log", help="The entries, oldest first.")
@click.option("--lines", "-n", type=click.IntRange(1), help="Only the last so many.")
def log(app: App, lines: int | None) -> Result:
    app.wiring.config  # noqa: B018 (a missing home is told before a missing log)
    entries = [dict(entry) for entry in app.wiring.audit.entries()]
    if lines is not None:
        entries = entries[-lines:]
    headings = ("time", "what", "account", "role", "fingerprint", "result")
    shown = [[entry.get(heading) for heading in headings] for entry in entries]
    return Result({"entries": entries}, text=table(headings, shown))
