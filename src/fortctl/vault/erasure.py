"""Erasure keys: files of 32 random bytes that enter a record's key; destroying one destroys the record (adapter).

Destroying needs no unlocking, so it works with a locked or damaged vault. Solid-state and copy-on-write disks may keep
old blocks (docs/security.md). No symbolic link is followed, and only files with the name of an erasure key are
overwritten, because an attacker may have edited the vault that refers to them.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from fortctl.errors import VaultDamagedError
from fortctl.system.files import write_all

KEY_BYTES = 32
# Shown after keys were destroyed.
IN_BACKUPS = "a backup made before still opens its copy"
# A key with this prefix was overwritten, at least in part.
_GONE = bytes(8)
_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FILE = re.compile(r"([a-z][a-z-]{0,31})-[0-9a-f]{16}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


def make(root: Path, account: str, purpose: str) -> tuple[str, bytes]:
    """Create an erasure key; return its name (``ACCOUNT/PURPOSE-ID``) and its bytes. Raises ``OSError``."""
    name, key = f"{account}/{purpose}-{os.urandom(8).hex()}", _GONE
    while key.startswith(_GONE):
        key = os.urandom(KEY_BYTES)
    _write(root, name, key)
    return name, key


def restore(root: Path, name: str, key: bytes) -> None:
    """Restore an erasure key from a backup; an existing key is kept.

    Raises:
        VaultDamagedError: *name* is not the name of an erasure key, or the key has a wrong length.
    """
    account, file = _split(name)
    if read(root, name) is not None:
        return
    if len(key) != KEY_BYTES:
        raise VaultDamagedError("the backup holds an erasure key of a wrong length")
    if (root / account / file).exists():
        with _folder(root, account) as folder:
            os.unlink(file, dir_fd=folder)
    _write(root, name, key)


def read(root: Path, name: str) -> bytes | None:
    """Return an erasure key, or None if it is gone or overwritten.

    Raises:
        VaultDamagedError: *name* is not the name of an erasure key.
    """
    account, file = _split(name)
    try:
        with _folder(root, account) as folder:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            try:
                key = os.read(descriptor, KEY_BYTES + 1)
            finally:
                os.close(descriptor)
    except OSError:
        return None
    return key if len(key) == KEY_BYTES and not key.startswith(_GONE) else None


def erase(root: Path, name: str) -> None:
    """Overwrite an erasure key with zeros, fsync, unlink; it may be missing.

    Raises:
        OSError: the key can neither be overwritten nor unlinked (either suffices), or it was a symbolic link, which is
            removed and not followed.
    """
    account, file = _split(name)
    try:
        with _folder(root, account) as folder:
            _erase(folder, file)
            os.fsync(folder)
    except FileNotFoundError:
        return


def destroy(root: Path, account: str, purposes: Collection[str] | None = None) -> tuple[str, ...]:
    """Destroy an account's erasure keys, all or those of some purposes; idempotent.

    Returns:
        The names of the destroyed keys.

    Raises:
        OSError: a key could not be destroyed; all others were tried first.
    """
    destroyed, problem = [], None
    try:
        with _folder(root, account) as folder:
            for file, purpose in _files(folder):
                if purposes is not None and purpose not in purposes:
                    continue
                try:
                    _erase(folder, file)
                    destroyed.append(f"{account}/{file}")
                except OSError as error:
                    problem = error
            os.fsync(folder)
    except FileNotFoundError:
        return ()
    if problem is not None:
        raise problem
    return tuple(destroyed)


def names(root: Path) -> set[str]:
    """Return the names of all erasure keys under a root."""
    found: set[str] = set()
    try:
        accounts = sorted(os.listdir(root))
    except FileNotFoundError:
        return found
    for account in accounts:
        try:
            with _folder(root, account) as folder:
                found |= {f"{account}/{file}" for file, _purpose in _files(folder)}
        except OSError:
            continue  # not an account's folder
    return found


def _write(root: Path, name: str, key: bytes) -> None:
    account, file = _split(name)
    for path in (root, root / account):
        path.mkdir(mode=0o700, exist_ok=True)
    with _folder(root, account) as folder:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(file, flags, 0o600, dir_fd=folder)
        try:
            write_all(descriptor, key)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.fsync(folder)
    descriptor = os.open(root, _FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _erase(folder: int, file: str) -> None:
    problem = None
    try:
        _overwrite(folder, file)
    except FileNotFoundError:
        raise
    except OSError as error:
        problem = error
    try:
        _unlink(folder, file)
    except OSError:
        if problem is not None:
            raise problem from None
        return
    if problem is not None and problem.errno == errno.ELOOP:
        raise OSError(errno.ELOOP, "an erasure key was a symbolic link; its target was not overwritten") from None


def _overwrite(folder: int, file: str) -> None:
    flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(file, flags, dir_fd=folder)
    except PermissionError:
        # The file is read-only. (A symbolic link fails with ELOOP before.)
        os.fchmod(folder, 0o700)
        os.chmod(file, 0o600, dir_fd=folder)
        descriptor = os.open(file, flags, dir_fd=folder)
    try:
        offset, size = 0, max(KEY_BYTES, os.fstat(descriptor).st_size)
        while offset < size:
            offset += os.pwrite(descriptor, bytes(min(1 << 20, size - offset)), offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unlink(folder: int, file: str) -> None:
    try:
        os.unlink(file, dir_fd=folder)
    except PermissionError:
        os.fchmod(folder, 0o700)
        os.unlink(file, dir_fd=folder)


def _files(folder: int) -> Iterator[tuple[str, str]]:
    """Yield the name and purpose of each erasure key in a folder; other files are ignored."""
    for file in sorted(os.listdir(folder)):
        match = _FILE.fullmatch(file)
        mode = os.stat(file, dir_fd=folder, follow_symlinks=False).st_mode if match else 0
        if match and (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            yield file, match[1]


@contextmanager
def _folder(root: Path, account: str) -> Iterator[int]:
    """Open an account's folder without following a symbolic link."""
    if not _ACCOUNT.fullmatch(account):
        raise FileNotFoundError(errno.ENOENT, "not a valid account name")
    outer = os.open(root, _FOLDER)
    try:
        folder = os.open(account, _FOLDER, dir_fd=outer)
    except PermissionError:
        os.chmod(account, 0o700, dir_fd=outer)
        folder = os.open(account, _FOLDER, dir_fd=outer)
    finally:
        os.close(outer)
    try:
        yield folder
    finally:
        os.close(folder)


def _split(name: str) -> tuple[str, str]:
    account, _slash, file = name.partition("/")
    if not (_ACCOUNT.fullmatch(account) and _FILE.fullmatch(file)):
        raise VaultDamagedError("a record refers to an erasure key by an invalid name")
    return account, file
