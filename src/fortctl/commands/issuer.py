"""``fortctl issuer``: who makes and deletes the keys at the exchange."""

from __future__ import annotations

import re

import click

from fortctl.cli.commands import group
from fortctl.cli.context import CommandContext
from fortctl.cli.render import render_data
from fortctl.cli.result import Result
from fortctl.errors import UsageError
from fortctl.model import IP_UNRESTRICTED, PERMISSIONS, Role

issuer = group("issuer", "Set who creates and deletes keys at the exchange.")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,128}")


@issuer.command("set", help="Set the issuer: a person on Binance's page (default), or a master account's key.")
@click.argument("kind", type=click.Choice(["person", "sub-account"]))
@click.option("--email", metavar="ADDRESS", help="E-mail address of the sub-account, as the master account shows it.")
@click.option(
    "--input", "source", metavar="FILE", help="Read the master key from FILE, a JSON object ('-': stdin); else prompt."
)
@click.option("--name", metavar="NAME", help="Name of the master key in the Binance account.")
@click.option(
    "--allow",
    multiple=True,
    type=click.Choice((*PERMISSIONS, IP_UNRESTRICTED)),
    help="Accept this permission even though the issuer does not need it (repeatable); 'ip_unrestricted': accept a"
    " master key that works from any IP address.",
)
@click.option(
    "--slot",
    type=click.Choice(["passphrase", "keyfile", "keyring"]),
    help="What unlocks a new issuer vault (default: as the home).",
)
async def set_issuer(
    context: CommandContext,
    kind: str,
    email: str | None,
    source: str | None,
    name: str | None,
    allow: tuple[str, ...],
    slot: str | None,
) -> Result:
    from fortctl.bootstrap.issuer import create_issuer_service, issuer_kind, issuer_service
    from fortctl.bootstrap.key_lock import key_write_lock, require_no_rotation
    from fortctl.commands.key_entry import KeyInput, read_key
    from fortctl.services.keys.issuer import NOBODY, PERSON

    container = context.container
    if kind == PERSON:
        if email or source:
            raise UsageError("--email and --input require 'sub-account'")
        container.require_account()
        require_no_rotation(context.container)
        there = issuer_kind(container.home, container.account) != PERSON
        if there:
            context.prompts.confirm(f"Destroy the master key that issues the keys of account {container.account}?")
        with key_write_lock(context.container, context.command):
            changed = there and issuer_service(context.container).remove_master_key()
        return Result({"issuer": NOBODY}, changed, text="a person creates and deletes the keys on Binance's page")
    if email is None or not _EMAIL.fullmatch(email):
        raise UsageError("--email must be the sub-account's e-mail address, as the master account shows it")
    pair = read_key(context, KeyInput(Role.SITE, name=name, source=source), "master key")
    container.require_account()
    require_no_rotation(context.container)
    with key_write_lock(context.container, context.command):
        service = create_issuer_service(context.container, slot)
        context.progress("asking the exchange about the master key")
        master, warnings = await service.set_master_key(pair, email, allow)
    text = f"the master key '{pair.name}' creates and deletes the keys of {email}"
    return Result({"issuer": master.as_json()}, True, warnings, text)


@issuer.command("status", help="Show the issuer.")
def status(context: CommandContext) -> Result:
    from fortctl.bootstrap.issuer import issuer_kind, issuer_service
    from fortctl.services.keys.issuer import NOBODY, PERSON

    context.container.require_account()
    master = None
    if issuer_kind(context.container.home, context.container.account) != PERSON:
        master = issuer_service(context.container).master()
    row = master.as_json() if master is not None else NOBODY
    warnings = master.warnings if master is not None else ()
    return Result({"issuer": row}, warnings=warnings, text=lambda: render_data(row))
