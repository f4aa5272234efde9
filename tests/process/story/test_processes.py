"""Real processes: bring-up, kill, restart, passphrases, several accounts, the service manager's way."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

from support.harness import WAIT_S, Ran, Shell
from support.hosted_exchange import HostedExchange, serve

CONFIGURE = (
    *("robot", "configure", "--symbol", "BTCUSDT", "--levels", "4", "--step", "0.3"),
    *("--take-profit", "0.3", "--order-quote", "50"),
)


def add(shell: Shell, role: str, name: str, *more: str) -> Ran:
    permissions = {"site": "reading", "robot": "reading,spot_trading"}[role]
    key = shell.paper_key(name, permissions)
    return shell.run(*more, "keys", "add", "--role", role, "--input", "-", stdin=key)


def run_robot(shell: Shell) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        shell.argv("robot", "run"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=shell.environment,
    )
    shell.await_status(lambda status: status["pid"] == process.pid, what="the robot under 'robot run'")
    return process


def end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(15)


def test_status_never_starts_a_process(ready: Shell) -> None:
    status = ready.status()
    assert (status["pid"], status["state"], status["key"]) == (None, "stopped", None)
    assert ready.run("robot", "cycles").code == 0 and ready.run("doctor").code == 0
    assert ready.status()["pid"] is None


def test_a_brought_up_robot_that_is_killed_waits_as_was_running(keyed: Shell) -> None:
    keyed.ok(*CONFIGURE)
    keyed.ok("robot", "start")
    first = keyed.await_status(lambda status: status["orders_open"] == 4)
    orders = {order["client_order_id"] for order in keyed.ok("account", "orders")["orders"]}
    os.kill(first["pid"], signal.SIGKILL)
    gone = keyed.await_status(lambda status: status["pid"] is None)
    assert gone["state"] == "stopped" and gone["orders_open"] == 4
    keyed.ok("keys", "verify", "--role", "robot")
    again = keyed.status()
    assert (again["state"], again["reason"]) == ("stopped", "was_running") and again["pid"] not in (None, first["pid"])
    assert keyed.ok("robot", "start")["robot"]["state"] == "running"
    keyed.await_status(lambda status: status["orders_open"] == 4)
    assert {order["client_order_id"] for order in keyed.ok("account", "orders")["orders"]} == orders


def test_under_robot_run_it_goes_on_alone(keyed: Shell) -> None:
    keyed.ok(*CONFIGURE)
    os.kill(keyed.status()["pid"], signal.SIGTERM)
    keyed.await_status(lambda status: status["pid"] is None)
    process = run_robot(keyed)
    keyed.ok("robot", "start")
    end(process, signal.SIGKILL)
    process = run_robot(keyed)
    keyed.await_status(lambda status: status["state"] == "running" and status["orders_open"] == 4)
    second = keyed.run("robot", "run")
    assert (second.code, second.error["code"]) == (8, "CONFLICT")
    assert end(process) == 0


def test_passphrases_open_both_vaults_and_reach_no_child(shell: Shell, paper: HostedExchange, tmp_path: Path) -> None:
    for name, text in (("site", "the site's own phrase"), ("robot", "the robot's own phrase")):
        (tmp_path / name).write_text(text + "\n")
        (tmp_path / name).chmod(0o600)
    shell.environment["FORTCTL_PASSPHRASE_FILE"] = str(tmp_path / "site")
    shell.ok("init", "--exchange", "paper", "--slot", "passphrase")
    locked = add(shell, "robot", "r-0")
    assert (locked.code, locked.error["code"]) == (5, "VAULT_LOCKED"), "nothing unlocks the robot's vault yet"
    given = ("--robot-passphrase-file", str(tmp_path / "robot"))
    assert add(shell, "robot", "r-1", *given).code == 0
    pid = shell.status()["pid"]
    environment = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
    assert b"PASSPHRASE" not in environment and b"own phrase" not in environment
    assert sorted(os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)) == ["/dev/null"] * 3
    os.kill(pid, signal.SIGKILL)
    shell.await_status(lambda status: status["pid"] is None)
    (tmp_path / "robot").write_text("another phrase\n")
    wrong = shell.run("keys", "verify", "--role", "robot", *given)
    assert (wrong.code, wrong.error["code"]) == (5, "VAULT_LOCKED")
    (tmp_path / "robot").write_text("the robot's own phrase\n")
    assert shell.run("keys", "verify", "--role", "robot", *given).code == 0


def test_reading_through_the_robot_key_until_there_is_a_site_key(ready: Shell) -> None:
    first = add(ready, "robot", "r")
    assert "READING_THROUGH_ROBOT_KEY" in {warning["code"] for warning in first.doc["warnings"]}
    ran = ready.run("account", "balances")
    assert ran.code == 0 and ran.doc["warnings"][0]["code"] == "READING_THROUGH_ROBOT_KEY"
    assert ready.ok("keys", "list")["keys"][0]["held_by"] == ["robot", "site"]
    added = add(ready, "site", "s")
    assert "ROBOT_COPY_DESTROYED" in {warning["code"] for warning in added.doc["warnings"]}
    assert ready.run("account", "balances").doc["warnings"] == []
    held = {key["role"]: key["held_by"] for key in ready.ok("keys", "list")["keys"]}
    assert held == {"site": ["site"], "robot": ["robot"]}
    what = [entry["what"] for entry in ready.ok("audit", "log")["entries"]]
    assert "robot key copied for reading" in what and "key added" in what


def test_keys_are_changed_and_deleted(running: Shell) -> None:
    for role, permissions in (("site", "reading"), ("robot", "reading,spot_trading")):
        old = next(key for key in running.ok("keys", "list")["keys"] if key["role"] == role)
        bad = running.run(
            "keys", "change", "--role", role, "--input", "-", stdin=running.paper_key(f"{role}-w", "reading,margin")
        )
        assert bad.code == 4
        kept = next(key for key in running.ok("keys", "list")["keys"] if key["role"] == role)
        assert kept["fingerprint"] == old["fingerprint"], "the old key goes only once the new one is accepted"
        new = running.paper_key(f"{role}-2", permissions)
        done = running.ok("keys", "change", "--role", role, "--input", "-", stdin=new)
        assert done["replaced"] == {"fingerprint": old["fingerprint"]} and done["key"]["name"] == f"{role}-2"
        assert running.run("keys", "delete", "--role", role).code == 11
        deleted = running.ok("keys", "delete", "--role", role, "--yes")["deleted"]
        assert deleted == {"role": role, "fingerprint": done["key"]["fingerprint"]}
        assert running.run("keys", "delete", "--role", role, "--yes").code == 7
        assert running.run("keys", "change", "--role", role, "--input", "-", stdin=new).code == 7
    assert running.ok("keys", "list")["keys"] == []


def test_a_site_key_deleted_at_the_exchange(keyed: Shell) -> None:
    keyed.ok("paper", "keys", "delete", "site-1")
    ran = keyed.run("account", "balances")
    assert (ran.code, ran.error["code"]) == (3, "KEY_REJECTED")
    site = next(key for key in keyed.ok("keys", "list")["keys"] if key["role"] == "site")
    assert site["status"] == "rejected", "and nothing switches to the robot key silently"
    assert site["rejected_since"] and site["rejected_since"] >= site["verified_at"]
    verified = keyed.run("keys", "verify", "--role", "site")
    assert (verified.code, verified.error["details"]["reason"]) == (3, "unknown_key")
    assert verified.data["results"][0]["accepted"] is False
    assert keyed.run("doctor", "--fail-on", "fail").code == 3


def test_accounts(keyed: Shell) -> None:
    keyed.ok("accounts", "add", "second", "--exchange", "paper")
    assert keyed.run("accounts", "add", "second", "--exchange", "paper").code == 8
    assert keyed.run("accounts", "add", "third", "--exchange", "ftp://x").code == 2
    keyed.ok("paper", "accounts", "create", "other", "--deposit", "USDT=500")
    pair = keyed.paper_key("second-site", "reading", "--paper-account", "other")
    keyed.ok("--account", "second", "keys", "add", "--role", "site", "--input", "-", stdin=pair)
    balances = keyed.ok("--account", "second", "account", "balances")["balances"]
    assert balances == [{"asset": "USDT", "free": "500.00000000", "locked": "0.00000000"}]
    keyed.ok("accounts", "set", "second", "--robot", "none")
    rows = {row["name"]: row for row in keyed.ok("accounts", "list")["accounts"]}
    assert rows["second"]["robot"] == "none" and set(rows) == {"default", "second"}
    assert keyed.run("accounts", "remove", "second", "--yes").code == 11
    keyed.ok("accounts", "remove", "second", "--confirm", "second")
    assert keyed.run("--account", "second", "keys", "list").code == 7
    assert not list((keyed.home / "erasure").glob("second/*"))
    assert len(keyed.ok("keys", "list")["keys"]) == 2


def test_stop_now_says_what_it_leaves(keyed: Shell) -> None:
    keyed.ok(*CONFIGURE)
    keyed.ok("robot", "start")
    keyed.await_status(lambda status: status["orders_open"] == 4)
    kept = keyed.ok("robot", "stop", "--now")
    assert kept["robot"]["state"] == "stopped" and len(kept["orders_left"]) == 4
    assert len(keyed.ok("account", "orders")["orders"]) == 4
    gone = keyed.ok("robot", "stop", "--now", "--cancel-orders")
    assert len(gone["cancelled"]) == 4 and gone["orders_left"] == []
    assert keyed.ok("account", "orders")["orders"] == []
    assert keyed.run("robot", "stop", "--now", "--drain").code == 2


def test_panic_proves_the_keys_dead_when_a_person_deletes_them(running: Shell) -> None:
    watching = subprocess.Popen(
        running.argv("panic-disconnect", "--yes", "--wait-dead", "90", "--json"),
        stdout=subprocess.PIPE,
        env=running.environment,
    )
    running.await_status(lambda status: status["state"] == "latched" and status["pid"] is None, what="the robot's end")
    for name in ("site-1", "robot-1"):
        running.ok("paper", "keys", "delete", name)
    out, _err = watching.communicate(timeout=WAIT_S)
    document = json.loads(out)
    assert watching.returncode == 0 and document["data"]["actions"] == []


def test_a_home_with_a_long_name_is_reached(tmp_path: Path) -> None:
    shell = Shell(tmp_path / ("long" * 30) / ("name" * 20))
    paper = serve(shell, "--market", "synthetic:7")
    try:
        shell.ok("init", "--exchange", "paper", "--slot", "keyfile")
        assert add(shell, "robot", "r").code == 0
        assert shell.status()["state"] == "stopped"
        assert shell.run("panic-disconnect", "--yes").code == 12
    finally:
        paper.stop()


def test_a_key_may_be_sent_without_waiting(ready: Shell) -> None:
    sent = ready.ok(
        "keys",
        "add",
        "--role",
        "robot",
        "--no-wait",
        "--input",
        "-",
        stdin=ready.paper_key("r", "reading,spot_trading"),
    )
    assert sent["key"]["status"] == "queued"
    deadline = time.monotonic() + 30
    while not (keys := ready.ok("keys", "list")["keys"]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [(key["name"], key["status"]) for key in keys] == [("r", "ok")]


def test_keys_are_entered_at_hidden_prompts(ready: Shell) -> None:
    key = json.loads(ready.paper_key("site-1", "reading"))
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        ready.argv("keys", "add", "--role", "site", "--name", "site-1"),
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=follower,
        env=ready.environment,
        start_new_session=True,
    )
    os.close(follower)
    seen = b""
    for prompt, answer in ((b"API key: ", key["api_key"]), (b"secret key: ", key["secret_key"])):
        while prompt not in seen:
            seen += os.read(leader, 4096)
        os.write(leader, answer.encode() + b"\n")
    assert process.stdout is not None
    out = process.stdout.read()
    assert process.wait(20) == 0 and b"added" in out
    process.stdout.close()
    os.close(leader)
    assert key["secret_key"].encode() not in seen + out and key["api_key"].encode() not in seen + out


def test_a_damaged_audit_log_never_keeps_a_robot_from_being_stopped(keyed: Shell) -> None:
    keyed.ok(*CONFIGURE)
    keyed.ok("robot", "start")
    log = keyed.home / "audit.jsonl"
    log.write_bytes(log.read_bytes()[:-2] + b"?\n")
    assert keyed.run("keys", "verify", "--role", "robot").code == 6
    assert keyed.ok("robot", "stop", "--now")["robot"]["state"] == "stopped"
    assert keyed.run("panic-disconnect", "--yes").code == 12
