"""``fortctl robot service``: the robot as a systemd service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fortctl.cli.commands import Group
from fortctl.cli.context import CommandContext
from fortctl.cli.result import Result
from fortctl.errors import UsageError

if TYPE_CHECKING:
    from fortctl.robot.process.systemd import Systemd
    from fortctl.robot.process.systemd_unit import UnitFacts


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
        context.container.require_account()
        manager, name = _manager(system), _name(context)
        changed = manager.uninstall(name, _mark(context))
        text = f"{manager.folder / name} removed" if changed else "no such unit is installed"
        return Result({"unit": name, "path": str(manager.folder / name)}, changed, text=text)


def _install(
    context: CommandContext, system: bool | None, credential: str | None, *, now: bool, only_print: bool
) -> Result:
    from fortctl.robot.process.systemd import give_way
    from fortctl.robot.process.systemd_unit import unit_text

    entry = context.container.account_entry
    if entry.robot == "none":
        raise UsageError(f"account {context.container.account} is only watched: it has no robot")
    manager, name = _manager(system), _name(context)
    text = f"{_mark(context)}\n{unit_text(_facts(context, manager, credential))}"
    problem = manager.problem(name, text)
    if problem:
        context.warn("UNIT_NOT_VERIFIED" if "was not checked" in problem else "UNIT_WARNING", problem)
    path = manager.folder / name
    data = {"unit": name, "path": str(path), "text": text, "system": manager.system, "loaded": manager.manage}
    if only_print:
        return Result(data, text=text.rstrip())
    changed = manager.install(name, text, _mark(context))
    if now:
        pid = give_way(context.container.robot_home.path)
        if pid is not None:
            context.progress(f"the robot that a command brought up (pid {pid}) has ended; the service takes over")
        manager.enable(name)
    flag = "" if manager.system else " --user"
    lines = [f"{path} {'written' if changed else 'is as it should be'}"]
    if not manager.manage:
        context.warn("NO_SYSTEMD", "systemd does not run here: the unit was only written")
    elif not now:
        lines.append(f"start it with: systemctl{flag} enable --now {name}")
    if not manager.system:
        lines.append("the service ends with the last session unless you run: loginctl enable-linger")
    return Result(data, changed, text="\n".join(lines))


def _facts(context: CommandContext, manager: Systemd, credential: str | None) -> UnitFacts:
    import pwd

    from fortctl.robot.process.systemd import in_homes, in_tmp, systemd_version
    from fortctl.robot.process.systemd_unit import UnitFacts

    container = context.container
    home = container.home.path.resolve()
    program = Path(sys.prefix).resolve()
    user = None
    if manager.system:
        user = pwd.getpwuid(home.stat().st_uid).pw_name
        if user == "root":
            context.warn(
                "SERVICE_AS_ROOT", "the home belongs to root, so the robot runs as root: a user of its own is safer"
            )
    if credential is not None:
        credential = str(Path(credential).expanduser().absolute())
        if not Path(credential).is_file():
            raise UsageError("--credential must name a file")
    elif _needs_passphrase(context):
        context.warn("NO_CREDENTIAL", "only a passphrase opens the robot's vault: give --credential FILE")
    writable = [str(home)]
    if container.config.mailbox.startswith("sqlite://"):
        writable.append(str(Path(container.config.mailbox.removeprefix("sqlite://")).parent))
    # -P keeps the current folder out of sys.path.
    command = [sys.executable, "-P", "-m", "fortctl", "--home", str(home), "--account", container.account, "--no-input"]
    return UnitFacts(
        container.account,
        command,
        writable,
        user,
        credential,
        systemd_version(),
        in_homes=in_homes([home, program, Path(sys.executable).resolve()]),
        in_tmp=in_tmp([home, program]),
    )


def _needs_passphrase(context: CommandContext) -> bool:
    file = context.container.robot_vault_file
    kinds = [slot.kind for slot in file.header().slots] if file.exists() else [context.container.config.slot]
    return kinds == ["passphrase"]


def _manager(system: bool | None) -> Systemd:
    import os

    from fortctl.robot.process.systemd import manager

    return manager(os.geteuid() == 0 if system is None else system, os.environ)


def _name(context: CommandContext) -> str:
    return f"fortctl-robot-{context.container.account}.service"


def _mark(context: CommandContext) -> str:
    home = context.container.home.path.resolve()
    return f"# fortctl robot service install: account {context.container.account} of {home}"
