"""Read the key that an operator enters. Pure; no error repeats any of the input."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fortctl.errors import BadInputError
from fortctl.model import KeyPair, KeyType, Role
from fortctl.secret import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

_ALNUM = re.compile(r"[A-Za-z0-9]{64}")
_NAME_LIMIT = 64
_NAME_RULE = f"name must be 1 to {_NAME_LIMIT} printable characters"
_COPY_HINT = "copy it again from Binance's page, without spaces, quotes or line breaks"
_AROUND = " \t\r\n\u00a0\u200b\ufeff"
_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’"}
# RFC 7468 allows text before and after; RFC 1421 allows headers ("DEK-Info: …") before the base64.
_PEM = re.compile(r"-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY)-----(.*?)-----END \1-----", re.DOTALL)
_PEM_HEADER = re.compile(r"[A-Za-z0-9-]+: *[^\n]*(?:\n|$)")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_CONVERT = "convert it: openssl pkcs8 -topk8 -in KEY -out KEY.pem (an OpenSSH key: ssh-keygen -p -m PKCS8 -f KEY)"


@dataclass(frozen=True)
class EnteredKey:
    """A key as the operator entered it; nothing of it is checked yet.

    Attributes:
        name: the key's name, or None.
        api_key: the API key, or None.
        secret_key: an HMAC key's secret, or None.
        private_key: an Ed25519 or RSA private key (PEM), or None.
        type: what the operator says of its type, or None.
    """

    name: str | None = None
    api_key: Secret | None = None
    secret_key: Secret | None = None
    private_key: Secret | None = None
    type: KeyType | None = None


def parse_input(data: bytes) -> EnteredKey:
    """Read the JSON object of ``--input``, or the whole output of ``paper keys create --json``.

    Raises:
        BadInputError: the data is not a JSON object, or a field is not text.
    """
    return _entered(_json_object(data))


def parse_input_by_role(data: bytes) -> dict[Role | None, EnteredKey]:
    """Read ``--input`` of a rotation: one key (under None), or ``{"site": {…}, "robot": {…}}``.

    Raises:
        BadInputError: as :func:`parse_input`.
    """
    fields = _json_object(data)
    by_role = {role: fields[role.value] for role in Role if role.value in fields}
    if not by_role:
        return {None: _entered(fields)}
    entered: dict[Role | None, EnteredKey] = {}
    for role, value in by_role.items():
        key_fields = _without_envelope(value)
        if not isinstance(key_fields, dict):
            raise BadInputError(f"{role} must be a JSON object")
        entered[role] = _entered(key_fields)
    return entered


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique_names)
    except (ValueError, RecursionError):
        raise BadInputError("the input is not valid JSON") from None
    value = _without_envelope(value)
    if not isinstance(value, dict):
        raise BadInputError("the input must be a JSON object")
    return value


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object. Raises ``BadInputError`` if a name stands twice, since readers differ in which they use."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise BadInputError("a JSON object holds the same name twice", hint="keep one of the two values")
    return fields


def _without_envelope(value: Any) -> Any:
    """Return the ``data`` of a successful ``--json`` output of fortctl; anything else as it is."""
    if isinstance(value, dict) and value.get("ok") is True and isinstance(value.get("data"), dict):
        return value["data"]
    return value


def _entered(fields: Mapping[str, Any]) -> EnteredKey:
    name = fields.get("name")
    if not isinstance(name, str | None):
        raise BadInputError(_NAME_RULE)
    secrets = {field: _secret(fields, field) for field in ("api_key", "secret_key", "private_key")}
    return EnteredKey(name, **secrets, type=_declared_type(fields))


def _secret(fields: Mapping[str, Any], field: str) -> Secret | None:
    value = fields.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadInputError(f"{field} must be text")
    try:
        return Secret(value)
    except UnicodeEncodeError:  # a lone surrogate, which JSON may spell
        raise BadInputError(f"{field} must be text") from None


def check_key(
    entered: EnteredKey,
    *,
    name: str | None,
    key_type: KeyType | None,
    default_name: str,
    passphrase: Callable[[], Secret] | None = None,
) -> KeyPair:
    """Check what was entered and return it as a key pair.

    Args:
        entered: the key.
        name: ``--name``, which wins over the entered name.
        key_type: ``--type``, which must agree with what was entered.
        default_name: used when neither names the key.
        passphrase: returns the passphrase of an encrypted PEM; called only for one.

    Raises:
        BadInputError: a field is missing or malformed; the message names the field, never its content.
    """
    key_name = _name(entered, name, default_name)
    api_key = _alphanumeric(entered.api_key, "api_key")
    if entered.private_key is not None and entered.secret_key is not None:
        raise BadInputError("secret_key and private_key exclude each other")
    if entered.private_key is not None:
        secret, actual = _private_key(entered.private_key, passphrase)
    else:
        secret, actual = _alphanumeric(entered.secret_key, "secret_key"), KeyType.HMAC
        if secret == api_key:
            raise BadInputError("api_key and secret_key are the same", hint=_COPY_HINT)
    declared = key_type or entered.type
    if declared is not None and declared is not actual:
        raise BadInputError(
            f"the key is of type {actual}, not {declared}", hint=f"give --type {actual}, or enter the other key"
        )
    return KeyPair(key_name, actual, api_key, secret)


def check_api_key(entered: EnteredKey, *, name: str | None, default_name: str) -> tuple[Secret, str]:
    """Return the API key that completes a pair made by fortctl, and the key's name. Raises ``BadInputError``."""
    if entered.secret_key is not None or entered.private_key is not None:
        raise BadInputError("with --pending only api_key is entered: fortctl made and keeps the private half")
    return _alphanumeric(entered.api_key, "api_key"), _name(entered, name, default_name)


