"""``fortctl keys`` through the executable: pairs made here, traps of entering, reasons of refusals, ages."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from support.harness import Shell


def add(shell: Shell, role: str, key: str, *more: str) -> dict[str, object]:
    card: dict[str, object] = shell.ok("keys", "add", "--role", role, "--input", "-", *more, stdin=key)["key"]
    return card


def register(shell: Shell, tmp_path: Path, name: str, permissions: str, public: str, kind: str) -> str:
    """Register a public key on the paper exchange's page; return the API key as entered."""
    path = tmp_path / f"{name}.pem"
    path.write_text(public)
    made = shell.ok(
        "paper",
        "keys",
        "create",
        "--name",
        name,
        "--permissions",
        permissions,
        "--type",
        kind,
        "--public-key",
        str(path),
    )
    assert "private_key" not in made and "secret_key" not in made
    return json.dumps({"api_key": made["api_key"]})


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_pairs_are_made_where_they_will_live(ready: Shell, tmp_path: Path, kind: str) -> None:
    for role, permissions in (("site", "reading"), ("robot", "reading,spot_trading")):
        assert ready.run("keys", "add", "--role", role, "--pending", "--input", "-", stdin='{"api_key": "x"}').code == 2
        made = ready.ok("keys", "generate", "--role", role, "--type", kind)
        public = load_pem_public_key(made["public_key"].encode())
        assert isinstance(public, ed25519.Ed25519PublicKey if kind == "ed25519" else rsa.RSAPublicKey)
        entered = register(ready, tmp_path, f"{role}-1", permissions, made["public_key"], kind)
        card = add(ready, role, entered, "--pending", "--name", f"{role}-1")
        assert (card["type"], card["status"], card["held_by"]) == (kind, "ok", [role])
        # Its private half is in use now: it completes no second key.
        again = ready.run("keys", "change", "--role", role, "--pending", "--input", "-", stdin=entered)
        assert again.code in (4, 7), again.doc
    results = ready.ok("keys", "verify")["results"]
    assert [(result["role"], result["accepted"]) for result in results] == [("site", True), ("robot", True)]
    assert b"PRIVATE KEY" not in b"".join(path.read_bytes() for path in ready.home.rglob("*") if path.is_file())


def test_a_pair_of_the_robot_leaves_no_copy_for_reading(ready: Shell, tmp_path: Path) -> None:
    public = ready.ok("keys", "generate", "--role", "robot")["public_key"]
    entered = register(ready, tmp_path, "robot-1", "reading,spot_trading", public, "ed25519")
    ran = ready.run("keys", "add", "--role", "robot", "--pending", "--input", "-", stdin=entered)
    assert ran.code == 0 and ran.data["key"]["held_by"] == ["robot"]
    assert "NO_SITE_KEY" in [warning["code"] for warning in ran.doc["warnings"]]
    refused = ready.run("account", "balances")
    assert refused.code == 7 and "site" in refused.error["hint"]


def test_a_queued_key_is_shown_as_what_the_robot_made(ready: Shell, tmp_path: Path) -> None:
    public = ready.ok("keys", "generate", "--role", "robot", "--type", "rsa")["public_key"]
    entered = register(ready, tmp_path, "robot-1", "reading,spot_trading", public, "rsa")
    card = add(ready, "robot", entered, "--pending", "--no-wait")
    assert (card["type"], card["status"]) == ("rsa", "queued")


def test_pending_takes_the_api_key_alone(ready: Shell, tmp_path: Path) -> None:
    entered = json.dumps({"api_key": "A" * 64})
    for more in (("--type", "rsa"), ("--key-passphrase-file", str(tmp_path / "none"))):
        ran = ready.run("keys", "add", "--role", "site", "--pending", *more, "--input", "-", stdin=entered)
        assert (ran.code, ran.error["code"]) == (2, "BAD_INPUT") and "--pending" in ran.error["message"]


def test_a_change_to_the_key_that_is_there_changes_nothing(ready: Shell) -> None:
    for role, permissions in (("site", "reading"), ("robot", "reading,spot_trading")):
        entered = ready.paper_key(f"{role}-1", permissions)
        card = add(ready, role, entered)
        for more in ((), ("--force-replace",)) if role == "site" else ((),):
            ran = ready.run("keys", "change", "--role", role, *more, "--input", "-", stdin=entered)
            assert ran.code == 0 and ran.doc["changed"] is False, ran.out
            assert (
                ran.data["replaced"] == {"fingerprint": None} and ran.data["key"]["fingerprint"] == card["fingerprint"]
            )
        renamed = json.dumps({**json.loads(entered), "name": "another"})
        ran = ready.run("keys", "change", "--role", role, "--input", "-", stdin=renamed)
        assert ran.doc["changed"] is True and ran.data["replaced"] == {"fingerprint": card["fingerprint"]}
    assert [one["name"] for one in ready.ok("keys", "list")["keys"]] == ["another", "another"]


