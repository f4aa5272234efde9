"""Authentication and authorization: key, address, timestamp, signature, permission. Pure but for cryptography.

Binance does not document the order of its checks. Ours (decision 0005): the key's format, the
key, the address, the timestamp, the signature, the permission; so no refusal discloses more than the one before it.
Sources: rest-api.md "Signed endpoint security", web-socket-api.md, faqs/api_key_types.md.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping
from urllib.parse import unquote

from fortctl.paper.engine import errors
from fortctl.paper.engine.accounts import ApiKey

KEY_FORMAT = re.compile(r"[A-Za-z0-9]{64}")
WINDOW = re.compile(r"([0-9]{1,20})(\.[0-9]{1,3})?")
DEFAULT_WINDOW = 5_000_000
_SIGNATURE = re.compile(r"(?:^|&)signature=([^&]*)")
_2017_US = 1_483_228_800_000_000


def strip_signature(raw: str) -> tuple[str, str]:
    """Return a raw query or body without its signature, and the signature, still encoded."""
    before, separator, last = raw.rpartition("&signature=")
    if separator and "&" not in last and "signature=" not in before:
        # Every known client puts it last; the search below is for others.
        return before, last
    match = _SIGNATURE.search(raw) if raw else None
    if match is None:
        return raw, ""
    rest = raw[: match.start()] + raw[match.end() :]
    return rest.removeprefix("&"), match[1]


def socket_payload(parameters: Mapping[str, object]) -> bytes:
    """Return the signed payload of the WebSocket API: the parameters without the signature, sorted, in raw UTF-8."""
    names = sorted(name for name in parameters if name != "signature")
    return "&".join(f"{name}={_plain(parameters[name])}" for name in names).encode()


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_format(api_key: str) -> None:
    if not KEY_FORMAT.fullmatch(api_key):
        raise errors.MALFORMED_KEY


def find_key(keys: Mapping[str, ApiKey], api_key: str, address: str, *, sapi: bool) -> ApiKey:
    """Return the key of a request. Raises :class:`errors.BinanceError`: its format, unknown, or the address."""
    check_format(api_key)
    key = keys.get(api_key)
    if key is None:
        raise errors.UNKNOWN_KEY_SAPI if sapi else errors.bad_key()
    if key.ips and address not in key.ips:
        raise bad_key(sapi)
    return key


def bad_key(sapi: bool) -> errors.BinanceError:
    """Return the refusal of a known key for its address or its permissions (-2015; HTTP 400 under ``/sapi``)."""
    refusal = errors.bad_key()
    return errors.BinanceError(refusal.code, refusal.message, 400) if sapi else refusal


def check_time(parameters: Mapping[str, object], now: int) -> None:
    """Check timestamp (ms or µs) and recvWindow (ms, up to three decimals)."""
    if not parameters.get("timestamp"):
        raise errors.missing("timestamp")
    text = str(parameters["timestamp"])
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise errors.illegal("timestamp", "^[0-9]{1,20}$")
    # In microseconds, so that both units and a window with decimals are whole numbers.
    stamp, window = int(text), DEFAULT_WINDOW
    if parameters.get("recvWindow") not in (None, ""):
        window = _window(str(parameters["recvWindow"]))
        if window > 60_000_000:
            raise errors.WIDE_WINDOW
    if stamp <= 10**14:
        stamp *= 1000
    if stamp >= (now + 1000) * 1000:
        raise errors.EARLY
    if now * 1000 - stamp > window or stamp < _2017_US:
        raise errors.LATE


def _window(text: str) -> int:
    match = WINDOW.fullmatch(text)
    if match is None:
        raise errors.illegal("recvWindow", f"^{WINDOW.pattern}$")
    return int(match[1]) * 1000 + int((match[2] or ".0")[1:].ljust(3, "0"))


def check_signature(key: ApiKey, payload: bytes, signature: str, *, encoded: bool) -> None:
    """Check a signature over exactly what was sent.

    Args:
        encoded: the signature is percent-encoded (URL or form) instead of raw (JSON).
    """
    if not signature:
        raise errors.missing("signature")
    given = unquote(signature) if encoded else signature
    if key.type == "hmac":
        expected = hmac.digest(key.secret.encode(), payload, "sha256").hex()
        good = hmac.compare_digest(expected.encode(), given.lower().encode("utf-8", "surrogateescape"))
    else:
        good = _verify(key, payload, given)
    if not good:
        raise errors.BAD_SIGNATURE


def _verify(key: ApiKey, payload: bytes, given: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    public = load_pem_public_key(key.public_pem.encode())
    try:
        raw = base64.b64decode(given.encode("ascii"), validate=True)
        if isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(raw, payload)
        elif isinstance(public, rsa.RSAPublicKey):
            public.verify(raw, payload, padding.PKCS1v15(), SHA256())
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True


def check_permission(key: ApiKey, permission: str, now: int, *, sapi: bool = False) -> None:
    if not key.may(permission, now):
        raise bad_key(sapi)
