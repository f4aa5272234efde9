"""A vault as services see it: named records, some of which can be erased."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fortctl.secret import Secret


@dataclass(frozen=True)
class RecordMeta:
    """What is visible of a vault record without unlocking, and is bound to it as associated data."""

    record_id: str
    account: str
    exchange: str
    role: str
    name: str
    type: str
    version: int
    created_at: int
    erasable: bool


@dataclass(frozen=True)
class NewRecord:
    """A record to be written. ``erasable`` records can be destroyed without unlocking.

    Attributes:
        created_at: milliseconds since the epoch.
        purpose: names the erasure key's file (``site``, ``copy``, ``key``, ``recipient`` …).
        renews: it is the present record with other facts: where that was destroyed meanwhile, it is not written.
    """

    record_id: str
    account: str
    exchange: str
    role: str
    name: str
    type: str
    plaintext: Secret
    erasable: bool
    created_at: int
    purpose: str = ""
    renews: bool = False


class VaultPort(Protocol):
    """An unlocked vault. All methods raise VaultLocked / VaultDamaged / NotFound / Conflict only."""

    @property
    def generation(self) -> int: ...

    def records(self) -> tuple[RecordMeta, ...]: ...

    def get(self, record_id: str) -> Secret:
        """Return a record's plaintext. Raises ``NotFoundError`` (also when its erasure key is gone)."""

    def is_destroyed(self, record_id: str) -> bool:
        """Return whether a record is there whose erasure key is gone; nothing is decrypted."""

    def update(
        self,
        put: Sequence[NewRecord] = (),
        delete: Sequence[str] = (),
        *,
        audit: Callable[[str, int], None] | None = None,
    ) -> int:
        """Write all changes as one; ``audit(phase, generation)`` is called before and after. Returns the generation."""