def test_a_destroyed_key_bars_no_other_exchange(ready: Shell) -> None:
    ready.ok("keys", "add", "--role", "site", "--input", "-", stdin=ready.paper_key("site-1", "reading"))
    said = ready.run("keys", "delete", "--role", "site", "--without-unlocking", "--yes", json_mode=False)
    assert said.code == 0 and "a backup made before still opens its copy" in said.out
    url = json.loads((ready.home / "paper" / "server.json").read_text())["url"]
    config = ready.home / "config.toml"
    config.write_text(config.read_text().replace('exchange = "paper"', f'exchange = "{url}"'))
    assert ready.ok("keys", "list") == {"keys": []}
    ready.ok("keys", "add", "--role", "site", "--input", "-", stdin=ready.paper_key("site-2", "reading"))
    # A key that is there is told of, with a way out that works.
    config.write_text(config.read_text().replace(f'exchange = "{url}"', 'exchange = "paper"'))
    refused = ready.run("keys", "list")
    assert (refused.code, refused.error["code"]) == (2, "CONFIG") and "--without-unlocking" in refused.error["hint"]
    ready.ok("keys", "delete", "--role", "site", "--without-unlocking", "--yes")
    assert ready.ok("keys", "list") == {"keys": []}


def test_pending_without_a_pair(ready: Shell) -> None:
    entered = json.dumps({"api_key": "A" * 64})
    for role in ("site", "robot"):
        assert ready.run("keys", "add", "--role", role, "--pending", "--input", "-", stdin=entered).code == 7
    both = json.dumps({"api_key": "A" * 64, "secret_key": "B" * 64})
    assert ready.run("keys", "add", "--role", "site", "--pending", "--input", "-", stdin=both).code == 2


def test_an_encrypted_private_key(ready: Shell, tmp_path: Path) -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    locked = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"open sesame"),
    ).decode()
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    api_key = json.loads(register(ready, tmp_path, "site-1", "reading", public.decode(), "ed25519"))["api_key"]
    entered = json.dumps({"name": "site-1", "api_key": api_key, "private_key": locked})
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("open sesame\n")
    bad.write_text("close sesame\n")
    words = ("keys", "add", "--role", "site", "--input", "-")
    assert ready.run(*words, stdin=entered).code == 11, "nobody can be asked for the passphrase"
    assert ready.run(*words, "--key-passphrase-file", str(bad), stdin=entered).error["code"] == "BAD_INPUT"
    assert ready.ok(*words, "--key-passphrase-file", str(good), stdin=entered)["key"]["type"] == "ed25519"


def test_what_copying_brings_along_is_forgiven(ready: Shell) -> None:
    key = json.loads(ready.paper_key("site-1", "reading"))
    messy = {"name": " site-1 ", "api_key": f'"{key["api_key"]}"\n', "secret_key": f"\u00a0 {key['secret_key']}\t"}
    data = b"\xef\xbb\xbf" + json.dumps(messy).encode()
    assert ready.ok("keys", "add", "--role", "site", "--input", "-", stdin=data)["key"]["name"] == "site-1"
    inside = {**key, "secret_key": key["secret_key"][:30] + "\n" + key["secret_key"][30:]}
    ran = ready.run("keys", "change", "--role", "site", "--input", "-", stdin=json.dumps(inside))
    assert (ran.code, ran.error["message"]) == (2, "secret_key has white space inside")


@pytest.mark.parametrize("role", ["site", "robot"])
def test_each_refusal_says_why_and_how_sure_that_is(ready: Shell, role: str) -> None:
    rights = {"site": "reading", "robot": "reading,spot_trading"}[role]
    good = json.loads(ready.paper_key("good", rights))
    elsewhere = json.loads(ready.paper_key("elsewhere", rights, "--ip", "10.1.2.3"))
    blind = json.loads(ready.paper_key("blind", "spot_trading"))
    for entered, reason, certainty in (
        ({**good, "secret_key": good["api_key"][::-1]}, "wrong_secret", "certain"),
        ({**good, "api_key": "A" * 64, "secret_key": "B" * 64}, "unknown_key", "certain"),
        ({**good, "api_key": good["secret_key"], "secret_key": good["api_key"]}, "swapped", "certain"),
        (elsewhere, "ip_not_listed", "likely"),
        (blind, "ip_not_listed", "likely"),  # Binance answers both alike
    ):
        ran = ready.run("keys", "add", "--role", role, "--input", "-", stdin=json.dumps(entered))
        assert (ran.code, ran.error["details"]["reason"]) == (3, reason), ran.doc
        assert ran.error["details"]["certainty"] == certainty and ran.error["details"]["why"]
        assert ran.error["hint"]
    too_much = ready.run("keys", "add", "--role", role, "--input", "-", stdin=ready.paper_key("m", f"{rights},futures"))
    assert too_much.code == 4 and too_much.error["details"]["excess"] == ["futures"]


