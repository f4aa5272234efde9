"""The systemd service of one account's robot: its unit's text, and where the unit is installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fortctl.bootstrap.container import Container
from fortctl.errors import UsageError
from fortctl.robot.process.systemd import Systemd, give_way, in_homes, in_tmp, manager, systemd_version
from fortctl.robot.process.systemd_unit import UnitFacts, unit_text


class SystemdService:
    """The unit of an account's robot, and the service manager that runs it.

    Args:
        container: the account's adapters.
        system: the system's service manager; None: the system's for root, else the user's own.
    """

    def __init__(self, container: Container, system: bool | None) -> None:
        self._container = container
        self._manager: Systemd = manager(os.geteuid() == 0 if system is None else system, os.environ)
        self.name = f"fortctl-robot-{container.account}.service"

    @property
    def system(self) -> bool:
        """Whether the system's service manager runs it."""
        return self._manager.system

    @property
    def path(self) -> Path:
        return self._manager.folder / self.name

    @property
    def managed(self) -> bool:
        """Whether systemd runs on this machine; otherwise the unit is only written."""
        return self._manager.manage

    def text(self, credential: str | None) -> str:
        """Return the unit, and warn of what makes it less safe.

        Args:
            credential: the passphrase file of the robot's vault.

        Raises:
            UsageError: *credential* is not a file.
        """
        return f"{self._first_line}\n{unit_text(self._facts(credential))}"

    def problem(self, text: str) -> str:
        """Return what systemd warns of, or an empty text. Raises ``ConfigError`` if systemd refuses the unit."""
        return self._manager.problem(self.name, text)

    def install(self, text: str) -> bool:
        """Write and load the unit; return whether it changed. Raises ``ConflictError`` and ``ConfigError``."""
        return self._manager.install(self.name, text, self._first_line)

    def start(self) -> int | None:
        """Start the service now and at each boot; return the process id of the robot that made way for it, or None."""
        pid = give_way(self._container.robot_home.path)
        self._manager.enable(self.name)
        return pid

    def uninstall(self) -> bool:
        """Stop the service and remove the unit; return whether there was one."""
        return self._manager.uninstall(self.name, self._first_line)

    @property
    def _first_line(self) -> str:
        home = self._container.home.path.resolve()
        return f"# fortctl robot service install: account {self._container.account} of {home}"

    def _facts(self, credential: str | None) -> UnitFacts:
        import pwd

        container = self._container
        home = container.home.path.resolve()
        program = Path(sys.prefix).resolve()
        user = None
        if self.system:
            user = pwd.getpwuid(home.stat().st_uid).pw_name
            if user == "root":
                container.warn(
                    "SERVICE_AS_ROOT", "the home belongs to root, so the robot runs as root: a user of its own is safer"
                )
        if credential is not None:
            credential = str(Path(credential).expanduser().absolute())
            if not Path(credential).is_file():
                raise UsageError("--credential must name a file")
        elif self._needs_passphrase():
            container.warn("NO_CREDENTIAL", "only a passphrase opens the robot's vault: give --credential FILE")
        writable = [str(home)]
        if container.config.mailbox.startswith("sqlite://"):
            writable.append(str(Path(container.config.mailbox.removeprefix("sqlite://")).parent))
        # -P keeps the current folder out of sys.path.
        program_words = [sys.executable, "-P", "-m", "fortctl", "--home", str(home)]
        return UnitFacts(
            container.account,
            [*program_words, "--account", container.account, "--no-input"],
            writable,
            user,
            credential,
            systemd_version(),
            in_homes=in_homes([home, program, Path(sys.executable).resolve()]),
            in_tmp=in_tmp([home, program]),
        )

    def _needs_passphrase(self) -> bool:
        file = self._container.robot_vault_file
        kinds = [slot.kind for slot in file.header().slots] if file.exists() else [self._container.config.slot]
        return kinds == ["passphrase"]
