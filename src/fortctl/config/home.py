"""The home folder: which file is where, and who may read it. Pure paths, except for the mode checks.

Files have mode 0600 and folders 0700; a home that other users may read is refused.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fortctl.errors import ConfigError, NotFoundError, UsageError

ACCOUNT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Where an account's robot runs: on this machine, on another host (paired), or nowhere (the account is only read).
ROBOTS = ("local", "remote", "none")


def default_home(environment: Mapping[str, str]) -> Path:
    """Return the platform's user data folder for fortctl (XDG Base Directory; macOS; Windows)."""
    import sys

    if sys.platform == "darwin":
        return Path("~/Library/Application Support/fortctl").expanduser()
    base = environment.get("XDG_DATA_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path("~/.local/share").expanduser()) / "fortctl"


def check_account_name(name: str) -> str:
    """Return *name* if it is a valid account name. Raises ``UsageError``."""
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


class Home(_VaultFolder):
    """The files of one home (docs/architecture.md, "Where state lives")."""

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

    def require_access(self) -> None:
        """Raise ``NotFoundError`` if the home is another user's and this one may not enter it."""
        from fortctl.system.users import user_name

        for folder in (self.path, *self.path.parents):
            try:
                status = folder.stat()
            except PermissionError:
                continue  # the folder around it says whose it is
            except OSError:
                return
            rights = os.X_OK | (os.R_OK if folder == self.path else 0)
            if not stat.S_ISDIR(status.st_mode) or status.st_uid == os.geteuid():
                return
            if os.access(folder, rights, effective_ids=os.access in os.supports_effective_ids):
                return
            owner = user_name(status.st_uid)
            raise NotFoundError(
                f"this home belongs to {owner}, and you may not enter it: nothing was done",
                hint=f"run the command as {owner}, for example with 'sudo -u {owner}'",
            )

    def ensure(self) -> None:
        """Create the home with mode 0700. Raises ``ConfigError`` if other users may enter it."""
        make_private_folder(self.path)
        self.check_modes()

    def check_modes(self) -> None:
        """Raise ``ConfigError`` if other users may read the home, even behind a symbolic link."""
        try:
            problem = mode_problem(self.path.resolve())
        except (OSError, RuntimeError):
            problem = f"{self.path} is a broken symbolic link"
        if problem:
            raise ConfigError(problem, hint=f"chmod 700 {self.path}, or choose another --home")

    def mode_problems(self) -> list[str]:
        """Return what is wrong with the owners and modes of the home and everything in it."""
        problems = []
        for folder, _folders, files in os.walk(self.path):
            for entry in (Path(folder), *(Path(folder) / name for name in files)):
                problem = mode_problem(entry)
                if problem:
                    problems.append(problem)
        return problems


class IssuerHome(_VaultFolder):
    """The folder of the issuer vault, which holds the master accounts' keys and has unlock slots of its own."""


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
        """The pre-signed panic order that stops a robot on another host."""
        return self.path / "panic-order.json"


def mode_problem(path: Path) -> str:
    """Return what is wrong with a path's owner or mode; empty if nothing is."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path} cannot be checked: {error.strerror}"
    if stat.S_ISLNK(status.st_mode):
        return ""
    if stat.S_IMODE(status.st_mode) & 0o077:
        return f"{path} may be accessed by other users (mode {stat.S_IMODE(status.st_mode):03o})"
    if status.st_uid not in (os.geteuid(), 0):
        return f"{path} belongs to another user (uid {status.st_uid})"
    return ""


def make_private_folder(path: Path) -> None:
    """Create a folder and its missing parents, each with mode 0700 (XDG Base Directory Specification).

    Raises:
        ConfigError: a folder cannot be created.
    """
    try:
        # Path.mkdir(parents=True) would give the parents the process's default mode.
        for folder in (*reversed(path.parents), path):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be created: {error.strerror}", hint="choose another --home") from None
