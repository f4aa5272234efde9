"""Erasure keys: 32 random bytes a file, mixed into a record's key. Destroying one destroys the record.

Nothing here unlocks anything, so keys can be destroyed with the vault locked or damaged. Solid-state and
copy-on-write disks may keep old blocks (docs/security.md says so).
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

from fortctl.errors import VaultDamaged

KEY_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def make(root: Path, account: str, purpose: str) -> tuple[str, bytes]:
    """Make an erasure key; return its name (``ACCOUNT/PURPOSE-ID``) and its bytes."""
    folder = root / account
    for path in (root, folder):
        path.mkdir(mode=0o700, exist_ok=True)
    name, key = f"{purpose}-{os.urandom(8).hex()}", os.urandom(KEY_BYTES)
    _write(folder / name, key)
    for path in (folder, root):
        _sync_folder(path)
    return f"{account}/{name}", key


def _write(path: Path, key: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        os.write(descriptor, key)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def restore(root: Path, name: str, key: bytes) -> None:
    """Put an erasure key back, out of a backup; one that is there already stays.

    Raises:
        VaultDamaged: the name is no name of an erasure key.
    """
    account, _slash, file = name.partition("/")
    if not (_NAME.fullmatch(account) and _NAME.fullmatch(file)):
        raise VaultDamaged("the backup names an erasure key as none is named")
    folder = root / account
    for path in (root, folder):
        path.mkdir(mode=0o700, exist_ok=True)
    if read(root, name) is not None:
        return
    (folder / file).unlink(missing_ok=True)
    _write(folder / file, key)
    for path in (folder, root):
        _sync_folder(path)


def read(root: Path, name: str) -> bytes | None:
    """Return an erasure key, or None when it is gone or overwritten."""
    try:
        key = (root / name).read_bytes()
    except OSError:
        return None
    return key if len(key) == KEY_BYTES and any(key) else None


def erase(path: Path) -> None:
    """Overwrite a file with zeros, fsync, unlink; one that its owner has made read-only is opened first.

    Raises:
        OSError: it can neither be overwritten nor unlinked. (Either is enough: zeros read as no key.)
    """
    try:
        _overwrite(path)
        kept = None
    except OSError as error:
        kept = error
    try:
        _unlink(path)
    except OSError:
        if kept is not None:
            raise kept from None
        return
    _sync_folder(path.parent)


def _overwrite(path: Path) -> None:
    flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags)
    except PermissionError:
        os.chmod(path.parent, 0o700)
        os.chmod(path, 0o600)
        descriptor = os.open(path, flags)
    try:
        size = max(KEY_BYTES, os.fstat(descriptor).st_size)
        if os.pwrite(descriptor, bytes(size), 0) != size:
            raise OSError(28, "the file could not be overwritten as a whole")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unlink(path: Path) -> None:
    try:
        os.unlink(path)
    except PermissionError:
        os.chmod(path.parent, 0o700)
        os.unlink(path)


def destroy(root: Path, account: str, purposes: Collection[str] | None = None) -> tuple[str, ...]:
    """Destroy an account's erasure keys, all or those of some purposes; idempotent.

    Returns:
        The names of what was destroyed.

    Raises:
        OSError: one could not be destroyed; every other one was tried first.
    """
    folder = root / account
    destroyed, problem = [], None
    for path in _files(folder):
        if purposes is not None and path.name.rpartition("-")[0] not in purposes:
            continue
        try:
            erase(path)
            destroyed.append(f"{account}/{path.name}")
        except OSError as error:
            problem = error
    if problem is not None:
        raise problem
    return tuple(destroyed)


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except PermissionError:
        os.chmod(folder, 0o700)
        return sorted(folder.iterdir())


def names(root: Path) -> set[str]:
    """Return the names of all erasure keys under a root."""
    if not root.is_dir():
        return set()
    return {f"{path.parent.name}/{path.name}" for path in root.glob("*/*")}


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
