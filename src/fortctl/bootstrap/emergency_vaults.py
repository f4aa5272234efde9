"""Open vaults in an emergency: with what needs no person, and only as far as they open in time."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from fortctl.bootstrap.deadline import opened_in_time
from fortctl.errors import FortctlError

if TYPE_CHECKING:
    from fortctl.bootstrap.unlock import UnlockSources, VaultName
    from fortctl.config.home import Home, IssuerHome, RobotHome
    from fortctl.vault.file import OpenVault, VaultFile


class EmergencyVaults:
    """The vaults of a home and of one account's robot. Several threads may use it at once.

    Args:
        home: the home.
        account: the account.
        sources: find passphrase files; they never prompt.
    """

    def __init__(self, home: Home, account: str, sources: UnlockSources) -> None:
        self._account = account
        self._sources = sources
        self._folders: dict[VaultName, Home | RobotHome | IssuerHome] = {
            "site": home,
            "robot": home.robot(account),
            "issuer": home.issuer,
        }
        self._locks: dict[VaultName, threading.Lock] = {name: threading.Lock() for name in self._folders}
        self._opened: dict[VaultName, OpenVault | Exception] = {}

    def file(self, name: VaultName) -> VaultFile:
        """Return the vault file, locked: its header names the records."""
        from fortctl.vault.file import VaultFile

        folder = self._folders[name]
        return VaultFile(folder.vault, folder.erasure)

    def open(self, name: VaultName) -> OpenVault:
        """Open a vault; once, for what opens it may take long or hang.

        Raises:
            FortctlError, OSError: it does not open, or not in time.
        """
        with self._locks[name]:
            if name not in self._opened:
                try:
                    self._opened[name] = opened_in_time(lambda: self._unlock(name))
                except (FortctlError, OSError) as error:
                    self._opened[name] = error
        opened = self._opened[name]
        if isinstance(opened, Exception):
            raise opened
        return opened

    def pinned_exchange(self) -> str | None:
        """Return the exchange target to which the opened vaults bound the account's records."""
        vaults = [vault for vault in list(self._opened.values()) if not isinstance(vault, Exception)]
        records = (meta for vault in vaults for meta in vault.records() if meta.account == self._account)
        return next((meta.exchange for meta in records if meta.exchange), None)

    def _unlock(self, name: VaultName) -> OpenVault:
        """Unlock a vault with its key file, else with a passphrase file that was named."""
        from fortctl.vault.slots import KeyFile

        file, keyfile = self.file(name), self._folders[name].keyfile
        if keyfile.exists():
            with suppress(FortctlError, OSError):
                return file.unlock([KeyFile(keyfile)])
        kinds = [slot.kind for slot in file.header().slots if slot.kind == "passphrase"]
        return file.unlock(self._sources.candidates(name, kinds, keyfile))
