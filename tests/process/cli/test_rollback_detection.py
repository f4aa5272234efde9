"""A home that is put back to an older copy, audit log and all, is noticed against what its robot has seen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fortctl.store.audit_log import _hash
from support.harness import Shell


def copy_home(shell: Shell, target: Path) -> None:
    target.mkdir()
    for name in ("vault.toml", "audit.jsonl"):
        shutil.copy(shell.home / name, target / name)
    shutil.copytree(shell.home / "erasure", target / "erasure")


def put_back(shell: Shell, source: Path) -> None:
    for name in ("vault.toml", "audit.jsonl"):
        shutil.copy(source / name, shell.home / name)
    shutil.rmtree(shell.home / "erasure")
    shutil.copytree(source / "erasure", shell.home / "erasure")


def test_a_home_put_back_as_a_whole(keyed: Shell, tmp_path: Path) -> None:
    copy_home(keyed, tmp_path / "old")
    keyed.ok("keys", "change", "--role", "site", "--input", "-", stdin=keyed.paper_key("site-2", "reading"))
    keyed.ok("keys", "verify", "--role", "robot")
    verified = keyed.ok("audit", "verify")
    assert verified["intact"] and verified["anchored_at"] and verified["sealed"] > 5
    put_back(keyed, tmp_path / "old")
    assert keyed.ok("keys", "list")["keys"][0]["name"] == "site-1", "vault and log fit each other"
    cut = keyed.run("audit", "verify")
    assert (cut.code, cut.data["intact"]) == (6, False) and "robot" in cut.error["message"]
    refused = keyed.run("keys", "verify", "--role", "robot")
    assert (refused.code, refused.error["details"]["reason"]) == (6, "rolled_back")
    seen = refused.error["details"]["seen_by_robot"]
    assert keyed.run("robot", "stop", "--now").code in (0, 8), "a robot can be stopped from whatever home"
    keyed.ok("vault", "accept", "--confirm", str(refused.error["details"]["generation"]), "--above", str(seen))
    assert keyed.ok("keys", "verify", "--role", "robot")["results"][0]["accepted"]


def test_the_audit_log_is_verified(keyed: Shell) -> None:
    log = keyed.home / "audit.jsonl"
    lines = log.read_text().splitlines()
    entry = json.loads(lines[1])
    lines[1] = json.dumps({**entry, "what": "nothing"})
    log.write_text("\n".join(lines) + "\n")
    ran = keyed.run("audit", "verify")
    assert (ran.code, ran.data["intact"], ran.error["details"]["entry"]) == (6, False, 2)


def test_failures_and_refusals_have_entries_too(ready: Shell) -> None:
    for role in ("site", "robot"):
        unknown = json.dumps({"api_key": "A" * 64, "secret_key": "B" * 64})
        assert ready.run("keys", "add", "--role", role, "--input", "-", stdin=unknown).code == 3
    assert ready.run("robot", "start").code == 8
    assert ready.run("keys", "delete", "--role", "site").code == 11
    assert ready.run("keys", "delete", "--role", "site", "--yes").code == 7
    (ready.home / "vault.key").rename(ready.home / "away")
    assert ready.run("keys", "list").code == 5
    (ready.home / "away").rename(ready.home / "vault.key")
    exported = ready.run("audit", "log", "--export", json_mode=False)
    entries = [json.loads(line) for line in exported.out.splitlines()]
    assert exported.out == (ready.home / "audit.jsonl").read_text(), "as they were written"
    refused = [(one["what"], one.get("role"), one["result"]) for one in entries if one["what"].endswith(" refused")]
    assert refused == [
        ("keys add refused", "site", "KEY_REJECTED"),
        ("keys add refused", "robot", "KEY_REJECTED"),
        ("robot start refused", None, "CONFLICT"),
        ("keys delete refused", None, "CONFIRMATION_NEEDED"),
        ("keys delete refused", None, "NOT_FOUND"),
        ("keys list refused", None, "VAULT_LOCKED"),
    ]
    assert entries[-1]["seal"] is None, "written locked: unsealed for ever"
    assert all(one["seal"] for one in entries if one.get("generation"))
    assert {"user", "host", "pid"} == set(entries[0]["who"]) and entries[0]["time"].endswith("Z")
    verified = ready.ok("audit", "verify")
    assert verified["unsealed"] >= 1 and verified["sealed"] + verified["unsealed"] == verified["entries"]


@pytest.mark.parametrize("change", ["edit", "cut", "swap", "first", "empty", "gone", "stripped"])
def test_every_change_of_the_log_is_found(shell: Shell, change: str) -> None:
    shell.ok("init", "--exchange", "https://exchange.invalid", "--slot", "keyfile")
    shell.ok("accounts", "add", "second", "--exchange", "https://exchange.invalid")
    shell.ok("vault", "slot", "add", "keyfile")
    log = shell.home / "audit.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    if change == "edit":
        lines[2] = lines[2].replace("second", "secund").replace("default", "defualt")
    elif change == "cut":
        del lines[2]
    elif change == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    elif change == "first":
        del lines[0]
    elif change == "empty":
        lines = []
    elif change == "stripped":
        before = "0" * 64
        for number, line in enumerate(lines):
            entry = {**json.loads(line), "prev": before, "seal": None}
            entry["account"] = "another"
            entry["hash"] = before = _hash(entry)
            lines[number] = json.dumps(entry) + "\n"
    log.write_text("".join(lines))
    if change == "gone":
        log.unlink()
    ran = shell.run("audit", "verify")
    assert (ran.code, ran.error["code"]) == (6, "VAULT_DAMAGED"), ran.out


def test_the_chain_is_verified_with_the_vault_locked(shell: Shell, tmp_path: Path) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse battery staple\n")
    passphrase.chmod(0o600)
    words = ("--exchange", "https://exchange.invalid", "--slot", "passphrase", "--passphrase-file", str(passphrase))
    shell.ok("init", *words)
    ran = shell.run("audit", "verify")
    assert ran.code == 0 and ran.data["intact"] and ran.data["sealed"] is None
    assert ran.doc["warnings"][0]["code"] == "SEALS_NOT_CHECKED"
    shell.ok("vault", "slot", "add", "keyfile", "--passphrase-file", str(passphrase))
    assert shell.ok("audit", "verify", "--passphrase-file", str(passphrase))["sealed"] == 5


def test_no_core_file_would_hold_a_key(running: Shell) -> None:
    limits = Path(f"/proc/{running.status()['pid']}/limits").read_text()
    [core] = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core.split()[4:6] == ["0", "0"]
