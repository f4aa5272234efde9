"""Find what unlocks a vault, first match first, and what unlocks a new one."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fortctl.errors import BadInputError, ConfirmationNeededError, VaultLockedError
from fortctl.secret import Secret

if TYPE_CHECKING:
    from fortctl.terminal.global_options import Globals
    from fortctl.terminal.prompts import Prompts
    from fortctl.vault.slots import Unlocker

VaultName = Literal["site", "robot", "issuer"]
Warn = Callable[[str, str], None]

_HINTS: dict[VaultName, str] = {
    "site": "give --passphrase-file, set FORTCTL_PASSPHRASE_FILE, or restore the key file",
    "robot": "give --robot-passphrase-file, or set FORTCTL_ROBOT_PASSPHRASE_FILE",
    "issuer": "set FORTCTL_ISSUER_PASSPHRASE_FILE, or restore the key file",
}


class UnlockSources:
    """Find the unlock sources of one command.

    Args:
        prompts: asks for a passphrase that nothing else provides.
        given: the global options, which name passphrase files.
        warn: receives ``(code, message)``.
    """

    def __init__(self, prompts: Prompts, given: Globals, warn: Warn) -> None:
        self._prompts = prompts
        self._options: dict[VaultName, str | None] = {
            "site": given.passphrase_file,
            "robot": given.robot_passphrase_file,
            "issuer": None,
        }
        self._warn = warn

    def find(self, vault: VaultName, kinds: Sequence[str], keyfile: Path) -> Unlocker:
        """Return the first source available for a vault.

        Args:
            kinds: the kinds of slot that the vault has.
            keyfile: where its key file is.

        Raises:
            VaultLockedError: no source is available.
        """
        from fortctl.vault.slots import KeyFile, Keyring, Passphrase

        if "passphrase" in kinds:
            source = self._passphrase_file(vault)
            if source:
                return Passphrase(self.read_passphrase(source, error=VaultLockedError))
        if "keyfile" in kinds and keyfile.exists():
            return KeyFile(keyfile)
        if "keyring" in kinds:
            from fortctl.vault.keyring import OsKeyring

            return Keyring(OsKeyring())
        if "passphrase" in kinds:
            text = os.environ.get("FORTCTL_PASSPHRASE") if vault == "site" else None
            if text:
                return Passphrase(Secret(text))
            try:
                return Passphrase(self._prompts.read_hidden(f"passphrase of the {vault} vault"))
            except ConfirmationNeededError:
                pass
        raise VaultLockedError(f"nothing unlocks the {vault} vault", hint=_HINTS[vault])

    def new(self, vault: VaultName, kind: str, keyfile: Path, passphrase_file: str | None) -> Unlocker:
        """Return the source of a new slot.

        Args:
            kind: ``passphrase``, ``keyfile`` or ``keyring``.
            passphrase_file: a file with the new passphrase; None prompts for it twice.

        Raises:
            BadInputError, ConfirmationNeededError: no new passphrase was entered.
        """
        from fortctl.vault.slots import KeyFile, Keyring, Passphrase

        if kind == "keyfile":
            return KeyFile(keyfile)
        if kind == "keyring":
            from fortctl.vault.keyring import OsKeyring

            return Keyring(OsKeyring())
        if passphrase_file:
            return Passphrase(self.read_passphrase(passphrase_file))
        return Passphrase(self._prompt_new_passphrase(vault))

    def first(self, kind: str, keyfile: Path) -> Unlocker:
        """Return the source of a new home's site vault: as :meth:`new`, but the usual passphrase sources count too."""
        from fortctl.vault.slots import Passphrase

        source = self._options["site"] or os.environ.get("FORTCTL_PASSPHRASE_FILE")
        text = os.environ.get("FORTCTL_PASSPHRASE") if not source else None
        if kind == "passphrase" and text:
            return Passphrase(Secret(text))
        return self.new("site", kind, keyfile, source)

    def read_passphrase(
        self, source: str, *, error: type[BadInputError] | type[VaultLockedError] = BadInputError
    ) -> Secret:
        """Return the first line of a passphrase file (``-``: stdin), without the line break.

        Args:
            error: what to raise: ``VaultLockedError`` where the passphrase unlocks, ``BadInputError`` where it is new.

        Raises:
            VaultLockedError, BadInputError: the file cannot be read, or its first line is empty.
            UsageError: stdin was read before.
        """
        try:
            data = self._prompts.read_input(source)
        except BadInputError as unreadable:
            raise error(f"the passphrase file: {unreadable.message}") from None
        if source != "-" and _readable_by_others(source):
            self._warn("PASSPHRASE_FILE_OPEN", f"other users can read the passphrase file: chmod 600 {source}")
        line = data.split(b"\n", 1)[0].rstrip(b"\r")
        if not line:
            raise error("the passphrase file is empty")
        return Secret(line)

    def _passphrase_file(self, vault: VaultName) -> str | None:
        prefix = "" if vault == "site" else f"{vault.upper()}_"
        source = self._options[vault] or os.environ.get(f"FORTCTL_{prefix}PASSPHRASE_FILE")
        return source or _systemd_credential(vault)

    def _prompt_new_passphrase(self, vault: VaultName) -> Secret:
        first = self._prompts.read_hidden(f"new passphrase for the {vault} vault")
        second = self._prompts.read_hidden("the same passphrase again")
        if first != second:
            raise BadInputError("the two passphrases differ", hint="try again")
        if not first:
            raise BadInputError("the passphrase is empty", hint="choose a long one")
        return first


def _readable_by_others(path: str) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    # Regular files alone: a pipe ('<(command)') is private. Folders that keep others out are not considered.
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & 0o077)


def _systemd_credential(vault: VaultName) -> str | None:
    """Return the passphrase file that systemd provides (systemd.exec(5), "Credentials"), or None."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    name = "fortctl-passphrase" if vault == "site" else f"fortctl-{vault}-passphrase"
    path = Path(folder) / name if folder else None
    return str(path) if path is not None and path.is_file() else None
