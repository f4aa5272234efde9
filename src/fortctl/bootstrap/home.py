"""Create a home, and add accounts to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fortctl.errors import ConflictError

if TYPE_CHECKING:
    from fortctl.bootstrap.container import Container


def create_home(container: Container, exchange: str, slot: str) -> str:
    """Create the home, the site vault, the operator's identity and the account.

    Args:
        exchange: ``live``, ``testnet``, ``us``, ``paper`` or a URL.
        slot: the kind of the vault's first slot.

    Returns:
        The exchange target as it is pinned into the vault.

    Raises:
        ConflictError: there is a home already.
    """
    from fortctl.config.file import Config, save_config
    from fortctl.exchange.targets import canonical_target
    from fortctl.mailbox.crypto import Identity
    from fortctl.services.accounts import AccountEntry
    from fortctl.services.site_vault import OPERATOR, create_site_vault

    home, target = container.home, canonical_target(exchange)
    home.ensure()
    if home.config.exists():
        raise ConflictError(f"{home.path} is a home already", hint="choose another --home, or 'fortctl accounts add'")
    file = container.vault_file
    if file.exists():
        # A vault without a configuration: 'init' was killed half-way, or the configuration was lost.
        if any(meta.erasable for meta in file.header().records):
            raise ConflictError(
                f"{home.vault} holds keys, but there is no configuration", hint="restore config.toml from a backup"
            )
        home.vault.unlink()
    vault = file.create(
        [container.unlock_sources.first("site", slot, home.keyfile)], kdf=container.vault_service.cost(slot)
    )
    create_site_vault(vault, target, container.clock, container.audit, container.account)
    save_config(home, Config(slot))
    operator = Identity.from_private(vault.get(OPERATOR))
    container.account_service.add(AccountEntry(container.account, target), operator)
    return target


def add_account(container: Container, name: str, exchange: str) -> str:
    """Add an account to the home; return its exchange target. Raises ``ConflictError``: the name is in use."""
    from fortctl.exchange.targets import canonical_target
    from fortctl.mailbox.crypto import Identity
    from fortctl.services.accounts import AccountEntry
    from fortctl.services.site_vault import OPERATOR

    entry = AccountEntry(name, canonical_target(exchange))
    service = container.account_service
    service.require_unused_name(entry.name)
    service.add(entry, Identity.from_private(container.open_vault.get(OPERATOR)))
    return entry.exchange


def require_unused(container: Container) -> None:
    """Check that the account may be removed.

    Raises:
        NotFoundError: the account is not configured.
        ConflictError: its robot runs, it is latched, or a rotation of its keys is open.
    """
    from fortctl.bootstrap.rotation import rotation_journal

    name = container.account
    container.require_account()
    if container.robot_process.owner() is not None:
        raise ConflictError(
            f"the robot of account {name} is running",
            hint="stop it first ('fortctl robot stop', then end its process), or 'fortctl panic-disconnect'",
        )
    if container.latch.is_latched():
        # Removing the robot's folder would lift the latch, which only 'panic-clear' may do.
        raise ConflictError(
            f"the robot of account {name} is latched after a panic",
            hint=f"check the account first, then 'fortctl --account {name} panic-clear'",
            details={"state": "latched"},
        )
    open_rotation = (
        rotation_journal(container, "accounts remove").current() if container.home.operations.exists() else None
    )
    if open_rotation is not None:
        # It alone knows some of the keys that exist at the exchange.
        raise ConflictError(
            f"a rotation of account {name} is open: {open_rotation.id}, at '{open_rotation.step}'",
            hint=f"'fortctl --account {name} keys rotate --resume' continues it, '--abort' ends it",
            details={"operation": open_rotation.as_json()},
        )


def remove_account(container: Container) -> None:
    """Destroy the account's keys, the issuer's master key too, and remove the account from the home."""
    from fortctl.bootstrap.issuer import issuer_kind, issuer_service
    from fortctl.services.keys.issuer import SUB_ACCOUNT

    # Both vaults are unlocked before anything is destroyed.
    site_vault = container.site_vault
    if issuer_kind(container.home, container.account) == SUB_ACCOUNT:
        issuer_service(container).remove_master_key()
    container.account_service.remove(container.account, site_vault, container.destroy_keys)
