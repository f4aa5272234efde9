"""HPKE (RFC 9180, base mode, single shot) a second time, from the specification and bare primitives, for the tests.

KEMs: DHKEM(X25519, HKDF-SHA256) (0x0020), which RFC 9180 has vectors of, and MLKEM768-X25519 (0x647A, "X-Wing",
draft-connolly-cfrg-xwing-kem), which fortctl uses. KDF: HKDF-SHA256. AEADs: AES-128-GCM, AES-256-GCM.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

X25519, HYBRID = 0x0020, 0x647A
KEYS = {0x0001: 16, 0x0002: 32}  # AEAD id: key length
_MLKEM_BYTES, _X25519_BYTES = 1088, 32


def _extract(salt: bytes, key: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), key, "sha256")


def _expand(key: bytes, info: bytes, length: int) -> bytes:
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(key, block + info + bytes([counter]), "sha256")
        out, counter = out + block, counter + 1
    return out[:length]


def _labeled_extract(suite: bytes, salt: bytes, label: bytes, key: bytes) -> bytes:
    return _extract(salt, b"HPKE-v1" + suite + label + key)


def _labeled_expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return _expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def decap_x25519(enc: bytes, private: bytes) -> bytes:
    """Section 4.1 of RFC 9180."""
    key = X25519PrivateKey.from_private_bytes(private)
    dh = key.exchange(X25519PublicKey.from_public_bytes(enc))
    suite = b"KEM" + X25519.to_bytes(2, "big")
    secret = _labeled_extract(suite, b"", b"eae_prk", dh)
    return _labeled_expand(suite, secret, b"shared_secret", enc + key.public_key().public_bytes_raw(), 32)


def _combined(shared: bytes, dh: bytes, enc: bytes, public: bytes) -> bytes:
    return hashlib.sha3_256(shared + dh + enc + public + b"\\.//^\\").digest()


def decap_hybrid(enc: bytes, seed: bytes, scalar: bytes) -> bytes:
    """The X-Wing combiner over ML-KEM-768 and X25519."""
    shared = MLKEM768PrivateKey.from_seed_bytes(seed).decapsulate(enc[:_MLKEM_BYTES])
    key, theirs = X25519PrivateKey.from_private_bytes(scalar), enc[_MLKEM_BYTES:]
    dh = key.exchange(X25519PublicKey.from_public_bytes(theirs))
    return _combined(shared, dh, theirs, key.public_key().public_bytes_raw())


def encap_hybrid(mlkem: bytes, x25519: bytes) -> tuple[bytes, bytes]:
    """Return the shared secret and what carries it."""
    shared, ciphertext = MLKEM768PublicKey.from_public_bytes(mlkem).encapsulate()
    once = X25519PrivateKey.generate()
    mine, dh = once.public_key().public_bytes_raw(), once.exchange(X25519PublicKey.from_public_bytes(x25519))
    return _combined(shared, dh, mine, x25519), ciphertext + mine


def context(kem: int, aead: int, shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Return key and base nonce (section 5.1, base mode, HKDF-SHA256)."""
    suite = b"HPKE" + kem.to_bytes(2, "big") + (1).to_bytes(2, "big") + aead.to_bytes(2, "big")
    ids = _labeled_extract(suite, b"", b"psk_id_hash", b"")
    bound = b"\0" + ids + _labeled_extract(suite, b"", b"info_hash", info)
    secret = _labeled_extract(suite, shared, b"secret", b"")
    return _labeled_expand(suite, secret, b"key", bound, KEYS[aead]), _labeled_expand(
        suite, secret, b"base_nonce", bound, 12
    )


def open_hybrid(box: bytes, seed: bytes, scalar: bytes, info: bytes) -> bytes:
    """Open what was sealed with the hybrid KEM, HKDF-SHA256 and AES-256-GCM, without associated data."""
    size = _MLKEM_BYTES + _X25519_BYTES
    key, nonce = context(HYBRID, 0x0002, decap_hybrid(box[:size], seed, scalar), info)
    return AESGCM(key).decrypt(nonce, box[size:], b"")


def seal_hybrid(text: bytes, mlkem: bytes, x25519: bytes, info: bytes) -> bytes:
    shared, enc = encap_hybrid(mlkem, x25519)
    key, nonce = context(HYBRID, 0x0002, shared, info)
    return enc + AESGCM(key).encrypt(nonce, text, b"")
