"""``fortctl account``: balances, orders and trades, read through the site key."""

from __future__ import annotations

import click

from fortctl.cli.commands import group
from fortctl.cli.context import CommandContext
from fortctl.cli.render import table
from fortctl.cli.result import Result
from fortctl.errors import UsageError

account = group("account", "Show what the account holds and trades.")


@account.command("balances", help="List the balances that are not zero.")
async def balances(context: CommandContext) -> Result:
    rows, warnings = await context.container.account_views.balances()
    shown = [[row["asset"], row["free"], row["locked"]] for row in rows]
    return Result({"balances": rows}, warnings=warnings, text=table(["asset", "free", "locked"], shown))


@account.command("orders", help="List open orders, or all orders of a symbol.")
@click.option("--open", "only_open", is_flag=True, help="List open orders (default).")
@click.option("--all", "every", is_flag=True, help="List all orders of the symbol.")
@click.option("--symbol", help="Symbol, for example BTCUSDT (with --all, default: the robot's).")
async def orders(context: CommandContext, only_open: bool, every: bool, symbol: str | None) -> Result:
    if only_open and every:
        raise UsageError("--open and --all exclude each other")
    if every and symbol is None:
        symbol = _robot_symbol(context)
    rows, warnings = await context.container.account_views.orders(symbol, every=every)
    headings = ("time", "symbol", "side", "type", "price", "quantity", "filled", "status", "client_order_id")
    shown = [[row[heading] for heading in headings] for row in rows]
    return Result({"orders": rows}, warnings=warnings, text=table([h.replace("_", " ") for h in headings], shown))


@account.command("trades", help="List the account's trades of a symbol.")
@click.option("--symbol", help="Symbol, for example BTCUSDT (default: the robot's).")
async def trades(context: CommandContext, symbol: str | None) -> Result:
    rows, warnings = await context.container.account_views.trades(symbol or _robot_symbol(context))
    headings = ("time", "side", "price", "quantity", "quote", "commission", "commission_asset", "maker")
    shown = [[row[heading] for heading in headings] for row in rows]
    return Result({"trades": rows}, warnings=warnings, text=table([h.replace("_", " ") for h in headings], shown))


def _robot_symbol(context: CommandContext) -> str:
    symbol = (context.container.status_reader.status().get("config") or {}).get("symbol")
    if not symbol:
        raise UsageError("missing option '--symbol': no robot is configured")
    return str(symbol)
