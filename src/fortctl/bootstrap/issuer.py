"""Wires the issuer: its own vault with its own slots, and the adapter over a master account's key."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fortctl.config.home import make_private_folder
from fortctl.errors import VaultDamagedError

if TYPE_CHECKING:
    from pathlib import Path

    from fortctl.cli.context import CommandContext
    from fortctl.config.home import Home
    from fortctl.model import KeyPair
    from fortctl.ports import Issuer
    from fortctl.services.keys.issuer import IssuerService
    from fortctl.vault.file import OpenVault, VaultFile


# How long a busy exchange is waited for: a robot may stand still until its new key is there, and nobody be there who
# would ask again. A panic waits for none.
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


def issuer_service(app: CommandContext) -> IssuerService:
    """Return the issuer's service over its vault, unlocked. Raises ``VaultLockedError``, ``VaultDamagedError``."""
    home = app.wiring.home
    file = issuer_file(home)
    if not file.exists():
        raise VaultDamagedError(
            f"the issuer's vault {file.path} is missing", hint="'fortctl issuer set' makes a new one"
        )
    kinds = [slot.kind for slot in file.header().slots]
    return _service(app, file.unlock([app.wiring.unlocker(kinds, home.issuer.keyfile, "issuer", None)]))


def create_issuer_service(app: CommandContext, slot: str | None) -> IssuerService:
    """The same, with the vault made where there is none yet; ``slot`` is what unlocks it then."""
    from fortctl.bootstrap.unlock import new_source

    home = app.wiring.home
    file = issuer_file(home)
    if file.exists():
        return issuer_service(app)
    make_private_folder(home.issuer.path)
    kind = slot or app.wiring.config.slot
    given = os.environ.get("FORTCTL_ISSUER_PASSPHRASE_FILE")
    source = new_source(app, kind, home.issuer.keyfile, given, None, "the issuer's vault")
    return _service(app, file.create([source], kdf=app.wiring.vaults.cost(kind)))


def _service(app: CommandContext, vault: OpenVault) -> IssuerService:
    from fortctl.services.keys.issuer import IssuerService

    wiring = app.wiring
    exchange, place = wiring.entry.exchange, wiring.home.path

    def open_issuer(pair: KeyPair, email: str) -> Issuer:
        return sub_account_issuer(exchange, place, pair, email, patience_s=PATIENCE_S)

    fingerprint_key = wiring.custody.fingerprint_key()
    audit, clock = wiring.audit, wiring.clock
    held, connect = wiring.keys.listed, wiring.connect
    return IssuerService(wiring.account, exchange, vault, held, connect, open_issuer, fingerprint_key, clock, audit)


def sub_account_issuer(exchange: str, home: Path, pair: KeyPair, email: str, patience_s: float = 0.0) -> Issuer:
    """Return the issuer's adapter for a master key and a sub-account."""
    from fortctl.exchange.sub_account_issuer import SubAccountIssuer
    from fortctl.exchange.targets import resolve

    return SubAccountIssuer(resolve(exchange, home), pair, email, patience_s=patience_s)
