"""The users of this machine: their names, and how root becomes one of them."""

from __future__ import annotations

import os
from pathlib import Path


def user_name(uid: int | None = None) -> str:
    """Return a user's name, or the number where it has none; None: the user of this process."""
    import pwd

    number = os.getuid() if uid is None else uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def become_owner(path: Path) -> str | None:
    """Give up root's rights for those of the user who owns *path*; never to be undone in this process.

    Returns:
        The owner's name; None if this process is not root's, if root owns *path*, or if there is no *path*.

    Raises:
        PermissionError: this root may not become another user (as in some containers).
        OSError: *path* cannot be looked up.
    """
    if os.geteuid() != 0:
        return None
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if status.st_uid == 0:
        return None
    import pwd

    try:
        entry = pwd.getpwuid(status.st_uid)
    except KeyError:
        group, name = status.st_gid, str(status.st_uid)
        os.setgroups([])
    else:
        group, name = entry.pw_gid, entry.pw_name
        os.initgroups(name, group)
        # What libraries look up below the user's home: ~/.pgpass, certificates, the keyring.
        os.environ |= {"HOME": entry.pw_dir, "USER": name, "LOGNAME": name}
    os.setresgid(group, group, group)
    os.setresuid(status.st_uid, status.st_uid, status.st_uid)
    return name
