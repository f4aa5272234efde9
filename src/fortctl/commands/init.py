"""``fortctl init``: create a home."""

from __future__ import annotations

import click

from fortctl.cli.commands import command
from fortctl.cli.context import CommandContext
from fortctl.cli.result import Result


@command("init", help="Create the home, the site vault and the first account. Never overwrites a home.")
@click.option(
    "--exchange", default="live", show_default=True, metavar="live|testnet|us|paper|URL", help="Exchange to connect to."
)
@click.option(
    "--slot",
    type=click.Choice(["passphrase", "keyfile", "keyring"]),
    default="passphrase",
    show_default=True,
    help="What unlocks the vaults.",
)
def init(context: CommandContext, exchange: str, slot: str) -> Result:
    from fortctl.bootstrap.home import create_home
    from fortctl.services.vault import KEYFILE_BESIDE

    container = context.container
    target = create_home(container, exchange, slot)
    warnings = (KEYFILE_BESIDE,) if slot == "keyfile" else ()
    data = {"home": str(container.home.path), "account": container.account, "exchange": target, "slots": [slot]}
    text = (
        f"created the home {container.home.path} (account {container.account}, exchange {target}, unlocked by {slot})"
    )
    return Result(data, True, warnings, text)
