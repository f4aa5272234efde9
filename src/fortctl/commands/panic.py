"""``fortctl panic-disconnect`` (alias ``panic``) and ``panic-clear``: the emergency brake, and its release."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from fortctl.cli.commands import command
from fortctl.cli.context import CommandContext
from fortctl.cli.options import Seconds
from fortctl.cli.render import duration, paint
from fortctl.cli.result import Result
from fortctl.config.home import Home
from fortctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping, Sequence

    from fortctl.services.panic.early_latch import EarlyLatch
    from fortctl.services.panic.panic import Panic
    from fortctl.services.panic.report import PanicReport
    from fortctl.services.panic.state import PanicOptions


@command("panic-disconnect", help="Cut every link: latch the robot off, cancel its orders, destroy both key copies.")
@click.option("--cancel-orders", is_flag=True, help="Cancel the robot's open orders (default).")
@click.option("--keep-orders", is_flag=True, help="Leave the robot's open orders at the exchange.")
@click.option(
    "--wait-dead",
    type=Seconds(0, 86_400),
    default=0.0,
    help="Seconds to wait until the old keys are proved deleted.",
)
@click.option("--all-accounts", is_flag=True, help="Disconnect every account of this home.")
@click.option("--dry-run", is_flag=True, help="Report what a panic would do, and do nothing.")
@click.option(
    "--timeout",
    type=Seconds(0.1, 300),
    default=5.0,
    show_default=True,
    help="Seconds that the robot may take to halt.",
)
def panic_disconnect(
    context: CommandContext,
    cancel_orders: bool,
    keep_orders: bool,
    wait_dead: float,
    all_accounts: bool,
    dry_run: bool,
    timeout: float,
) -> Coroutine[Any, Any, Result]:
    # No more is imported before the latch stands: the robot trades until then.
    from fortctl.bootstrap.panic_latch import affected_accounts, write_latches

    if cancel_orders and keep_orders:
        raise UsageError("--cancel-orders and --keep-orders exclude each other")
    home = Home(context.globals.home)
    _act_as_owner(context, home)
    accounts = affected_accounts(home, context.globals.account, all_accounts)
    if dry_run:
        return _dry_run(context, accounts, cancel_orders=not keep_orders)
    context.prompts.confirm(f"Cut every link of account {', '.join(accounts)} now?")
    latches = write_latches(home, accounts, cancel_orders=not keep_orders)
    from fortctl.services.panic.state import PanicOptions

    return _disconnect(context, latches, PanicOptions(not keep_orders, timeout, wait_dead))


def _act_as_owner(context: CommandContext, home: Home) -> None:
    """Become the owner of the home if root types this: the robot obeys its owner, and the owner must read the latch."""
    from fortctl.errors import ConfigError
    from fortctl.system.users import become_owner

    try:
        owner = become_owner(home.path)
    except OSError as error:
        raise ConfigError(
            f"root cannot act as the owner of {home.path} here ({error.strerror}): nothing was cut",
            hint="run the command as the owner of that folder",
        ) from None
    if owner is not None:
        context.warn("ACTING_AS_OWNER", f"this is done as {owner}, who owns the home {home.path}")


async def _dry_run(context: CommandContext, accounts: Sequence[str], *, cancel_orders: bool) -> Result:
    import asyncio

    from fortctl.bootstrap.panic import panic_ports
    from fortctl.services.panic.dry_run import dry_run
    from fortctl.services.panic.report import reports_as_json

    ports = [panic_ports(context.globals, account) for account in accounts]
    reports = await asyncio.gather(*(dry_run(port, cancel_orders=cancel_orders) for port in ports))
    return Result(reports_as_json(reports), False, text="\n".join(_text(report) for report in reports))


async def _disconnect(context: CommandContext, latches: Mapping[str, EarlyLatch], options: PanicOptions) -> Result:
    import asyncio

    from fortctl.bootstrap.panic import panic_ports
    from fortctl.services.panic.panic import Panic
    from fortctl.services.panic.report import failure_of, reports_as_json

    def publish(report: PanicReport) -> None:
        context.progress(
            f"{_text(report)}\nwaiting {options.wait_dead_s:.0f} s at most until the old keys are proved deleted;"
            " Ctrl-C ends the wait"
        )

    panics = [
        Panic(panic_ports(context.globals, account), options, early_latch=latch, publish=publish)
        for account, latch in latches.items()
    ]
    with _interruptible(panics, options.wait_dead_s > 0):
        reports = await asyncio.gather(*(panic.run() for panic in panics))
    for report in reports:
        for step in report.steps:
            if step.name.startswith("hook") and step.state == "failed":
                context.warn("HOOK_FAILED", f"{step.name.removeprefix('hook ')}: {step.detail}")
    text = "\n".join(_text(report) for report in reports)
    failure = failure_of(reports, text)
    if failure is not None:
        raise failure
    return Result(reports_as_json(reports), True, text=text)


@contextmanager
def _interruptible(panics: Sequence[Panic], waits: bool) -> Iterator[None]:
    """Let the first Ctrl-C end the wait alone: the report is printed all the same."""
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
    """Return a report as plain text: what was done, then what is left to do, in red."""
    lines = [f"account {report.account}: {duration(report.elapsed_ms)}"]
    for step in report.steps:
        state = paint(f"{step.state:<8}", _COLOURS.get(step.state, "bold"))
        lines.append(f"  {state} {step.name:<24} {duration(step.elapsed_ms):>8}  {step.detail}")
    if report.actions:
        lines.append(paint("  what you must do now:", "red"))
        lines += [paint(f"  {number}. {action.text}", "red") for number, action in enumerate(report.actions, 1)]
        lines.append("  see 'fortctl explain panic'")
    return "\n".join(lines)


@command("panic-clear", help="Lift the latch after a panic; the account's name must be typed to confirm.")
@click.option("--confirm", metavar="NAME", help="The account's name, instead of typing it.")
def panic_clear(context: CommandContext, confirm: str | None) -> Result:
    from fortctl.bootstrap.key_lock import run_end_hooks
    from fortctl.bootstrap.panic_clear import lift_latch
    from fortctl.errors import ConflictError

    container = context.container
    account, is_remote = container.account, container.account_entry.robot == "remote"
    if not container.latch.is_latched():
        raise ConflictError(f"the robot of account {account} is not latched", hint="there is nothing to clear")
    context.prompts.confirm_typed(account, confirm, f"Let a robot trade account {account} again?")
    lifted = lift_latch(container)
    run_end_hooks(container, lifted.ended)
    if lifted.alive:
        names = ", ".join(f"'{name}'" for name in lifted.alive)
        context.warn(
            "OLD_KEYS_MAY_LIVE", f"the old keys {names} were not proved deleted: delete them on Binance's page"
        )
    steps = _next_steps(is_remote)
    return Result({"account": account, "latched": False, "next": steps}, True, text=_way_back(steps))


def _next_steps(is_remote: bool) -> list[str]:
    elsewhere = ["on the robot's host: fortctl panic-clear, then start its service again"] if is_remote else []
    return [
        *elsewhere,
        "fortctl keys add --role site",
        "fortctl keys add --role robot",
        "fortctl robot start",
        "fortctl robot status",
        "fortctl robot resume",
    ]


def _way_back(steps: Sequence[str]) -> str:
    numbered = "\n".join(f"  {number}. {step}" for number, step in enumerate(steps, 1))
    return (
        "the latch is lifted. To trade again:\n"
        f"{numbered}\n"
        "The robot reconciles its books with the exchange, then holds until 'robot resume': check the account first."
    )
