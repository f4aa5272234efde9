"""The vault on disk: one file, one writer at a time, every change as one (adapter)."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fortctl.errors import ConflictError, FortctlError, NotFoundError, VaultDamagedError, VaultLockedError
from fortctl.secret import Secret
from fortctl.vault import erasure
from fortctl.vault.envelope import check_tag, open_record, seal_record, tagged, unwrap, wrap
from fortctl.vault.format import SLOTS_MOST, Document, Record
from fortctl.vault.location import VaultHeader, VaultLocation, record_meta, slot_meta
from fortctl.vault.slots import FLOOR, slot_kind

if TYPE_CHECKING:
    from fortctl.ports import NewRecord, RecordMeta
    from fortctl.vault.backup import Backup
    from fortctl.vault.slots import KdfCost, Passphrase, SlotMeta, Unlocker

__all__ = ["OpenVault", "Restored", "VaultFile", "VaultHeader", "unlock_document"]

# Hears of a change before it is written (``intent``) and after (``result``), with the vault's generation then.
Audit = Callable[[str, int], None]


@dataclass(frozen=True)
class Restored:
    """What a restore led to: the vault, unlocked, and the records that were not in the one before."""

    vault: OpenVault
    comes_back: tuple[RecordMeta, ...]


class VaultFile(VaultLocation):
    """A vault that can be made, unlocked and restored."""

    def create(self, slots: Sequence[Unlocker], *, kdf: KdfCost = FLOOR) -> OpenVault:
        """Make a new, empty vault.

        Raises:
            ConflictError: there is one already.
        """
        with self.locked(), translate_write_errors():
            if self.exists():
                raise ConflictError(f"there is a vault at {self.path} already", hint="nothing was overwritten")
            dek, vault_id = os.urandom(32), os.urandom(16).hex()
            wrapped = tuple(wrap(dek, vault_id, source, kdf) for source in slots)
            document = tagged(dek, Document(vault_id, 1, wrapped, (), ""))
            self.write(document)
        return OpenVault(self, dek, document)

    def unlock(self, sources: Sequence[Unlocker]) -> OpenVault:
        """Unlock with the first source that fits a slot of its kind.

        Raises:
            VaultLockedError: none fits.
            VaultDamagedError: the file was changed.
        """
        document = self.read()
        return OpenVault(self, unlock_document(document, sources), document)

    def restore(self, backup: Backup, sources: Sequence[Unlocker], *, older: bool, above: int = 0) -> Restored:
        """Put a backup in the vault's place, under a generation above every one that was.

        Args:
            backup: what :func:`fortctl.vault.backup.read_backup` returned.
            sources: what unlocks the backup's own slots.
            older: also over a vault of a later generation.
            above: the highest generation that the audit log knows.

        Raises:
            VaultLockedError, VaultDamagedError: the backup does not open.
            ConflictError: another vault lies there, or a later one and not ``older``; ``details.comes_back`` names what
                would come back to life.
        """
        from fortctl.vault.backup import open_backup

        dek = unlock_document(backup.document, sources)
        keys = open_backup(dek, backup)
        with self.locked(), translate_write_errors():
            present = self._present()
            destroyed = {name for name in keys if erasure.read(self.erasure_root, name) is None}
            back = _coming_back(present, backup.document, destroyed)
            if present is not None and present.vault_id != backup.document.vault_id:
                raise ConflictError("another vault lies there", hint="move it away, or restore into another home")
            # Erasing needs no unlocking and leaves the generation as it is: what was destroyed since counts too.
            reached = max(above, present.generation if present else 0)
            revives = present is not None and any(meta.erasable for meta in back)
            if (reached > backup.document.generation or revives) and not older:
                raise ConflictError(
                    f"the backup is of generation {backup.document.generation}, the vault is at {reached},"
                    " or keys were destroyed since",
                    hint="--older restores it all the same, and brings back to life what it holds",
                    details={"comes_back": [meta.record_id for meta in back]},
                )
            for name, key in keys.items():
                erasure.restore(self.erasure_root, name, key)
            generation = max(above, backup.document.generation, present.generation if present else 0) + 1
            document = tagged(dek, replace(backup.document, generation=generation))
            self.write(document)
            sweep(self.erasure_root, document)
        return Restored(OpenVault(self, dek, document), back)

    def _present(self) -> Document | None:
        """Return the vault that is there, or None when there is none or it is damaged."""
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
        found = next((record for record in self._document.records if record.id == record_id), None)
        return (
            found is not None and bool(found.erasure) and erasure.read(self._file.erasure_root, found.erasure) is None
        )

    def reload(self) -> None:
        """Read the file again: another process may have changed it."""
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
        audit: Audit | None = None,
    ) -> int:
        """Write all changes as one (see :class:`fortctl.ports.VaultPort`).

        A deleted record's erasure key is destroyed before the file is written, a replaced record's after it: a crash
        leaves the old or the new state, and a key that was to be deleted never comes back.
        """

        def changed(old: Document) -> Document:
            root = self._file.erasure_root
            for record in old.records:
                if record.id in delete and record.erasure:
                    erasure.erase(root, record.erasure)
            kept = {record.id: record for record in old.records if record.id not in delete}
            for new in put:
                kept[new.record_id] = self._sealed(new, kept.get(new.record_id), old)
            return replace(old, records=tuple(kept[key] for key in sorted(kept)))

        return self._change(changed, audit)

    def advance(self, above: int, *, audit: Audit | None = None) -> int:
        """Write the vault unchanged, under a generation above another one; return it."""
        return self._change(lambda old: old, audit, above=above)

    # -- slots -----------------------------------------------------------------------------------------------------

    def add_slot(self, source: Unlocker, cost: KdfCost, *, audit: Audit | None = None) -> SlotMeta:
        """Let one more source unlock the vault; no record is encrypted again."""
        if len(self._document.slots) >= SLOTS_MOST:
            raise ConflictError(f"a vault has at most {SLOTS_MOST} slots", hint="remove one first")
        with translate_write_errors():
            slot = wrap(self._dek, self.vault_id, source, cost)
        self._change(lambda old: replace(old, slots=(*old.slots, slot)), audit)
        return slot_meta(slot)

    def remove_slot(self, slot_id: str, *, audit: Audit | None = None) -> SlotMeta:
        """Take a slot away.

        Raises:
            NotFoundError: there is no such slot.
            ConflictError: it is the last one.
        """
        found = next((slot for slot in self._document.slots if slot.id == slot_id), None)
        if found is None:
            raise NotFoundError(f"the vault has no slot {slot_id}", hint="see 'fortctl vault status'")

        def without(old: Document) -> Document:
            kept = tuple(slot for slot in old.slots if slot.id != slot_id)
            if not kept:
                raise ConflictError(
                    "this is the vault's last slot: without it nothing would unlock it",
                    hint="add another slot first ('fortctl vault slot add')",
                )
            return replace(old, slots=kept)

        self._change(without, audit)
        return slot_meta(found)

    def change_passphrase(self, source: Passphrase, cost: KdfCost, *, audit: Audit | None = None) -> SlotMeta:
        """Put a new passphrase in the place of every passphrase slot."""
        with translate_write_errors():
            slot = wrap(self._dek, self.vault_id, source, cost)
        self._change(
            lambda old: replace(old, slots=(*(one for one in old.slots if one.kind != "passphrase"), slot)), audit
        )
        return slot_meta(slot)

    # -- backups ---------------------------------------------------------------------------------------------------

    def backup(self, config: str, made_at: int) -> bytes:
        """Return the vault with its erasure keys as one document (docs/vault-format.md, "Backups").

        Args:
            config: the home's configuration, to be restored with it.
            made_at: milliseconds since the epoch.
        """
        from fortctl.vault.backup import write_backup

        with self._file.locked():
            self.reload()
            root = self._file.erasure_root
            named = [record.erasure for record in self._document.records if record.erasure]
            keys = {name: erasure.read(root, name) for name in named}
            return write_backup(self._dek, self._document, keys, config, made_at)

    # -- writing ---------------------------------------------------------------------------------------------------

    def _change(self, change: Callable[[Document], Document], audit: Audit | None, *, above: int = 0) -> int:
        with self._file.locked(), translate_write_errors():
            self.reload()
            generation = max(self._document.generation, above) + 1
            if audit is not None:
                audit("intent", generation)
            document = tagged(self._dek, replace(change(self._document), generation=generation))
            self._file.write(document)
            self._document = document
            sweep(self._file.erasure_root, document)
            if audit is not None:
                _confirm(audit, generation)
        return generation

    def _sealed(self, new: NewRecord, before: Record | None, old: Document) -> Record:
        name, key = "", None
        if new.erasable:
            root = self._file.erasure_root
            name, key = erasure.make(root, new.account, new.purpose)
            # In this order: a panic that destroys the former from here on looks again, and finds this one too.
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


def _confirm(audit: Audit, generation: int) -> None:
    try:
        audit("result", generation)
    except FortctlError as error:
        error.details["written"] = True
        raise type(error)(f"the change is made, but {error.message}", hint=error.hint, details=error.details) from error


@contextmanager
def translate_write_errors() -> Iterator[None]:
    """Turn what a disk refuses into an error that says what it left: the old vault, or the new one."""
    try:
        yield
    except OSError as error:
        raise ConflictError(
            f"the vault cannot be written: {error.strerror}",
            hint="make room or mend the disk, then try again; no half-written vault is left",
            details={"errno": error.errno},
        ) from error


def sweep(root: Path, document: Document) -> None:
    """Destroy the erasure keys that no record names: those of replaced records, and a crash's leftovers."""
    named = {record.erasure for record in document.records}
    for name in erasure.names(root) - named:
        erasure.erase(root, name)


def unlock_document(document: Document, sources: Sequence[Unlocker]) -> bytes:
    """Return the data-encryption key, by the first source that fits a slot of its kind.

    Raises:
        VaultLockedError: none fits.
        VaultDamagedError: the document was changed.
    """
    refused: VaultLockedError | None = None
    for source in sources:
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
    raise refused or VaultLockedError("nothing given unlocks this vault")


def _coming_back(present: Document | None, document: Document, destroyed: Collection[str]) -> tuple[RecordMeta, ...]:
    there = {(record.id, record.version, record.created) for record in present.records} if present else set()
    return tuple(
        record_meta(one)
        for one in document.records
        if (one.id, one.version, one.created) not in there or one.erasure in destroyed
    )
