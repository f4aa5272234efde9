"""Erasure keys: 32 random bytes a file, mixed into a record's key. Destroying one destroys the record.

Nothing here unlocks anything, so keys can be destroyed with the vault locked or damaged. Solid-state and
copy-on-write disks may keep old blocks (docs/security.md says so). No symbolic link is followed, and nothing is
overwritten that does not bear an erasure key's name: the vault that names them may have been edited by anybody.
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
# What whoever has keys destroyed is told.
IN_BACKUPS = "a backup made before still opens its copy"
# A key that begins so was overwritten, if only half of it.
_GONE = bytes(8)
_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FILE = re.compile(r"([a-z][a-z-]{0,31})-[0-9a-f]{16}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


def make(root: Path, account: str, purpose: str) -> tuple[str, bytes]:
    """Make an erasure key; return its name (``ACCOUNT/PURPOSE-ID``) and its bytes."""
    name, key = f"{account}/{purpose}-{os.urandom(8).hex()}", _GONE
    while key.startswith(_GONE):
        key = os.urandom(KEY_BYTES)
    _write(root, name, key)
    return name, key


def restore(root: Path, name: str, key: bytes) -> None:
    """Put an erasure key back, out of a backup; one that is there already stays.

    Raises ``VaultDamagedError``: no name.
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
    """Return an erasure key, or None when it is gone or overwritten.

    Raises ``VaultDamagedError``: it is no name of one.
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
    """Overwrite an erasure key with zeros, fsync, unlink; no error when it is not there.

    Raises:
        OSError: it can neither be overwritten nor unlinked (either is enough: zeros read as no key); or it was a link,
            which is taken away, but not followed.
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
        The names of what was destroyed.

    Raises:
        OSError: one could not be destroyed; every other one was tried first.
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
            continue  # no folder of ours
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
        raise OSError(errno.ELOOP, "an erasure key was a symbolic link: what it led to was not overwritten") from None


def _overwrite(folder: int, file: str) -> None:
    flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(file, flags, dir_fd=folder)
    except PermissionError:
        # Its owner has made it read-only. (A link would answer ELOOP before.)
        os.fchmod(folder, 0o700)
        os.chmod(file, 0o600, dir_fd=folder)
        descriptor = os.open(file, flags, dir_fd=folder)
    try:
        at, size = 0, max(KEY_BYTES, os.fstat(descriptor).st_size)
        while at < size:
            at += os.pwrite(descriptor, bytes(min(1 << 20, size - at)), at)
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
    """Yield name and purpose of the erasure keys in a folder; what bears no such name is left alone."""
    for file in sorted(os.listdir(folder)):
        match = _FILE.fullmatch(file)
        mode = os.stat(file, dir_fd=folder, follow_symlinks=False).st_mode if match else 0
        if match and (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            yield file, match[1]


@contextmanager
def _folder(root: Path, account: str) -> Iterator[int]:
    """Open an account's folder, itself and not what a link leads to."""
    if not _ACCOUNT.fullmatch(account):
        raise FileNotFoundError(errno.ENOENT, "no account is named so")
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
        raise VaultDamagedError("a record names an erasure key as none is named")
    return account, file
