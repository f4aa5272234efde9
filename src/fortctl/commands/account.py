"""``fortctl account``: balances, orders and trades, read with the site key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from fortctl.cli.commands import group
from fortctl.cli.context import CommandContext
from fortctl.cli.render import table
from fortctl.cli.result import Result
from fortctl.errors import UsageError

account = group("account", "Show what the account holds and trades.")


@account.command("balances", help="List the balances that are not zero.")
async def list_balances(context: CommandContext) -> Result:
    from fortctl.services.account_views import balance_as_json

    balances, warnings = await context.container.account_views.balances()
    rows = [balance_as_json(balance) for balance in balances]
    return Result({"balances": rows}, warnings=warnings, text=_table(rows, ("asset", "free", "locked")))


@account.command("orders", help="List open orders, or all orders of a symbol.")
@click.option("--open", "only_open", is_flag=True, help="List open orders (default).")
@click.option("--all", "every", is_flag=True, help="List all orders of the symbol.")
@click.option("--symbol", metavar="SYMBOL", help="Symbol, for example BTCUSDT (with --all, default: the robot's).")
async def list_orders(context: CommandContext, only_open: bool, every: bool, symbol: str | None) -> Result:
    if only_open and every:
        raise UsageError("--open and --all exclude each other")
    if every and symbol is None:
        symbol = _robot_symbol(context)
    from fortctl.services.account_views import order_as_json

    orders, warnings = await context.container.account_views.orders(symbol, every=every)
    rows = [order_as_json(order) for order in orders]
    columns = ("time", "symbol", "side", "type", "price", "quantity", "filled", "status", "client_order_id")
    return Result({"orders": rows}, warnings=warnings, text=_table(rows, columns))


@account.command("trades", help="List the account's trades of a symbol.")
@click.option("--symbol", metavar="SYMBOL", help="Symbol, for example BTCUSDT (default: the robot's).")
async def list_trades(context: CommandContext, symbol: str | None) -> Result:
    from fortctl.services.account_views import fill_as_json

    fills, warnings = await context.container.account_views.trades(symbol or _robot_symbol(context))
    rows = [fill_as_json(fill) for fill in fills]
    columns = ("time", "side", "price", "quantity", "quote", "commission", "commission_asset", "maker")
    return Result({"trades": rows}, warnings=warnings, text=_table(rows, columns))


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows of a result as text, in the order of the columns."""
    return table([column.replace("_", " ") for column in columns], [[row[name] for name in columns] for row in rows])


def _robot_symbol(context: CommandContext) -> str:
    symbol = context.container.status_reader.status().symbol
    if not symbol:
        raise UsageError("missing option '--symbol': no robot is configured")
    return symbol
