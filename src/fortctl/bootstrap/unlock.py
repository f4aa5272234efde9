"""Find what unlocks a vault, first match first, and what unlocks a new one."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
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
        self._account = given.account
        self._options: dict[VaultName, str | None] = {
            "site": given.passphrase_file,
            "robot": given.robot_passphrase_file,
            "issuer": None,
        }
        self._warn = warn

    def candidates(self, vault: VaultName, kinds: Sequence[str], keyfile: Path) -> Iterator[Unlocker]:
        """Yield what may unlock a vault, in the documented order; ask for the next only if the last was not there.

        A source that is there ends the search: a wrong passphrase is an error, not a reason to try the next one.

        Args:
            kinds: the kinds of slot that the vault has.
            keyfile: where its key file is.

        Raises:
            VaultLockedError: no further source is available.
        """
        from fortctl.vault.slots import KeyFile, Keyring, Passphrase

        missing = ""
        if "passphrase" in kinds:
            source = self._passphrase_file(vault)
            if source and (source == self._options[vault] or os.path.lexists(source)):
                try:
                    yield Passphrase(self.read_passphrase(source))
                except BadInputError as error:
                    raise VaultLockedError(error.message) from None
                return
            if source:
                missing = f": the passphrase file {source} does not exist"
        if "keyfile" in kinds and keyfile.exists():
            yield KeyFile(keyfile)
            return
        if "keyring" in kinds:
            from fortctl.vault.keyring import OsKeyring

            yield Keyring(OsKeyring())
        if "passphrase" in kinds:
            text = os.environb.get(b"FORTCTL_PASSPHRASE") if vault == "site" else None
            if text:
                yield Passphrase(Secret(text))
                return
            try:
                entered = self._prompts.read_hidden(f"passphrase of {self._vault_words(vault)}")
            except ConfirmationNeededError:
                pass
            else:
                yield Passphrase(entered)
                return
        raise VaultLockedError(f"nothing unlocks {self._vault_words(vault)}{missing}", hint=_HINTS[vault])

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
            return Passphrase(self._accepted(self._read_file(passphrase_file)))
        return Passphrase(self._prompt_new_passphrase(vault))

    def first(self, vault: VaultName, kind: str, keyfile: Path) -> Unlocker:
        """Return the source of a vault that does not exist yet: as :meth:`new`, from the usual sources or prompts."""
        from fortctl.vault.slots import Passphrase

        source = self._passphrase_file(vault)
        text = os.environb.get(b"FORTCTL_PASSPHRASE") if vault == "site" and not source else None
        if kind == "passphrase" and text:
            return Passphrase(self._accepted(text))
        return self.new(vault, kind, keyfile, source)

    def new_robot_passphrase(self, keyfile: Path) -> Secret:
        """Return the passphrase of a robot vault that is about to be made.

        Raises:
            VaultLockedError: nothing provides one, and nobody can be asked.
            BadInputError: what was entered cannot be a passphrase.
        """
        from fortctl.vault.slots import Passphrase

        try:
            source = self.first("robot", "passphrase", keyfile)
        except ConfirmationNeededError as error:
            raise VaultLockedError(
                f"{self._vault_words('robot')} is new and needs a passphrase: {error.message}", hint=_HINTS["robot"]
            ) from None
        assert isinstance(source, Passphrase)
        return source.secret

    def read_passphrase(self, source: str) -> Secret:
        """Return the first line of a passphrase file (``-``: stdin), without the line break.

        Raises:
            BadInputError: the file cannot be read, or its first line is empty.
            UsageError: stdin was read before.
        """
        from fortctl.vault.passphrases import first_line

        line = first_line(self._read_file(source))
        if not line:
            raise BadInputError("the passphrase file is empty")
        return Secret(line)

    def _read_file(self, source: str) -> bytes:
        try:
            data = self._prompts.read_input(source)
        except BadInputError as unreadable:
            raise BadInputError(f"the passphrase file: {unreadable.message}", hint=unreadable.hint) from None
        if source != "-" and _readable_by_others(source):
            self._warn("PASSPHRASE_FILE_OPEN", f"other users can read the passphrase file: chmod 600 {source}")
        return data

    def _passphrase_file(self, vault: VaultName) -> str | None:
        prefix = "" if vault == "site" else f"{vault.upper()}_"
        source = self._options[vault] or os.environ.get(f"FORTCTL_{prefix}PASSPHRASE_FILE")
        credential = _systemd_credential(vault)
        if source and not self._options[vault] and not os.path.lexists(source) and credential:
            return credential
        return source or credential

    def _prompt_new_passphrase(self, vault: VaultName) -> Secret:
        first = self._prompts.read_hidden(f"new passphrase for {self._vault_words(vault)}")
        second = self._prompts.read_hidden("the same new passphrase again")
        if first != second:
            raise BadInputError("the two passphrases differ", hint="try again")
        return self._accepted(first.reveal_bytes())

    def _accepted(self, data: bytes) -> Secret:
        """Return a new passphrase in the form that vaults store, and warn if it is easy to guess."""
        from fortctl.vault.passphrases import SHORT, new_passphrase, weakness

        passphrase = new_passphrase(data)
        reason = weakness(passphrase)
        if reason:
            self._warn(
                "WEAK_PASSPHRASE",
                f"the new passphrase has fewer than {SHORT} characters and is easy to guess ({reason})",
            )
        return passphrase

    def _vault_words(self, vault: VaultName) -> str:
        return f"the vault of account {self._account}'s robot" if vault == "robot" else f"the {vault} vault"


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
