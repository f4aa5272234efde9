"""The home folder and its configuration (TOML). Files are 0600, folders 0700; others are refused."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fortctl.durable import NoPlainFile, read_plain, replace_file
from fortctl.errors import ConfigError, Conflict, NotFound, UsageError

if TYPE_CHECKING:
    from fortctl.preferences import Preferences, Setting

ACCOUNT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# On this machine; on another host, paired with; none: the account is only watched.
ROBOTS = ("local", "remote", "none")
SLOTS = ("passphrase", "keyfile", "keyring")


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


@dataclass(frozen=True)
class AccountConfig:
    """One account as the configuration names it.

    Attributes:
        robot: one of :data:`ROBOTS`.
        other: what else the file says of it, kept as it is; ``settings`` in it hold for this account alone.
    """

    name: str
    exchange: str
    robot: str = "local"
    other: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Config:
    """The parsed configuration.

    Attributes:
        slot: how vaults of this home are unlocked (chosen at ``init``).
        accounts: by name.
        mailbox: where the mailbox is, as a URL; empty: a file in the home.
        other: every other section: the settings (:mod:`fortctl.preferences`), and what this version does not know.
    """

    slot: str
    accounts: Mapping[str, AccountConfig] = field(default_factory=dict)
    mailbox: str = ""
    other: Mapping[str, Any] = field(default_factory=dict)

    def with_account(self, account: AccountConfig) -> Config:
        known = self.accounts.get(account.name)
        if known is not None and not account.other:
            account = replace(account, other=known.other)
        return replace(self, accounts={**self.accounts, account.name: account})

    def without_account(self, name: str) -> Config:
        return replace(self, accounts={key: value for key, value in self.accounts.items() if key != name})

    def preferences(self, account: str) -> Preferences:
        """Return the settings in force for an account: its own, then the home's, then the defaults."""
        from fortctl.preferences import Preferences

        known = self.accounts.get(account)
        own = known.other.get("settings", {}) if known else {}
        return Preferences(own if isinstance(own, Mapping) else {}, self.other)

    def with_setting(self, setting: Setting[Any], raw: Any | None, account: str | None = None) -> Config:
        """Return the configuration with a setting put in, or taken out with None; for one account alone if named."""
        from fortctl.preferences import replaced

        if account is None:
            return replace(self, other=replaced(self.other, setting.path, raw))
        known = self.accounts[account]
        other = replaced(known.other, ("settings", *setting.path), raw)
        return replace(self, accounts={**self.accounts, account: replace(known, other=other)})


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


def load_config(home: Home) -> Config:
    """Read the configuration.

    Raises:
        NotFound: there is no home yet.
        ConfigError: it cannot be parsed, or others may read the home.
    """
    import tomllib

    home.check_modes()
    try:
        parsed = tomllib.loads(read_plain(home.config).decode())
    except FileNotFoundError:
        raise NotFound(f"there is no fortctl home at {home.path}", hint="'fortctl init' makes one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{home.config} is no valid TOML: {error}", hint="mend it, or restore it from a backup"
        ) from None
    except NoPlainFile as error:
        raise error.told() from None
    except OSError as error:
        raise ConfigError(f"{home.config} cannot be read: {error.strerror}", hint="choose another --home") from None
    return _interpret(parsed, home)


def _interpret(parsed: dict[str, Any], home: Home) -> Config:
    vault, accounts = parsed.pop("vault", {}), parsed.pop("accounts", {})
    slot = vault.get("slot") if isinstance(vault, dict) else None
    if slot not in SLOTS or not isinstance(accounts, dict):
        raise ConfigError(f"{home.config} has no valid [vault] and [accounts]", hint="restore it from a backup")
    found = {}
    for name, fields in accounts.items():
        if (
            not ACCOUNT_NAME.fullmatch(name)
            or not isinstance(fields, dict)
            or not isinstance(fields.get("exchange"), str)
        ):
            raise ConfigError(f"the account '{name}' in {home.config} is not valid", hint='it needs exchange = "…"')
        robot = fields.get("robot", "local")
        if robot not in ROBOTS:
            raise ConfigError(f"robot of account '{name}' is none of {', '.join(ROBOTS)}")
        other = {key: value for key, value in fields.items() if key not in ("exchange", "robot")}
        found[name] = AccountConfig(name, fields["exchange"], robot, other)
    mailbox = parsed.pop("mailbox", {})
    url = mailbox.get("url", "") if isinstance(mailbox, dict) else None
    if not isinstance(url, str):
        raise ConfigError(f"[mailbox] in {home.config} is not valid", hint='it needs url = "sqlite:///PATH"')
    return Config(slot, found, url, parsed)


def save_config(home: Home, config: Config) -> None:
    """Write the configuration durably, as one (temporary file, fsync, rename, fsync of the folder)."""
    import tomli_w

    document = {
        **config.other,
        "vault": {"slot": config.slot},
        **({"mailbox": {"url": config.mailbox}} if config.mailbox else {}),
        "accounts": {
            name: {**account.other, "exchange": account.exchange, "robot": account.robot}
            for name, account in config.accounts.items()
        },
    }
    write_private(home.config, tomli_w.dumps(document).encode())


def write_private(path: Path, data: bytes) -> None:
    """Replace a file's content durably; it is 0600 and never half-written.

    Raises:
        Conflict: the disk refuses.
    """
    try:
        replace_file(path, data)
    except OSError as error:
        raise Conflict(
            f"{path} cannot be written: {error.strerror}",
            hint="make room or mend the disk, then try again; nothing half-written is left",
        ) from error
