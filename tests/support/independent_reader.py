"""A second reader of vaults, backups and mailbox rows, written from docs/vault-format.md and docs/sealed-mailbox.md.

It shares no code with fortctl: only the standard library, its TOML reader, and the primitives of ``cryptography``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import tomllib
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SLOT = ("id", "kind", "hint", "memory_kib", "iterations", "lanes", "salt", "nonce", "wrapped")
RECORD = ("id", "account", "exchange", "role", "name", "type", "version", "created", "erasure", "nonce", "data")


class UnreadableError(Exception):
    """It does not open; the text says why, in the specification's words (``damaged``, ``locked``, ``destroyed`` …)."""


def bind(*parts: str | int) -> bytes:
    encoded = [str(part).encode() for part in parts]
    return b"".join(len(part).to_bytes(8, "big") + part for part in encoded)


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, info).derive(key)


def b64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


# -- vaults ------------------------------------------------------------------------------------------------------------


def quoted(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub("[\x00-\x1f\x7f]", lambda found: f"\\u{ord(found[0]):04x}", text) + '"'


def lines_of(title: str, item: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    if tuple(item) != names:
        raise UnreadableError("damaged")
    values = [item[name] if isinstance(item[name], int) else quoted(item[name]) for name in names]
    return ["", f"[[{title}]]", *(f"{name} = {value}" for name, value in zip(names, values, strict=True))]


def read_document(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the vault's fields and the bytes that its tag covers."""
    before, mark, last = data.rpartition(b'sha256 = "')
    if last != hashlib.sha256(before).hexdigest().encode() + b'"\n' or not mark:
        raise UnreadableError("damaged")
    try:
        found = tomllib.loads(data.decode())
        lines = [f"format = {quoted(found['format'])}", f"vault_id = {quoted(found['vault_id'])}"]
        lines.append(f"generation = {found['generation']}")
        for slot in found.get("slot", []):
            lines += lines_of("slot", slot, SLOT)
        for record in found.get("record", []):
            lines += lines_of("record", record, RECORD)
        covered = "\n".join([*lines, "", "[seal]", ""]).encode()
        canonical = covered + f"tag = {quoted(found['seal']['tag'])}\n".encode()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnreadableError("damaged") from None
    if canonical != before or found["format"] != "fortctl-vault/1":
        raise UnreadableError("damaged")
    return found, covered


def unlock(found: dict[str, Any], covered: bytes, kind: str, secret: bytes) -> bytes:
    for slot in found.get("slot", []):
        if slot["kind"] != kind:
            continue
        salt = b64(slot["salt"])
        if kind == "passphrase":
            cost = (slot["memory_kib"], slot["iterations"], slot["lanes"])
            if not (65536 <= cost[0] <= 1024 * 1024 and 3 <= cost[1] <= 32 and 1 <= cost[2] <= 16):
                raise UnreadableError("damaged")
            kdf = Argon2id(salt=salt, length=32, iterations=cost[1], lanes=cost[2], memory_cost=cost[0])
            kek = kdf.derive(secret)
        else:
            kek = hkdf(secret, salt, f"fortctl-vault/1 {kind} slot".encode())
        names = ("id", "kind", "hint", "memory_kib", "iterations", "lanes", "salt")
        context = bind("fortctl-vault/1", found["vault_id"], *(slot[name] for name in names))
        try:
            dek = AESGCM(kek).decrypt(b64(slot["nonce"]), b64(slot["wrapped"]), context)
        except InvalidTag:
            continue
        key = hkdf(dek, found["vault_id"].encode(), b"fortctl-vault/1 tag")
        if not hmac.compare_digest(hmac.digest(key, covered, "sha256").hex(), found["seal"]["tag"]):
            raise UnreadableError("damaged")
        return dek
    raise UnreadableError("locked")


def open_record(found: dict[str, Any], dek: bytes, record: dict[str, Any], erasure: dict[str, bytes]) -> bytes:
    key = bytes(32)
    if record["erasure"]:
        key = erasure.get(record["erasure"], bytes(32))
        if key[:8] == bytes(8):
            raise UnreadableError("destroyed")
    info = b"fortctl-vault/1 record" + bind(record["id"], record["version"])
    names = ("id", "account", "exchange", "role", "name", "type", "version", "created", "erasure")
    context = bind("fortctl-vault/1", found["vault_id"], *(record[name] for name in names))
    try:
        padded = AESGCM(hkdf(dek, key, info)).decrypt(b64(record["nonce"]), b64(record["data"]), context)
    except InvalidTag:
        raise UnreadableError("damaged") from None
    length = int.from_bytes(padded[:4], "big")
    return padded[4 : 4 + length]


def open_vault(data: bytes, kind: str, secret: bytes, erasure: dict[str, bytes]) -> dict[str, bytes | None]:
    """Return every record's plaintext by id; None where it was destroyed."""
    found, covered = read_document(data)
    dek = unlock(found, covered, kind, secret)
    opened: dict[str, bytes | None] = {}
    for record in found.get("record", []):
        try:
            opened[record["id"]] = open_record(found, dek, record, erasure)
        except UnreadableError as why:
            if str(why) != "destroyed":
                raise
            opened[record["id"]] = None
    return opened


def open_backup(data: bytes, kind: str, secret: bytes) -> dict[str, bytes | None]:
    """Return what :func:`open_vault` returns, out of a backup."""
    fields = json.loads(data)
    mac = fields.pop("mac")
    found, covered = read_document(fields["vault"].encode())
    dek = unlock(found, covered, kind, secret)
    salt = found["vault_id"].encode()
    tag = hmac.digest(hkdf(dek, salt, b"fortctl-vault/1 backup tag"), canonical(fields), "sha256").hex()
    if tag != mac or canonical({**fields, "mac": mac}) + b"\n" != data:
        raise UnreadableError("damaged")
    cipher = AESGCM(hkdf(dek, salt, b"fortctl-vault/1 backup"))
    keys = {}
    for name, wrapped in fields["erasure"].items():
        raw = b64(wrapped)
        keys[name] = cipher.decrypt(raw[:12], raw[12:], bind(found["vault_id"], name))
    return open_vault(fields["vault"].encode(), kind, secret, keys)


# -- the mailbox -------------------------------------------------------------------------------------------------------

ENVELOPE = {
    **dict.fromkeys(("account", "robot_id", "operator_id", "kind", "recipient_id", "sealed_sha256"), (str,)),
    **dict.fromkeys(("v", "number", "generation", "created_at"), (int,)),
    "valid_until": (int, type(None)),
}


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def signed(public: bytes, purpose: str, body: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, b"fortctl/1/" + purpose.encode() + b"\0" + body)
    except InvalidSignature:
        return False
    return True


def open_row(row: dict[str, Any], robot: dict[str, Any]) -> dict[str, Any]:
    """Open a command as the robot does; ``robot`` says what it knows.

    Raises :class:`UnreadableError` with the reason.
    """
    envelope, sealed, signature = (b64(row[name]) for name in ("envelope", "sealed", "signature"))
    try:
        facts = json.loads(envelope)
    except ValueError:
        raise UnreadableError("malformed") from None
    typed = isinstance(facts, dict) and facts.keys() == ENVELOPE.keys()
    if not typed or any(type(facts[name]) not in kinds for name, kinds in ENVELOPE.items()):
        raise UnreadableError("malformed")
    if canonical(facts) != envelope or facts["v"] != 1:
        raise UnreadableError("malformed")
    public = robot["operators"].get(facts["operator_id"])
    checks = (
        ("unpaired", public is not None),
        ("bad_signature", public is not None and signed(b64(public), "command", envelope, signature)),
        ("other_account", facts["account"] == robot["account"] == row["account"]),
        ("other_robot", facts["robot_id"] == robot["robot_id"]),
        ("replayed", facts["number"] == row["number"] > robot["last_number"]),
        ("not_yet", facts["created_at"] <= robot["now_ms"] + 60_000),
        ("expired", facts["valid_until"] is None or robot["now_ms"] <= facts["valid_until"]),
    )
    for reason, good in checks:
        if not good:
            raise UnreadableError(reason)
    private = b64(robot["recipient_private"])
    mlkem, x25519 = MLKEM768PrivateKey.from_seed_bytes(private[:64]), X25519PrivateKey.from_private_bytes(private[64:])
    half = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
    if hashlib.sha256(b"fortctl/1/recipient\0" + half).hexdigest()[:16] != facts["recipient_id"]:
        raise UnreadableError("reseal")
    if hashlib.sha256(sealed).hexdigest() != facts.pop("sealed_sha256"):
        raise UnreadableError("malformed")
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    try:
        opened = suite.decrypt(
            sealed, MLKEM768X25519PrivateKey(mlkem, x25519), b"fortctl/1/command\0" + canonical(facts)
        )
    except (InvalidTag, ValueError):
        raise UnreadableError("malformed") from None
    args: dict[str, Any] = json.loads(opened)
    return args
