"""The threat table (docs/security.md), a test a row, named after it: each really attacks.

The thief of the pre-signed panic order attacks in tests/component/panic/test_presigned_orders.py.
"""

from __future__ import annotations

import base64
import http.server
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from fortctl.canonical_json import canonical_json
from fortctl.demo.checks import contains_secret
from fortctl.errors import FortctlError
from fortctl.mailbox.crypto import Identity, RecipientKey
from fortctl.mailbox.home_anchor import HomeAnchor
from fortctl.mailbox.messages import Command, seal_command
from fortctl.mailbox.payloads import StopTrading, encode_payload
from fortctl.secret import Secret
from fortctl.vault.backup import read_backup
from fortctl.vault.envelope import open_record
from fortctl.vault.file import unlock_document
from fortctl.vault.format import decode, encode
from fortctl.vault.slots import FLOOR, Passphrase
from support.harness import STILL, WAIT_S, Shell, end_robots
from support.hosted_exchange import HostedExchange, serve
from support.paper_client import SignedClient

NOBODY = 65534
CONFIGURE = (
    *("robot", "configure", "--symbol", "BTCUSDT", "--levels", "3", "--step", "0.3"),
    *("--take-profit", "0.3", "--order-quote", "50"),
)


class Victim:
    """A home with both keys and a robot that trades, and the secrets in it."""

    def __init__(self, shell: Shell, paper: HostedExchange) -> None:
        self.shell, self.paper = shell, paper
        self.keys: dict[str, dict[str, str]] = {}

    @property
    def home(self) -> Path:
        return self.shell.home

    def secrets(self) -> list[str]:
        return [key[name] for key in self.keys.values() for name in ("api_key", "secret_key")]

    def take_in(self) -> None:
        for role, rights in (("site", "reading"), ("robot", "reading,spot_trading")):
            self.keys[role] = json.loads(self.shell.paper_key(f"{role}-1", rights))
            self.shell.ok("keys", "add", "--role", role, "--input", "-", stdin=json.dumps(self.keys[role]))

    def leaks(self, data: bytes) -> list[str]:
        return [secret[:2] for secret in self.secrets() if contains_secret(secret, data)]


def begun(folder: Path, slot: str) -> Victim:
    shell = Shell(folder / "home")
    paper = serve(shell, *STILL)
    if slot == "passphrase":
        (folder / "passphrase").write_text("correct horse battery staple\n")
        (folder / "passphrase").chmod(0o600)
        shell.environment |= {
            "FORTCTL_PASSPHRASE_FILE": str(folder / "passphrase"),
            "FORTCTL_ROBOT_PASSPHRASE_FILE": str(folder / "passphrase"),
        }
    shell.ok("init", "--exchange", "paper", "--slot", slot)
    victim = Victim(shell, paper)
    victim.take_in()
    return victim


@pytest.fixture(scope="module")
def trading() -> Iterator[Victim]:
    """A home where another user of the machine could come near, if he were let in."""
    folder = Path(tempfile.mkdtemp(prefix="fortctl-threats-"))
    folder.chmod(0o755)
    victim = begun(folder, "keyfile")
    victim.shell.ok(*CONFIGURE)
    victim.shell.ok("robot", "start")
    yield victim
    end_robots(victim.home)
    victim.paper.stop()
    shutil.rmtree(folder)


