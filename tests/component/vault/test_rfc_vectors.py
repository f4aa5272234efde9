"""The standards' own vectors, through the paths that fortctl itself takes."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from fortctl.mailbox import crypto as seal_module
from fortctl.mailbox.crypto import Identity, RecipientKey, SealError, low_order, seal, unseal, verify
from fortctl.secret import Secret
from fortctl.vault.envelope import hkdf
from support import reference_hpke

ED25519 = (  # RFC 8032, section 7.1: secret key, public key, message, signature
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
)


@pytest.mark.parametrize(("private", "public", "message", "signature"), ED25519)
def test_rfc_8032(monkeypatch: pytest.MonkeyPatch, private: str, public: str, message: str, signature: str) -> None:
    """Through ``Identity`` and ``verify``, with the domain before the message left away for once."""
    monkeypatch.setattr(seal_module, "_domain", lambda purpose, body: body)
    identity = Identity.from_private(Secret(bytes.fromhex(private)))
    assert identity.public_bytes().hex() == public
    assert identity.sign("", bytes.fromhex(message)).hex() == signature
    assert verify(bytes.fromhex(public), "", bytes.fromhex(message), bytes.fromhex(signature))
    for at in range(0, 64, 7):
        bad = bytearray(bytes.fromhex(signature))
        bad[at] ^= 1
        assert not verify(bytes.fromhex(public), "", bytes.fromhex(message), bytes(bad))


# Signatures that a careless verifier takes: s not below the group's order (RFC 8032, section 5.1.7), a public key of
# low order, cut and empty ones.
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def roots(square: int) -> list[int]:
    """Return the square roots modulo P (RFC 8032, section 5.1.3)."""
    root = pow(square, (P + 3) // 8, P)
    found = [one for one in (root, root * pow(2, (P - 1) // 4, P) % P) if one * one % P == square % P]
    return [sign * one % P for one in found for sign in (1, -1)]


def eighths() -> list[int]:
    """Return the y of the points of order eight: twice such a point has y = 0, so x² = −y², and d·y⁴ + 2·y² = 1."""
    return sorted({y for root in roots(1 + D) for y in roots((root - 1) * pow(D, -1, P))})


LOW_ORDER = [0, 1, P - 1, *eighths()]
ORDER = 2**252 + 27742317777372353535851937790883648493


def test_malleable_and_degenerate_signatures_are_refused() -> None:
    identity = Identity.generate()
    good = identity.sign("card", b"body")
    s = int.from_bytes(good[32:], "little") + ORDER
    assert not verify(identity.public_bytes(), "card", b"body", good[:32] + s.to_bytes(32, "little"))
    neutral = (1).to_bytes(32, "little")
    for y in LOW_ORDER:
        for encoded in (y, y + 2**255, *((y + P,) if y + P < 2**255 else ())):
            public = encoded.to_bytes(32, "little")
            assert low_order(public) and not verify(public, "card", b"body", neutral + bytes(32))
    assert not low_order(identity.public_bytes())
    assert len(LOW_ORDER) == 5
    for cut in (b"", good[:63], good + b"\0"):
        assert not verify(identity.public_bytes(), "card", b"body", cut)


HKDF = (  # RFC 5869, appendix A.1 to A.3: key, salt, info, length, output
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        "0b" * 22,
        "",
        "",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
)


@pytest.mark.parametrize(("key", "salt", "info", "output"), HKDF)
def test_rfc_5869(key: str, salt: str, info: str, output: str) -> None:
    found = hkdf(bytes.fromhex(key), salt=bytes.fromhex(salt), info=bytes.fromhex(info), length=len(output) // 2)
    assert found.hex() == output


# RFC 9180, appendix A.1.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, base mode.
INFO = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
PRIVATE = bytes.fromhex("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8")
ENC = bytes.fromhex("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431")
SHARED = "fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc"
KEY, NONCE = "4531685d41d65f03dc48f6b8302c05b0", "56d890e5accaaf011cff4b7d"
TEXT = b"Beauty is truth, truth beauty"
BOX = bytes.fromhex("f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a")


def test_rfc_9180() -> None:
    """The vectors hold for the second writing of HPKE in the tests, and that one and the library agree.

    The library's module is single-shot and takes no associated data, which every vector of the RFC has: so the vectors
    cannot go through it as they are. The next test closes the chain to what fortctl calls.
    """
    shared = reference_hpke.decap_x25519(ENC, PRIVATE)
    key, nonce = reference_hpke.context(reference_hpke.X25519, 0x0001, shared, INFO)
    assert (shared.hex(), key.hex(), nonce.hex()) == (SHARED, KEY, NONCE)
    assert AESGCM(key).decrypt(nonce, BOX, b"Count-0") == TEXT
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_128_GCM)
    box = ENC + AESGCM(key).encrypt(nonce, TEXT, b"")
    assert suite.decrypt(box, X25519PrivateKey.from_private_bytes(PRIVATE), INFO) == TEXT


@pytest.mark.parametrize("info", [b"", b"fortctl/1/command\0{}", b"x" * 3000])
def test_our_own_path_is_rfc_9180_with_the_hybrid_kem(info: bytes) -> None:
    """What ``seal`` makes opens by the second writing, and what that one makes opens by ``unseal``."""
    recipient = RecipientKey.generate()
    seed, scalar = recipient.private_bytes().reveal_bytes()[:64], recipient.private_bytes().reveal_bytes()[64:]
    mlkem, x25519 = recipient.public_bytes()[:1184], recipient.public_bytes()[1184:]
    box = seal(Secret("a secret"), recipient.public_bytes(), info)
    assert reference_hpke.open_hybrid(box, seed, scalar, info) == b"a secret"
    theirs = reference_hpke.seal_hybrid(b"a secret", mlkem, x25519, info)
    assert unseal(theirs, recipient, info).reveal() == "a secret"


def test_boxes_that_must_not_open() -> None:
    recipient = RecipientKey.generate()
    box = seal(Secret("a secret"), recipient.public_bytes(), b"info")
    low_order = box[:1088] + bytes(32) + box[1120:]
    for bad in (b"", box[:100], box[:-1], box + b"\0", low_order, bytes(len(box))):
        with pytest.raises(SealError):
            unseal(bad, recipient, b"info")
    for public in (recipient.public_bytes()[:-1], b"\xff" * 1216, recipient.public_bytes()[:1184] + bytes(32)):
        with pytest.raises(SealError):
            seal(Secret("a secret"), public, b"info")
