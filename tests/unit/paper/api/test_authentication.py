"""The paper exchange accepts the documentation's own signatures, and none that differs by a character."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from fortctl.exchange.signing import socket_payload
from fortctl.model import KeyPair, KeyType
from fortctl.paper.api.authentication import check_signature
from fortctl.paper.engine.accounts import ApiKey
from fortctl.paper.engine.errors import BinanceError
from support.signature_vectors import HMAC, REST_VECTORS, SOCKET_COMMON, SOCKET_VECTORS


def key_of(pair: KeyPair) -> ApiKey:
    secret, public = pair.secret.reveal(), ""
    if pair.type is not KeyType.HMAC:
        private = load_pem_private_key(secret.encode(), None)
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return ApiKey("doc", "default", pair.api_key.reveal(), pair.type.value, ("reading",), 0, secret, public)


@pytest.mark.parametrize(
    ("pair", "payload", "signature"),
    [
        *REST_VECTORS,
        *((HMAC, socket_payload({**SOCKET_COMMON, **values}), signed) for values, signed in SOCKET_VECTORS),
    ],
)
def test_documented_vectors(pair: KeyPair, payload: bytes, signature: str) -> None:
    key = key_of(pair)
    check_signature(key, payload, signature, encoded=False)
    other = ("0" if signature[0] != "0" else "1") + signature[1:]
    for bad_payload, bad_signature in ((payload + b" ", signature), (payload, other), (payload, signature[:-4])):
        with pytest.raises(BinanceError) as refused:
            check_signature(key, bad_payload, bad_signature, encoded=False)
        assert refused.value.code == -1022
