"""``fortctl robot``: run, steer and watch the trading robot."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from fortctl.cli.commands import group
from fortctl.cli.context import CommandContext
from fortctl.cli.options import Seconds
from fortctl.cli.render import render_data, table
from fortctl.cli.result import Result
from fortctl.commands.robot_service import add_service
from fortctl.errors import ActionRequiredError, BadInputError, UsageError

if TYPE_CHECKING:
    from fortctl.services.robot.status import RobotReport

robot = group("robot", "Run, steer and watch the robot that trades with the robot key.")
add_service(robot)


@robot.command("run", help="Run the robot in the foreground, as a service manager does.")
@click.option("--brought-up", is_flag=True, hidden=True)
def run(context: CommandContext, brought_up: bool) -> int:
    from fortctl.bootstrap.robot import run_robot

    context.container.require_account()
    return run_robot(context.container, brought_up=brought_up)


@robot.command("start", help="Start trading.")
def start(context: CommandContext) -> Result:
    context.container.require_account()
    status = context.container.robot_service.start()
    warnings: tuple[tuple[str, str], ...] = ()
    if status.state == "held":
        warnings = (("ROBOT_HELD", f"the robot started and places nothing: {status.reason or 'it is held'}"),)
    return _result(status, changed=True, warnings=warnings)


@robot.command("stop", help="Stop trading: after the open cycles are finished (--drain), or at once (--now).")
@click.option("--drain", is_flag=True, help="Open no new cycles, and finish the open ones (default).")
@click.option("--now", is_flag=True, help="Stop at once.")
@click.option("--cancel-orders", is_flag=True, help="With --now: cancel the robot's open orders.")
@click.option("--keep-orders", is_flag=True, help="With --now: keep the robot's open orders (default).")
@click.option("--timeout", type=Seconds(0), default=600.0, show_default=True, help="Seconds to wait for the drain.")
def stop(
    context: CommandContext, drain: bool, now: bool, cancel_orders: bool, keep_orders: bool, timeout: float
) -> Result:
    if drain and now:
        raise UsageError("--drain and --now exclude each other")
    if cancel_orders and keep_orders:
        raise UsageError("--cancel-orders and --keep-orders exclude each other")
    if (cancel_orders or keep_orders) and not now:
        raise UsageError("--cancel-orders and --keep-orders require --now")
    context.container.require_account()
    context.container.accept_any_generation = True
    if now:
        status, stopped, changed = context.container.robot_service.stop_now(cancel_orders=cancel_orders)
        warnings = stopped.differences()
        if not stopped.checked and stopped.orders_left:
            text = "the exchange could not be asked: the orders are those of the journal"
            warnings = (*warnings, ("ORDERS_UNCHECKED", text))
        return _result(status, changed=changed, more=stopped.orders_json(), warnings=warnings)
    seen: list[int] = []

    def progress(status: RobotReport) -> None:
        count = status.cycles_open
        if not seen or seen[-1] != count:
            seen.append(count)
            context.progress(f"draining: {count} cycles open")

    status, changed = context.container.robot_service.drain(timeout, progress)
    return _result(status, changed=changed)


@robot.command("status", help="Show the state of the robot. Never starts a process.")
@click.option("--watch", is_flag=True, help="Print the status again and again.")
@click.option(
    "--interval", type=Seconds(0.05, 3600), default=1.0, show_default=True, help="Seconds between two prints."
)
def status(context: CommandContext, watch: bool, interval: float) -> Result:
    context.container.require_account()
    if not watch:
        status = context.container.status_reader.status()
        return _result(status, changed=False, warnings=_key_warnings(status.document))
    while True:
        status = context.container.status_reader.status()
        warnings = [{"code": code, "message": message} for code, message in _key_warnings(status.document)]
        document = {
            "ok": True,
            "command": "robot status",
            "account": context.container.account,
            "changed": False,
            "data": {"robot": status.document},
            "warnings": warnings,
        }
        context.stream(document, one_line(status))
        time.sleep(interval)


def _key_warnings(found: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    from fortctl.services.keys.listing import card_warnings

    return card_warnings(found["key"]) if found["key"] is not None else ()


@robot.command("cycles", help="List the robot's cycles.")
def cycles(context: CommandContext) -> Result:
    context.container.require_account()
    rows = context.container.status_reader.cycles()
    cells = [
        [row["id"], row["level"], row["state"], row["buy"].get("price"), row["sell"].get("price"), row["profit"]]
        for row in rows
    ]
    return Result({"cycles": rows}, text=table(["cycle", "level", "state", "buy", "sell", "profit"], cells))


@robot.command("report", help="Report the profit, from the robot's journal; the robot need not run.")
@click.option(
    "--by", type=click.Choice(["cycle", "day", "symbol"]), default="symbol", show_default=True, help="How to group."
)
@click.option(
    "--format", "form", type=click.Choice(["json", "csv"]), help="Print the report as JSON, or its rows as CSV."
)
def report(context: CommandContext, by: str, form: str | None) -> Result:
    context.container.require_account()
    earned = context.container.status_reader.report(by)
    if form == "csv":
        from fortctl.robot.core.profit_report import as_csv

        text = as_csv(earned["rows"], by)
        return Result({**earned, "csv": text}, text=text.removesuffix("\n"))
    if form == "json":
        return Result(earned, text=json.dumps(earned, indent=2))
    return Result(earned, text=lambda: render_data({by: earned["rows"], **earned["totals"]}))


@robot.command("resume", help="Let a held robot trade again.")
def resume(context: CommandContext) -> Result:
    context.container.require_account()
    return _result(context.container.robot_service.resume(), changed=True)


@robot.command("configure", help="Set what the robot trades, and how.")
@click.option("--symbol", metavar="SYMBOL", required=True, help="Symbol, for example BTCUSDT.")
@click.option("--levels", metavar="N", type=click.IntRange(1, 500), help="Number of grid levels.")
@click.option("--step", metavar="PERCENT", help="Distance between levels, in per cent.")
@click.option(
    "--take-profit", metavar="PERCENT", required=True, help="Profit of a cycle, in per cent net of commissions."
)
@click.option("--order-quote", metavar="AMOUNT", required=True, help="Amount of one buy, in the quote asset.")
@click.option("--max-quote", metavar="AMOUNT", help="Budget for open buys and inventory, in the quote asset.")
@click.option("--price-floor", metavar="PRICE", help="Never buy below this price.")
@click.option("--price-ceiling", metavar="PRICE", help="Never buy above this price.")
@click.option("--trail-up/--no-trail-up", default=None, help="Whether the grid follows a rising price (default: yes).")
@click.option(
    "--spacing", type=click.Choice(["geometric", "arithmetic"]), help="Spacing of the levels (default: geometric)."
)
@click.option("--maker-only", is_flag=True, help="Place only orders that rest in the book (LIMIT_MAKER).")
@click.option("--stp", metavar="MODE", help="Self-trade prevention mode.")
@click.option(
    "--strategy",
    metavar="NAME",
    default="grid",
    show_default=True,
    help="Strategy to use; others than grid come from plugins.",
)
@click.option(
    "--set", "chosen", metavar="NAME=VALUE", multiple=True, help="Option of a plugin's strategy (repeatable)."
)
def configure(context: CommandContext, strategy: str, chosen: tuple[str, ...], **options: Any) -> Result:
    from fortctl.robot.core.settings import parse_settings

    options["self_trade_prevention"] = options.pop("stp")
    given = {name: value for name, value in options.items() if value is not None}
    if strategy == "grid":
        _grid_options(given, chosen)
    else:
        given |= {"strategy": strategy, "options": _plugin_options(given, chosen)}
    settings = parse_settings(given)
    if strategy != "grid":
        from fortctl.robot.strategy.plugins import find_strategy

        find_strategy(strategy).validate(settings)
    context.container.require_account()
    status, changed, warnings = context.container.robot_service.configure(settings.as_json())
    return replace(_result(status, changed=changed), warnings=warnings)


_GRID_ONLY = ("levels", "step", "trail_up", "spacing")


def _grid_options(given: dict[str, Any], chosen: tuple[str, ...]) -> None:
    if chosen:
        raise UsageError("--set requires --strategy: the grid has options of its own")
    for name in ("levels", "step"):
        if name not in given:
            raise UsageError(f"missing option '--{name}'")


def _plugin_options(given: dict[str, Any], chosen: tuple[str, ...]) -> dict[str, str]:
    for name in _GRID_ONLY:
        if name in given:
            raise UsageError(
                f"--{name.replace('_', '-')} is the grid's; give the strategy's own options with --set NAME=VALUE"
            )
    options: dict[str, str] = {}
    for pair in chosen:
        name, equals, value = pair.partition("=")
        if not equals or not name or name in options:
            raise UsageError(f"--set takes NAME=VALUE, each name once, not '{pair}'")
        options[name] = value
    return options


@robot.command(
    "pair", help="Pair an operator with a robot on another host: run it on both hosts and compare the codes."
)
@click.option("--confirm", metavar="CODE", help="Confirm with the code that the other side shows.")
@click.option("--mailbox", metavar="URL", help="Shared mailbox, for example sqlite:///srv/fortctl/mailbox.sqlite.")
@click.option("--revoke", metavar="OPERATOR", help="Revoke the trust in this operator.")
@click.option(
    "--timeout", type=Seconds(0, 3600), default=300.0, show_default=True, help="Seconds to wait for the other side."
)
def pair(
    context: CommandContext, confirm: str | None, mailbox: str | None, revoke: str | None, timeout: float
) -> Result:
    container = context.container
    container.require_account()
    if mailbox is not None:
        container.set_mailbox(mailbox)
    service = container.pairing_service
    if revoke is not None:
        context.prompts.confirm(f"Revoke the trust of the robot in operator {revoke}?")
        service.revoke(revoke)
        return Result({"revoked": revoke}, True, text=f"operator {revoke} revoked")
    if confirm is None:
        context.progress("waiting for the other side ('fortctl robot pair' there)")
        here_operates = container.account_entry.robot == "remote"
        other = (service.as_operator if here_operates else service.as_robot_host)(timeout_s=timeout)
        if not context.prompts.available:
            raise ActionRequiredError(
                f"compare the code with the other side's: {other.code}",
                hint="if both show the same: 'fortctl robot pair --confirm CODE', on both sides",
                details={"actions": [f"compare {other.code}, then 'fortctl robot pair --confirm {other.code}'"]},
                data={"code": other.code, "other": other.other_id, "side": other.side},
            )
        confirm = context.prompts.read_line(f"This side shows {other.code}. Type what the other side shows: ")
    other = service.pending()
    if confirm.strip().upper() != other.code:
        raise BadInputError(
            "the codes differ: do not trust this mailbox, it may have been changed", hint="start the pairing again"
        )
    context.progress("waiting for the robot")
    if other.side == "operator":
        context.container.pin_remote_robot(other.other_id, other.other_public)
    service.confirm(other, timeout_s=timeout)
    container.ensure_panic_order()
    who = "robot" if other.side == "operator" else "operator"
    data = {"side": other.side, "other": other.other_id}
    return Result(data, True, text=f"paired with {who} {other.other_id}")


@robot.command("logs", help="Print the robot's log.")
@click.option("--follow", "-f", is_flag=True, help="Keep printing new lines.")
@click.option(
    "--lines",
    "-n",
    metavar="N",
    type=click.IntRange(0, 100_000),
    default=200,
    show_default=True,
    help="Number of lines to begin with.",
)
def logs(context: CommandContext, follow: bool, lines: int) -> Result:
    context.container.require_account()
    reader = context.container.robot_log
    last = reader.last(lines)
    if not follow:
        reader.close()
        return Result({"lines": last}, text="\n".join(_log_line(entry) for entry in last))
    for entry in last:
        context.stream(entry, _log_line(entry))
    for entry in reader.follow():
        context.stream(entry, _log_line(entry))
    raise AssertionError("the log is followed until the command is interrupted")


def _log_line(entry: dict[str, Any]) -> str:
    line = f"{entry.get('time', '')} {entry.get('level', '')} {entry.get('message', '')}".strip()
    trace = str(entry.get("trace") or "").splitlines()
    return "\n".join([line, *(f"    {one}" for one in trace)])


def one_line(status: RobotReport) -> str:
    """Return a status on one line."""
    return (
        f"{status.state:<12} cycles {status.cycles_open} open, {status.cycles_closed} closed"
        f"  orders {status.orders_open}  profit {status.realised_profit}"
        f"  price {status.price or '–'}"
        f"  exchange {_ago(status.exchange_answered_ago_s)}  market {_ago(status.market_moved_ago_s)}"
    )


def _ago(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.0f} s ago"


def _result(
    status: RobotReport,
    *,
    changed: bool,
    more: dict[str, Any] | None = None,
    warnings: tuple[tuple[str, str], ...] = (),
) -> Result:
    data = {"robot": status.document, **(more or {})}

    def text() -> str:
        brief = {name: value for name, value in status.document.items() if name not in ("cycle_list", "balances")}
        return render_data({**brief, **(more or {})})

    return Result(data, changed, warnings, text)
