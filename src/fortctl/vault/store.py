"""The vault on disk: one file, one writer at a time, every change as one (adapter)."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fortctl.errors import ConfigError, Conflict, NotFound, VaultDamaged, VaultLocked
from fortctl.ports import NewRecord, RecordMeta
from fortctl.secret import Secret
from fortctl.vault import erasure
from fortctl.vault.envelope import check_tag, open_record, seal_record, tagged, unwrap, wrap
from fortctl.vault.format import Document, Record, Slot, decode, encode
from fortctl.vault.slots import FLOOR, KdfCost, Unlocker, kind_of


@dataclass(frozen=True)
class SlotMeta:
    """What is visible of a slot: how it is unlocked and what that costs."""

    id: str
    kind: str
    hint: str
    cost: KdfCost | None


@dataclass(frozen=True)
class VaultHeader:
    """What is visible of a vault without unlocking it."""

    vault_id: str
    generation: int
    slots: tuple[SlotMeta, ...]
    records: tuple[RecordMeta, ...]


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
        )

    def unlock(self, sources: Sequence[Unlocker]) -> OpenVault:
        """Unlock with the first source that fits a slot of its kind.

        Raises:
            VaultLocked: none fits.
            VaultDamaged: the file was changed.
        """
        document = self.read()
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
                return OpenVault(self, dek, document)
        raise refused or VaultLocked("nothing given unlocks this vault")

    def read(self) -> Document:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise VaultDamaged(
                f"the vault {self.path} is missing", hint="restore it from a backup; 'fortctl init' makes a new home"
            ) from None
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

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the vault's lock. Raises ``Conflict``, naming the holder, when it stays taken."""
        path = self.path.with_name(f".{self.path.name}.lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
        audit: Callable[[str, int], None] | None = None,
    ) -> int:
        """Write all changes as one (see :class:`fortctl.ports.VaultPort`).

        A deleted record's erasure key is destroyed before the file is written, a replaced record's after it: a crash
        leaves the old or the new state, and a key that was to be deleted never comes back.
        """
        with self._file.locked():
            self.reload()
            old = self._document
            generation = old.generation + 1
            if audit is not None:
                audit("intent", generation)
            root = self._file.erasure_root
            for record in old.records:
                if record.id in delete and record.erasure and (root / record.erasure).exists():
                    erasure.erase(root / record.erasure)
            kept = {record.id: record for record in old.records if record.id not in delete}
            for new in put:
                kept[new.record_id] = self._sealed(new, kept.get(new.record_id), old)
            document = tagged(
                self._dek, Document(old.vault_id, generation, old.slots, tuple(kept[key] for key in sorted(kept)), "")
            )
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
