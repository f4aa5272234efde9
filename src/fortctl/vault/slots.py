"""The sources that unlock a vault, and the key-encryption key of each (adapter)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from fortctl.errors import ConfigError, VaultDamagedError, VaultLockedError
from fortctl.secret import Secret
from fortctl.system.files import create_file, read_file

KEY_BYTES = 32


class KdfCost(NamedTuple):
    """The cost of Argon2id (RFC 9106, section 4).

    Attributes:
        memory_kib: memory in KiB.
        iterations: passes.
        lanes: degree of parallelism.
    """

    memory_kib: int = 65536
    iterations: int = 3
    lanes: int = 4


# The floor is RFC 9106's second recommended choice. Costs in a file are checked against both before computing.
FLOOR = KdfCost()
CEILING = KdfCost(memory_kib=1024 * 1024, iterations=32, lanes=16)


class SlotMeta(NamedTuple):
    """What is visible of a slot: how it is unlocked, and at which cost."""

    id: str
    kind: str
    hint: str
    cost: KdfCost | None


class Passphrase(NamedTuple):
    """A passphrase, stretched by Argon2id."""

    secret: Secret


class KeyFile(NamedTuple):
    """A file of 32 random bytes, 0600."""

    path: Path


class KeyStore(Protocol):
    """What a slot needs of the operating system's keyring."""

    def get(self, name: str) -> bytes:
        """Return a key. Raises ``VaultLockedError`` if it is missing, or there is no unlocked keyring."""

    def put(self, name: str, key: bytes) -> None:
        """Store a key. Raises ``VaultLockedError``."""

    def drop(self, name: str) -> None:
        """Delete a key; it may be missing."""


class Keyring(NamedTuple):
    """32 random bytes in the operating system's keyring, under the slot's id."""

    store: KeyStore


Unlocker = Passphrase | KeyFile | Keyring


def slot_kind(source: Unlocker) -> str:
    """Return the kind of slot that a source unlocks."""
    if isinstance(source, Passphrase):
        return "passphrase"
    return "keyfile" if isinstance(source, KeyFile) else "keyring"


def calibrate(target_s: float, clock: Callable[[], float]) -> KdfCost:
    """Return a cost that takes about ``target_s`` seconds on this machine, never below the floor.

    Memory stays at the floor's 64 MiB, which every machine has; passes are added up to the ceiling.

    Args:
        clock: monotonic seconds.
    """
    before = clock()
    stretch(Secret("calibration"), bytes(16), FLOOR)
    seconds_a_pass = max(clock() - before, 1e-6) / FLOOR.iterations
    passes = int(target_s / seconds_a_pass)
    return FLOOR._replace(iterations=max(FLOOR.iterations, min(passes, CEILING.iterations)))


def stretch(passphrase: Secret, salt: bytes, cost: KdfCost) -> bytes:
    """Return the 32-byte key of a passphrase (Argon2id, RFC 9106).

    Raises:
        VaultDamagedError: the cost is out of bounds; nothing is computed.
        VaultLockedError: the memory is not available.
    """
    low = (cost.memory_kib < FLOOR.memory_kib, cost.iterations < FLOOR.iterations, cost.lanes < 1)
    high = (
        cost.memory_kib > CEILING.memory_kib,
        cost.iterations > CEILING.iterations,
        cost.lanes > CEILING.lanes,
    )
    if any(low) or any(high) or len(salt) < 16:
        raise VaultDamagedError("a passphrase slot has an Argon2id cost outside the allowed bounds")
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    try:
        return Argon2id(
            salt=salt, length=KEY_BYTES, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib
        ).derive(passphrase.reveal_bytes())
    except MemoryError:
        raise VaultLockedError(
            f"the passphrase slot needs {cost.memory_kib // 1024} MiB of memory, which is not available",
            hint="try again with more memory, or use another slot",
        ) from None


def read_keyfile(path: Path) -> bytes:
    """Read a key file.

    Raises:
        VaultLockedError: the file is missing, or not a key file.
        ConfigError: other users may read it.
    """
    try:
        data, status = read_file(path, KEY_BYTES, follow=True)
    except OSError as error:
        raise VaultLockedError(f"the key file {path} cannot be read: {error.strerror}") from None
    except VaultDamagedError as error:
        raise VaultLockedError(error.message, hint=error.hint) from None
    if status.st_mode & 0o077:
        raise ConfigError(f"the key file {path} may be read by other users", hint=f"chmod 600 {path}")
    if len(data) != KEY_BYTES:
        raise VaultLockedError(f"the key file {path} does not hold {KEY_BYTES} bytes")
    return data


def make_keyfile(path: Path) -> bytes:
    """Create a key file, or read the present one (one key file may unlock several vaults)."""
    key = os.urandom(KEY_BYTES)
    try:
        create_file(path, key)
    except FileExistsError:
        return read_keyfile(path)
    return key
