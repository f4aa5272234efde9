"""The order in which unlock sources are tried, and what happens when one is not there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from fortctl.bootstrap.unlock import UnlockSources
from fortctl.errors import BadInputError, VaultLockedError
from fortctl.secret import Secret
from fortctl.terminal.global_options import Globals
from fortctl.terminal.prompts import Prompts
from fortctl.vault.file import VaultFile
from fortctl.vault.slots import KeyFile, Keyring, Passphrase, Unlocker

ALL = ("passphrase", "keyfile", "keyring")


@pytest.fixture
def warnings() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def sources(tmp_path: Path, warnings: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> UnlockSources:
    for name in ("FORTCTL_PASSPHRASE", "FORTCTL_PASSPHRASE_FILE", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    given = Globals(tmp_path, account="bot")
    return UnlockSources(Prompts(no_input=True), given, lambda code, message: warnings.append((code, message)))


def opens(tmp_path: Path, sources: UnlockSources, kinds: Sequence[str]) -> None:
    VaultFile(tmp_path / "vault.toml", tmp_path / "erasure").unlock(
        sources.candidates("site", kinds, tmp_path / "vault.key")
    )


def vault(tmp_path: Path, *unlockers: Unlocker) -> None:
    VaultFile(tmp_path / "vault.toml", tmp_path / "erasure").create(unlockers)


def test_candidates_go_on_when_the_named_file_does_not_exist(
    tmp_path: Path, sources: UnlockSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault(tmp_path, Passphrase(Secret("word")), KeyFile(tmp_path / "vault.key"))
    monkeypatch.setenv("FORTCTL_PASSPHRASE_FILE", str(tmp_path / "missing"))
    opens(tmp_path, sources, ("passphrase", "keyfile"))
    (tmp_path / "vault.key").unlink()
    with pytest.raises(VaultLockedError, match="missing does not exist"):
        opens(tmp_path, sources, ("passphrase", "keyfile"))
    monkeypatch.setenv("FORTCTL_PASSPHRASE", "word\n")
    opens(tmp_path, sources, ("passphrase", "keyfile"))


class EarlierKeyring:
    """The keyring of a session that has ended."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes] = {}

    def put(self, name: str, key: bytes) -> None:
        self._keys[name] = key

    def get(self, name: str) -> bytes:
        return self._keys[name]

    def drop(self, name: str) -> None:
        del self._keys[name]


@pytest.mark.parametrize(
    "backend", ["keyring.backends.fail.Keyring", "no_such_package.Keyring", "keyring.backends.Nope"]
)
def test_candidates_go_on_when_the_keyring_is_missing(
    tmp_path: Path, sources: UnlockSources, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    vault(tmp_path, Keyring(EarlierKeyring()), Passphrase(Secret("word")))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", backend)
    monkeypatch.setattr("keyring.core._keyring_backend", None)
    with pytest.raises(VaultLockedError, match="keyring"):
        opens(tmp_path, sources, ALL)
    monkeypatch.setenv("FORTCTL_PASSPHRASE", "word")
    opens(tmp_path, sources, ALL)


def test_candidates_end_at_a_source_that_is_there_and_wrong(
    tmp_path: Path, sources: UnlockSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault(tmp_path, Passphrase(Secret("word")))
    (tmp_path / "wrong").write_text("another\n")
    monkeypatch.setenv("FORTCTL_PASSPHRASE_FILE", str(tmp_path / "wrong"))
    monkeypatch.setenv("FORTCTL_PASSPHRASE", "word")
    with pytest.raises(VaultLockedError, match="the passphrase does not unlock"):
        opens(tmp_path, sources, ALL)


def test_first_stores_one_form_and_warns_of_a_weak_one(
    tmp_path: Path, sources: UnlockSources, warnings: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORTCTL_PASSPHRASE", "\ufeffpassword1\r\n")
    first = sources.first("site", "passphrase", tmp_path / "vault.key")
    assert isinstance(first, Passphrase) and first.secret == Secret("password1")
    assert [code for code, _message in warnings] == ["WEAK_PASSPHRASE"]
    assert "password1" not in warnings[0][1]
    (tmp_path / "utf16").write_bytes("correct horse".encode("utf-16"))
    monkeypatch.setenv("FORTCTL_PASSPHRASE_FILE", str(tmp_path / "utf16"))
    with pytest.raises(BadInputError, match="UTF-16"):
        sources.first("site", "passphrase", tmp_path / "vault.key")


def test_new_robot_passphrase_says_whose_it_is_when_nobody_can_be_asked(tmp_path: Path, sources: UnlockSources) -> None:
    with pytest.raises(VaultLockedError, match="the vault of account bot's robot is new"):
        sources.new_robot_passphrase(tmp_path / "vault.key")
