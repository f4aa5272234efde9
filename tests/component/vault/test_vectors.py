"""Frozen vaults, backups and messages: the product and an independent reader agree on each of them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from fortctl.errors import FortctlError, NotFoundError
from fortctl.mailbox.crypto import RecipientKey
from fortctl.mailbox.messages import CommandRejectedError, open_command
from fortctl.ports import MailboxRow
from fortctl.secret import Secret
from fortctl.vault import erasure
from fortctl.vault.backup import read_backup
from fortctl.vault.file import OpenVault, VaultFile
from fortctl.vault.slots import KeyFile, Passphrase, Unlocker
from support import independent_reader
from support.make_vectors import KEYFILE, PASSPHRASE, VECTORS


def frozen(folder: str) -> list[Path]:
    found = sorted((VECTORS / folder).glob("*.json"))
    assert found
    return found


def source_of(case: dict[str, Any], home: Path) -> Unlocker:
    if case["source"] == "keyfile":
        path = home / "vault.key"
        path.write_bytes(KEYFILE)
        path.chmod(0o600)
        return KeyFile(path)
    return Passphrase(Secret(PASSPHRASE if case["source"] == "passphrase" else case["source"]))


def secret_of(case: dict[str, Any]) -> tuple[str, bytes]:
    if case["source"] == "keyfile":
        return "keyfile", KEYFILE
    return "passphrase", (PASSPHRASE if case["source"] == "passphrase" else case["source"]).encode()


def contents(vault: OpenVault) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    for meta in vault.records():
        try:
            found[meta.record_id] = vault.get(meta.record_id).reveal_bytes()
        except NotFoundError:
            found[meta.record_id] = None
    return found


def expected(case: dict[str, Any]) -> dict[str, bytes | None]:
    return {name: text.encode() if text is not None else None for name, text in case["records"].items()}


@pytest.mark.parametrize("path", frozen("vaults"), ids=lambda path: path.stem)
def test_vaults(path: Path, tmp_path: Path) -> None:
    case = json.loads(path.read_text())
    keys = {name: base64.b64decode(key) for name, key in case["erasure"].items()}
    tmp_path.chmod(0o700)
    (tmp_path / "vault.toml").write_bytes(case["vault"].encode())
    (tmp_path / "vault.toml").chmod(0o600)
    for name, key in keys.items():
        erasure.restore(tmp_path / "erasure", name, key)
    file = VaultFile(tmp_path / "vault.toml", tmp_path / "erasure")
    if "error" not in case:
        assert contents(file.unlock([source_of(case, tmp_path)])) == expected(case)
        assert independent_reader.open_vault(case["vault"].encode(), *secret_of(case), keys) == expected(case)
        return
    with pytest.raises(FortctlError) as refused:
        file.unlock([source_of(case, tmp_path)])
    assert refused.value.code == case["error"]
    with pytest.raises(independent_reader.UnreadableError) as why:
        independent_reader.open_vault(case["vault"].encode(), *secret_of(case), keys)
    assert str(why.value) == {"VAULT_DAMAGED": "damaged", "VAULT_LOCKED": "locked"}[case["error"]]


@pytest.mark.parametrize("path", frozen("backups"), ids=lambda path: path.stem)
def test_backups(path: Path, tmp_path: Path) -> None:
    case = json.loads(path.read_text())
    tmp_path.chmod(0o700)
    file = VaultFile(tmp_path / "vault.toml", tmp_path / "erasure")
    restored = file.restore(read_backup(case["backup"].encode()), [source_of(case, tmp_path)], older=False)
    assert contents(restored.vault) == expected(case)
    assert independent_reader.open_backup(case["backup"].encode(), *secret_of(case)) == expected(case)


@pytest.mark.parametrize("path", frozen("messages"), ids=lambda path: path.stem)
def test_messages(path: Path) -> None:
    case = json.loads(path.read_text())
    row, robot = case["row"], case["robot"]
    body = (base64.b64decode(row[name]) for name in ("envelope", "sealed", "signature"))
    recipient = RecipientKey(base64.b64decode(robot["recipient_private"]))

    def opened() -> Any:
        command = open_command(
            MailboxRow(row["account"], row["number"], *body),
            operators={name: base64.b64decode(public) for name, public in robot["operators"].items()},
            recipient=lambda key_id: recipient if key_id == recipient.key_id else None,
            account=robot["account"],
            robot_id=robot["robot_id"],
            now_ms=robot["now_ms"],
            last_number=robot["last_number"],
        )
        return json.loads(command.arguments.reveal_bytes())

    if "error" not in case:
        assert opened() == independent_reader.open_row(row, robot) == case["args"]
        return
    with pytest.raises(CommandRejectedError) as refused:
        opened()
    with pytest.raises(independent_reader.UnreadableError) as why:
        independent_reader.open_row(row, robot)
    assert refused.value.reason == str(why.value) == case["error"]
