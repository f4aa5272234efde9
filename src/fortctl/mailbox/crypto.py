"""Encrypt to a recipient (HPKE, RFC 9180, hybrid ML-KEM-768 + X25519), and sign (Ed25519, RFC 8032)."""

from __future__ import annotations

import hashlib
from typing import Any

from fortctl.secret import Secret

_SEED_BYTES, _X25519_BYTES, _MLKEM_PUBLIC_BYTES = 64, 32, 1184


class SealError(Exception):
    """A sealed box cannot be opened with this key and context, or a key is malformed."""


class RecipientKey:
    """A robot's hybrid key pair, to which commands are encrypted.

    The library does not serialise hybrid private keys, so a private key is stored as the ML-KEM seed (64 bytes,
    FIPS 203) followed by the X25519 scalar (32 bytes, RFC 7748).
    """

    def __init__(self, private: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
        from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey

        if len(private) != _SEED_BYTES + _X25519_BYTES:
            raise SealError("a recipient key has a wrong length")
        mlkem = MLKEM768PrivateKey.from_seed_bytes(private[:_SEED_BYTES])
        x25519 = X25519PrivateKey.from_private_bytes(private[_SEED_BYTES:])
        self._private = Secret(private)
        self._key = MLKEM768X25519PrivateKey(mlkem, x25519)
        self._public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> RecipientKey:
        import os

        return cls(os.urandom(_SEED_BYTES + _X25519_BYTES))

    @classmethod
    def from_private(cls, private: Secret) -> RecipientKey:
        return cls(private.reveal_bytes())

    @property
    def key_id(self) -> str:
        return key_id_of(self._public)

    def public_bytes(self) -> bytes:
        """Return the ML-KEM-768 public key (1184 bytes) and the X25519 public key (32 bytes)."""
        return self._public

    def private_bytes(self) -> Secret:
        return Secret(self._private.reveal_bytes())

    def unseal(self, sealed: bytes, context: bytes) -> Secret:
        """Open a sealed box. Raises ``SealError``."""
        from cryptography.exceptions import InvalidTag

        try:
            return Secret(_suite().decrypt(sealed, self._key, context))
        except (InvalidTag, ValueError):
            raise SealError("the sealed box cannot be opened") from None


def key_id_of(public: bytes) -> str:
    """Return the 16 hex digits that name a recipient key."""
    return hashlib.sha256(b"fortctl/1/recipient\0" + public).hexdigest()[:16]


def seal(plaintext: Secret, recipient_public: bytes, context: bytes) -> bytes:
    """Encrypt to a recipient; *context* becomes HPKE's ``info``, and the same context is needed to open the box.

    Raises:
        SealError: the public key is malformed.
    """
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
    from cryptography.hazmat.primitives.hpke import MLKEM768X25519PublicKey

    if len(recipient_public) != _MLKEM_PUBLIC_BYTES + _X25519_BYTES:
        raise SealError("a recipient's public key has a wrong length")
    try:
        public = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(recipient_public[:_MLKEM_PUBLIC_BYTES]),
            X25519PublicKey.from_public_bytes(recipient_public[_MLKEM_PUBLIC_BYTES:]),
        )
        sealed: bytes = _suite().encrypt(plaintext.reveal_bytes(), public, context)
    except ValueError:
        raise SealError("a recipient's public key is malformed") from None
    return sealed


def unseal(sealed: bytes, key: RecipientKey, context: bytes) -> Secret:
    """Open a sealed box. Raises ``SealError``."""
    return key.unseal(sealed, context)


def _suite() -> Any:
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class Identity:
    """An Ed25519 identity: an operator's or a robot's."""

    def __init__(self, private: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._private = Secret(private)
        self._key = Ed25519PrivateKey.from_private_bytes(private)

    @classmethod
    def generate(cls) -> Identity:
        import os

        return cls(os.urandom(32))

    @classmethod
    def from_private(cls, private: Secret) -> Identity:
        return cls(private.reveal_bytes())

    @property
    def id(self) -> str:
        """16 hex digits of the public key's hash."""
        return identity_id(self.public_bytes())

    def private(self) -> Secret:
        return Secret(self._private.reveal_bytes())

    def public_bytes(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, purpose: str, body: bytes) -> bytes:
        """Sign a body for one purpose; the signature is not valid for any other purpose."""
        return self._key.sign(_domain(purpose, body))


def identity_id(public: bytes) -> str:
    """Return the 16 hex digits that name an identity."""
    return hashlib.sha256(b"fortctl/1/identity\0" + public).hexdigest()[:16]


def verify(public: bytes, purpose: str, body: bytes, signature: bytes) -> bool:
    """Return whether a signature over *body* for *purpose* was made by the identity *public*."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if low_order(public):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _domain(purpose, body))
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


# The prime of Curve25519, and the y of its points of order 1, 2, 4 and 8. Under such a "public key" one signature is
# valid for every message; RFC 8032, section 8.9, leaves their rejection to the verifier.
_P = 2**255 - 19
_LOW_ORDER_Y = frozenset(
    (
        *(0, 1, _P - 1),
        int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
        int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
    )
)


def low_order(public: bytes) -> bool:
    """Return whether an Ed25519 public key is a point of low order, which must be rejected."""
    return int.from_bytes(public, "little") % 2**255 % _P in _LOW_ORDER_Y


def _domain(purpose: str, body: bytes) -> bytes:
    return b"fortctl/1/" + purpose.encode() + b"\0" + body