def test_thief_of_a_disk_or_a_backup(tmp_path: Path) -> None:
    victim = begun(tmp_path, "passphrase")
    try:
        victim.shell.ok("vault", "backup", "-o", str(tmp_path / "backup.json"))
        end_robots(victim.home)
    finally:
        victim.paper.stop()
    loot = [path for path in victim.home.rglob("*") if path.is_file() and victim.home / "paper" not in path.parents]
    loot.append(tmp_path / "backup.json")
    assert {"vault.toml", "mailbox.sqlite", "audit.jsonl", "journal.sqlite"} <= {path.name for path in loot}
    assert not [path for path in loot if victim.leaks(path.read_bytes())]
    vaults = [path for path in loot if path.name == "vault.toml"]
    documents = [decode(path.read_bytes()) for path in vaults]
    documents.append(read_backup((tmp_path / "backup.json").read_bytes()).document)
    assert len(documents) == 3
    for document in documents:
        for slot in document.slots:
            assert slot.kind == "passphrase", "nothing on the disk unlocks it"
            assert (slot.memory_kib, slot.iterations) >= (FLOOR.memory_kib, FLOOR.iterations)
            # A cheaper guess: the same slot, with its cost written down.
            with pytest.raises(FortctlError):
                cheap = slot._replace(iterations=FLOOR.iterations, memory_kib=8)
                unlock_document(document._replace(slots=(cheap,)), [Passphrase(Secret("correct horse battery staple"))])
        with pytest.raises(FortctlError):
            unlock_document(document, [Passphrase(Secret("a guess"))])
        for record in document.records:
            # He has the erasure keys, but not the data-encryption key.
            roots = [path.parent / "erasure" for path in vaults]
            keys = [(root / record.erasure).read_bytes() for root in roots if (root / record.erasure).is_file()]
            for key in [*keys, None]:
                with pytest.raises(FortctlError):
                    open_record(bytes(32), document.vault_id, record, key)


def test_thief_of_a_disk_with_the_key_file_is_warned_of(shell: Shell, tmp_path: Path) -> None:
    """A key file on the same disk is no protection from that disk's thief: it is said, and backups leave it out."""
    made = shell.run("init", "--exchange", "https://exchange.invalid", "--slot", "keyfile")
    assert "KEYFILE_BESIDE_VAULT" in [warning["code"] for warning in made.doc["warnings"]]
    assert "KEYFILE_BESIDE_VAULT" in shell.run("doctor").out
    shell.ok("vault", "backup", "-o", str(tmp_path / "backup.json"))
    key = (shell.home / "vault.key").read_bytes()
    backup = (tmp_path / "backup.json").read_bytes()
    assert key not in backup and not contains_secret(key.hex(), backup)


# What another user of the machine tries; it says what he came by.
INTRUDER = """
import json, os, socket, sys
home, pid = sys.argv[1], sys.argv[2]
got, seen = [], {}
def attempt(what, work):
    try:
        got.append([what, work()])
    except OSError:
        pass
attempt("list", lambda: os.listdir(home))
for path in json.load(sys.stdin):
    attempt("read " + path, lambda: open(path, "rb").read(64).hex())
    attempt("write " + path, lambda: os.close(os.open(path, os.O_WRONLY)))
    attempt("make " + path, lambda: os.close(os.open(os.path.dirname(path) + "/x", os.O_WRONLY | os.O_CREAT)))
def speak():
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(5)
        line.connect(home + "/robots/default/socket")
        line.sendall(b'{"op": "halt"}\\n{"do": "halt"}\\n')
        return line.recv(4096).decode()
attempt("socket", speak)
for name in ("mem", "environ", "maps", "fd"):
    where = f"/proc/{pid}/{name}"
    attempt("proc " + name, lambda: str(os.listdir(where) if name == "fd" else open(where, "rb").read(64)))
shown = b""
for one in os.listdir("/proc"):
    if one.isdigit():
        try:
            shown += open(f"/proc/{one}/cmdline", "rb").read()
        except OSError:
            pass
for folder in ("/tmp", "/dev/shm", "/run", os.path.dirname(home)):
    for name in os.listdir(folder)[:500]:
        try:
            with open(os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
                shown += stream.read(100000)
        except OSError:
            pass
open(1, "wb").write(json.dumps(got).encode() + b"\\n" + shown)
"""


def intrude(victim: Victim, pid: int) -> tuple[list[list[str]], bytes]:
    paths = [str(path) for path in victim.home.rglob("*")]
    for python in ("/usr/bin/python3", sys.executable):
        try:
            done = subprocess.run(
                [python, "-I", "-c", INTRUDER, str(victim.home), str(pid)],
                input=json.dumps(paths).encode(),
                capture_output=True,
                user=NOBODY,
                group=NOBODY,
                extra_groups=[],
                cwd="/",
                timeout=WAIT_S,
                check=False,
            )
            break
        except (PermissionError, FileNotFoundError):
            continue
    else:
        pytest.skip("no Python here that another user may run")
    assert done.returncode == 0, done.stderr
    first, _newline, rest = done.stdout.partition(b"\n")
    return json.loads(first), rest


