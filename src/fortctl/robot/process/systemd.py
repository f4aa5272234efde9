"""Put the robot's unit where systemd finds it, and take it away again (adapter)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fortctl.errors import ConfigError, ConflictError
from fortctl.robot.process.owner_lock import owner_of
from fortctl.robot.process.proc import process_start_time
from fortctl.robot.process.systemd_unit import STEPS_SINCE

SYSTEM_FOLDER = Path("/etc/systemd/system")
_WITHIN_S = 60
_PRIVATE = ("/home", "/root", "/run/user")
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 (compared with, not written to)


@dataclass(frozen=True)
class Systemd:
    """A service manager: the system's, or the user's own.

    Attributes:
        system: the system's.
        folder: where its units lie.
        manage: tell it of changes; without, files are only written.
    """

    system: bool
    folder: Path
    manage: bool = True

    def install(self, name: str, text: str, mark: str) -> bool:
        """Write a unit and have it loaded; False when it lay there like this already.

        Args:
            mark: the first line of the text, which says whose unit it is.

        Raises:
            ConflictError: another home's unit has this name.
            ConfigError: systemd does not accept it, or it cannot be written.
        """
        path = self.folder / name
        there = self._present(path)
        if there is not None and not there.startswith(mark + "\n"):
            raise ConflictError(f"{path} is not of this home", hint="look at it; remove it if nothing needs it")
        if there == text:
            return False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{name}.{os.getpid()}")
            temporary.write_text(text, encoding="utf-8")
            temporary.chmod(0o644)
            temporary.replace(path)
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}", hint="run it as root, or with --user"
            ) from None
        self._systemctl("daemon-reload")
        return True

    def uninstall(self, name: str, mark: str) -> bool:
        """Stop a unit's service and remove it; False when there is none. Raises as :meth:`install` does."""
        path = self.folder / name
        there = self._present(path)
        if there is None:
            return False
        if not there.startswith(mark + "\n"):
            raise ConflictError(f"{path} is not of this home", hint="look at it; remove it if nothing needs it")
        self._systemctl("disable", "--now", name)
        try:
            path.unlink()
        except OSError as error:
            raise ConfigError(f"{path} cannot be removed: {error.strerror}", hint="run it as root") from None
        self._systemctl("daemon-reload")
        return True

    def enable(self, name: str) -> None:
        """Start a service now and at each boot. Raises ``ConfigError``."""
        self._systemctl("enable", "--now", name)

    def problem(self, name: str, text: str) -> str:
        """Return what ``systemd-analyze verify`` says against a unit; empty when nothing, or when it cannot be asked.

        Raises:
            ConfigError: it refuses the unit.
        """
        with tempfile.TemporaryDirectory(prefix="fortctl-unit-") as folder:
            (Path(folder) / name).write_text(text, encoding="utf-8")
            # The user's manager wants a runtime folder of its own, even to check a file.
            environment = {"XDG_RUNTIME_DIR": folder, **os.environ}
            words = ["systemd-analyze", *([] if self.system else ["--user"]), "verify", str(Path(folder) / name)]
            try:
                done = subprocess.run(
                    words, capture_output=True, text=True, timeout=_WITHIN_S, check=False, env=environment
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                return f"the unit was not checked: systemd-analyze {type(error).__name__}"
            warnings = "; ".join(line.replace(f"{folder}/", "") for line in done.stderr.splitlines() if name in line)
            if done.returncode == 0:
                return warnings
            if not warnings:
                return f"the unit was not checked: {done.stderr.strip().splitlines()[-1:] or done.returncode}"
        raise ConfigError(f"systemd does not accept the unit: {warnings}", hint="report it; nothing was installed")

    def _present(self, path: Path) -> str | None:
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read ({type(error).__name__})", hint="run it as root") from None

    def _systemctl(self, *words: str) -> None:
        if not self.manage:
            return
        command = ["systemctl", *([] if self.system else ["--user"]), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
            failed, why = done.returncode != 0, (done.stderr.strip().splitlines() or ["no reason"])[-1]
        except (OSError, subprocess.TimeoutExpired) as error:
            failed, why = True, type(error).__name__
        if failed:
            raise ConfigError(f"'{' '.join(command)}' failed: {why}", hint="the unit's file is where 'details' says")


def manager(system: bool, environment: Mapping[str, str]) -> Systemd:
    """Return the system's service manager, or the user's (systemd.unit(5), "Unit File Load Path")."""
    if system:
        return Systemd(True, SYSTEM_FOLDER, manage=Path("/run/systemd/system").is_dir())
    base = environment.get("XDG_CONFIG_HOME") or str(Path("~/.config").expanduser())
    managed = bool(environment.get("XDG_RUNTIME_DIR")) and Path("/run/systemd/system").is_dir()
    return Systemd(False, Path(base) / "systemd" / "user", manage=managed)


def give_way(folder: Path) -> int | None:
    """End the robot that a command brought up, with no order in doubt; return its pid, or None when none runs.

    Raises:
        ConflictError: it does not end.
    """
    owner = owner_of(folder)
    if owner is None:
        return None
    if process_start_time(owner.pid) == owner.started:
        os.kill(owner.pid, signal.SIGTERM)
    deadline = time.monotonic() + _WITHIN_S
    while owner_of(folder) is not None:
        if time.monotonic() > deadline:
            raise ConflictError(
                f"the robot that runs now (pid {owner.pid}) does not end", hint="see 'fortctl robot logs'"
            )
        time.sleep(0.05)
    return owner.pid


def systemd_version() -> int:
    """Return the installed systemd's version; where there is none, one that has every option used."""
    try:
        output = subprocess.run(
            ["systemctl", "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return STEPS_SINCE
    found = re.match(r"systemd ([0-9]+)", output)
    return int(found[1]) if found else STEPS_SINCE


def below(paths: list[Path], folders: tuple[str, ...]) -> bool:
    return any(path.is_relative_to(folder) for path in paths for folder in folders)


def in_homes(paths: list[Path]) -> bool:
    """Return whether ``ProtectHome=yes`` would hide one of the paths."""
    return below(paths, _PRIVATE)


def in_tmp(paths: list[Path]) -> bool:
    """Return whether ``PrivateTmp=yes`` would hide one of the paths."""
    return below(paths, _TEMPORARY)
