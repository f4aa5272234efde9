"""The configuration of a home, ``config.toml``: read, check, change, write (adapter)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fortctl.errors import ConfigError, NotFoundError
from fortctl.system.files import NotARegularFileError, read_regular, write_private

if TYPE_CHECKING:
    from fortctl.config.home import Home
    from fortctl.config.settings import HomeSettings, Setting

from fortctl.config.home import ACCOUNT_NAME, ROBOTS

SLOTS = ("passphrase", "keyfile", "keyring")


@dataclass(frozen=True)
class AccountConfig:
    """One account in the configuration.

    Attributes:
        robot: one of :data:`ROBOTS`.
        other: the account's other keys, kept unchanged; its ``settings`` table applies to this account only.
    """

    name: str
    exchange: str
    robot: str = "local"
    other: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Config:
    """The parsed configuration.

    Attributes:
        slot: how the vaults of this home are unlocked (chosen by ``init``).
        accounts: by name.
        mailbox: the mailbox's URL; empty: a file in the home.
        other: every other section: settings (:mod:`fortctl.config.settings`), and sections unknown to this version.
    """

    slot: str
    accounts: Mapping[str, AccountConfig] = field(default_factory=dict)
    mailbox: str = ""
    other: Mapping[str, Any] = field(default_factory=dict)

    def with_account(self, account: AccountConfig) -> Config:
        """Return the configuration with an account added or replaced; its other keys are kept."""
        known = self.accounts.get(account.name)
        if known is not None and not account.other:
            account = replace(account, other=known.other)
        return replace(self, accounts={**self.accounts, account.name: account})

    def without_account(self, name: str) -> Config:
        """Return the configuration without an account."""
        return replace(self, accounts={key: value for key, value in self.accounts.items() if key != name})

    def settings_for(self, account: str) -> HomeSettings:
        """Return the settings of an account: its own, else the home's, else the defaults."""
        from fortctl.config.settings import HomeSettings

        known = self.accounts.get(account)
        own = known.other.get("settings", {}) if known else {}
        return HomeSettings(own if isinstance(own, Mapping) else {}, self.other)

    def with_setting(self, setting: Setting[Any], raw: Any | None, account: str | None = None) -> Config:
        """Return the configuration with a setting changed, or removed if *raw* is None.

        Args:
            setting: which one.
            raw: the value as the file stores it.
            account: the account to which the change applies; None: the whole home.
        """
        from fortctl.config.settings import with_value

        if account is None:
            return replace(self, other=with_value(self.other, setting.path, raw))
        known = self.accounts[account]
        other = with_value(known.other, ("settings", *setting.path), raw)
        return replace(self, accounts={**self.accounts, account: replace(known, other=other)})


def load_config(home: Home) -> Config:
    """Read the configuration.

    Raises:
        NotFoundError: there is no home yet.
        ConfigError: the file cannot be parsed, or other users may read the home.
    """
    import tomllib

    home.check_modes()
    try:
        parsed = tomllib.loads(read_regular(home.config).decode("utf-8-sig"))  # some editors write a byte-order mark
    except FileNotFoundError:
        raise NotFoundError(f"there is no fortctl home at {home.path}", hint="create one with 'fortctl init'") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{home.config} is not valid TOML: {error}", hint="correct it, or restore it from a backup"
        ) from None
    except NotARegularFileError as error:
        raise error.as_config_error() from None
    except OSError as error:
        raise ConfigError(f"{home.config} cannot be read: {error.strerror}", hint="choose another --home") from None
    return _interpret(parsed, home)


def _interpret(parsed: dict[str, Any], home: Home) -> Config:
    vault, accounts = parsed.pop("vault", {}), parsed.pop("accounts", {})
    slot = vault.get("slot") if isinstance(vault, dict) else None
    if slot not in SLOTS or not isinstance(accounts, dict):
        raise ConfigError(f"{home.config} has no valid [vault] and [accounts]", hint="restore it from a backup")
    checked = {}
    for name, fields in accounts.items():
        if (
            not ACCOUNT_NAME.fullmatch(name)
            or not isinstance(fields, dict)
            or not isinstance(fields.get("exchange"), str)
        ):
            raise ConfigError(f"the account '{name}' in {home.config} is not valid", hint='it needs exchange = "…"')
        robot = fields.get("robot", "local")
        if robot not in ROBOTS:
            raise ConfigError(f"the robot of account '{name}' must be one of {', '.join(ROBOTS)}")
        other = {key: value for key, value in fields.items() if key not in ("exchange", "robot")}
        checked[name] = AccountConfig(name, fields["exchange"], robot, other)
    mailbox = parsed.pop("mailbox", {})
    url = mailbox.get("url", "") if isinstance(mailbox, dict) else None
    if not isinstance(url, str):
        raise ConfigError(f"[mailbox] in {home.config} is not valid", hint='it needs url = "sqlite:///PATH"')
    return Config(slot, checked, url, parsed)


def save_config(home: Home, config: Config) -> None:
    """Replace the configuration file atomically and durably. Raises ``ConflictError``."""
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
