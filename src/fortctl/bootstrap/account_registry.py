"""The accounts in a home's ``config.toml`` and the folders of their robots (adapter)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from fortctl.config.file import AccountConfig, Config, load_config, save_config
from fortctl.config.home import Home, make_private_folder
from fortctl.system.files import file_lock, write_private

if TYPE_CHECKING:
    from fortctl.services.accounts import AccountEntry

# How long a command waits for another one that changes the configuration.
LOCK_S = 10.0


class AccountRegistryFile:
    """The accounts in config.toml and the robots' folders; implements :class:`services.accounts.AccountRegistry`."""

    def __init__(self, home: Home, config: Config) -> None:
        self._home = home
        self._config = config

    def accounts(self) -> Mapping[str, AccountEntry]:
        from fortctl.services.accounts import AccountEntry

        return {
            name: AccountEntry(name, account.exchange, account.robot) for name, account in self._config.accounts.items()
        }

    def add(self, entry: AccountEntry, offer: bytes) -> None:
        from fortctl.services.accounts import name_in_use

        def added(config: Config) -> Config:
            if entry.name in config.accounts:
                raise name_in_use(entry.name)
            make_private_folder(self._home.path / "robots")
            folder = self._home.robot(entry.name)
            make_private_folder(folder.path)
            write_private(folder.pairing, offer)
            return config.with_account(_account_config(entry))

        self._change(added)

    def replace(self, entry: AccountEntry) -> None:
        self._change(lambda config: config.with_account(_account_config(entry)))

    def remove(self, name: str) -> None:
        self._change(lambda config: config.without_account(name))

    def _change(self, change: Callable[[Config], Config]) -> None:
        """Change the configuration as it is now: another command may have changed it since it was read."""
        with file_lock(self._home.config.with_name(".config.toml.lock"), "the configuration", LOCK_S):
            present = load_config(self._home) if self._home.config.exists() else self._config
            self._config = change(present)
            save_config(self._home, self._config)

    def remove_folder(self, name: str) -> None:
        import shutil

        shutil.rmtree(self._home.robot(name).path, ignore_errors=True)


def _account_config(entry: AccountEntry) -> AccountConfig:
    return AccountConfig(entry.name, entry.exchange, entry.robot)