def freeze_beside(database: Path, pid: int) -> None:
    """Stop a process while it holds no lock on a database: with one, nobody else could write there."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        try:
            with closing(sqlite3.connect(database, timeout=0.5, isolation_level=None)) as beside:
                beside.execute("BEGIN IMMEDIATE")
                return
        except sqlite3.OperationalError:
            os.kill(pid, signal.SIGCONT)


def test_a_later_delivery_replaces_the_one_that_waits(running: Shell) -> None:
    """Two keys wait for a robot that does not answer: it takes the later one, and says so of the earlier one."""
    pid = running.status()["pid"]
    words = ("keys", "change", "--role", "robot", "--no-wait", "--input", "-")
    freeze_beside(running.home / "mailbox.sqlite", pid)
    try:
        for name in ("robot-2", "robot-3"):
            queued = running.ok(*words, stdin=running.paper_key(name, "reading,spot_trading"))
            assert queued["key"]["status"] == "queued"
        # A stranger's row behind them replaces nothing.
        with sqlite3.connect(running.home / "mailbox.sqlite") as mailbox:
            number, envelope = mailbox.execute("SELECT number, envelope FROM command ORDER BY number DESC").fetchone()
            mailbox.execute(
                "INSERT INTO command (account, number, envelope, sealed, signature) VALUES ('default', ?, ?, x'', x'')",
                (number + 1, envelope),
            )
    finally:
        os.kill(pid, signal.SIGCONT)
    running.await_status(lambda status: status["key"]["name"] == "robot-3", what="the later key")
    with sqlite3.connect(running.home / "mailbox.sqlite") as mailbox:
        [result] = mailbox.execute("SELECT result FROM command WHERE number = ?", (number - 1,)).fetchone()
    assert json.loads(result)["error"]["details"]["reason"] == "superseded"
    assert running.ok("keys", "verify", "--role", "robot")["results"][0]["accepted"]


def test_a_key_of_the_other_account(keyed: Shell) -> None:
    keyed.ok("accounts", "add", "second", "--exchange", "paper")
    for role, rights in (("site", "reading"), ("robot", "reading,spot_trading")):
        key = keyed.paper_key(f"{role}-other", rights)
        ran = keyed.run("--account", "second", "keys", "add", "--role", role, "--input", "-", stdin=key)
        assert (ran.code, ran.error["details"]["reason"]) == (4, "other_account"), ran.doc
        assert ran.error["details"]["account"] == "default"


def test_age(keyed: Shell) -> None:
    assert [key["role"] for key in keyed.ok("keys", "age")["keys"]] == ["site", "robot"]
    old = keyed.run("keys", "age", "--max-age", "0h")
    assert (old.code, old.error["code"]) == (13, "KEY_TOO_OLD") and len(old.data["keys"]) == 2
    assert old.error["details"]["roles"] == ["site", "robot"]
    assert keyed.run("keys", "age", "--max-age", "soon").code == 2


def test_a_lapsing_trading_right_is_warned_of(ready: Shell) -> None:
    key = ready.paper_key("robot-1", "reading,spot_trading", "--expires-in", "86400")
    ran = ready.run("keys", "add", "--role", "robot", "--input", "-", stdin=key)
    assert ran.code == 0 and "TRADING_RIGHT_LAPSES" in [warning["code"] for warning in ran.doc["warnings"]]


def test_keys_are_destroyed_with_the_vault_damaged(running: Shell) -> None:
    vault = running.home / "vault.toml"
    vault.write_bytes(vault.read_bytes()[:-10])
    assert running.run("keys", "delete", "--role", "site", "--yes").code == 6
    assert running.run("keys", "delete", "--role", "robot", "--without-unlocking", "--yes").code == 8, (
        "it has it in memory"
    )
    gone = running.ok("keys", "delete", "--role", "site", "--without-unlocking", "--yes")
    assert len(gone["destroyed"]) == 1 and not list((running.home / "erasure").rglob("site-*"))
    assert running.run("keys", "delete", "--role", "site", "--without-unlocking", "--yes").code == 7


def test_a_forced_change_that_fails_says_what_it_destroyed(ready: Shell) -> None:
    ready.ok("keys", "add", "--role", "site", "--input", "-", stdin=ready.paper_key("site-1", "reading"))
    [card] = ready.ok("keys", "list")["keys"]
    bad = {**json.loads(ready.paper_key("site-2", "reading")), "secret_key": "w" * 64}
    refused = ready.run("keys", "change", "--role", "site", "--force-replace", "--input", "-", stdin=json.dumps(bad))
    assert refused.code == 3 and refused.doc["data"]["replaced"] == {"fingerprint": card["fingerprint"]}
    assert "OLD_KEY_DESTROYED" in [one["code"] for one in refused.doc["warnings"]]
    assert ready.ok("keys", "list")["keys"] == []


def test_refused_input_has_an_entry_and_its_own_code(ready: Shell, tmp_path: Path) -> None:
    assert ready.run("keys", "add", "--role", "site", "--input", "-", stdin="{}").code == 2
    last = ready.ok("audit", "log")["entries"][-1]
    assert (last["what"], last["result"]) == ("keys add refused", "BAD_INPUT")
    missing = ready.run("vault", "slot", "add", "passphrase", "--new-passphrase-file", str(tmp_path / "none"))
    assert (missing.code, missing.error["code"]) == (2, "BAD_INPUT")
