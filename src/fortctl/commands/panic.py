"""``fortctl panic-disconnect`` and ``panic-clear``: the emergency brake, and its release."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from fortctl.cli.commands import command, refuse
from fortctl.cli.context import CommandContext
from fortctl.cli.options import Seconds
from fortctl.cli.render import duration, paint
from fortctl.cli.result import Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fortctl.services.panic.panic import Panic
    from fortctl.services.panic.report import PanicReport


@command("panic-disconnect", help="Cut every link: latch the robot off, cancel its orders, destroy both key copies.")
@click.option("--cancel-orders", is_flag=True, help="Cancel the robot's open orders (default).")
@click.option("--keep-orders", is_flag=True, help="Leave them at the exchange.")
@click.option("--wait-dead", type=Seconds(0, 86_400), default=0.0, help="Watch until the old keys are dead.")
@click.option("--all-accounts", is_flag=True, help="Every account of this home.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@click.option("--timeout", type=Seconds(0.1, 300), default=5.0, show_default=True, help="Seconds to halt in.")
async def panic_disconnect(
    app: CommandContext,
    cancel_orders: bool,
    keep_orders: bool,
    wait_dead: float,
    all_accounts: bool,
    dry_run: bool,
    timeout: float,
) -> Result:
    import asyncio

    from fortctl.bootstrap.panic import affected_accounts, panic_ports
    from fortctl.services.panic.dry_run import dry_run as planned
    from fortctl.services.panic.panic import Panic
    from fortctl.services.panic.report import failure_of, reports_as_json
    from fortctl.services.panic.state import PanicOptions

    if cancel_orders and keep_orders:
        refuse("--cancel-orders and --keep-orders exclude each other")
    names = affected_accounts(app, all_accounts)
    if not dry_run:
        app.confirm(f"Cut every link of account {', '.join(names)} now?")
    ports = [panic_ports(app, name) for name in names]
    if dry_run:
        plans = await asyncio.gather(*(planned(port, cancel_orders=not keep_orders) for port in ports))
        return Result(reports_as_json(plans), False, text="\n".join(_text(plan) for plan in plans))

    def publish(report: PanicReport) -> None:
        app.progress(
            f"{_text(report)}\nwatching for {wait_dead:.0f} s at most until the old keys are dead; Ctrl-C ends it"
        )

    options = PanicOptions(not keep_orders, timeout, wait_dead)
    panics = [Panic(port, options, publish=publish) for port in ports]
    with _interruptible(panics, wait_dead > 0):
        reports = await asyncio.gather(*(panic.run() for panic in panics))
    for report in reports:
        for step in report.steps:
            if step.name.startswith("hook") and step.state == "failed":
                app.warn("HOOK_FAILED", f"{step.name.removeprefix('hook ')}: {step.detail}")
    text = "\n".join(_text(report) for report in reports)
    failure = failure_of(reports, text)
    if failure is not None:
        raise failure
    return Result(reports_as_json(reports), True, text=text)


@contextmanager
def _interruptible(panics: Sequence[Panic], waits: bool) -> Iterator[None]:
    """Have the first Ctrl-C end the waiting alone: what was done, and what is left to do, is printed."""
    import asyncio
    import signal

    if not waits:
        yield
        return
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGINT)

    def interrupted() -> None:
        restore()
        for panic in panics:
            panic.stop_waiting()

    def restore() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)

    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        restore()


_COLOURS = {"done": "green", "failed": "red", "queued": "red", "unproved": "yellow", "skipped": "dim"}


def _text(report: PanicReport) -> str:
    """Return a report as a frightened person reads it: what was done, then what is left to do, in red."""
    lines = [f"account {report.account}: {duration(report.elapsed_ms)}"]
    for step in report.steps:
        state = paint(f"{step.state:<8}", _COLOURS.get(step.state, "bold"))
        lines.append(f"  {state} {step.name:<24} {duration(step.elapsed_ms):>8}  {step.detail}")
    if report.actions:
        lines.append(paint("  what you must do now:", "red"))
        lines += [paint(f"  {number}. {action.text}", "red") for number, action in enumerate(report.actions, 1)]
        lines.append("  see 'fortctl explain panic'")
    return "\n".join(lines)


@command("panic-clear", help="Lift the latch after a panic; the account's name must be typed.")
@click.option("--confirm", metavar="NAME", help="The account's name, typed.")
def panic_clear(app: CommandContext, confirm: str | None) -> Result:
    from fortctl.bootstrap.key_lock import run_end_hooks
    from fortctl.bootstrap.panic_handler import void_waiting
    from fortctl.bootstrap.panic_rotation import close_for_panic
    from fortctl.errors import ConflictError

    wiring = app.wiring
    remote = wiring.entry.robot == "remote"
    if not wiring.latch.is_latched():
        raise ConflictError(f"the robot of account {wiring.account} is not latched", hint="nothing to clear")
    app.confirm_typed(wiring.account, confirm, f"Let a robot trade account {wiring.account} again?")
    if not remote:
        void_waiting(app)
    keys = wiring.latch.read().get("keys", ())
    # One that the panic could not end would go on with keys that are dead.
    ended = close_for_panic(wiring.operations, wiring.account, wiring.clock.now_ms())
    wiring.latch.clear()
    wiring.audit.append("panic cleared", account=wiring.account, result="done", best_effort=True)
    run_end_hooks(app, ended)
    if keys:
        names = ", ".join(f"'{key.get('name')}'" for key in keys)
        app.warn("OLD_KEYS_MAY_LIVE", f"the old keys {names} were not proved dead: delete them on Binance's page")
    return Result({"account": wiring.account, "latched": False, "next": _next(remote)}, True, text=_way_back(remote))


def _next(remote: bool) -> list[str]:
    elsewhere = ["on the robot's host: fortctl panic-clear, then start its service again"] if remote else []
    return [
        *elsewhere,
        "fortctl keys add --role site",
        "fortctl keys add --role robot",
        "fortctl robot start",
        "fortctl robot status",
        "fortctl robot resume",
    ]


def _way_back(remote: bool) -> str:
    steps = "\n".join(f"  {number}. {step}" for number, step in enumerate(_next(remote), 1))
    return (
        "the latch is lifted. The way back:\n"
        f"{steps}\n"
        "The robot makes its books agree with the exchange and then holds until 'robot resume': look first."
    )
