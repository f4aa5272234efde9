"""Make a home, and the accounts in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from fortctl.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from fortctl.mailbox.crypto import Identity
    from fortctl.ports import AuditLog
    from fortctl.services.site_vault import SiteVault


class AccountEntry(NamedTuple):
    """An account as the configuration names it.

    Attributes:
        name: the local name.
        exchange: ``live``, ``testnet``, ``us``, ``paper`` or a URL, as it is pinned into the vault.
        robot: ``local`` or ``none`` (only watched).
    """

    name: str
    exchange: str
    robot: str = "local"

    def as_json(self) -> dict[str, str]:
        return {"name": self.name, "exchange": self.exchange, "robot": self.robot}


class AccountRegistry(Protocol):
    """The accounts in config.toml and their folders."""

    def accounts(self) -> Mapping[str, AccountEntry]: ...

    def add(self, entry: AccountEntry, offer: bytes) -> None:
        """Write a new account into the configuration, durably, as one.

        Args:
            offer: the operator's public identity, left in the robot's folder for its first start.

        Raises:
            ConflictError: an account has this name; nothing was written.
        """

    def replace(self, entry: AccountEntry) -> None:
        """Write a changed account into the configuration, durably, as one."""

    def remove(self, name: str) -> None: ...

    def remove_folder(self, name: str) -> None:
        """Remove the robot's folder of an account that is gone."""


def find_account(accounts: Mapping[str, AccountEntry], name: str) -> AccountEntry:
    """Return an account by name. Raises ``NotFoundError``."""
    if name not in accounts:
        raise NotFoundError(
            f"there is no account {name}", hint="see 'fortctl accounts list'; 'fortctl accounts add' adds one"
        )
    return accounts[name]


class AccountService:
    """The accounts of one home.

    Args:
        registry: the configuration.
        audit: the audit log.
    """

    def __init__(self, registry: AccountRegistry, audit: AuditLog) -> None:
        self._registry = registry
        self._audit = audit

    def entry(self, name: str) -> AccountEntry:
        """Return an account. Raises ``NotFoundError``."""
        return find_account(self._registry.accounts(), name)

    def listed(self) -> list[dict[str, str]]:
        return [entry.as_json() for entry in self._registry.accounts().values()]

    def require_unused_name(self, name: str) -> None:
        """Check early, before anything is unlocked, that no account has a name. Raises ``ConflictError``."""
        if name in self._registry.accounts():
            raise name_in_use(name)

    def add(self, entry: AccountEntry, operator: Identity) -> None:
        """Add an account. Raises ``ConflictError`` if the name is in use."""
        self._registry.add(entry, pairing_offer(entry, operator))
        self._audit.append("account added", account=entry.name, result="done", exchange=entry.exchange)

    def set_robot(self, name: str, robot: str) -> bool:
        """Say whether an account has a robot; return whether that changed anything."""
        entry = self.entry(name)
        if entry.robot == robot:
            return False
        self._registry.replace(AccountEntry(entry.name, entry.exchange, robot))
        self._audit.append("account changed", account=name, result="done", robot=robot)
        return True

    def remove(self, name: str, vault: SiteVault, destroy: Callable[[], Any]) -> None:
        """Remove an account: destroy its keys, forget its records, drop it from the configuration."""
        self.entry(name)
        destroy()
        vault.forget_account()
        self._registry.remove(name)
        self._registry.remove_folder(name)
        self._audit.append("account removed", account=name, result="done")


def name_in_use(name: str) -> ConflictError:
    """Return the error of an account's name that another account has."""
    return ConflictError(f"there is an account {name} already", hint="choose another name")


def pairing_offer(entry: AccountEntry, operator: Identity) -> bytes:
    """Return what a robot needs at its first start to know its operator."""
    body = {
        "account": entry.name,
        "exchange": entry.exchange,
        "operator_id": operator.id,
        "operator_public": operator.public_bytes().hex(),
    }
    return json.dumps(body, sort_keys=True).encode()
