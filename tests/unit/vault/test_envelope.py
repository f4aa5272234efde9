"""The vault's envelopes one by one: what opens them, what does not, and what their size gives away."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from fortctl.errors import NotFoundError, VaultDamagedError, VaultLockedError
from fortctl.secret import Secret
from fortctl.vault import envelope
from fortctl.vault.envelope import bind, open_record, seal_record, unwrap, unwrap_erasure_key, wrap, wrap_erasure_key
from fortctl.vault.format import Record
from fortctl.vault.slots import FLOOR, KeyFile, Keyring, Passphrase

DEK, ERASURE, VAULT = b"d" * 32, b"e" * 32, "vault-1"
RECORD = Record("site/a", "a", "paper", "site", "site-1", "hmac", 1, 1_000, "", "", "")
ERASABLE = RECORD._replace(erasure="a/key-0011223344556677")


class Store:
    """An operating system's keyring."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}

    def get(self, name: str) -> bytes:
        if name not in self.keys:
            raise VaultLockedError("the keyring has no such key")
        return self.keys[name]

    def put(self, name: str, key: bytes) -> None:
        self.keys[name] = key

    def drop(self, name: str) -> None:
        self.keys.pop(name, None)


# -- records -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 251, 252, 253, 508, 1_000])
@pytest.mark.parametrize(("record", "key"), [(RECORD, None), (ERASABLE, ERASURE)], ids=["kept", "erasable"])
def test_a_record_comes_back_and_its_size_is_a_multiple_of_the_block(
    record: Record, key: bytes | None, size: int
) -> None:
    sealed = seal_record(DEK, VAULT, record, Secret(b"x" * size), key)
    assert open_record(DEK, VAULT, sealed, key).reveal_bytes() == b"x" * size
    length = len(base64.b64decode(sealed.data)) - 16
    assert length % envelope.PAD_BLOCK == 0 and 4 + size <= length < 4 + size + envelope.PAD_BLOCK


def test_each_sealing_has_a_nonce_of_its_own() -> None:
    sealed = [seal_record(DEK, VAULT, RECORD, Secret(b"x"), None) for _ in range(2)]
    assert sealed[0].nonce != sealed[1].nonce and sealed[0].data != sealed[1].data
    assert len(base64.b64decode(sealed[0].nonce)) == 12


@pytest.mark.parametrize("key", [None, bytes(32)])
def test_a_record_without_its_erasure_key_was_destroyed(key: bytes | None) -> None:
    sealed = seal_record(DEK, VAULT, ERASABLE, Secret(b"x"), ERASURE)
    with pytest.raises(NotFoundError, match="site/a was destroyed"):
        open_record(DEK, VAULT, sealed, key)


def test_another_key_opens_no_record() -> None:
    sealed = seal_record(DEK, VAULT, ERASABLE, Secret(b"x"), ERASURE)
    plain = seal_record(DEK, VAULT, RECORD, Secret(b"x"), None)
    for attempt in (
        lambda: open_record(b"x" * 32, VAULT, plain, None),
        lambda: open_record(DEK, "vault-2", plain, None),
        lambda: open_record(DEK, VAULT, plain, ERASURE),
        lambda: open_record(DEK, VAULT, sealed, b"f" * 32),
        lambda: open_record(DEK, VAULT, sealed._replace(version=2), ERASURE),
    ):
        with pytest.raises(VaultDamagedError, match="changed or swapped"):
            attempt()


@pytest.mark.parametrize(("length", "good"), [(252, True), (253, False), (2**32 - 1, False)])
def test_a_length_beyond_the_record_is_damage(length: int, good: bool) -> None:
    """Only somebody who holds the vault's key can write one."""
    padded = length.to_bytes(4, "big") + bytes(252)

    sealed = seal_record(DEK, VAULT, RECORD, Secret(b""), None)
    nonce = base64.b64decode(sealed.nonce)
    data = envelope._aead(envelope._record_key(DEK, sealed, None)).encrypt(
        nonce, padded, envelope._record_context(VAULT, sealed)
    )
    forged = sealed._replace(data=base64.b64encode(data).decode())
    if good:
        assert open_record(DEK, VAULT, forged, None).reveal_bytes() == bytes(252)
    else:
        with pytest.raises(VaultDamagedError, match="malformed"):
            open_record(DEK, VAULT, forged, None)