def test_another_user_of_the_machine(trading: Victim) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    pid = trading.shell.status()["pid"]
    got, shown = intrude(trading, pid)
    assert got == []
    assert b"fortctl" in shown and not trading.leaks(shown), "command lines, and what lies about"
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"PASSPHRASE" not in environment and not trading.leaks(environment)
    # Even where the folders were opened by mistake, the socket knows who speaks.
    opened = [trading.home, trading.home / "robots", trading.home / "robots/default"]
    for folder in opened:
        folder.chmod(0o755)
    (trading.home / "robots/default/socket").chmod(0o777)
    try:
        got, _shown = intrude(trading, pid)
        assert {what.split()[0] for what, _found in got} <= {"list", "socket"}, got
        assert all(found == "" for what, found in got if what == "socket"), "hung up on, without a word"
        refused = trading.shell.run("keys", "list")
        assert (refused.code, refused.error["code"]) == (2, "CONFIG"), "and fortctl refuses to work there"
    finally:
        for folder in opened:
            folder.chmod(0o700)
    trading.shell.await_state("running")


def test_whoever_can_write_the_mailbox(trading: Victim) -> None:
    shell = trading.shell
    shell.ok("keys", "verify", "--role", "robot")
    mailbox = shell.home / "mailbox.sqlite"
    assert not trading.leaks(b"".join(path.read_bytes() for path in shell.home.glob("mailbox.sqlite*")))
    before = shell.status()
    connection = sqlite3.connect(mailbox, timeout=10, isolation_level=None)
    rows = connection.execute("SELECT number, envelope, sealed, signature FROM command ORDER BY number").fetchall()
    start = next(row for row in rows if json.loads(row[1])["kind"] == "configure")
    facts = json.loads(start[1])
    stranger, recipient = Identity.generate(), RecipientKey.generate()
    card = json.loads(connection.execute("SELECT body FROM card").fetchone()[0])
    top = rows[-1][0]
    forged = Command(
        *("default", card["robot_id"], facts["operator_id"], top + 1, "stop", card["recipient"]["id"], 99),
        *(facts["created_at"], None, encode_payload(StopTrading(cancel_orders=True), HomeAnchor(0, 0, ""))),
    )
    stop = seal_command(forged, stranger, base64.b64decode(card["recipient"]["public"]))
    mine = seal_command(
        replace(forged, operator_id=stranger.id), stranger, base64.b64decode(card["recipient"]["public"])
    )
    moved = canonical_json({**facts, "number": top + 4})
    for number, envelope, sealed, signature in (
        (top + 1, stop.envelope, stop.sealed, stop.signature),  # a stranger under an operator's name
        (top + 2, mine.envelope, mine.sealed, mine.signature),  # a stranger under his own
        (top + 3, start[1], b"x" * 2000, start[3]),  # replayed under another number
        (top + 4, moved, b"x" * 2000, start[3]),  # the same with its number changed
        (top + 5, 5, "text", 1.5),  # of types that nobody expects
        (top + 6, b"[" * 5000, b"", b""),
        (top + 7, b"\xff" * 100, None, b"x" * 64),
        (2**60, b"{}", b"", b""),
        ("zzz", b"{}", b"", b""),
    ):
        words = "INSERT INTO command (account, number, envelope, sealed, signature) VALUES ('default', ?, ?, ?, ?)"
        connection.execute(words, (number, envelope, sealed, signature))
    # An applied command is to be applied again: its answer is taken away.
    connection.execute(
        "UPDATE command SET result = NULL, result_signature = NULL, sealed = ? WHERE number = ?", (b"x", start[0])
    )
    assert shell.ok("keys", "verify", "--role", "robot")["results"][0]["accepted"], "the robot obeys its operator alone"
    after = shell.status()
    assert (after["pid"], after["state"], after["config"]) == (before["pid"], "running", before["config"])
    answers = dict(
        connection.execute("SELECT number, result FROM command WHERE number BETWEEN ? AND ?", (top + 1, top + 7))
    )
    reasons = [json.loads(answers[number])["error"]["details"]["reason"] for number in sorted(answers)]
    assert reasons == ["bad_signature", "unpaired", "replayed", "bad_signature", "malformed", "malformed", "malformed"]
    # A recipient key of his own in the card would have the next key sealed to him.
    body, signature = connection.execute("SELECT body, signature FROM card").fetchone()
    public = base64.b64encode(recipient.public_bytes()).decode()
    false = canonical_json({**json.loads(body), "recipient": {"id": recipient.key_id, "public": public}})
    fresh = shell.paper_key("robot-2", "reading,spot_trading")
    for its in (signature, stranger.sign("card", false), b"", "text"):
        connection.execute("UPDATE card SET body = ?, signature = ?", (false, its))
        refused = shell.run("keys", "change", "--role", "robot", "--input", "-", stdin=fresh)
        assert (refused.code, refused.error["code"]) == (6, "VAULT_DAMAGED"), refused.out
    connection.execute("UPDATE card SET body = ?, signature = ?", (body, signature))
    # A forged answer is believed by nobody.
    ticket = connection.execute("SELECT MAX(number) FROM command WHERE number < 4096").fetchone()[0] + 1
    connection.execute(
        "CREATE TRIGGER forged AFTER INSERT ON command BEGIN UPDATE command SET result = '{}', result_signature = x'00'"
        f" WHERE number = {ticket}; END"
    )
    lied = shell.run("keys", "verify", "--role", "robot")
    assert (lied.code, lied.error["code"]) == (6, "VAULT_DAMAGED"), lied.out
    connection.execute("DROP TRIGGER forged")
    # Spoilt as a whole, it is told, and the robot goes on.
    connection.execute("ALTER TABLE command RENAME TO gone")
    assert shell.run("keys", "verify", "--role", "robot").code == 9
    connection.execute("ALTER TABLE gone RENAME TO command")
    connection.close()
    assert shell.ok("keys", "verify", "--role", "robot")["results"][0]["accepted"]
    assert shell.status()["pid"] == before["pid"]


