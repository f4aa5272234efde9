"""``fortctl robot service``: the robot as a systemd service."""

from __future__ import annotations

import click

from fortctl.cli.commands import Group
from fortctl.cli.context import CommandContext
from fortctl.cli.result import Result
from fortctl.errors import UsageError


def add_service(robot: Group) -> None:
    """Add the group to ``fortctl robot``."""
    service = robot.subgroup("service", "Install the robot as a systemd service.")

    @service.command("install", help="Write the account's systemd unit, verify it and load it.")
    @click.option(
        "--system/--user", "system", default=None, help="Service manager to use (default: system for root, else user)."
    )
    @click.option("--credential", metavar="FILE", help="Passphrase file of the robot's vault (.cred: encrypted).")
    @click.option("--now", is_flag=True, help="Start the service now and at each boot.")
    @click.option("--print", "only_print", is_flag=True, help="Print the unit, and install nothing.")
    def install(
        context: CommandContext, system: bool | None, credential: str | None, now: bool, only_print: bool
    ) -> Result:
        return _install(context, system, credential, now=now, only_print=only_print)

    @service.command("uninstall", help="Stop the service and remove the unit.")
    @click.option(
        "--system/--user", "system", default=None, help="Service manager to use (default: system for root, else user)."
    )
    def uninstall(context: CommandContext, system: bool | None) -> Result:
        from fortctl.bootstrap.systemd_service import SystemdService

        context.container.require_account()
        unit = SystemdService(context.container, system)
        changed = unit.uninstall()
        text = f"{unit.path} removed" if changed else "no such unit is installed"
        return Result({"unit": unit.name, "path": str(unit.path)}, changed, text=text)


def _install(
    context: CommandContext, system: bool | None, credential: str | None, *, now: bool, only_print: bool
) -> Result:
    from fortctl.bootstrap.systemd_service import SystemdService

    entry = context.container.account_entry
    if entry.robot == "none":
        raise UsageError(f"account {context.container.account} is only watched: it has no robot")
    unit = SystemdService(context.container, system)
    text = unit.text(credential)
    problem = unit.problem(text)
    if problem:
        context.warn("UNIT_NOT_VERIFIED" if "was not checked" in problem else "UNIT_WARNING", problem)
    data = {"unit": unit.name, "path": str(unit.path), "text": text, "system": unit.system, "loaded": unit.managed}
    if only_print:
        return Result(data, text=text.rstrip())
    changed = unit.install(text)
    if now:
        pid = unit.start()
        if pid is not None:
            context.progress(f"the robot that a command brought up (pid {pid}) has ended; the service takes over")
    flag = "" if unit.system else " --user"
    lines = [f"{unit.path} {'written' if changed else 'is as it should be'}"]
    if not unit.managed:
        context.warn("NO_SYSTEMD", "systemd does not run here: the unit was only written")
    elif not now:
        lines.append(f"start it with: systemctl{flag} enable --now {unit.name}")
    if not unit.system:
        lines.append("the service ends with the last session unless you run: loginctl enable-linger")
    return Result(data, changed, text="\n".join(lines))
