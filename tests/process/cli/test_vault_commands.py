"""``fortctl vault`` through the executable: slots, passphrases, rollback, backups, the keyring."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.harness import WAIT_S, Ran, Shell
from support.terminal import Terminal

# As a person would choose them; the longer ones are what a leak would be searched for.
FIRST, SECOND = "correct horse battery staple", "wet paint on every second bench"


class Vaults:
    """A home with a passphrase, and files to name passphrases in."""

    def __init__(self, shell: Shell, folder: Path) -> None:
        self.shell, self.folder = shell, folder
        self.ok = shell.ok
        self.use(FIRST)
        shell.ok("init", "--exchange", "https://exchange.invalid", "--slot", "passphrase")

    def file(self, passphrase: str) -> str:
        path = self.folder / passphrase.split()[0]
        path.write_text(passphrase + "\n")
        path.chmod(0o600)
        return str(path)

    def use(self, passphrase: str) -> None:
        self.shell.environment["FORTCTL_PASSPHRASE_FILE"] = self.file(passphrase)

    def run(self, *words: str) -> Ran:
        return self.shell.run(*words)

    def slots(self) -> list[str]:
        return [slot["kind"] for slot in self.ok("vault", "status")["slots"]]


@pytest.fixture
def vaults(shell: Shell, tmp_path: Path) -> Vaults:
    return Vaults(shell, tmp_path)


def test_status_unlocks_nothing(vaults: Vaults) -> None:
    vaults.use(SECOND)
    data = vaults.ok("vault", "status")
    slot = data["slots"][0]
    assert slot["kind"] == "passphrase" and slot["kdf"]["algorithm"] == "argon2id"
    assert slot["kdf"]["memory_kib"] >= 65536 and slot["kdf"]["iterations"] >= 3
    assert data["age_days"] == 0 and data["written_at"].endswith("Z")
    assert data["generation"] == 2 and data["locked_by"] is None and data["keyfile_beside"] is False
    assert {record["id"] for record in data["records"]} >= {"identity/operator", "fingerprint-key", "audit-key"}
    assert vaults.run("keys", "list").code == 5


def test_a_passphrase_is_changed_and_the_old_one_opens_nothing(vaults: Vaults) -> None:
    changed = vaults.run("vault", "change-passphrase", "--new-passphrase-file", vaults.file(SECOND))
    assert changed.code == 0 and changed.doc["warnings"][0]["code"] == "OLD_BACKUPS"
    assert vaults.run("keys", "list").code == 5
    vaults.use(SECOND)
    assert vaults.ok("keys", "list") == {"keys": []}
    assert vaults.slots() == ["passphrase"]


def test_slots_are_added_and_removed_but_never_the_last(vaults: Vaults) -> None:
    [only] = vaults.ok("vault", "status")["slots"]
    last = vaults.run("vault", "slot", "remove", only["id"], "--yes")
    assert (last.code, last.error["code"]) == (8, "CONFLICT")
    vaults.ok("vault", "slot", "add", "keyfile")
    assert vaults.slots() == ["passphrase", "keyfile"]
    assert vaults.run("vault", "slot", "remove", only["id"]).code == 11
    vaults.ok("vault", "slot", "remove", only["id"], "--yes")
    del vaults.shell.environment["FORTCTL_PASSPHRASE_FILE"]
    assert vaults.slots() == ["keyfile"] and vaults.ok("keys", "list") == {"keys": []}
    assert vaults.run("vault", "slot", "remove", only["id"], "--yes").code == 7
    assert vaults.run("vault", "change-passphrase").code == 8


def test_a_vault_that_was_put_back_is_noticed(vaults: Vaults) -> None:
    path = vaults.shell.home / "vault.toml"
    old = path.read_bytes()
    vaults.ok("vault", "slot", "add", "keyfile")
    path.write_bytes(old)
    refused = vaults.run("keys", "list")
    assert (refused.code, refused.error["details"]["reason"]) == (6, "rolled_back")
    assert refused.error["details"] | {"generation": 2, "audited": 3} == refused.error["details"]
    assert vaults.run("vault", "accept").code == 11
    assert vaults.run("vault", "accept", "--confirm", "3").code == 11
    vaults.ok("vault", "accept", "--confirm", "2")
    assert vaults.ok("keys", "list") == {"keys": []}


def test_what_is_to_be_accepted_is_confirmed_before_anything_is_unlocked(vaults: Vaults) -> None:
    vaults.shell.environment["FORTCTL_PASSPHRASE_FILE"] = vaults.file(SECOND)
    assert vaults.run("vault", "accept", "--confirm", "3").code == 11
    assert vaults.run("vault", "accept", "--confirm", "2").code == 5


def test_a_log_that_was_cut_is_noticed(vaults: Vaults) -> None:
    log = vaults.shell.home / "audit.jsonl"
    before = log.read_bytes()
    vaults.ok("vault", "slot", "add", "keyfile")
    log.write_bytes(before)
    refused = vaults.run("keys", "list")
    assert (refused.code, refused.error["details"]["reason"]) == (6, "log_cut")
    log.unlink()
    assert vaults.run("keys", "list").code == 6
    vaults.ok("vault", "accept", "--confirm", "3")
    assert vaults.ok("keys", "list") == {"keys": []}


def test_a_backup_comes_back(ready: Shell, tmp_path: Path) -> None:
    ready.ok("keys", "add", "--role", "site", "--input", "-", stdin=ready.paper_key("site-1", "reading"))
    [card] = ready.ok("keys", "list")["keys"]
    backup = tmp_path / "backup.json"
    made = ready.run("vault", "backup", "-o", str(backup))
    assert made.code == 0 and made.doc["warnings"][0]["code"] == "BACKUP_LIVES"
    assert ready.run("vault", "backup", "-o", str(backup)).code == 8, "nothing is overwritten"
    assert backup.stat().st_mode & 0o077 == 0
    ready.ok("keys", "delete", "--role", "site", "--yes")
    assert ready.ok("keys", "list")["keys"] == []
    refused = ready.run("vault", "restore", str(backup), "--yes")
    assert (refused.code, refused.error["details"]["comes_back"]) == (8, ["key/default/site"])
    back = ready.ok("vault", "restore", str(backup), "--older", "--yes")
    assert [row["name"] for row in back["comes_back"]] == ["site-1"]
    assert ready.ok("keys", "list")["keys"][0]["fingerprint"] == card["fingerprint"]
    assert ready.ok("keys", "verify", "--role", "site")["results"][0]["accepted"]
    changed = bytearray(backup.read_bytes())
    changed[changed.index(b'"made_at":') + 12] ^= 1
    (tmp_path / "changed.json").write_bytes(changed)
    assert ready.run("vault", "restore", str(tmp_path / "changed.json"), "--older", "--yes").code == 6
    (tmp_path / "none.json").write_text("{}")
    assert ready.run("vault", "restore", str(tmp_path / "none.json"), "--yes").code == 2


@pytest.mark.parametrize("by", ["panic", "deletion"])
def test_what_was_destroyed_without_unlocking_comes_back_only_by_an_explicit_word(
    ready: Shell, tmp_path: Path, by: str
) -> None:
    """Erasing leaves the vault's generation as it is: the backup is not older by number, and older all the same."""
    ready.ok("keys", "add", "--role", "site", "--input", "-", stdin=ready.paper_key("site-1", "reading"))
    backup = tmp_path / "backup.json"
    ready.ok("vault", "backup", "-o", str(backup))
    if by == "panic":
        assert ready.run("panic-disconnect", "--yes").code == 12
    else:
        ready.ok("keys", "delete", "--role", "site", "--without-unlocking", "--yes")
    refused = ready.run("vault", "restore", str(backup), "--yes")
    assert (refused.code, refused.error["details"]["comes_back"]) == (8, ["key/default/site"])
    assert ready.ok("keys", "list")["keys"] == []
    back = ready.run("vault", "restore", str(backup), "--older", "--yes")
    assert back.code == 0 and [row["name"] for row in back.data["comes_back"]] == ["site-1"]
    told = [one["message"] for one in back.doc["warnings"] if one["code"] == "LATCHED"]
    if by == "deletion":
        assert told == []
        return
    # No restore lifts a latch: what came back reads the account, and no robot comes up over it.
    assert len(told) == 1 and "account default stays latched" in told[0] and "'site-1'" in told[0]
    assert ready.status()["state"] == "latched" and ready.run("robot", "run").code == 8
    assert ready.run("robot", "start").error["details"]["state"] == "latched"


