"""``fortctl panic-disconnect`` and ``panic-clear``: the emergency brake, and its release."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from fortctl.commands.context import App, Result, command, refuse
from fortctl.commands.render import duration
from fortctl.errors import ActionRequired

if TYPE_CHECKING:
    from fortctl.services.panic import PanicReport


@command("panic-disconnect", help="Cut every link: latch the robot off, cancel its orders, destroy both key copies.")
@click.option("--cancel-orders", is_flag=True, help="Cancel the robot's open orders (default).")
@click.option("--keep-orders", is_flag=True, help="Leave them at the exchange.")
@click.option("--wait-dead", type=click.FloatRange(0, 86_400), default=0.0, help="Watch until the old keys are dead.")
@click.option("--all-accounts", is_flag=True, help="Every account of this home.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@click.option("--timeout", type=click.FloatRange(0.1, 300), default=5.0, show_default=True, help="Seconds to halt in.")
async def panic_disconnect(
    app: App,
    cancel_orders: bool,
    keep_orders: bool,
    wait_dead: float,
    all_accounts: bool,
    dry_run: bool,
    timeout: float,
) -> Result:
    import asyncio

    from fortctl.commands.wiring_panic import accounts_of, panic_ports
    from fortctl.services.panic import Panic
    from fortctl.services.panic import dry_run as planned

    if cancel_orders and keep_orders:
        refuse("--cancel-orders and --keep-orders exclude each other")
    names = accounts_of(app, all_accounts)
    ports = [panic_ports(App(replace(app.globals, account=name))) for name in names]
    if dry_run:
        steps = [step for port in ports for step in planned(port, cancel_orders=not keep_orders)]
        return Result({"steps": steps, "elapsed_ms": 0, "actions": []})
    app.confirm(f"Cut every link of account {', '.join(names)} now?")
    reports = await asyncio.gather(
        *(Panic(port, cancel_orders=not keep_orders, timeout_s=timeout).run(wait_dead_s=wait_dead) for port in ports)
    )
    data, text = _data(reports), "\n".join(_text(report) for report in reports)
    actions = data["actions"]
    if actions:
        raise ActionRequired(
            "the robot is cut off and both key copies are destroyed; the keys still live at the exchange",
            hint="; ".join(action["text"] for action in actions),
            details={"actions": actions},
            data=data,
            text=text,
        )
    return Result(data, True, text=text)


def _data(reports: list[PanicReport]) -> dict[str, Any]:
    first = reports[0]
    data = {
        "steps": [step.as_json() for step in first.steps],
        "elapsed_ms": round(max(report.elapsed_ms for report in reports), 1),
        "actions": [action for report in reports for action in report.actions],
    }
    if len(reports) > 1:
        data["accounts"] = [report.as_json() for report in reports]
    return data


def _text(report: PanicReport) -> str:
    lines = [f"account {report.account}: {duration(report.elapsed_ms)}"]
    lines += [
        f"  {step.state:<8} {step.name:<14} {duration(step.elapsed_ms):>8}  {step.detail}" for step in report.steps
    ]
    return "\n".join(lines)


@command("panic-clear", help="Lift the latch after a panic; the account's name must be typed.")
@click.option("--confirm", metavar="NAME", help="The account's name, typed.")
def panic_clear(app: App, confirm: str | None) -> Result:
    from fortctl.errors import Conflict

    wiring = app.wiring
    wiring.entry  # noqa: B018
    if not wiring.latch.is_latched():
        raise Conflict(f"the robot of account {wiring.account} is not latched", hint="nothing to clear")
    app.confirm_typed(wiring.account, confirm, f"Let a robot trade account {wiring.account} again?")
    wiring.latch.clear()
    wiring.audit.append("panic cleared", account=wiring.account, result="done")
    text = "the latch is lifted; enter new keys, then 'fortctl robot start'"
    return Result({"account": wiring.account, "latched": False}, True, text=text)
