"""A vault's files: the vault itself, its lock, its erasure keys; nothing here unlocks it (adapter)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fortctl.errors import ConfigError, ConflictError, VaultDamagedError
from fortctl.ports import RecordMeta
from fortctl.system.files import file_lock, lock_holder, read_file, replace_file
from fortctl.vault import erasure
from fortctl.vault.format import SIZE_LIMIT, decode, encode
from fortctl.vault.slots import KdfCost, SlotMeta

if TYPE_CHECKING:
    from fortctl.vault.format import Document, Record, Slot


class VaultHeader(NamedTuple):
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


class VaultLocation:
    """A vault file and the folder of its erasure keys, without unlocking.

    Args:
        path: ``vault.toml``; its folder must exist and be private.
        erasure_root: the folder of the erasure keys.
        lock_timeout_s: how long a change waits for another process's change.
    """

    def __init__(self, path: Path, erasure_root: Path, *, lock_timeout_s: float = 10.0) -> None:
        self.path = path
        self.erasure_root = erasure_root
        self._lock_timeout_s = lock_timeout_s

    def exists(self) -> bool:
        return os.path.lexists(self.path)

    def header(self) -> VaultHeader:
        """Return what is visible without unlocking. Raises as :meth:`read`."""
        document = self.read()
        return VaultHeader(
            document.vault_id,
            document.generation,
            tuple(slot_meta(slot) for slot in document.slots),
            tuple(record_meta(record) for record in document.records),
            self.path.stat().st_mtime_ns // 1_000_000,
            frozenset(
                record.id
                for record in document.records
                if record.erasure and erasure.read(self.erasure_root, record.erasure) is None
            ),
        )

    def read(self) -> Document:
        """Read the file.

        Raises:
            VaultDamagedError: the file is missing, was changed, or is not a regular file.
            ConfigError: other users may read it, or it belongs to another user.
            ConflictError: the disk cannot read it.
        """
        try:
            data, status = read_file(self.path, SIZE_LIMIT)
        except FileNotFoundError:
            raise VaultDamagedError(
                f"the vault {self.path} is missing",
                hint="restore it from a backup, or create a new home with 'fortctl init'",
            ) from None
        except OSError as error:
            raise ConflictError(
                f"the vault {self.path} cannot be read: {error.strerror}", hint="check the disk"
            ) from None
        if status.st_mode & 0o077:
            raise ConfigError(f"the vault {self.path} may be read by other users", hint=f"chmod 600 {self.path}")
        if status.st_uid not in (os.geteuid(), 0):
            raise ConfigError(f"the vault {self.path} belongs to another user", hint="run fortctl as its owner")
        return decode(data)

    def orphaned_keys(self, account: str) -> set[str]:
        """Return an account's erasure keys that no record refers to, as a crash may leave. Raises as :meth:`read`."""
        referenced = {record.erasure for record in self.read().records}
        return {name for name in erasure.names(self.erasure_root) - referenced if name.startswith(f"{account}/")}

    def write(self, document: Document) -> None:
        """Replace the file durably; the caller holds the lock."""
        replace_file(self.path, encode(document), locked=True)

    def holder(self) -> int | None:
        """Return the id of the process that is writing the vault, or None."""
        holder = lock_holder(self._lock_path)
        return int(holder) if holder else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the vault's lock. Raises ``ConflictError`` if another process keeps it."""
        with file_lock(self._lock_path, "the vault", self._lock_timeout_s):
            yield

    @property
    def _lock_path(self) -> Path:
        return self.path.with_name(f".{self.path.name}.lock")


def slot_meta(slot: Slot) -> SlotMeta:
    """Return what is visible of a slot."""
    cost = KdfCost(slot.memory_kib, slot.iterations, slot.lanes) if slot.memory_kib else None
    return SlotMeta(slot.id, slot.kind, slot.hint, cost)


def record_meta(record: Record) -> RecordMeta:
    """Return what is visible of a record."""
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