class _Rogue(http.server.BaseHTTPRequestHandler):
    heard: ClassVar[list[bytes]] = []

    def _answer(self) -> None:
        self.heard.append(f"{self.command} {self.path} {dict(self.headers)}".encode())
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"serverTime": 1}')

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 (the library's names)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def rogue() -> Iterator[str]:
    """An exchange of the attacker's own; he would like to be sent a key."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Rogue)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_whoever_edits_files_of_the_home(trading: Victim, rogue: str) -> None:
    shell, home = trading.shell, trading.home
    kept = {name: (home / name).read_bytes() for name in ("config.toml", "vault.toml", "audit.jsonl")}

    def put(name: str, data: bytes) -> None:
        (home / name).write_bytes(data)

    def refused(reason: str | None = None) -> None:
        ran = shell.run("keys", "list")
        assert (ran.code, ran.error["code"]) == (6, "VAULT_DAMAGED"), ran.out
        assert reason is None or ran.error["details"]["reason"] == reason

    # The exchange's address is changed, to be sent a key.
    assert tomllib.loads(kept["config.toml"].decode())["accounts"]["default"]["exchange"] == "paper"
    for target in (rogue, rogue.replace("127.0.0.1", "localhost"), "http://198.51.100.1", "live"):
        put("config.toml", kept["config.toml"].replace(b'exchange = "paper"', f'exchange = "{target}"'.encode()))
        for words in (("account", "balances"), ("keys", "verify"), ("keys", "list")):
            ran = shell.run(*words)
            assert ran.code == 2 and ran.error["code"] == "CONFIG", ran.out
    assert _Rogue.heard == []
    put("config.toml", kept["config.toml"])
    # The vault: swapped, cut, reordered, and with its closing hash made right again.
    document = decode(kept["vault.toml"])
    first, *others = document.records
    for records in (
        tuple(others),
        (*others, first),
        (first._replace(data=others[0].data, nonce=others[0].nonce), *others),
        (first._replace(exchange="live"), *others),
    ):
        put("vault.toml", encode(document._replace(records=records)))
        refused()
    put("vault.toml", kept["vault.toml"][:-20])
    refused()
    put("vault.toml", kept["vault.toml"])
    # The vault alone is put back, then the audit log alone, then both.
    shell.ok("vault", "slot", "add", "keyfile")
    shell.ok("keys", "verify", "--role", "robot")
    later = {name: (home / name).read_bytes() for name in ("vault.toml", "audit.jsonl")}
    put("vault.toml", kept["vault.toml"])
    refused("rolled_back")
    put("vault.toml", later["vault.toml"])
    put("audit.jsonl", kept["audit.jsonl"])
    refused("log_cut")
    put("vault.toml", kept["vault.toml"])
    ran = shell.run("keys", "verify", "--role", "robot")
    assert (ran.code, ran.error["details"]["reason"]) == (6, "rolled_back"), "the robot has seen a later one"
    put("vault.toml", later["vault.toml"])
    put("audit.jsonl", later["audit.jsonl"].replace(b'"slot": "keyfile"', b'"slot": "keyring"'))
    ran = shell.run("audit", "verify")
    assert (ran.code, ran.data["intact"]) == (6, False)
    put("audit.jsonl", later["audit.jsonl"])
    assert shell.ok("audit", "verify")["intact"]


def test_reader_of_logs_output_and_recordings(trading: Victim) -> None:
    """Tracebacks are forced by faults, and everything that was said is searched (test_no_secret_leaks.py does the
    whole story).
    """
    shell, said = trading.shell, []

    def typed(*words: str, stdin: str | None = None) -> None:
        ran = shell.run(*words, "-vv", stdin=stdin, json_mode=False)
        said.extend([ran.out, ran.err])

    for fault in ("cut-body", "truncated", "key-deleted"):
        shell.ok("paper", "fault", "set", fault)
        typed("keys", "verify")
        shell.ok("paper", "fault", "clear")
    key = trading.keys["site"]
    for entered in (
        json.dumps(key)[:-1],
        json.dumps({**key, "secret_key": f" {key['secret_key']}!"}),
        key["secret_key"],
    ):
        typed("keys", "change", "--role", "site", "--input", "-", stdin=entered)
    typed("keys", "list", key["secret_key"])
    typed("keys", "list", f"--name={key['secret_key']}")
    # The system itself refuses in the middle of it.
    shell.environment["PYTHONFAULTHANDLER"] = "1"
    (shell.home / "vault.toml").rename(shell.home / "away")
    (shell.home / "vault.toml").mkdir()
    typed("keys", "list")
    (shell.home / "vault.toml").rmdir()
    (shell.home / "away").rename(shell.home / "vault.toml")
    del shell.environment["PYTHONFAULTHANDLER"]
    typed("robot", "logs")
    typed("audit", "log")
    shown = "\n".join(said).encode() + b"".join(path.read_bytes() for path in shell.home.rglob("*.log*"))
    assert "Traceback" in shown.decode() and len(shown) > 10_000
    assert not trading.leaks(shown)


def test_a_stolen_site_key(trading: Victim) -> None:
    key = trading.keys["site"]
    thief = SignedClient(trading.paper.ready["url"], key)
    assert thief.ok("GET", "account")["canTrade"] in (True, False), "it reads"
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quoteOrderQty": "50"}
    for method, path, fields in (
        ("POST", "/api/v3/order", order),
        ("DELETE", "/api/v3/openOrders", {"symbol": "BTCUSDT"}),
        ("POST", "/sapi/v1/capital/withdraw/apply", {"coin": "USDT", "address": "x", "amount": "1"}),
    ):
        answer = thief.ask(method, path, **fields)
        assert answer.status >= 400, (path, answer)
    more = trading.shell.paper_key("site-2", "reading,spot_trading")
    refused = trading.shell.run("keys", "change", "--role", "site", "--input", "-", stdin=more)
    assert (refused.code, refused.error["details"]["excess"]) == (4, ["spot_trading"]), "more rights are never stored"
