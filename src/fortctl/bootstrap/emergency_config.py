"""What the configuration says in an emergency, where it can be read in time, and what stands in for it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from fortctl.bootstrap.deadline import BUSY_MS, UNREADABLE, read_in_time
from fortctl.config.file import AccountConfig, Config, load_config
from fortctl.config.home import Home
from fortctl.system.files import read_regular

if TYPE_CHECKING:
    from fortctl.mailbox.panic_order import PanicOrderFile
    from fortctl.mailbox.postgres import PostgresMailbox
    from fortctl.mailbox.sqlite import SqliteMailbox


class EmergencyConfig:
    """One account's configuration. Several threads may use it at once.

    Args:
        home: the home.
        account: the account.
    """

    def __init__(self, home: Home, account: str) -> None:
        self._home = home
        self._account = account
        self._order_path = home.robot(account).panic_order
        self._lock = threading.Lock()
        self._read: tuple[Config | None] | None = None

    def config(self) -> Config | None:
        """Return the configuration, or None where it cannot be read, or not in time; it is read once."""
        with self._lock:
            if self._read is None:
                self._read = (read_in_time(lambda: load_config(self._home)),)
        return self._read[0]

    def account_entry(self) -> AccountConfig | None:
        """Return what the configuration says of the account, or None."""
        config = self.config()
        return config.accounts.get(self._account) if config is not None else None

    def is_remote(self) -> bool:
        """Return whether the robot runs on another host; without a configuration, whether there is an order for it."""
        entry = self.account_entry()
        return entry.robot == "remote" if entry is not None else os.path.lexists(self._order_path)

    def read_order(self) -> PanicOrderFile:
        """Return the pre-signed order of the home. Raises ``OSError``, ``VaultDamagedError``."""
        from fortctl.mailbox.panic_order import PanicOrderFile

        return PanicOrderFile.from_bytes(read_regular(self._order_path))

    def mailbox_url(self) -> str:
        """Return the URL of the shared mailbox; empty where it is the home's own, or unknown."""
        config = self.config()
        if config is not None:
            return config.mailbox
        try:
            return self.read_order().mailbox
        except UNREADABLE:
            return ""

    def open_mailbox(self) -> SqliteMailbox | PostgresMailbox | None:
        """Open the account's mailbox; None where there is none. The caller closes it. Raises ``FortctlError``."""
        from fortctl.mailbox.shared import open_shared

        url = self.mailbox_url()
        if url:
            return open_shared(url, busy_timeout_ms=BUSY_MS)
        if not self._home.mailbox.exists():
            return None
        from fortctl.mailbox.sqlite import SqliteMailbox

        return SqliteMailbox(self._home.mailbox, busy_timeout_ms=BUSY_MS)
