"""Assemble the issuer: its own vault with its own slots, and the adapter over a master account's key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fortctl.config.home import make_private_folder
from fortctl.errors import VaultDamagedError

if TYPE_CHECKING:
    from pathlib import Path

    from fortctl.bootstrap.container import Container
    from fortctl.config.home import Home
    from fortctl.model import KeyPair
    from fortctl.ports import Issuer
    from fortctl.services.keys.issuer import IssuerService
    from fortctl.vault.file import OpenVault, VaultFile


# How long to retry against a busy exchange (s): the robot may be stopped until its new key exists, with no person
# present to retry. A panic does not retry.
PATIENCE_S = 60.0


def issuer_file(home: Home) -> VaultFile:
    """Return the issuer's vault file; it may not exist yet."""
    from fortctl.vault.file import VaultFile

    return VaultFile(home.issuer.vault, home.issuer.erasure)


def issuer_kind(home: Home, account: str) -> str:
    """Return who issues an account's keys, without unlocking anything. Raises ``VaultDamagedError``."""
    from fortctl.services.keys.issuer import PERSON, SUB_ACCOUNT, master_id

    file = issuer_file(home)
    if not file.exists():
        return PERSON
    header = file.header()
    there = any(meta.record_id == master_id(account) for meta in header.records)
    return SUB_ACCOUNT if there and master_id(account) not in header.destroyed else PERSON


def issuer_service(container: Container) -> IssuerService:
    """Return the issuer's service over its vault, unlocked. Raises ``VaultLockedError``, ``VaultDamagedError``."""
    home = container.home
    file = issuer_file(home)
    if not file.exists():
        raise VaultDamagedError(
            f"the issuer's vault {file.path} is missing", hint="'fortctl issuer set' makes a new one"
        )
    kinds = [slot.kind for slot in file.header().slots]
    sources = container.unlock_sources.candidates("issuer", kinds, home.issuer.keyfile)
    return _service(container, file.unlock(sources))


def create_issuer_service(container: Container, slot: str | None) -> IssuerService:
    """Return the issuer's service, creating its vault if there is none.

    Args:
        slot: the kind of the new vault's slot; None takes the home's kind.
    """
    home = container.home
    file = issuer_file(home)
    if file.exists():
        return issuer_service(container)
    make_private_folder(home.issuer.path)
    kind = slot or container.config.slot
    source = container.unlock_sources.first("issuer", kind, home.issuer.keyfile)
    return _service(container, file.create([source], kdf=container.vault_service.cost(kind)))


def _service(container: Container, vault: OpenVault) -> IssuerService:
    from fortctl.services.keys.issuer import IssuerService

    exchange, home = container.account_entry.exchange, container.home.path

    def open_issuer(pair: KeyPair, email: str) -> Issuer:
        return sub_account_issuer(exchange, home, pair, email, patience_s=PATIENCE_S)

    return IssuerService(
        container.account,
        exchange,
        vault,
        container.key_service.cards,
        container.connect,
        open_issuer,
        container.site_vault.fingerprint_key(),
        container.clock,
        container.audit,
    )


def sub_account_issuer(exchange: str, home: Path, pair: KeyPair, email: str, patience_s: float = 0.0) -> Issuer:
    """Return the issuer's adapter for a master key and a sub-account."""
    from fortctl.exchange.sub_account_issuer import SubAccountIssuer
    from fortctl.exchange.targets import resolve

    return SubAccountIssuer(resolve(exchange, home), pair, email, max_wait_s=patience_s)
