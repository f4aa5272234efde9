"""The vault itself: what unlocks it, its backups, and whether its generation is the one in the audit log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from fortctl.errors import FortctlError, VaultDamagedError
from fortctl.ports import AuditLog
from fortctl.secret import Secret
from fortctl.services.site_vault import AUDIT_KEY, audited
from fortctl.vault.slots import FLOOR, Keyring, calibrate

if TYPE_CHECKING:
    from fortctl.ports import Clock, RecordMeta
    from fortctl.vault.backup import Backup
    from fortctl.vault.slots import KdfCost, Passphrase, SlotMeta, Unlocker

# How long one guess at a passphrase takes on this machine (s); the owner waits as long at each unlock.
UNLOCK_S = 0.25


KEYFILE_BESIDE = (
    "KEYFILE_BESIDE_VAULT",
    "the key file lies beside the vault: it protects backups without it, but not a stolen disk",
)


class GenerationLog(AuditLog, Protocol):
    """An audit log that remembers the vault's generations."""

    def generations(self) -> tuple[int, int] | None:
        """Return the highest generation intended and the last one that was reached, or None if it records none."""


Audit = Callable[[str, int], None]


class ManagedVault(Protocol):
    """An unlocked vault, as far as its own keeping goes."""

    @property
    def generation(self) -> int: ...

    def records(self) -> tuple[RecordMeta, ...]: ...

    def get(self, record_id: str) -> Secret: ...

    def add_slot(self, source: Unlocker, cost: KdfCost, *, audit: Audit | None = None) -> SlotMeta: ...

    def remove_slot(self, slot_id: str, *, audit: Audit | None = None) -> SlotMeta: ...

    def change_passphrase(self, source: Passphrase, cost: KdfCost, *, audit: Audit | None = None) -> SlotMeta: ...

    def advance(self, above: int, *, audit: Audit | None = None) -> int: ...

    def backup(self, config: str, made_at: int) -> bytes: ...


class RestoredVault(Protocol):
    """What a restore led to."""

    @property
    def vault(self) -> ManagedVault: ...

    @property
    def revived(self) -> tuple[RecordMeta, ...]: ...


class RestorableFile(Protocol):
    """Where a vault lies."""

    def restore(self, backup: Backup, sources: Iterable[Unlocker], *, older: bool, above: int = 0) -> RestoredVault: ...


