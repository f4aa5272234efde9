"""The vault on disk: one file, one writer at a time, every change as one (adapter)."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fortctl.errors import ConfigError, Conflict, NotFound, VaultDamaged, VaultLocked
from fortctl.ports import NewRecord, RecordMeta
from fortctl.secret import Secret
from fortctl.vault import erasure
from fortctl.vault.backup import Backup, open_backup, write_backup
from fortctl.vault.envelope import check_tag, open_record, seal_record, tagged, unwrap, wrap
from fortctl.vault.format import Document, Record, Slot, decode, encode
from fortctl.vault.slots import FLOOR, KdfCost, Passphrase, SlotMeta, Unlocker, kind_of

# Hears of a change before it is written (``intent``) and after (``result``), with the vault's generation then.
Audit = Callable[[str, int], None]


@dataclass(frozen=True)
class VaultHeader:
    """What is visible of a vault without unlocking it.

    Attributes:
        written_at: milliseconds since the epoch.
        destroyed: the records whose erasure keys are gone.
    """

    vault_id: str
    generation: int
    slots: tuple[SlotMeta, ...]
    records: tuple[RecordMeta, ...]
    written_at: int
    destroyed: frozenset[str]


@dataclass(frozen=True)
class Restored:
    """What a restore led to: the vault, unlocked, and the records that were not in the one before."""

    vault: OpenVault
    comes_back: tuple[RecordMeta, ...]


class VaultFile:
    """A vault file and the folder of its erasure keys.

    Args:
        path: ``vault.toml``; its folder must exist and be private.
        erasure_root: the folder of the erasure keys.
        lock_timeout_s: how long a change waits for another one.
    """

    def __init__(self, path: Path, erasure_root: Path, *, lock_timeout_s: float = 10.0) -> None:
        self.path = path
        self.erasure_root = erasure_root
        self._lock_timeout_s = lock_timeout_s

    def exists(self) -> bool:
        return self.path.exists()

    def create(self, slots: Sequence[Unlocker], *, kdf: KdfCost = FLOOR) -> OpenVault:
        """Make a new, empty vault.

        Raises:
            Conflict: there is one already.
        """
        with self.locked():
            if self.exists():
                raise Conflict(f"there is a vault at {self.path} already", hint="nothing was overwritten")
            dek, vault_id = os.urandom(32), os.urandom(16).hex()
            wrapped = tuple(wrap(dek, vault_id, source, kdf) for source in slots)
            document = tagged(dek, Document(vault_id, 1, wrapped, (), ""))
            self.write(document)
        return OpenVault(self, dek, document)

    def header(self) -> VaultHeader:
        """Return what is visible. Raises ``VaultDamaged``, ``VaultLocked`` (no file)."""
        document = self.read()
        return VaultHeader(
            document.vault_id,
            document.generation,
            tuple(_slot_meta(slot) for slot in document.slots),
            tuple(_meta(record) for record in document.records),
            self.path.stat().st_mtime_ns // 1_000_000,
            frozenset(
                record.id
                for record in document.records
                if record.erasure and erasure.read(self.erasure_root, record.erasure) is None
            ),
        )

    def unlock(self, sources: Sequence[Unlocker]) -> OpenVault:
        """Unlock with the first source that fits a slot of its kind.

        Raises:
            VaultLocked: none fits.
            VaultDamaged: the file was changed.
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
            VaultLocked, VaultDamaged: the backup does not open.
            Conflict: another vault lies there, or a later one and not ``older``; ``details.comes_back`` names what
                would come back to life.
        """
        dek = unlock_document(backup.document, sources)
        keys = open_backup(dek, backup)
        with self.locked():
            present = self._present()
            back = _coming_back(present, backup.document)
            if present is not None and present.vault_id != backup.document.vault_id:
                raise Conflict("another vault lies there", hint="move it away, or restore into another home")
            if present is not None and present.generation > backup.document.generation and not older:
                raise Conflict(
                    f"the backup is of generation {backup.document.generation}, the vault is at {present.generation}",
                    hint="--older restores it all the same",
                    details={"comes_back": [meta.record_id for meta in back]},
                )
            for name, key in keys.items():
                erasure.restore(self.erasure_root, name, key)
            generation = max(above, backup.document.generation, present.generation if present else 0) + 1
            document = tagged(dek, replace(backup.document, generation=generation))
            self.write(document)
        return Restored(OpenVault(self, dek, document), back)

    def _present(self) -> Document | None:
        """Return the vault that is there, or None when there is none or it is damaged."""
        try:
            return self.read()
        except VaultDamaged:
            return None

    def read(self) -> Document:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise VaultDamaged(
                f"the vault {self.path} is missing", hint="restore it from a backup; 'fortctl init' makes a new home"
            ) from None
        except OSError as error:
            raise Conflict(f"the vault {self.path} cannot be read: {error.strerror}", hint="mend the disk") from None
        with open(descriptor, "rb") as stream:
            if os.fstat(descriptor).st_mode & 0o077:
                raise ConfigError(f"the vault {self.path} may be read by other users", hint=f"chmod 600 {self.path}")
            return decode(stream.read())

    def write(self, document: Document) -> None:
        """Replace the file durably and read it back; only under the lock."""
        data = encode(document)
        temporary = self.path.with_name(f".{self.path.name}.new")
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(temporary, flags, 0o600)
        try:
            with open(descriptor, "wb", closefd=False) as stream:
                stream.write(data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if temporary.read_bytes() != data:
            raise VaultDamaged("the disk did not keep what was written to the vault", hint="the old vault is untouched")
        os.replace(temporary, self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def holder(self) -> int | None:
        """Return the process that is writing the vault just now, or None."""
        try:
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(descriptor, 64, 0).decode("ascii", "replace").strip()
            return int(text) if text.isdigit() else None
        finally:
            os.close(descriptor)
        return None

    @property
    def _lock_path(self) -> Path:
        return self.path.with_name(f".{self.path.name}.lock")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the vault's lock. Raises ``Conflict``, naming the holder, when it stays taken."""
        try:
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Conflict(f"the vault's lock cannot be taken: {error.strerror}", hint="mend the disk") from None
        try:
            deadline = time.monotonic() + self._lock_timeout_s
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        holder = os.pread(descriptor, 64, 0).decode("ascii", "replace").strip() or "unknown"
                        raise Conflict(
                            f"another process (pid {holder}) is writing the vault",
                            hint="wait for it, or see what it does",
                            details={"holder_pid": holder},
                        ) from None
                    time.sleep(0.01)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)


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
        return tuple(_meta(record) for record in self._document.records)

    def get(self, record_id: str) -> Secret:
        for record in self._document.records:
            if record.id == record_id:
                key = erasure.read(self._file.erasure_root, record.erasure) if record.erasure else None
                return open_record(self._dek, self._document.vault_id, record, key)
        raise NotFound(f"the vault has no record {record_id}")

    def reload(self) -> None:
        """Read the file again: another process may have changed it."""
        document = self._file.read()
        if document.vault_id != self._document.vault_id:
            raise VaultDamaged("the vault was replaced by another one")
        check_tag(self._dek, document)
        if document.generation < self._document.generation:
            raise VaultDamaged(
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
                if record.id in delete and record.erasure and (root / record.erasure).exists():
                    erasure.erase(root / record.erasure)
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
        slot = wrap(self._dek, self.vault_id, source, cost)
        self._change(lambda old: replace(old, slots=(*old.slots, slot)), audit)
        return _slot_meta(slot)

    def remove_slot(self, slot_id: str, *, audit: Audit | None = None) -> SlotMeta:
        """Take a slot away.

        Raises:
            NotFound: there is no such slot.
            Conflict: it is the last one.
        """
        found = next((slot for slot in self._document.slots if slot.id == slot_id), None)
        if found is None:
            raise NotFound(f"the vault has no slot {slot_id}", hint="see 'fortctl vault status'")

        def without(old: Document) -> Document:
            kept = tuple(slot for slot in old.slots if slot.id != slot_id)
            if not kept:
                raise Conflict(
                    "this is the vault's last slot: without it nothing would unlock it",
                    hint="add another slot first ('fortctl vault slot add')",
                )
            return replace(old, slots=kept)

        self._change(without, audit)
        return _slot_meta(found)

    def change_passphrase(self, source: Passphrase, cost: KdfCost, *, audit: Audit | None = None) -> SlotMeta:
        """Put a new passphrase in the place of every passphrase slot."""
        slot = wrap(self._dek, self.vault_id, source, cost)
        self._change(
            lambda old: replace(old, slots=(*(one for one in old.slots if one.kind != "passphrase"), slot)), audit
        )
        return _slot_meta(slot)

    # -- backups ---------------------------------------------------------------------------------------------------

    def backup(self, config: str, made_at: int) -> bytes:
        """Return the vault with its erasure keys as one document (docs/vault-format.md, "Backups").

        Args:
            config: the home's configuration, to be restored with it.
            made_at: milliseconds since the epoch.
        """
        with self._file.locked():
            self.reload()
            root = self._file.erasure_root
            keys = {record.erasure: erasure.read(root, record.erasure) for record in self._document.records}
            return write_backup(self._dek, self._document, keys, config, made_at)

    # -- writing ---------------------------------------------------------------------------------------------------

    def _change(self, change: Callable[[Document], Document], audit: Audit | None, *, above: int = 0) -> int:
        try:
            return self._written(change, audit, above)
        except OSError as error:
            raise Conflict(
                f"the vault cannot be written: {error.strerror}",
                hint="make room or mend the disk, then try again; no half-written vault is left",
                details={"errno": error.errno},
            ) from error

    def _written(self, change: Callable[[Document], Document], audit: Audit | None, above: int) -> int:
        with self._file.locked():
            self.reload()
            generation = max(self._document.generation, above) + 1
            if audit is not None:
                audit("intent", generation)
            document = tagged(self._dek, replace(change(self._document), generation=generation))
            self._file.write(document)
            self._document = document
            self._sweep()
            if audit is not None:
                audit("result", generation)
        return generation

    def _sealed(self, new: NewRecord, before: Record | None, old: Document) -> Record:
        name, key = "", None
        if new.erasable:
            name, key = erasure.make(self._file.erasure_root, new.account, new.purpose)
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

    def _sweep(self) -> None:
        """Destroy the erasure keys that no record names: those of replaced records, and a crash's leftovers."""
        named = {record.erasure for record in self._document.records}
        for name in erasure.names(self._file.erasure_root) - named:
            erasure.erase(self._file.erasure_root / name)


def unlock_document(document: Document, sources: Sequence[Unlocker]) -> bytes:
    """Return the data-encryption key, by the first source that fits a slot of its kind.

    Raises:
        VaultLocked: none fits.
        VaultDamaged: the document was changed.
    """
    refused: VaultLocked | None = None
    for source in sources:
        for slot in document.slots:
            if slot.kind != kind_of(source):
                continue
            try:
                dek = unwrap(slot, document.vault_id, source)
            except VaultLocked as error:
                refused = error
                continue
            check_tag(dek, document)
            return dek
    raise refused or VaultLocked("nothing given unlocks this vault")


def _coming_back(present: Document | None, document: Document) -> tuple[RecordMeta, ...]:
    there = {(record.id, record.version, record.created) for record in present.records} if present else set()
    return tuple(_meta(one) for one in document.records if (one.id, one.version, one.created) not in there)


def _meta(record: Record) -> RecordMeta:
    return RecordMeta(
        record.id,
        record.account,
        record.exchange,
        record.role,
        record.name,
        record.type,
        record.version,
        record.created,
        bool(record.erasure),
    )


def _slot_meta(slot: Slot) -> SlotMeta:
    cost = KdfCost(slot.memory_kib, slot.iterations, slot.lanes) if slot.memory_kib else None
    return SlotMeta(slot.id, slot.kind, slot.hint, cost)
