"""``fortctl init``: make the home, the site's vault, the operator's identity and the first account."""

from __future__ import annotations

import click

from fortctl.cli.commands import command
from fortctl.cli.context import CommandContext
from fortctl.cli.result import Result
from fortctl.config.file import Config, save_config
from fortctl.errors import ConflictError

KEYFILE_BESIDE = (
    "KEYFILE_BESIDE_VAULT",
    "the key file lies beside the vault: it protects backups that leave it out, not this disk from its thief",
)


@command("init", help="Make the home, the site's vault, the operator's identity and the account; never overwrite.")
@click.option("--exchange", default="live", show_default=True, metavar="live|testnet|us|paper|URL", help="The target.")
@click.option(
    "--slot",
    type=click.Choice(["passphrase", "keyfile", "keyring"]),
    default="passphrase",
    show_default=True,
    help="What unlocks.",
)
def init(app: CommandContext, exchange: str, slot: str) -> Result:
    from fortctl.bootstrap.unlock import first_source
    from fortctl.exchange.targets import canonical_target
    from fortctl.mailbox.crypto import Identity
    from fortctl.services.accounts import AccountEntry, create_site_vault

    wiring, home = app.wiring, app.wiring.home
    target = canonical_target(exchange)
    home.ensure()
    if home.config.exists():
        raise ConflictError(f"there is a home at {home.path} already", hint="choose another --home, or 'accounts add'")
    file = wiring.vault_file
    if file.exists():
        # Without a configuration: either an init that was killed half-way, or a configuration that was lost.
        if any(meta.erasable for meta in file.header().records):
            raise ConflictError(
                f"there is a vault with keys at {home.vault}, but no configuration",
                hint="restore config.toml from a backup",
            )
        home.vault.unlink()
    vault = file.create([first_source(app, slot, home.keyfile)], kdf=wiring.vaults.cost(slot))
    create_site_vault(vault, target, wiring.clock, wiring.audit, wiring.account)
    save_config(home, Config(slot))
    operator = Identity.from_private(vault.get("identity/operator"))
    wiring.accounts.add(AccountEntry(wiring.account, target), operator)
    warnings = (KEYFILE_BESIDE,) if slot == "keyfile" else ()
    data = {"home": str(home.path), "account": wiring.account, "exchange": target, "slots": [slot]}
    text = f"home made at {home.path} (account {wiring.account}, exchange {target}, unlocked by {slot})"
    return Result(data, True, warnings, text)
