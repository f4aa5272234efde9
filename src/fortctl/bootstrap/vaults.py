"""Assemble what manages the vaults of a home: slots, backups, the check against the audit log."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fortctl.errors import BadInputError, ConflictError, FortctlError
from fortctl.system.files import read_regular, write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fortctl.bootstrap.container import Container
    from fortctl.ports import RecordMeta
    from fortctl.services.vault import VaultService
    from fortctl.vault.file import OpenVault, VaultFile
    from fortctl.vault.slots import Keyring


@dataclass(frozen=True)
class HomeVault:
    """The site's vault or the local robot's.

    Attributes:
        file: the vault file.
        keyfile: where its key file is, if it has one.
        service: changes it and records that in the audit log.
        unlock: opens it; raises ``VaultLockedError``, ``VaultDamagedError``.
    """

    file: VaultFile
    keyfile: Path
    service: VaultService
    unlock: Callable[[], OpenVault]


def home_vault(container: Container, name: Literal["site", "robot"]) -> HomeVault:
    """Return one of the account's vaults. Raises ``NotFoundError``: the account is not configured."""
    from fortctl.services.vault import RobotVaultService

    container.require_account()
    if name == "site":
        return HomeVault(
            container.vault_file, container.home.keyfile, container.vault_service, lambda: container.open_vault
        )
    file, keyfile = container.robot_vault_file, container.robot_home.keyfile

    def unlock() -> OpenVault:
        kinds = [slot.kind for slot in file.header().slots]
        return file.unlock(container.unlock_sources.candidates("robot", kinds, keyfile))

    service = RobotVaultService(container.audit, container.clock, container.account)
    return HomeVault(file, keyfile, service, unlock)


def os_keyring() -> Keyring:
    """Return the operating system's keyring as an unlock source."""
    from fortctl.vault.keyring import OsKeyring
    from fortctl.vault.slots import Keyring

    return Keyring(OsKeyring())


def back_up(container: Container, path: Path) -> OpenVault:
    """Write the site vault, its erasure keys and the configuration into a new file; return the vault.

    Raises:
        ConflictError: the file exists.
        BadInputError: its folder does not.
    """
    if os.path.lexists(path):
        raise _exists(path)
    if not path.parent.is_dir():
        raise BadInputError(f"the folder {path.parent} does not exist", hint="create it first")
    vault = container.open_vault
    backup = container.vault_service.backup(vault, read_regular(container.home.config).decode())
    try:
        # Reserves the name: another command may have begun to write the same file meanwhile.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise BadInputError(f"{path} cannot be created: {error.strerror}", hint="choose another folder") from None
    try:
        write_private(path, backup)
    except FortctlError:
        with suppress(OSError):
            path.unlink()
        raise
    return vault


def _exists(path: Path) -> ConflictError:
    return ConflictError(f"{path} already exists", hint="choose another name: nothing was overwritten")


def restore(container: Container, data: bytes, kinds: Sequence[str], *, older: bool) -> tuple[int, list[RecordMeta]]:
    """Replace the site vault by a backup; the configuration too if there is none.

    Args:
        data: the backup.
        kinds: the kinds of slot that the backup has.
        older: replace a vault of a later generation as well.

    Returns:
        The vault's generation, and the records that exist again.
    """
    home = container.home
    sources = container.unlock_sources.candidates("site", kinds, home.keyfile)
    vault, revived, config = container.vault_service.restore(container.vault_file, data, sources, older=older)
    if not home.config.exists():
        write_private(home.config, config.encode())
    return vault.generation, list(revived)


def backup_slot_kinds(data: bytes) -> list[str]:
    """Return the kinds of slot that a backup has. Raises ``BadInputError``: it is not a backup."""
    from fortctl.vault.backup import read_backup

    return [slot.kind for slot in read_backup(data).document.slots]


def is_latched(container: Container, account: str) -> bool:
    """Return whether an account of this home is latched after a panic."""
    from fortctl.robot.storage.latch import LatchFile

    return LatchFile(container.home.robot(account).path).is_latched()
