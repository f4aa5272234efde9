"""The vault's cryptography: wrapping the data-encryption key, sealing records, the whole-vault tag.

AES-256-GCM (NIST SP 800-38D) with random 96-bit nonces, HKDF-SHA-256 (RFC 5869), HMAC-SHA-256 (RFC 2104).
"""

from __future__ import annotations

import base64
import hmac
import os
from typing import TYPE_CHECKING

from fortctl.errors import NotFoundError, VaultDamagedError, VaultLockedError
from fortctl.secret import Secret
from fortctl.vault.format import FORMAT, Document, Record, Slot, body
from fortctl.vault.passphrases import spellings
from fortctl.vault.slots import KEY_BYTES, KdfCost, KeyFile, Keyring, Unlocker, make_keyfile, read_keyfile, stretch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
PAD_BLOCK = 256
_LENGTH_BYTES = 4


def hkdf(key: bytes, *, salt: bytes, info: bytes, length: int = KEY_BYTES) -> bytes:
    """Derive a key (HKDF-SHA-256, RFC 5869)."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(key)


def bind(*parts: str | int | bytes) -> bytes:
    """Join parts unambiguously: each is preceded by its length, so no two lists give the same bytes."""
    joined = b""
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        joined += len(data).to_bytes(8, "big") + data
    return joined


def wrap(dek: bytes, vault_id: str, source: Unlocker, cost: KdfCost) -> Slot:
    """Return a new slot that lets a source unlock the data-encryption key."""
    slot_id, salt = os.urandom(8).hex(), os.urandom(16)
    if isinstance(source, KeyFile):
        slot = Slot(slot_id, "keyfile", source.path.name, 0, 0, 0, _b64(salt), "", "")
        kek = _random_kek("keyfile", make_keyfile(source.path), salt)
    elif isinstance(source, Keyring):
        slot = Slot(slot_id, "keyring", slot_id, 0, 0, 0, _b64(salt), "", "")
        key = os.urandom(KEY_BYTES)
        source.store.put(slot_id, key)
        kek = _random_kek("keyring", key, salt)
    else:
        slot = Slot(slot_id, "passphrase", "", cost.memory_kib, cost.iterations, cost.lanes, _b64(salt), "", "")
        kek = stretch(source.secret, salt, cost)
    nonce = os.urandom(NONCE_BYTES)
    sealed = _aead(kek).encrypt(nonce, dek, _slot_context(vault_id, slot))
    return slot._replace(nonce=_b64(nonce), wrapped=_b64(sealed))


def unwrap(slot: Slot, vault_id: str, source: Unlocker) -> bytes:
    """Return the data-encryption key.

    Raises:
        VaultLockedError: the source does not open the slot.
        VaultDamagedError: the slot is malformed, or its Argon2id cost is out of bounds.
    """
    from cryptography.exceptions import InvalidTag

    for kek in _keks(slot, source):
        try:
            return _aead(kek).decrypt(_nonce(slot.nonce), _unb64(slot.wrapped), _slot_context(vault_id, slot))
        except InvalidTag:
            continue
    what = {"keyfile": "the key file", "keyring": "the key in the keyring"}.get(slot.kind, "the passphrase")
    raise VaultLockedError(f"{what} does not unlock the vault", hint="check which one belongs to this home")


def _keks(slot: Slot, source: Unlocker) -> Iterator[bytes]:
    salt = _unb64(slot.salt)
    if isinstance(source, KeyFile):
        yield _random_kek("keyfile", read_keyfile(source.path), salt)
    elif isinstance(source, Keyring):
        yield _random_kek("keyring", source.store.get(slot.hint), salt)
    else:
        cost = KdfCost(slot.memory_kib, slot.iterations, slot.lanes)
        for passphrase in spellings(source.secret):
            yield stretch(passphrase, salt, cost)


def seal_record(dek: bytes, vault_id: str, record: Record, plaintext: Secret, erasure_key: bytes | None) -> Record:
    """Encrypt a record's plaintext; the record's visible fields are its associated data."""
    nonce = os.urandom(NONCE_BYTES)
    data = plaintext.reveal_bytes()
    padded = len(data).to_bytes(_LENGTH_BYTES, "big") + data
    padded += bytes(-len(padded) % PAD_BLOCK)
    key = _record_key(dek, record, erasure_key)
    sealed = _aead(key).encrypt(nonce, padded, _record_context(vault_id, record))
    return record._replace(nonce=_b64(nonce), data=_b64(sealed))


def open_record(dek: bytes, vault_id: str, record: Record, erasure_key: bytes | None) -> Secret:
    """Decrypt a record.

    Raises:
        NotFoundError: the record was destroyed (its erasure key is gone).
        VaultDamagedError: the record was changed, or belongs to another place.
    """
    from cryptography.exceptions import InvalidTag

    if record.erasure and (erasure_key is None or not any(erasure_key)):
        raise NotFoundError(f"the record {record.id} was destroyed")
    try:
        padded = _aead(_record_key(dek, record, erasure_key)).decrypt(
            _nonce(record.nonce), _unb64(record.data), _record_context(vault_id, record)
        )
    except InvalidTag:
        raise VaultDamagedError(
            f"the vault's record {record.id} cannot be decrypted: it was changed or swapped"
        ) from None
    length = int.from_bytes(padded[:_LENGTH_BYTES], "big")
    if length > len(padded) - _LENGTH_BYTES:
        raise VaultDamagedError(f"the vault's record {record.id} is malformed")
    return Secret(padded[_LENGTH_BYTES : _LENGTH_BYTES + length])


def tagged(dek: bytes, document: Document) -> Document:
    """Return the document with its whole-vault tag."""
    return document._replace(tag=_tag(dek, document))


def check_tag(dek: bytes, document: Document) -> None:
    """Raise ``VaultDamagedError`` if the whole-vault tag does not match the document."""
    if not hmac.compare_digest(_tag(dek, document).encode(), document.tag.encode()):
        raise VaultDamagedError("the vault file was changed: its tag does not match")


def _tag(dek: bytes, document: Document) -> str:
    key = hkdf(dek, salt=document.vault_id.encode(), info=b"fortctl-vault/1 tag")
    return hmac.digest(key, body(document), "sha256").hex()


def _random_kek(kind: str, key: bytes, salt: bytes) -> bytes:
    return hkdf(key, salt=salt, info=f"fortctl-vault/1 {kind} slot".encode())


def wrap_erasure_key(dek: bytes, vault_id: str, name: str, key: bytes) -> str:
    """Return an erasure key encrypted under the data-encryption key, for a backup (base64)."""
    nonce = os.urandom(NONCE_BYTES)
    return _b64(nonce + _aead(_backup_key(dek, vault_id)).encrypt(nonce, key, bind(vault_id, name)))


def unwrap_erasure_key(dek: bytes, vault_id: str, name: str, wrapped: str) -> bytes:
    """Return an erasure key of a backup. Raises ``VaultDamagedError``."""
    from cryptography.exceptions import InvalidTag

    data = _unb64(wrapped)
    try:
        return _aead(_backup_key(dek, vault_id)).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bind(vault_id, name))
    except (InvalidTag, ValueError):
        raise VaultDamagedError("the backup was changed: one of its erasure keys cannot be decrypted") from None


def backup_mac(dek: bytes, vault_id: str, data: bytes) -> str:
    """Return the tag over a whole backup (HMAC-SHA-256, hex)."""
    key = hkdf(dek, salt=vault_id.encode(), info=b"fortctl-vault/1 backup tag")
    return hmac.digest(key, data, "sha256").hex()


def _backup_key(dek: bytes, vault_id: str) -> bytes:
    return hkdf(dek, salt=vault_id.encode(), info=b"fortctl-vault/1 backup")


def _record_key(dek: bytes, record: Record, erasure_key: bytes | None) -> bytes:
    info = b"fortctl-vault/1 record" + bind(record.id, record.version)
    return hkdf(dek, salt=erasure_key or bytes(KEY_BYTES), info=info)


def _slot_context(vault_id: str, slot: Slot) -> bytes:
    return bind(
        *(FORMAT, vault_id, slot.id, slot.kind, slot.hint),
        *(slot.memory_kib, slot.iterations, slot.lanes, slot.salt),
    )


def _record_context(vault_id: str, record: Record) -> bytes:
    return bind(
        *(FORMAT, vault_id, record.id, record.account, record.exchange, record.role, record.name),
        *(record.type, record.version, record.created, record.erasure),
    )


def _aead(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _nonce(text: str) -> bytes:
    nonce = _unb64(text)
    if len(nonce) != NONCE_BYTES:
        raise VaultDamagedError("the vault file is malformed: a nonce has a wrong length")
    return nonce


def _unb64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise VaultDamagedError("the vault file is malformed: a field is not valid base64") from None
