"""Read the key that an operator enters. Pure; nothing of the input is ever repeated in an error."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fortctl.errors import BadInputError
from fortctl.model import KeyPair, KeyType
from fortctl.secret import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

_ALNUM = re.compile(r"[A-Za-z0-9]{64}")
_NAME_LIMIT = 64
_AROUND = " \t\r\n\u00a0\u200b\ufeff"
_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’"}
_PEM = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----\n?"
)


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse the JSON object of ``--input``; the whole envelope of ``paper keys create --json`` is taken too.

    Raises:
        BadInputError: it is no JSON object.
    """
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise BadInputError("the input is no JSON document") from None
    if isinstance(value, dict) and value.get("ok") is True and isinstance(value.get("data"), dict):
        value = value["data"]
    if not isinstance(value, dict):
        raise BadInputError("the input is no JSON object")
    return value


def parse_key(
    fields: Mapping[str, Any],
    *,
    name: str | None,
    key_type: KeyType | None,
    default_name: str,
    passphrase: Callable[[], Secret] | None = None,
) -> KeyPair:
    """Make a key pair of the fields that were entered.

    Args:
        fields: ``{"name", "api_key", "secret_key" | "private_key", "type"?}``.
        name: ``--name``, which wins over the field.
        key_type: ``--type``, which must agree with what was entered.
        default_name: used when neither names the key.
        passphrase: gives the passphrase of an encrypted PEM, when there is one to be opened.

    Raises:
        BadInputError: a field is missing or malformed; the message names the field, never its content.
    """
    shown = _name(fields, name, default_name)
    api_key = _alnum(fields, "api_key")
    if "private_key" in fields and "secret_key" in fields:
        raise BadInputError("secret_key and private_key exclude each other")
    if "private_key" in fields:
        secret, found = _private_key(_text(fields, "private_key"), passphrase)
    else:
        value = _alnum(fields, "secret_key")
        if value == api_key:
            raise BadInputError("api_key and secret_key are the same", hint=_COPY_HINT)
        secret, found = Secret(value), KeyType.HMAC
    wanted = key_type or _declared_type(fields)
    if wanted is not None and wanted is not found:
        raise BadInputError(
            f"the key is of type {found}, not {wanted}", hint=f"give --type {found}, or enter the other key"
        )
    return KeyPair(shown, found, Secret(api_key), secret)


def parse_api_key(fields: Mapping[str, Any], *, name: str | None, default_name: str) -> tuple[Secret, str]:
    """Return the API key that completes a pair made here, and the key's name. Raises ``BadInputError``."""
    if "secret_key" in fields or "private_key" in fields:
        raise BadInputError("with --pending only api_key is entered: the private half is here already")
    return Secret(_alnum(fields, "api_key")), _name(fields, name, default_name)


def _name(fields: Mapping[str, Any], name: str | None, default_name: str) -> str:
    shown = name if name is not None else fields.get("name", default_name)
    if not isinstance(shown, str) or not 0 < len(shown.strip()) <= _NAME_LIMIT or not shown.isprintable():
        raise BadInputError(f"name must be 1 to {_NAME_LIMIT} printable characters")
    return shown.strip()


_COPY_HINT = "copy it again from Binance's page, without spaces, quotes or line breaks"


def _text(fields: Mapping[str, Any], field: str) -> str:
    """Return a field without the white space and the pair of quotes that copying brings along."""
    value = fields.get(field)
    if not isinstance(value, str):
        raise BadInputError(f"{field} is missing or no text")
    value = value.strip(_AROUND)
    if len(value) > 1 and value[0] in _QUOTES and value[-1] == _QUOTES[value[0]]:
        value = value[1:-1].strip(_AROUND)
    if not value:
        raise BadInputError(f"{field} is missing or empty")
    return value


def _alnum(fields: Mapping[str, Any], field: str) -> str:
    value = _text(fields, field)
    if _ALNUM.fullmatch(value):
        return value
    if "PRIVATE KEY" in value:
        raise BadInputError(f"{field} holds a private key", hint='a private key goes into "private_key", as PEM')
    if any(character.isspace() for character in value):
        raise BadInputError(f"{field} has white space inside", hint=_COPY_HINT)
    raise BadInputError(f"{field} is not what Binance makes: 64 letters and digits", hint=_COPY_HINT)


def _declared_type(fields: Mapping[str, Any]) -> KeyType | None:
    declared = fields.get("type")
    if declared is None:
        return None
    try:
        return KeyType(declared)
    except ValueError:
        raise BadInputError("type is not one of hmac, ed25519, rsa") from None


def _private_key(text: str, passphrase: Callable[[], Secret] | None) -> tuple[Secret, KeyType]:
    pem = text.replace("\r\n", "\n").strip() + "\n"
    if not _PEM.fullmatch(pem):
        raise BadInputError("private_key is no PEM private key", hint="give the PKCS#8 PEM as one JSON string")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    locked = "ENCRYPTED" in pem.partition("\n")[0]
    if locked and passphrase is None:
        raise BadInputError("private_key is encrypted", hint="give its passphrase: --key-passphrase-file FILE")
    password = passphrase().reveal_bytes() if locked and passphrase is not None else None
    try:
        key = serialization.load_pem_private_key(pem.encode("ascii"), password=password)
    except Exception:  # the library's message may quote the input
        if locked:
            raise BadInputError("the passphrase does not open the private key", hint="check which one it is") from None
        raise BadInputError("private_key cannot be read as a PEM private key") from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return _pkcs8(key), KeyType.ED25519
    if isinstance(key, rsa.RSAPrivateKey):
        # Binance takes 2048 to 4096 bits (faqs/api_key_types.md).
        if not 2048 <= key.key_size <= 4096:
            raise BadInputError("an RSA key must have 2048 to 4096 bits")
        return _pkcs8(key), KeyType.RSA
    raise BadInputError("private_key is neither Ed25519 nor RSA")


def _pkcs8(key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> Secret:
    """Return the one writing of a private key (RFC 5208), so that two files of one key are known as one."""
    from cryptography.hazmat.primitives import serialization

    # It is the vault that locks it from here on.
    return Secret(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
