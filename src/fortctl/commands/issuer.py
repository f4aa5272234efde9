"""``fortctl issuer``: who makes and deletes the keys at the exchange."""

from __future__ import annotations

import re

import click

from fortctl.cli.commands import group, refuse
from fortctl.cli.context import CommandContext
from fortctl.cli.render import render_data
from fortctl.cli.result import Result
from fortctl.model import PERMISSIONS

issuer = group("issuer", "Who makes and deletes keys at the exchange.")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,128}")


@issuer.command("set", help="A person on Binance's page (default), or a master account's key for its sub-account.")
@click.argument("kind", type=click.Choice(["person", "sub-account"]))
@click.option("--email", metavar="E", help="What the master account knows the sub-account by.")
@click.option("--input", "source", metavar="FILE", help="The master key, one JSON object ('-': stdin); else prompts.")
@click.option("--name", help="The master key's name in the Binance account.")
@click.option("--allow", multiple=True, type=click.Choice(PERMISSIONS), help="A right to accept although too much.")
@click.option(
    "--slot",
    type=click.Choice(["passphrase", "keyfile", "keyring"]),
    help="What unlocks the issuer's vault, when it is made (default: as the home).",
)
async def set_issuer(
    app: CommandContext,
    kind: str,
    email: str | None,
    source: str | None,
    name: str | None,
    allow: tuple[str, ...],
    slot: str | None,
) -> Result:
    from fortctl.bootstrap.issuer import create_issuer_service, issuer_kind, issuer_service
    from fortctl.bootstrap.key_lock import key_write_lock, require_no_rotation
    from fortctl.commands.keys import enter_key
    from fortctl.services.keys.issuer import NOBODY, PERSON

    wiring = app.wiring
    if kind == PERSON:
        if email or source:
            refuse("--email and --input go with 'sub-account'")
        wiring.entry  # noqa: B018
        require_no_rotation(app)
        there = issuer_kind(wiring.home, wiring.account) != PERSON
        if there:
            app.confirm(f"Destroy the master key that issues the keys of account {wiring.account}?")
        with key_write_lock(app):
            changed = there and issuer_service(app).dismiss()
        return Result({"issuer": NOBODY}, changed, text="a person makes and deletes the keys on Binance's page")
    if email is None or not _EMAIL.fullmatch(email):
        refuse("--email is the sub-account's e-mail address, as the master account shows it")
    pair = enter_key(app, "master key", name, None, source, None)
    wiring.entry  # noqa: B018 (the account is checked before a vault is unlocked)
    require_no_rotation(app)
    service = create_issuer_service(app, slot)
    app.progress("asking the exchange about the master key")
    with key_write_lock(app):
        master, warnings = await service.appoint(pair, email, allow)
    text = f"the master key '{pair.name}' makes and deletes the keys of {email}"
    return Result({"issuer": master.as_json()}, True, warnings, text)


@issuer.command("status", help="Who it is.")
def status(app: CommandContext) -> Result:
    from fortctl.bootstrap.issuer import issuer_kind, issuer_service
    from fortctl.services.keys.issuer import NOBODY, PERSON

    app.wiring.entry  # noqa: B018
    shown = NOBODY
    if issuer_kind(app.wiring.home, app.wiring.account) != PERSON:
        master = issuer_service(app).master()
        shown = master.as_json() if master is not None else NOBODY
    return Result({"issuer": shown}, text=lambda: render_data(shown))
