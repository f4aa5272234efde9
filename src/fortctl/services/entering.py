"""Read the key that an operator enters. Pure; nothing of the input is ever repeated in an error."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fortctl.errors import BadInput
from fortctl.model import KeyPair, KeyType
from fortctl.secret import Secret

_ALNUM = re.compile(r"[A-Za-z0-9]{16,128}")
_NAME_LIMIT = 64
_PEM = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----\n?"
)


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse the JSON object of ``--input``; the whole envelope of ``paper keys create --json`` is taken too.

    Raises:
        BadInput: it is no JSON object.
    """
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise BadInput("the input is no JSON document") from None
    if isinstance(value, dict) and value.get("ok") is True and isinstance(value.get("data"), dict):
        value = value["data"]
    if not isinstance(value, dict):
        raise BadInput("the input is no JSON object")
    return value


def parse_key(fields: Mapping[str, Any], *, name: str | None, key_type: KeyType | None, default_name: str) -> KeyPair:
    """Make a key pair of the fields that were entered.

    Args:
        fields: ``{"name", "api_key", "secret_key" | "private_key", "type"?}``.
        name: ``--name``, which wins over the field.
        key_type: ``--type``, which must agree with what was entered.
        default_name: used when neither names the key.

    Raises:
        BadInput: a field is missing or malformed; the message names the field, never its content.
    """
    shown = name if name is not None else fields.get("name", default_name)
    if not isinstance(shown, str) or not 0 < len(shown.strip()) <= _NAME_LIMIT or not shown.isprintable():
        raise BadInput(f"name must be 1 to {_NAME_LIMIT} printable characters")
    api_key = _text(fields, "api_key")
    if not _ALNUM.fullmatch(api_key):
        raise BadInput("api_key is not what Binance makes: 64 letters and digits", hint=_COPY_HINT)
    if "private_key" in fields and "secret_key" in fields:
        raise BadInput("secret_key and private_key exclude each other")
    if "private_key" in fields:
        secret, found = _private_key(_text(fields, "private_key"))
    else:
        value = _text(fields, "secret_key")
        if not _ALNUM.fullmatch(value):
            raise BadInput("secret_key is not what Binance makes: 64 letters and digits", hint=_COPY_HINT)
        if value == api_key:
            raise BadInput("api_key and secret_key are the same", hint=_COPY_HINT)
        secret, found = Secret(value), KeyType.HMAC
    wanted = key_type or _declared_type(fields)
    if wanted is not None and wanted is not found:
        raise BadInput(f"the key is of type {found}, not {wanted}", hint=f"give --type {found}, or enter the other key")
    return KeyPair(shown.strip(), found, Secret(api_key), secret)


_COPY_HINT = "copy it again from Binance's page, without spaces, quotes or line breaks"


def _text(fields: Mapping[str, Any], field: str) -> str:
    value = fields.get(field)
    if not isinstance(value, str) or not value:
        raise BadInput(f"{field} is missing or no text")
    return value


def _declared_type(fields: Mapping[str, Any]) -> KeyType | None:
    declared = fields.get("type")
    if declared is None:
        return None
    try:
        return KeyType(declared)
    except ValueError:
        raise BadInput("type is not one of hmac, ed25519, rsa") from None


def _private_key(text: str) -> tuple[Secret, KeyType]:
    pem = text.replace("\r\n", "\n").strip() + "\n"
    if not _PEM.fullmatch(pem):
        raise BadInput("private_key is no PEM private key", hint="give the PKCS#8 PEM as one JSON string")
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode("ascii"), password=None)
    except TypeError:
        raise BadInput("private_key is encrypted", hint="decrypt it first (openssl pkey -in FILE)") from None
    except Exception:  # the library's message may quote the input
        raise BadInput("private_key cannot be read as a PEM private key") from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return Secret(pem), KeyType.ED25519
    if isinstance(key, rsa.RSAPrivateKey):
        # Binance takes 2048 to 4096 bits (faqs/api_key_types.md).
        if not 2048 <= key.key_size <= 4096:
            raise BadInput("an RSA key must have 2048 to 4096 bits")
        return Secret(pem), KeyType.RSA
    raise BadInput("private_key is neither Ed25519 nor RSA")
