"""Whoever edits files of the home: swaps, links, pipes, floods. Nothing is followed, nothing hangs, nothing is hit."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fortctl.errors import FortctlError, NotFoundError, VaultDamagedError
from fortctl.mailbox.pairing import PairingShare, read_share
from fortctl.ports import NewRecord
from fortctl.secret import Secret
from fortctl.vault import erasure
from fortctl.vault.backup import read_backup
from fortctl.vault.envelope import wrap
from fortctl.vault.file import OpenVault, VaultFile
from fortctl.vault.format import MAX_SLOTS, Document, decode, encode
from fortctl.vault.slots import KdfCost, KeyFile, Passphrase, stretch

VICTIM = b"somebody's letter, which has nothing to do with this"


def site_key(text: str) -> NewRecord:
    return NewRecord("key/default/site", "default", "paper", "site", "n", "hmac", Secret(text), True, 1, "site")


@pytest.fixture
def file(tmp_path: Path) -> VaultFile:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return VaultFile(home / "vault.toml", home / "erasure", lock_timeout_s=0.2)


@pytest.fixture
def vault(file: VaultFile) -> OpenVault:
    made = file.create([KeyFile(file.path.with_name("vault.key"))])
    made.update([site_key("the secret")])
    return made


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "letter"
    path.write_bytes(VICTIM)
    return path


def reopened(file: VaultFile) -> OpenVault:
    return file.unlock([KeyFile(file.path.with_name("vault.key"))])


def rewritten(file: VaultFile, change: Callable[[Document], Document]) -> None:
    """Write a changed document with its closing hash made right, as an editor who knows the format would."""
    file.path.write_bytes(encode(change(decode(file.path.read_bytes()))))


def the_key(file: VaultFile) -> Path:
    (found,) = (path for path in file.erasure_root.rglob("*") if path.is_file())
    return found


@pytest.mark.parametrize("target", ["../../letter", "/dev/zero", "default/../../../letter", "default/site-1", ""])
def test_a_record_leads_to_no_file_outside_the_erasure_keys(
    file: VaultFile, vault: OpenVault, victim: Path, target: str
) -> None:
    rewritten(file, lambda old: old._replace(records=tuple(one._replace(erasure=target) for one in old.records)))
    try:
        file.header()
    except FortctlError as refused:
        assert refused.code == "VAULT_DAMAGED"
    with pytest.raises(VaultDamagedError):
        reopened(file)
    assert victim.read_bytes() == VICTIM


def test_an_erasure_key_that_is_a_link_is_not_followed(file: VaultFile, vault: OpenVault, victim: Path) -> None:
    key = the_key(file)
    key.unlink()
    key.symlink_to(victim)
    with pytest.raises(NotFoundError):
        reopened(file).get("key/default/site")
    with pytest.raises(OSError, match="link"):
        erasure.destroy(file.erasure_root, "default")
    assert not os.path.lexists(key) and victim.read_bytes() == VICTIM


def test_a_folder_of_erasure_keys_that_is_a_link_is_not_followed(
    file: VaultFile, vault: OpenVault, victim: Path, tmp_path: Path
) -> None:
    folder = the_key(file).parent
    folder.rename(tmp_path / "away")
    folder.symlink_to(victim.parent)
    with pytest.raises(OSError, match=r"link|directory"):
        erasure.destroy(file.erasure_root, "default")
    with pytest.raises(FortctlError):
        reopened(file).update([site_key("another")])
    assert victim.read_bytes() == VICTIM


def test_what_is_no_erasure_key_is_neither_destroyed_nor_in_the_way(file: VaultFile, vault: OpenVault) -> None:
    folder = the_key(file).parent
    (folder / "notes.txt").write_bytes(VICTIM)
    (folder / "site-0123456789abcdef").mkdir()
    reopened(file).update([site_key("another")])
    assert len(erasure.destroy(file.erasure_root, "default")) == 1
    assert (folder / "notes.txt").read_bytes() == VICTIM


def test_a_lock_that_is_a_link_is_not_followed(file: VaultFile, vault: OpenVault, victim: Path) -> None:
    lock = file.path.with_name(".vault.toml.lock")
    lock.unlink()
    lock.symlink_to(victim)
    with pytest.raises(FortctlError):
        reopened(file).update([site_key("another")])
    assert victim.read_bytes() == VICTIM


def test_a_vault_that_is_a_link_or_a_pipe_is_refused(file: VaultFile, vault: OpenVault, tmp_path: Path) -> None:
    file.path.rename(tmp_path / "elsewhere")
    file.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FortctlError, match="link"):
        reopened(file)
    file.path.unlink()
    os.mkfifo(file.path, 0o600)
    with pytest.raises(FortctlError, match="not a regular file"):
        reopened(file)


def test_a_key_file_that_is_a_pipe_or_a_link_is_refused(file: VaultFile, vault: OpenVault) -> None:
    key = file.path.with_name("vault.key")
    key.rename(key.with_name("elsewhere"))
    key.symlink_to(key.with_name("elsewhere"))
    assert reopened(file).generation == 2, "a key file may lie elsewhere"
    key.unlink()
    os.mkfifo(key, 0o600)
    with pytest.raises(FortctlError):
        reopened(file)


def test_a_huge_vault_is_refused_without_being_read(file: VaultFile, vault: OpenVault) -> None:
    with file.path.open("r+b") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(VaultDamagedError, match="too large"):
        reopened(file)


def test_half_a_character_is_damage(file: VaultFile, vault: OpenVault) -> None:
    """An escape that stands for half a surrogate pair has no UTF-8."""
    data = file.path.read_bytes().replace(b'name = "n"', b'name = "\\ud800"')
    head = data[: data.rindex(b"sha256 = ")]
    import hashlib

    file.path.write_bytes(head + b'sha256 = "' + hashlib.sha256(head).hexdigest().encode() + b'"\n')
    with pytest.raises(VaultDamagedError):
        reopened(file)


def test_half_a_character_in_a_backup_or_a_pairing_is_refused(vault: OpenVault) -> None:
    backup = vault.backup("x = 1\n", 1)
    with pytest.raises(FortctlError):
        read_backup(backup.replace(b"x = 1", b"\\ud800"))
    half = PairingShare("session", bytes(31) + b"\7", bytes(32)).as_bytes()
    assert read_share(half).session == "session"
    with pytest.raises(FortctlError):
        read_share(half.replace(b'session"}', b'\\ud800"}'))


def test_a_flood_of_slots_is_refused_before_anything_is_stretched(
    file: VaultFile, vault: OpenVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare = wrap(bytes(32), "0" * 32, Passphrase(Secret("x")), KdfCost())
    stretched = []
    monkeypatch.setattr("fortctl.vault.envelope.stretch", lambda *given: stretched.append(given))
    rewritten(file, lambda old: old._replace(slots=(*old.slots, *(spare for _ in range(MAX_SLOTS)))))
    with pytest.raises(VaultDamagedError):
        file.unlock([Passphrase(Secret("x"))])
    assert not stretched


@pytest.mark.parametrize("field", ["memory_kib", "iterations", "lanes"])
def test_a_slot_that_asks_for_too_much_is_refused_before_it_is_paid(file: VaultFile, field: str) -> None:
    file.create([Passphrase(Secret("x"))])
    rewritten(file, lambda old: old._replace(slots=(old.slots[0]._replace(**{field: 2**40}),)))
    with pytest.raises(VaultDamagedError, match="outside the allowed bounds"):
        file.unlock([Passphrase(Secret("x"))])


def test_more_memory_than_there_is_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Greedy:
        def __init__(self, **given: object) -> None: ...

        def derive(self, data: bytes) -> bytes:
            raise MemoryError

    monkeypatch.setattr("cryptography.hazmat.primitives.kdf.argon2.Argon2id", Greedy)
    with pytest.raises(FortctlError, match="memory"):
        stretch(Secret("x"), bytes(16), KdfCost())


def test_a_record_swapped_in_from_an_older_vault_is_refused(file: VaultFile, vault: OpenVault) -> None:
    older = decode(file.path.read_bytes()).records[0]
    vault.update([site_key("another")])
    rewritten(file, lambda old: old._replace(records=(older,)))
    with pytest.raises(VaultDamagedError):
        reopened(file)


def test_a_salt_written_another_way_is_refused(file: VaultFile, vault: OpenVault) -> None:
    """Base64 has several writings of the same bytes; a slot binds the one that was written."""

    def other(text: str) -> str:
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        changed = text[:-3] + letters[letters.index(text[-3]) ^ 1] + "=="
        assert base64.b64decode(changed) == base64.b64decode(text) and changed != text
        return changed

    rewritten(file, lambda old: old._replace(slots=(old.slots[0]._replace(salt=other(old.slots[0].salt)),)))
    with pytest.raises(FortctlError):
        reopened(file)