# -- slots -------------------------------------------------------------------------------------------------------------


def test_a_key_file_a_keyring_and_a_passphrase_each_open_their_slot(tmp_path: Path) -> None:
    store = Store()
    passphrase = Passphrase(Secret("correct horse"))
    sources = [KeyFile(tmp_path / "vault.key"), Keyring(store), passphrase]
    slots = [wrap(DEK, VAULT, source, FLOOR) for source in sources]
    assert [slot.kind for slot in slots] == ["keyfile", "keyring", "passphrase"]
    assert [slot.hint for slot in slots] == ["vault.key", slots[1].id, ""] and list(store.keys) == [slots[1].id]
    assert [(slot.memory_kib, slot.iterations, slot.lanes) for slot in slots] == [
        *((0, 0, 0), (0, 0, 0)),
        tuple(FLOOR),
    ]
    assert len({slot.id for slot in slots}) == 3 and len({slot.salt for slot in slots}) == 3
    for slot, source in zip(slots, sources, strict=True):
        assert unwrap(slot, VAULT, source) == DEK
        with pytest.raises(VaultLockedError):
            unwrap(slot, "vault-2", source)


def test_a_source_that_does_not_open_its_slot_is_named(tmp_path: Path) -> None:
    store = Store()
    file, ring = KeyFile(tmp_path / "vault.key"), Keyring(store)
    slots = {"the key file": (wrap(DEK, VAULT, file, FLOOR), file)}
    slots["the key in the keyring"] = (wrap(DEK, VAULT, ring, FLOOR), ring)
    slots["the passphrase"] = (wrap(DEK, VAULT, Passphrase(Secret("a")), FLOOR), Passphrase(Secret("b")))  # type: ignore[assignment]
    (tmp_path / "vault.key").write_bytes(b"o" * 32)
    store.keys = dict.fromkeys(store.keys, b"o" * 32)
    for what, (slot, source) in slots.items():
        with pytest.raises(VaultLockedError, match=f"^{what} does not unlock the vault"):
            unwrap(slot, VAULT, source)


def test_a_key_file_or_a_keyring_of_one_slot_opens_no_slot_of_the_other_kind(tmp_path: Path) -> None:
    store = Store()
    slot = wrap(DEK, VAULT, KeyFile(tmp_path / "vault.key"), FLOOR)
    store.keys[slot.hint] = (tmp_path / "vault.key").read_bytes()
    with pytest.raises(VaultLockedError):
        unwrap(slot, VAULT, Keyring(store))


@pytest.mark.parametrize("field", ["nonce", "wrapped", "salt"])
def test_a_slot_whose_parts_are_cut_is_refused(tmp_path: Path, field: str) -> None:
    source = KeyFile(tmp_path / "vault.key")
    slot = wrap(DEK, VAULT, source, FLOOR)
    cut = base64.b64encode(base64.b64decode(getattr(slot, field))[:-1]).decode()
    with pytest.raises((VaultDamagedError, VaultLockedError)):
        unwrap(slot._replace(**{field: cut}), VAULT, source)


# -- backups -----------------------------------------------------------------------------------------------------------


def test_an_erasure_key_in_a_backup_opens_under_its_own_name_and_vault() -> None:
    wrapped = wrap_erasure_key(DEK, VAULT, "a/key-1", ERASURE)
    assert unwrap_erasure_key(DEK, VAULT, "a/key-1", wrapped) == ERASURE
    for dek, vault, name in ((b"x" * 32, VAULT, "a/key-1"), (DEK, "vault-2", "a/key-1"), (DEK, VAULT, "a/key-2")):
        with pytest.raises(VaultDamagedError, match="the backup was changed"):
            unwrap_erasure_key(dek, vault, name, wrapped)
    with pytest.raises(VaultDamagedError):
        unwrap_erasure_key(DEK, VAULT, "a/key-1", "AAAA")


def test_parts_are_joined_so_that_no_two_lists_are_the_same() -> None:
    lists: list[tuple[str | int | bytes, ...]] = [("ab",), ("a", "b"), ("", "ab"), ("ab", ""), ("a", b"b", ""), (1, 2)]
    assert len({bind(*parts) for parts in lists}) == len(lists)
    assert bind("a", 1) == bind(b"a", "1") == b"\0" * 7 + b"\x01a" + b"\0" * 7 + b"\x011"
