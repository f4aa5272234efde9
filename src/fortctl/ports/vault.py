"""A vault as services see it: named records, some of which can be erased."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from fortctl.secret import Secret


class RecordMeta(NamedTuple):
    """What is visible of a vault record without unlocking; it is authenticated together with the ciphertext."""

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
    """A record to be written.

    Attributes:
        erasable: it gets an erasure key, so it can be destroyed without unlocking.
        created_at: milliseconds since the epoch.
        purpose: names the erasure key's file (``site``, ``copy``, ``key``, ``recipient`` …).
        renews: it updates the present record; if that was destroyed meanwhile, nothing is written.
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
    """An unlocked vault.

    Methods raise ``VaultLockedError``, ``VaultDamagedError``, ``NotFoundError`` and ``ConflictError`` only.
    """

    @property
    def generation(self) -> int:
        """A number that each change increases."""

    def records(self) -> tuple[RecordMeta, ...]:
        """Return what is visible of every record."""

    def get(self, record_id: str) -> Secret:
        """Return a record's plaintext. Raises ``NotFoundError``, also if its erasure key is gone."""

    def is_destroyed(self, record_id: str) -> bool:
        """Return whether a record exists whose erasure key is gone; nothing is decrypted."""

    def update(
        self,
        put: Sequence[NewRecord] = (),
        delete: Sequence[str] = (),
        *,
        audit: Callable[[str, int], None] | None = None,
    ) -> int:
        """Write all changes atomically and return the new generation.

        Args:
            put: records to add or replace.
            delete: ids of records to delete.
            audit: called before (``intent``) and after (``result``) the write, with the new generation.
        """
