"""``fortctl audit``: the hash-chained record of every operation."""

from __future__ import annotations

import json

import click

from fortctl.cli.commands import group
from fortctl.cli.context import CommandContext
from fortctl.cli.render import table
from fortctl.cli.result import Result
from fortctl.errors import VaultDamagedError, VaultLockedError

audit = group("audit", "Show and verify the audit log, the hash-chained record of every operation.")


@audit.command("log", help="List the entries, oldest first.")
@click.option("--lines", "-n", metavar="N", type=click.IntRange(1), help="Show the last N entries (default: all).")
@click.option("--export", is_flag=True, help="Print the entries as JSON lines, as they were written.")
def log(context: CommandContext, lines: int | None, export: bool) -> Result | None:
    context.container.config  # noqa: B018 (a missing home is reported before a missing log)
    entries = [dict(entry) for entry in context.container.audit.entries()]
    if lines is not None:
        entries = entries[-lines:]
    if export:
        for entry in entries:
            line = json.dumps(entry, ensure_ascii=False)
            context.stream(entry, line)
        return None
    headings = ("time", "what", "account", "role", "fingerprint", "result")
    rows = [[entry.get(heading) for heading in headings] for entry in entries]
    return Result({"entries": entries}, text=table(headings, rows))


@audit.command(
    "verify", help="Verify that no entry was changed, cut or moved; if the vault unlocks, verify the seals too."
)
def verify(context: CommandContext) -> Result:
    container = context.container
    container.require_account()
    try:
        # Unlocking lends the audit log its key, and holds the vault's generation against it.
        container.open_vault  # noqa: B018
        unlocked = True
    except VaultLockedError:
        unlocked = False
    try:
        # A paired robot remembers an entry: the anchor against a log that was rebuilt as a whole.
        anchor = container.robot_client.anchor() if unlocked else None
        checked = container.audit.check(anchor)
    except VaultDamagedError as error:
        error.data = {"intact": False, "entries": None}
        raise
    data = {
        "intact": True,
        "entries": checked.entries,
        "sealed": checked.sealed if unlocked else None,
        "unsealed": checked.entries - checked.sealed if unlocked else None,
        "head": checked.head,
        "anchored_at": anchor[0] if anchor else None,
    }
    text = f"{checked.entries} entries, none changed, cut or moved"
    if unlocked:
        return Result(data, text=f"{text}; {checked.sealed} have this home's seal")
    warning = (
        "SEALS_NOT_CHECKED",
        "the vault is locked: only the hash chain was verified, which a forger can rebuild",
    )
    return Result(data, warnings=(warning,), text=text)