def _name(entered: EnteredKey, name: str | None, default_name: str) -> str:
    key_name = next(given for given in (name, entered.name, default_name) if given is not None)
    if not 0 < len(key_name.strip()) <= _NAME_LIMIT or not key_name.isprintable():
        raise BadInputError(_NAME_RULE)
    return key_name.strip()


def _stripped(value: Secret | None, field: str) -> str:
    """Return a field without the white space and the quotes that copying leaves around it."""
    text = value.reveal().strip(_AROUND) if value is not None else ""
    if len(text) > 1 and text[0] in _QUOTES and text[-1] == _QUOTES[text[0]]:
        text = text[1:-1].strip(_AROUND)
    if not text:
        raise BadInputError(f"{field} is missing or empty")
    return text


def _alphanumeric(value: Secret | None, field: str) -> Secret:
    text = _stripped(value, field)
    if _ALNUM.fullmatch(text):
        return Secret(text)
    if "PRIVATE KEY" in text:
        raise BadInputError(f"{field} holds a private key", hint='a private key goes into "private_key", as PEM')
    _refuse_invisible(text, field)
    if any(character.isspace() for character in text):
        raise BadInputError(f"{field} has white space inside", hint=_COPY_HINT)
    raise BadInputError(f"{field} must be 64 letters and digits, as Binance makes it", hint=_COPY_HINT)


def _declared_type(fields: Mapping[str, Any]) -> KeyType | None:
    declared = fields.get("type")
    if declared is None:
        return None
    try:
        return KeyType(declared)
    except ValueError:
        raise BadInputError("type is not one of hmac, ed25519, rsa") from None


def _refuse_invisible(text: str, field: str) -> None:
    """Raise ``BadInputError`` if a text contains characters that nobody sees, such as a zero-width space."""
    # Cf: format characters; Cc: control characters other than those that text is laid out with.
    hidden = {character for character in text if unicodedata.category(character) in ("Cf", "Cc")} - set("\t\r\n")
    if hidden:
        points = ", ".join(sorted(f"U+{ord(character):04X}" for character in hidden))
        raise BadInputError(f"{field} contains invisible characters ({points})", hint=_COPY_HINT)


def _pem(text: str) -> str:
    """Return the one private key of a text as well-formed PEM.

    The text may hold it in one line, with ``\\n`` as two characters, and with a public key, attributes or comments
    around it.
    """
    text = text.replace("\r\n", "\n").replace("\\r", "").replace("\\n", "\n")
    _refuse_invisible(text, "private_key")
    blocks = list(_PEM.finditer(text))
    if len(blocks) > 1:
        raise BadInputError("private_key holds more than one private key", hint="give one of them")
    if not blocks:
        if "PUBLIC KEY" in text:
            raise BadInputError("private_key holds a public key only", hint="give the private half, as PEM")
        raise BadInputError("private_key is not a PEM private key", hint="give the PKCS#8 PEM as one JSON string")
    label, body = blocks[0].groups()
    body = body.strip()
    headers = ""
    while match := _PEM_HEADER.match(body):
        headers += match[0].rstrip() + "\n"
        body = body[match.end() :].lstrip()
    data = "".join(body.split())
    if not _BASE64.fullmatch(data):
        raise BadInputError("private_key is damaged: its base64 has other characters inside", hint=_COPY_HINT)
    lines = "\n".join(data[start : start + 64] for start in range(0, len(data), 64))
    return f"-----BEGIN {label}-----\n{headers + chr(10) if headers else ''}{lines}\n-----END {label}-----\n"


def _private_key(value: Secret, passphrase: Callable[[], Secret] | None) -> tuple[Secret, KeyType]:
    pem = _pem(_stripped(value, "private_key"))
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    openssh = pem.startswith("-----BEGIN OPENSSH")
    load = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
    password = None
    try:
        key = load(pem.encode("ascii"), password=None)
    except UnsupportedAlgorithm:
        raise BadInputError("private_key has a form that cannot be read here", hint=_CONVERT) from None
    except TypeError:  # a passphrase is needed
        if passphrase is None:
            raise BadInputError(
                "private_key is encrypted", hint="give its passphrase: --key-passphrase-file FILE"
            ) from None
        password = passphrase().reveal_bytes()
    except Exception:  # the library's message may quote the input
        raise BadInputError("private_key is not a readable PEM private key", hint=_CONVERT) from None
    if password is not None:
        try:
            key = load(pem.encode("ascii"), password=password)
        except UnsupportedAlgorithm:
            raise BadInputError("private_key is encrypted in a way that cannot be read here", hint=_CONVERT) from None
        except Exception:
            raise BadInputError("the passphrase does not open the private key", hint="check which one it is") from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return _pkcs8(key), KeyType.ED25519
    if isinstance(key, rsa.RSAPrivateKey):
        # Binance accepts 2048 to 4096 bits (faqs/api_key_types.md).
        if not 2048 <= key.key_size <= 4096:
            raise BadInputError("an RSA key must have 2048 to 4096 bits")
        return _pkcs8(key), KeyType.RSA
    raise BadInputError("private_key is neither Ed25519 nor RSA")


def _pkcs8(key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> Secret:
    """Return a private key as unencrypted PKCS#8 PEM (RFC 5208), so that two files of one key compare equal."""
    from cryptography.hazmat.primitives import serialization

    # From here on the vault protects it.
    return Secret(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