def test_a_missing_vault_makes_no_backup_young(ready: Shell, tmp_path: Path) -> None:
    """The audit log knows how far the vault had come."""
    ready.ok("keys", "add", "--role", "site", "--input", "-", stdin=ready.paper_key("site-1", "reading"))
    backup = tmp_path / "backup.json"
    ready.ok("vault", "backup", "-o", str(backup))
    ready.ok("keys", "delete", "--role", "site", "--yes")
    (ready.home / "vault.toml").unlink()
    assert ready.run("vault", "restore", str(backup), "--yes").code == 8
    ready.ok("vault", "restore", str(backup), "--older", "--yes")


def test_a_lost_home_comes_back_from_its_backup(ready: Shell, tmp_path: Path) -> None:
    ready.ok("keys", "add", "--role", "site", "--input", "-", stdin=ready.paper_key("site-1", "reading"))
    backup, keyfile = tmp_path / "backup.json", tmp_path / "kept-elsewhere"
    ready.ok("vault", "backup", "-o", str(backup))
    shutil.copy(ready.home / "vault.key", keyfile)
    for name in ("vault.toml", "config.toml", "audit.jsonl", "vault.key"):
        (ready.home / name).unlink()
    shutil.rmtree(ready.home / "erasure")
    assert ready.run("vault", "restore", str(backup), "--yes").code == 5, "the key file is not in the backup"
    shutil.copy(keyfile, ready.home / "vault.key")
    ready.ok("vault", "restore", str(backup), "--yes")
    assert ready.ok("keys", "verify", "--role", "site")["results"][0]["accepted"]


