"""``fortctl accounts``: more accounts in one home."""

from __future__ import annotations

import click

from fortctl.cli.commands import group
from fortctl.cli.context import CommandContext
from fortctl.cli.render import table
from fortctl.cli.result import Result
from fortctl.config.home import ROBOTS, check_account_name

accounts = group("accounts", "The accounts of this home.")


@accounts.command("list", help="Every account.")
def list_accounts(app: CommandContext) -> Result:
    rows = app.wiring.accounts.listed()
    return Result({"accounts": rows}, text=table(["name", "exchange", "robot"], [list(row.values()) for row in rows]))


@accounts.command("add", help="Add an account.")
@click.argument("name")
@click.option("--exchange", required=True, metavar="live|testnet|us|paper|URL", help="The target.")
def add(app: CommandContext, name: str, exchange: str) -> Result:
    from fortctl.exchange.targets import canonical_target
    from fortctl.mailbox.crypto import Identity
    from fortctl.services.accounts import AccountEntry
    from fortctl.services.site_vault import OPERATOR

    entry = AccountEntry(check_account_name(name), canonical_target(exchange))
    service = app.wiring.accounts
    service.refuse_taken(entry.name)
    service.add(entry, Identity.from_private(app.wiring.vault.get(OPERATOR)))
    return Result({"accounts": service.listed()}, True, text=f"account {name} added ({entry.exchange})")


@accounts.command("set", help="Say whether an account has a robot, and where.")
@click.argument("name")
@click.option(
    "--robot", type=click.Choice(ROBOTS), required=True, help="none: it is only watched; remote: on another host."
)
def set_account(app: CommandContext, name: str, robot: str) -> Result:
    changed = app.wiring.accounts.set_robot(check_account_name(name), robot)
    return Result({"accounts": app.wiring.accounts.listed()}, changed, text=f"account {name}: robot {robot}")


@accounts.command("remove", help="Destroy an account's keys and forget it.")
@click.argument("name")
@click.option("--confirm", metavar="NAME", help="The account's name, typed again.")
def remove(app: CommandContext, name: str, confirm: str | None) -> Result:
    from dataclasses import replace

    from fortctl.bootstrap.issuer import issuer_kind, issuer_service
    from fortctl.services.keys.issuer import SUB_ACCOUNT

    check_account_name(name)
    own = CommandContext(replace(app.globals, account=name))
    wiring = own.wiring
    wiring.accounts.entry(name)
    _refuse_in_use(own)
    app.confirm_typed(name, confirm, f"Remove account {name} and destroy its keys?")
    if issuer_kind(wiring.home, name) == SUB_ACCOUNT:
        # Both vaults are opened before anything is destroyed.
        issuer_service(own).dismiss()
    wiring.accounts.remove(name, wiring.custody, wiring.destroy_keys)
    return Result({"accounts": wiring.accounts.listed()}, True, text=f"account {name} removed, its keys destroyed")


def _refuse_in_use(own: CommandContext) -> None:
    """Raise ``ConflictError`` while something of the account goes on."""
    from fortctl.bootstrap.rotation import rotation_journal
    from fortctl.errors import ConflictError

    wiring, name = own.wiring, own.wiring.account
    if wiring.process.owner() is not None:
        raise ConflictError(
            f"the robot of account {name} is running",
            hint="stop it first ('fortctl robot stop', then end its process), or 'fortctl panic-disconnect'",
        )
    if wiring.latch.is_latched():
        # Its folder goes with it, and the latch that only 'panic-clear' may lift.
        raise ConflictError(
            f"the robot of account {name} is latched after a panic",
            hint=f"look at the account first, then 'fortctl --account {name} panic-clear'",
            details={"state": "latched"},
        )
    operation = rotation_journal(own, "accounts remove").current() if wiring.home.operations.exists() else None
    if operation is not None:
        # It knows which keys live at the exchange that nothing else tells of.
        raise ConflictError(
            f"a rotation of account {name} is open: {operation.id}, at '{operation.step}'",
            hint=f"'fortctl --account {name} keys rotate --resume' goes on with it, '--abort' ends it",
            details={"operation": operation.as_json()},
        )
