"""What unlocks a vault, in the contract's order, and what shall unlock one from now on."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fortctl.errors import BadInputError, ConfirmationNeededError, VaultLockedError
from fortctl.secret import Secret

if TYPE_CHECKING:
    from fortctl.cli.context import CommandContext
    from fortctl.vault.slots import Unlocker


_UNLOCK_HINT = {
    "": "give --passphrase-file, set FORTCTL_PASSPHRASE_FILE, or bring the key file back",
    "robot": "give --robot-passphrase-file, or set FORTCTL_ROBOT_PASSPHRASE_FILE",
    "issuer": "set FORTCTL_ISSUER_PASSPHRASE_FILE, or bring the key file back",
}


def find_unlock_source(
    app: CommandContext, kinds: Sequence[str], keyfile: Path, who: str, given: str | None
) -> Unlocker:
    """Return the first unlock source there is, in the order of contract.md.

    Args:
        kinds: the kinds of slot that the vault has.
        keyfile: where its key file lies.
        who: ``""`` for the site's vault, ``"robot"`` for the robot's, ``"issuer"`` for the issuer's.
        given: the value of the passphrase file option.

    Raises:
        VaultLockedError: there is none.
    """
    from fortctl.vault.slots import KeyFile, Keyring, Passphrase

    if "passphrase" in kinds:
        found = given or os.environ.get(f"FORTCTL_{_prefix(who)}PASSPHRASE_FILE") or _credential(who)
        if found:
            return Passphrase(read_passphrase(app, found, refusal=VaultLockedError))
    if "keyfile" in kinds and keyfile.exists():
        return KeyFile(keyfile)
    if "keyring" in kinds:
        from fortctl.vault.keyring import OsKeyring

        return Keyring(OsKeyring())
    if "passphrase" in kinds:
        text = os.environ.get("FORTCTL_PASSPHRASE") if not who else None
        if text:
            return Passphrase(Secret(text))
        try:
            return Passphrase(app.read_hidden(f"passphrase of the {who or 'site'} vault"))
        except ConfirmationNeededError:
            pass
    raise VaultLockedError(
        f"nothing unlocks the {who or 'site'} vault",
        hint=_UNLOCK_HINT[who],
    )


def first_source(app: CommandContext, kind: str, keyfile: Path) -> Unlocker:
    """Return what shall unlock a new vault; a passphrase comes from where one is looked for, or is asked for twice."""
    given = app.globals.passphrase_file or os.environ.get("FORTCTL_PASSPHRASE_FILE")
    text = os.environ.get("FORTCTL_PASSPHRASE") if not given else None
    return new_source(app, kind, keyfile, given, text, "the site vault")


def new_source(
    app: CommandContext, kind: str, keyfile: Path, given: str | None, text: str | None, what: str
) -> Unlocker:
    """Return a source for a new slot.

    Args:
        given: a file with the new passphrase, or None to ask for it.
        text: the new passphrase itself, where it came another way.
    """
    from fortctl.vault.slots import KeyFile, Keyring, Passphrase

    if kind == "keyfile":
        return KeyFile(keyfile)
    if kind == "keyring":
        from fortctl.vault.keyring import OsKeyring

        return Keyring(OsKeyring())
    if given:
        return Passphrase(read_passphrase(app, given))
    return Passphrase(Secret(text) if text else prompt_new_passphrase(app, what))


def read_passphrase(
    app: CommandContext, source: str, *, refusal: type[BadInputError] | type[VaultLockedError] = BadInputError
) -> Secret:
    """Read a passphrase file: its first line, without the line break.

    Args:
        refusal: what it means when there is nothing to be read: no unlocking, or an input that is wrong.

    Raises:
        VaultLockedError, BadInputError: it cannot be read, or is empty.
        UsageError: standard input is taken already.
    """
    try:
        data = app.read_input(source)
    except BadInputError as error:
        raise refusal(f"the passphrase file: {error.message}") from None
    if source != "-" and _open_to_others(source):
        app.warn("PASSPHRASE_FILE_OPEN", f"other users may read the passphrase file: chmod 600 {source}")
    line = data.split(b"\n", 1)[0].rstrip(b"\r")
    if not line:
        raise refusal("the passphrase file is empty")
    return Secret(line)


def _open_to_others(path: str) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    # A pipe ('<(command)') is nobody else's; the folder may keep others out, which is not looked at.
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & 0o077)


def prompt_new_passphrase(app: CommandContext, what: str) -> Secret:
    first, second = app.read_hidden(f"new passphrase for {what}"), app.read_hidden("the same again")
    if first != second:
        raise BadInputError("the two passphrases differ", hint="try again")
    if not first:
        raise BadInputError("the passphrase is empty", hint="choose a long one")
    return first


def _prefix(who: str) -> str:
    return f"{who.upper()}_" if who else ""


def _credential(who: str) -> str | None:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    name = f"fortctl-{who}-passphrase" if who else "fortctl-passphrase"
    path = Path(folder) / name if folder else None
    return str(path) if path is not None and path.is_file() else None