def test_a_change_waits_for_the_lock_and_names_its_holder(vaults: Vaults) -> None:
    hold = (
        "import sys, time; from pathlib import Path; from fortctl.vault.file import VaultFile\n"
        "home = Path(sys.argv[1])\n"
        "with VaultFile(home / 'vault.toml', home / 'erasure').locked():\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(vaults.shell.home)], stdout=subprocess.PIPE, env=vaults.shell.environment
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        assert vaults.ok("vault", "status")["locked_by"] == holder.pid
        ran = vaults.run("vault", "slot", "add", "keyfile")
        assert (ran.code, ran.error["details"]["holder_pid"]) == (8, str(holder.pid))
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()


def test_commands_side_by_side_lose_nothing(shell: Shell) -> None:
    """Accounts and slots added at once: each of them is there afterwards, and the audit log tells of all."""
    shell.ok("init", "--exchange", "https://exchange.invalid", "--slot", "keyfile")
    words = [("accounts", "add", f"a{number}", "--exchange", "https://exchange.invalid") for number in range(4)]
    words += [("vault", "slot", "add", "keyfile")] * 2
    running = [
        subprocess.Popen(shell.argv(*one), env=shell.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for one in words
    ]
    for one in running:
        _out, err = one.communicate(timeout=WAIT_S)
        assert one.returncode == 0, err
    names = {account["name"] for account in shell.ok("accounts", "list")["accounts"]}
    assert names == {"default", "a0", "a1", "a2", "a3"}
    assert len(shell.ok("vault", "status")["slots"]) == 3
    assert shell.ok("audit", "verify")["intact"] and shell.ok("keys", "list") == {"keys": []}


def test_systemd_credentials_unlock(vaults: Vaults) -> None:
    del vaults.shell.environment["FORTCTL_PASSPHRASE_FILE"]
    credentials = vaults.folder / "credentials"
    credentials.mkdir()
    (credentials / "fortctl-passphrase").write_text(FIRST)
    (credentials / "fortctl-passphrase").chmod(0o400)
    assert vaults.run("keys", "list").code == 5
    vaults.shell.environment["CREDENTIALS_DIRECTORY"] = str(credentials)
    unlocked = vaults.run("keys", "list")
    assert (unlocked.code, unlocked.data, unlocked.doc["warnings"]) == (0, {"keys": []}, [])
    (credentials / "fortctl-passphrase").chmod(0o644)
    assert [one["code"] for one in vaults.run("keys", "list").doc["warnings"]] == ["PASSPHRASE_FILE_OPEN"]


def test_new_passphrases_are_asked_for_twice_and_say_whose_they_are(shell: Shell) -> None:
    """The site vault's at ``init``, the robot vault's when the robot is first brought up."""
    person = Terminal(shell, "init", "--exchange", "https://exchange.invalid", "--slot", "passphrase")
    person.types("new passphrase for the site vault: ", FIRST)
    person.types("the same new passphrase again: ", FIRST)
    assert person.end() == 0, person.seen
    shell.environment["FORTCTL_PASSPHRASE"] = FIRST + "\n"
    person = Terminal(shell, "robot", "start")
    person.types("new passphrase for the vault of account default's robot: ", SECOND)
    person.types("the same new passphrase again: ", SECOND[:-1])
    assert person.end() == 2 and "the two passphrases differ" in person.seen
    assert len(list(shell.home.rglob("vault.toml"))) == 1, "no robot vault was made"
    person = Terminal(shell, "robot", "start")
    person.types("new passphrase for the vault of account default's robot: ", "password1")
    person.types("the same new passphrase again: ", "password1")
    person.end()
    assert "easy to guess" in person.seen and "password1" not in person.seen, person.seen
    assert FIRST not in person.seen


KEYRING_STORY = """
set -e
run() { "$PYTHON" -m fortctl --home "$FORT" "$@"; }
run init --exchange https://exchange.invalid --slot keyring >&2
run keys list >&2
run vault slot add keyfile -q >&2
run vault slot remove "$(run vault status --json | "$PYTHON" -c 'import json, sys
print(json.load(sys.stdin)["data"]["slots"][0]["id"])')" --yes >&2
run vault status --json
"""


def test_a_real_keyring(tmp_path: Path, shell: Shell) -> None:
    """A Secret Service under a D-Bus session of its own unlocks the vault; locked, nothing weaker takes its place."""
    if not (shutil.which("dbus-run-session") and shutil.which("gnome-keyring-daemon")):
        pytest.skip("no gnome-keyring and D-Bus here")
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    environment = {
        **shell.environment,
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_RUNTIME_DIR": str(runtime),
        "PYTHON": sys.executable,
        "FORT": str(shell.home),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.SecretService.Keyring",
    }

    def session(script: str) -> subprocess.CompletedProcess[str]:
        words = ["dbus-run-session", "--", "bash", "-c", script]
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=WAIT_S, check=False)

    unlocked = session("printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null\n" + KEYRING_STORY)
    assert unlocked.returncode == 0, unlocked.stderr
    assert [slot["kind"] for slot in json.loads(unlocked.stdout)["data"]["slots"]] == ["keyfile"]
    shutil.rmtree(shell.home)
    made = session(
        "printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null\n"
        '"$PYTHON" -m fortctl --home "$FORT" init --exchange https://exchange.invalid --slot keyring --json'
    )
    assert made.returncode == 0, made.stderr
    gone = session('"$PYTHON" -m fortctl --home "$FORT" --json keys list')
    assert (gone.returncode, json.loads(gone.stdout)["error"]["code"]) == (5, "VAULT_LOCKED")


def test_an_encrypted_file_keyring(tmp_path: Path, shell: Shell) -> None:
    """Where no Secret Service can run: the encrypted file back-end of keyrings.alt, and never its plaintext one."""
    (tmp_path / "backend.py").write_text(
        "from keyrings.alt.file import EncryptedKeyring\n"
        "class Opened(EncryptedKeyring):\n    keyring_key = 'pw'\n    def _unlock(self): pass\n"
    )
    shell.environment |= {"PYTHONPATH": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "HOME": str(tmp_path)}
    shell.environment["PYTHON_KEYRING_BACKEND"] = "keyrings.alt.file.PlaintextKeyring"
    plain = shell.run("init", "--exchange", "https://exchange.invalid", "--slot", "keyring")
    assert plain.code == 5, "a keyring that keeps nothing secret is none"
    shell.environment["PYTHON_KEYRING_BACKEND"] = "backend.Opened"
    shell.ok("init", "--exchange", "https://exchange.invalid", "--slot", "keyring")
    assert shell.ok("keys", "list") == {"keys": []}
    shell.environment["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
    assert shell.run("keys", "list").code == 5
    assert not os.path.exists(shell.home / "vault.key")