class VaultService:
    """One home's vaults.

    Args:
        audit: the audit log, which repeats the site vault's generations.
        clock: the clock.
        account: the account that entries are about.
    """

    def __init__(self, audit: GenerationLog, clock: Clock, account: str) -> None:
        self._audit = audit
        self._clock = clock
        self._account = account

    def cost(self, kind: str) -> KdfCost:
        """Return what stretching a passphrase shall cost here; other kinds stretch nothing."""
        return calibrate(UNLOCK_S, self._clock.monotonic) if kind == "passphrase" else FLOOR

    def reached(self) -> int:
        """Return the generation that the audit log says was reached; to be asked before the vault is read."""
        try:
            return (self._audit.generations() or (0, 0))[1]
        except FortctlError:
            return 0  # check_generation reports it

    def check_generation(self, generation: int, reached: int) -> None:
        """Hold the vault against the audit log (security.md, "How it holds").

        Args:
            generation: the vault's.
            reached: what the log said before the vault was read. Another command may write both meanwhile: the vault
                is not below what the log said before, and not above what it says afterwards.

        Raises:
            VaultDamagedError: the vault was put back to an older state, or the log was cut.
        """
        known = self._audit.generations() or (0, 0)
        intended = max(known)
        accept = "restore what is missing from a backup, or accept it as it is: 'fortctl vault accept'"
        if generation < reached:
            raise VaultDamagedError(
                f"the vault is at generation {generation}, but it was at {reached} before: an older copy was put back",
                hint=accept,
                details={"reason": "rolled_back", "generation": generation, "audited": reached},
            )
        if generation > intended:
            raise VaultDamagedError(
                f"the vault is at generation {generation}, which the audit log does not record: the log was cut",
                hint=accept,
                details={"reason": "log_cut", "generation": generation, "audited": intended},
            )

    def accept(self, vault: ManagedVault, above: int) -> int:
        """Have the audit log record the vault as it is; return its generation.

        Args:
            above: the vault is written under a generation above this one; 0 leaves it as it is.
        """
        generation = vault.advance(above) if above >= vault.generation else vault.generation
        self._audit.append("vault accepted", account=self._account, result="accepted", generation=generation)
        return generation

    # -- slots -----------------------------------------------------------------------------------------------------

    def add_slot(self, vault: ManagedVault, source: Unlocker, kind: str) -> SlotMeta:
        return vault.add_slot(source, self.cost(kind), audit=self._audited("vault slot added", {"slot": kind}))

    def remove_slot(self, vault: ManagedVault, slot_id: str, source: Unlocker | None = None) -> SlotMeta:
        """Remove a slot, and what the keyring held for it.

        Raises:
            NotFoundError: there is no such slot.
            ConflictError: it is the last one.
        """
        removed = vault.remove_slot(slot_id, audit=self._audited("vault slot removed", {"slot": slot_id}))
        if isinstance(source, Keyring) and removed.kind == "keyring":
            source.store.drop(removed.hint)
        return removed

    def change_passphrase(self, vault: ManagedVault, source: Passphrase) -> SlotMeta:
        """Put a new passphrase in the place of every old one."""
        return vault.change_passphrase(
            source, self.cost("passphrase"), audit=self._audited("vault passphrase changed", {})
        )

    # -- backups ---------------------------------------------------------------------------------------------------

    def backup(self, vault: ManagedVault, config: str) -> bytes:
        data = vault.backup(config, self._clock.now_ms())
        self._audit.append("vault backed up", account=self._account, result="done")
        return data

    def restore(
        self, file: RestorableFile, data: bytes, sources: Iterable[Unlocker], *, older: bool
    ) -> tuple[ManagedVault, Sequence[RecordMeta], str]:
        """Put a backup in the vault's place.

        Returns:
            The vault, the records that come back to life, and the configuration that was backed up.

        Raises:
            BadInputError: the data is not a backup.
            VaultLockedError, VaultDamagedError: the backup does not open.
            ConflictError: as ``VaultFile.restore``.
        """
        from fortctl.vault.backup import read_backup

        backup = read_backup(data)
        try:
            known = self._audit.generations() or (0, 0)
        except FortctlError:
            known = (0, 0)
        restored = file.restore(backup, sources, older=older, above=max(known))
        self._audit.seal_with(restored.vault.get(AUDIT_KEY))
        self._audit.append(
            "vault restored",
            account=self._account,
            result="accepted",
            generation=restored.vault.generation,
            backup_of=backup.document.generation,
            comes_back=[meta.record_id for meta in restored.revived],
        )
        return restored.vault, restored.revived, backup.config

    def _audited(self, what: str, facts: Mapping[str, Any]) -> Audit:
        return audited(self._audit, what, self._account, facts)


class RobotVaultService(VaultService):
    """The local robot's vault: the audit log records its changes, but its generations are the robot's own."""

    def _audited(self, what: str, facts: Mapping[str, Any]) -> Audit:
        def write(phase: str, generation: int) -> None:
            self._audit.append(what, account=self._account, result=phase, role="robot", **facts)

        return write


def slot_as_json(slot: SlotMeta) -> dict[str, Any]:
    """Return a slot as JSON: an entry of ``slots[]``, without its key material."""
    cost = slot.cost
    kdf = (
        {
            "algorithm": "argon2id",
            "memory_kib": cost.memory_kib,
            "iterations": cost.iterations,
            "lanes": cost.lanes,
        }
        if cost
        else None
    )
    return {"id": slot.id, "kind": slot.kind, "hint": slot.hint, "kdf": kdf}
