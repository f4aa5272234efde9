"""``fortctl accounts``: the accounts of a home."""

from __future__ import annotations

import click

from fortctl.cli.commands import group
from fortctl.cli.context import CommandContext
from fortctl.cli.render import table
from fortctl.cli.result import Result
from fortctl.config.home import ROBOTS, check_account_name

accounts = group("accounts", "Manage the accounts of this home.")


@accounts.command("list", help="List the accounts.")
def list_accounts(context: CommandContext) -> Result:
    rows = context.container.account_service.listed()
    return Result({"accounts": rows}, text=table(["name", "exchange", "robot"], [list(row.values()) for row in rows]))


@accounts.command("add", help="Add an account.")
@click.argument("name")
@click.option("--exchange", required=True, metavar="live|testnet|us|paper|URL", help="Exchange to connect to.")
def add(context: CommandContext, name: str, exchange: str) -> Result:
    from fortctl.bootstrap.home import add_account

    target = add_account(context.container, check_account_name(name), exchange)
    rows = context.container.account_service.listed()
    return Result({"accounts": rows}, True, text=f"account {name} added ({target})")


@accounts.command("set", help="Set where an account's robot runs.")
@click.argument("name")
@click.option(
    "--robot",
    type=click.Choice(ROBOTS),
    required=True,
    help="local: on this machine; remote: on another host; none: the account is only watched.",
)
def set_account(context: CommandContext, name: str, robot: str) -> Result:
    service = context.container.account_service
    changed = service.set_robot(check_account_name(name), robot)
    return Result({"accounts": service.listed()}, changed, text=f"account {name}: robot {robot}")


@accounts.command("remove", help="Destroy an account's keys and remove it.")
@click.argument("name")
@click.option("--confirm", metavar="NAME", help="Confirm by repeating the account's name.")
def remove(context: CommandContext, name: str, confirm: str | None) -> Result:
    from fortctl.bootstrap.home import remove_account, require_unused

    container = context.container.for_account(check_account_name(name))
    require_unused(container)
    context.prompts.confirm_typed(name, confirm, f"Remove account {name} and destroy its keys?")
    remove_account(container)
    rows = container.account_service.listed()
    return Result({"accounts": rows}, True, text=f"account {name} removed, its keys destroyed")
