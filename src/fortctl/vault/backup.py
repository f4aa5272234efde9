"""Backups: a vault and its erasure keys as one document. Pure; specified in docs/vault-format.md, "Backups".

A backup contains ciphertext only: the vault, and each erasure key encrypted under the data-encryption key. It never
contains a key file, so nothing in a backup unlocks it.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass

from fortctl.canonical_json import canonical_json
from fortctl.errors import BadInputError, VaultDamagedError
from fortctl.vault.envelope import backup_mac, unwrap_erasure_key, wrap_erasure_key
from fortctl.vault.format import SIZE_LIMIT, Document, decode, encode

FORMAT = "fortctl-backup/1"
_FIELDS = {"format": str, "made_at": int, "vault": str, "config": str, "erasure": dict, "mac": str}


@dataclass(frozen=True)
class Backup:
    """A backup that was read; it is not authenticated before :func:`open_backup`.

    Attributes:
        document: the vault.
        config: the configuration of its home (TOML).
        erasure: sealed erasure keys (base64) by name.
        made_at: milliseconds since the epoch.
        covered: the bytes that ``mac`` covers.
    """

    document: Document
    config: str
    erasure: Mapping[str, str]
    made_at: int
    covered: bytes
    mac: str


def write_backup(dek: bytes, document: Document, keys: Mapping[str, bytes | None], config: str, made_at: int) -> bytes:
    """Return a backup.

    Args:
        keys: erasure keys by name; None where one was destroyed.
    """
    sealed = {name: wrap_erasure_key(dek, document.vault_id, name, key) for name, key in keys.items() if name and key}
    fields = {
        "format": FORMAT,
        "made_at": made_at,
        "vault": encode(document).decode(),
        "config": config,
        "erasure": sealed,
    }
    return canonical_json({**fields, "mac": backup_mac(dek, document.vault_id, canonical_json(fields))}) + b"\n"


def read_backup(data: bytes) -> Backup:
    """Read a backup.

    Raises:
        BadInputError: *data* is not a backup.
        VaultDamagedError: the vault in it is damaged.
    """
    if len(data) > 4 * SIZE_LIMIT:
        raise BadInputError("the file is too large to be a backup of a vault")
    try:
        fields = json.loads(data)
        json.dumps(fields, ensure_ascii=False).encode()  # rejects lone surrogates, which UTF-8 cannot encode
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise BadInputError(f"the file is not a backup in the format {FORMAT}")
    names = fields.keys() == _FIELDS.keys() and all(type(fields[name]) is kind for name, kind in _FIELDS.items())
    if not names or not all(isinstance(value, str) for value in fields["erasure"].values()):
        raise VaultDamagedError("the backup is malformed")
    mac = fields.pop("mac")
    document = decode(fields["vault"].encode())
    return Backup(document, fields["config"], fields["erasure"], fields["made_at"], canonical_json(fields), mac)


def open_backup(dek: bytes, backup: Backup) -> dict[str, bytes]:
    """Authenticate a backup and return its erasure keys by name. Raises ``VaultDamagedError`` if it was changed."""
    vault_id = backup.document.vault_id
    if not hmac.compare_digest(backup_mac(dek, vault_id, backup.covered).encode(), backup.mac.encode()):
        raise VaultDamagedError("the backup was changed: its tag does not match")
    return {name: unwrap_erasure_key(dek, vault_id, name, wrapped) for name, wrapped in backup.erasure.items()}
