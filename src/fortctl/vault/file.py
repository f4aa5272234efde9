"""Create, unlock, change and restore a vault file; one writer at a time, each change atomic (adapter)."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fortctl.errors import ConflictError, FortctlError, NotFoundError, VaultDamagedError, VaultLockedError
from fortctl.secret import Secret
from fortctl.vault import erasure
from fortctl.vault.envelope import check_tag, open_record, seal_record, tagged, unwrap, wrap
from fortctl.vault.format import MAX_SLOTS, Document, Record
from fortctl.vault.location import VaultHeader, VaultLocation, record_meta, slot_meta
from fortctl.vault.slots import FLOOR, slot_kind

if TYPE_CHECKING:
    from fortctl.ports import NewRecord, RecordMeta
    from fortctl.vault.backup import Backup
    from fortctl.vault.slots import KdfCost, Passphrase, SlotMeta, Unlocker

__all__ = ["OpenVault", "Restored", "VaultFile", "VaultHeader", "unlock_document"]

# Called before a change is written (``intent``) and after (``result``), with the vault's new generation.
AuditCallback = Callable[[str, int], None]


class Restored(NamedTuple):
    """The result of a restore: the unlocked vault, and the records that the vault before it no longer had."""

    vault: OpenVault
    revived: tuple[RecordMeta, ...]


class VaultFile(VaultLocation):
    """A vault that can be created, unlocked and restored."""

    def create(self, slots: Sequence[Unlocker], *, kdf: KdfCost = FLOOR) -> OpenVault:
        """Create an empty vault.

        Raises:
            ConflictError: there is a vault already.
        """
        with self.locked(), translate_write_errors():
            if self.exists():
                raise ConflictError(f"there is a vault at {self.path} already", hint="nothing was overwritten")
            dek, vault_id = os.urandom(32), os.urandom(16).hex()
            wrapped = tuple(wrap(dek, vault_id, source, kdf) for source in slots)
            document = tagged(dek, Document(vault_id, 1, wrapped, (), ""))
            self.write(document)
        return OpenVault(self, dek, document)

    def unlock(self, sources: Iterable[Unlocker]) -> OpenVault:
        """Unlock with the first source that opens a slot of its kind.

        Raises:
            VaultLockedError: no source opens a slot.
            VaultDamagedError: the file was changed.
        """
        document = self.read()
        return OpenVault(self, unlock_document(document, sources), document)

    def restore(self, backup: Backup, sources: Iterable[Unlocker], *, older: bool, above: int = 0) -> Restored:
        """Replace the vault by a backup, with a generation above every earlier one.

        Args:
            backup: what :func:`fortctl.vault.backup.read_backup` returned.
            sources: unlock the backup's own slots.
            older: replace even a vault of a later generation.
            above: the highest generation in the audit log.

        Raises:
            VaultLockedError, VaultDamagedError: the backup does not open.
            ConflictError: there is another vault, or a later generation and not ``older``; ``details.comes_back`` lists
                the destroyed records that would exist again.
        """
        from fortctl.vault.backup import open_backup

        dek = unlock_document(backup.document, sources)
        keys = open_backup(dek, backup)
        with self.locked(), translate_write_errors():
            present = self._current_or_none()
            destroyed = {name for name in keys if erasure.read(self.erasure_root, name) is None}
            revived = _revived_records(present, backup.document, destroyed)
            if present is not None and present.vault_id != backup.document.vault_id:
                raise ConflictError("there is another vault", hint="move it away, or restore into another home")
            # Erasing does not change the generation, so keys destroyed since the backup count as a later change.
            reached = max(above, present.generation if present else 0)
            revives = present is not None and any(meta.erasable for meta in revived)
            if (reached > backup.document.generation or revives) and not older:
                raise ConflictError(
                    f"the backup has generation {backup.document.generation} and the vault {reached},"
                    " or keys were destroyed since",
                    hint="--older restores the backup anyway, including keys that were destroyed since",
                    details={"comes_back": [meta.record_id for meta in revived]},
                )
            for name, key in keys.items():
                erasure.restore(self.erasure_root, name, key)
            generation = max(above, backup.document.generation, present.generation if present else 0) + 1
            document = tagged(dek, backup.document._replace(generation=generation))
            self.write(document)
            erase_unreferenced_keys(self.erasure_root, document)
        return Restored(OpenVault(self, dek, document), revived)

    def _current_or_none(self) -> Document | None:
        """Return the present vault, or None if it is missing or damaged."""
        try:
            return self.read()
        except VaultDamagedError:
            return None


class OpenVault:
    """An unlocked vault; implements :class:`fortctl.ports.VaultPort`."""

    def __init__(self, file: VaultFile, dek: bytes, document: Document) -> None:
        self._file = file
        self._dek = dek
        self._document = document

    @property
    def generation(self) -> int:
        return self._document.generation

    @property
    def vault_id(self) -> str:
        return self._document.vault_id

    def records(self) -> tuple[RecordMeta, ...]:
        return tuple(record_meta(record) for record in self._document.records)

    def get(self, record_id: str) -> Secret:
        for record in self._document.records:
            if record.id == record_id:
                key = erasure.read(self._file.erasure_root, record.erasure) if record.erasure else None
                return open_record(self._dek, self._document.vault_id, record, key)
        raise NotFoundError(f"the vault has no record {record_id}")

    def is_destroyed(self, record_id: str) -> bool:
        record = next((record for record in self._document.records if record.id == record_id), None)
        if record is None or not record.erasure:
            return False
        return erasure.read(self._file.erasure_root, record.erasure) is None

    def reload(self) -> None:
        """Read the file again, because another process may have changed it."""
        document = self._file.read()
        if document.vault_id != self._document.vault_id:
            raise VaultDamagedError("the vault was replaced by another one")
        check_tag(self._dek, document)
        if document.generation < self._document.generation:
            raise VaultDamagedError(
                f"the vault was put back from generation {self._document.generation} to {document.generation}"
            )
        self._document = document

    def update(
        self,
        put: Sequence[NewRecord] = (),
        delete: Sequence[str] = (),
        *,
        audit: AuditCallback | None = None,
    ) -> int:
        """Write all changes atomically (see :class:`fortctl.ports.VaultPort`).

        The erasure key of a deleted record is destroyed before the file is written, that of a replaced record after it.
        So a crash leaves the old or the new state, and a deleted key never exists again.
        """

        def changed(old: Document) -> Document:
            root = self._file.erasure_root
            for record in old.records:
                if record.id in delete and record.erasure:
                    erasure.erase(root, record.erasure)
            kept = {record.id: record for record in old.records if record.id not in delete}
            for new in put:
                kept[new.record_id] = self._seal_new(new, kept.get(new.record_id), old)
            return old._replace(records=tuple(kept[key] for key in sorted(kept)))

        return self._change(changed, audit)

    def advance(self, above: int, *, audit: AuditCallback | None = None) -> int:
        """Write the vault unchanged with a generation greater than *above*; return the generation."""
        return self._change(lambda old: old, audit, above=above)

    # -- slots -----------------------------------------------------------------------------------------------------

    def add_slot(self, source: Unlocker, cost: KdfCost, *, audit: AuditCallback | None = None) -> SlotMeta:
        """Add a source that unlocks the vault; records are not encrypted again. Raises ``ConflictError``."""
        if len(self._document.slots) >= MAX_SLOTS:
            raise ConflictError(f"a vault has at most {MAX_SLOTS} slots", hint="remove one first")
        with translate_write_errors():
            slot = wrap(self._dek, self.vault_id, source, cost)
        self._change(lambda old: old._replace(slots=(*old.slots, slot)), audit)
        return slot_meta(slot)

    def remove_slot(self, slot_id: str, *, audit: AuditCallback | None = None) -> SlotMeta:
        """Remove a slot.

        Raises:
            NotFoundError: there is no such slot.
            ConflictError: it is the last slot.
        """
        removed = next((slot for slot in self._document.slots if slot.id == slot_id), None)
        if removed is None:
            raise NotFoundError(f"the vault has no slot {slot_id}", hint="see 'fortctl vault status'")

        def without(old: Document) -> Document:
            kept = tuple(slot for slot in old.slots if slot.id != slot_id)
            if not kept:
                raise ConflictError(
                    "this is the vault's last slot; without it the vault could not be unlocked",
                    hint="add another slot first ('fortctl vault slot add')",
                )
            return old._replace(slots=kept)

        self._change(without, audit)
        return slot_meta(removed)

    def change_passphrase(self, source: Passphrase, cost: KdfCost, *, audit: AuditCallback | None = None) -> SlotMeta:
        """Replace every passphrase slot by one with a new passphrase."""
        with translate_write_errors():
            slot = wrap(self._dek, self.vault_id, source, cost)
        self._change(
            lambda old: old._replace(slots=(*(kept for kept in old.slots if kept.kind != "passphrase"), slot)), audit
        )
        return slot_meta(slot)

    # -- backups ---------------------------------------------------------------------------------------------------

    def backup(self, config: str, made_at: int) -> bytes:
        """Return the vault with its erasure keys as one document (docs/vault-format.md, "Backups").

        Args:
            config: the home's configuration file, to restore with the vault.
            made_at: milliseconds since the epoch.
        """
        from fortctl.vault.backup import write_backup

        with self._file.locked():
            self.reload()
            root = self._file.erasure_root
            names = [record.erasure for record in self._document.records if record.erasure]
            keys = {name: erasure.read(root, name) for name in names}
            return write_backup(self._dek, self._document, keys, config, made_at)

    # -- writing ---------------------------------------------------------------------------------------------------

    def _change(self, change: Callable[[Document], Document], audit: AuditCallback | None, *, above: int = 0) -> int:
        with self._file.locked(), translate_write_errors():
            self.reload()
            generation = max(self._document.generation, above) + 1
            if audit is not None:
                audit("intent", generation)
            document = tagged(self._dek, change(self._document)._replace(generation=generation))
            self._file.write(document)
            self._document = document
            erase_unreferenced_keys(self._file.erasure_root, document)
            if audit is not None:
                _confirm(audit, generation)
        return generation

    def _seal_new(self, new: NewRecord, before: Record | None, old: Document) -> Record:
        name, key = "", None
        if new.erasable:
            root = self._file.erasure_root
            name, key = erasure.make(root, new.account, new.purpose)
            # A panic lists erasure keys twice. If it destroys the former record's key after this check, its second
            # listing finds the new key; so the new key must exist before the check.
            if new.renews and (before is None or erasure.read(root, before.erasure) is None):
                erasure.erase(root, name)
                raise NotFoundError(
                    f"the record {new.record_id} was destroyed meanwhile", hint="see 'fortctl keys list'"
                )
        record = Record(
            id=new.record_id,
            account=new.account,
            exchange=new.exchange,
            role=new.role,
            name=new.name,
            type=new.type,
            version=(before.version if before else 0) + 1,
            created=new.created_at,
            erasure=name,
            nonce="",
            data="",
        )
        return seal_record(self._dek, old.vault_id, record, new.plaintext, key)


def _confirm(audit: AuditCallback, generation: int) -> None:
    try:
        audit("result", generation)
    except FortctlError as error:
        error.details["written"] = True
        raise type(error)(
            f"the change was made, but {error.message}", hint=error.hint, details=error.details
        ) from error


@contextmanager
def translate_write_errors() -> Iterator[None]:
    """Raise ``ConflictError`` in place of ``OSError``; the file is the old vault or the new one."""
    try:
        yield
    except OSError as error:
        raise ConflictError(
            f"the vault cannot be written: {error.strerror}",
            hint="free disk space or check the disk, then try again; the vault is not half-written",
            details={"errno": error.errno},
        ) from error


def erase_unreferenced_keys(root: Path, document: Document) -> None:
    """Destroy the erasure keys that no record refers to: of replaced records, and left over by a crash."""
    referenced = {record.erasure for record in document.records}
    for name in erasure.names(root) - referenced:
        erasure.erase(root, name)


def unlock_document(document: Document, sources: Iterable[Unlocker]) -> bytes:
    """Return the data-encryption key from the first source that opens a slot of its kind.

    Args:
        sources: asked for one after the other, each only after the one before it opened nothing.

    Raises:
        VaultLockedError: no source opens a slot.
        VaultDamagedError: the document was changed.
    """
    refused: VaultLockedError | None = None
    remaining = iter(sources)
    while True:
        try:
            source = next(remaining, None)
        except VaultLockedError as error:
            raise refused or error from None
        if source is None:
            raise refused or VaultLockedError("none of the given sources unlocks this vault")
        for slot in document.slots:
            if slot.kind != slot_kind(source):
                continue
            try:
                dek = unwrap(slot, document.vault_id, source)
            except VaultLockedError as error:
                refused = error
                continue
            check_tag(dek, document)
            return dek


def _revived_records(
    present: Document | None, document: Document, destroyed: Collection[str]
) -> tuple[RecordMeta, ...]:
    existing = {(record.id, record.version, record.created) for record in present.records} if present else set()
    return tuple(
        record_meta(record)
        for record in document.records
        if (record.id, record.version, record.created) not in existing or record.erasure in destroyed
    )
