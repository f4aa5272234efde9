"""The home folder and its configuration (TOML). Files are 0600, folders 0700; others are refused."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fortctl.errors import ConfigError, ConflictError, UsageError
from fortctl.system.files import replace_file

if TYPE_CHECKING:
    pass


ACCOUNT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# On this machine; on another host, paired with; none: the account is only watched.
ROBOTS = ("local", "remote", "none")


def default_home(environment: Mapping[str, str]) -> Path:
    """Return the platform's user data folder for fortctl (XDG Base Directory; macOS; Windows)."""
    import sys

    if sys.platform == "darwin":
        return Path("~/Library/Application Support/fortctl").expanduser()
    base = environment.get("XDG_DATA_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path("~/.local/share").expanduser()) / "fortctl"


def check_account_name(name: str) -> str:
    """Return the name if it may name an account. Raises ``UsageError``."""
    if not ACCOUNT_NAME.fullmatch(name):
        raise UsageError(
            "an account name has 1 to 64 letters, digits, '.', '_' or '-', and starts with a letter or digit"
        )
    return name


@dataclass(frozen=True)
class _VaultFolder:
    """A folder with a vault, its key file and its erasure keys."""

    path: Path

    @property
    def vault(self) -> Path:
        return self.path / "vault.toml"

    @property
    def keyfile(self) -> Path:
        return self.path / "vault.key"

    @property
    def erasure(self) -> Path:
        return self.path / "erasure"


@dataclass(frozen=True)
class Home(_VaultFolder):
    """Where everything of one home lies (contract.md, "home")."""

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def audit(self) -> Path:
        return self.path / "audit.jsonl"

    @property
    def mailbox(self) -> Path:
        return self.path / "mailbox.sqlite"

    @property
    def operations(self) -> Path:
        return self.path / "operations.sqlite"

    @property
    def issuer(self) -> IssuerHome:
        return IssuerHome(self.path / "issuer")

    @property
    def paper(self) -> Path:
        return self.path / "paper"

    def robot(self, account: str) -> RobotHome:
        return RobotHome(self.path / "robots" / account)

    def ensure(self) -> None:
        """Make the home, 0700. Raises ``ConfigError`` when others may enter it."""
        make_private_folder(self.path)
        self.check_modes()

    def check_modes(self) -> None:
        """Refuse a home that others may read, also behind a symbolic link. Raises ``ConfigError``."""
        try:
            problem = mode_problem(self.path.resolve())
        except (OSError, RuntimeError):
            problem = f"{self.path} leads nowhere"
        if problem:
            raise ConfigError(problem, hint=f"chmod 700 {self.path}, or choose another --home")

    def mode_problems(self) -> list[str]:
        """Return what is wrong with the modes of the home and everything in it."""
        found = []
        for folder, _folders, files in os.walk(self.path):
            for entry in (Path(folder), *(Path(folder) / name for name in files)):
                problem = mode_problem(entry)
                if problem:
                    found.append(problem)
        return found


@dataclass(frozen=True)
class IssuerHome(_VaultFolder):
    """The folder of the master accounts' keys, with a vault and slots of its own."""


@dataclass(frozen=True)
class RobotHome(_VaultFolder):
    """The folder of one account's local robot."""

    @property
    def journal(self) -> Path:
        return self.path / "journal.sqlite"

    @property
    def log(self) -> Path:
        return self.path / "robot.log"

    @property
    def pairing(self) -> Path:
        return self.path / "pairing.json"

    @property
    def identity(self) -> Path:
        return self.path / "identity.json"

    @property
    def panic_order(self) -> Path:
        """The pre-signed order that stops a robot on another host."""
        return self.path / "panic-order.json"


def mode_problem(path: Path) -> str:
    """Return what is wrong with a path's owner or mode, or an empty text."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path} cannot be looked at: {error.strerror}"
    if stat.S_ISLNK(status.st_mode):
        return ""
    if stat.S_IMODE(status.st_mode) & 0o077:
        return f"{path} may be accessed by other users (mode {stat.S_IMODE(status.st_mode):03o})"
    if status.st_uid not in (os.geteuid(), 0):
        return f"{path} belongs to another user (uid {status.st_uid})"
    return ""


def make_private_folder(path: Path) -> None:
    """Make a folder and its missing parents, each 0700 (as the XDG Base Directory Specification asks).

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        # Path.mkdir(parents=True) would give the parents the process's default mode.
        for folder in (*reversed(path.parents), path):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be made: {error.strerror}", hint="choose another --home") from None


def write_private(path: Path, data: bytes) -> None:
    """Replace a file's content durably; it is 0600 and never half-written.

    Raises:
        ConflictError: the disk refuses.
    """
    try:
        replace_file(path, data)
    except OSError as error:
        raise ConflictError(
            f"{path} cannot be written: {error.strerror}",
            hint="make room or mend the disk, then try again; nothing half-written is left",
        ) from error
