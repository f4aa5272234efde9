"""Every contracted failure gives exactly its exit code and error code, and leaves nothing half-written."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.harness import Shell
from support.hosted_exchange import HostedExchange

CONFIGURE = (
    *("robot", "configure", "--symbol", "BTCUSDT", "--levels", "3", "--step", "0.3"),
    *("--take-profit", "0.3", "--order-quote", "50"),
)


def expect(shell: Shell, code: int, name: str, *words: str, stdin: str | bytes | None = None) -> dict[str, object]:
    """Run a command that must fail so, in JSON and in plain mode; return the error object."""
    ran = shell.run(*words, stdin=stdin)
    assert (ran.code, ran.error["code"]) == (code, name), f"{words}: {ran.out} {ran.err}"
    assert ran.doc["ok"] is False and ran.error["exit_code"] == code
    assert ran.error["message"] and ran.error["hint"]
    plain = shell.run(*words, stdin=stdin, json_mode=False)
    assert plain.code == code
    assert plain.err.splitlines()[-2].startswith("error: ") and plain.err.splitlines()[-1].startswith("hint: ")
    assert "Traceback" not in plain.err
    return ran.error


def add(role: str) -> tuple[str, ...]:
    return ("keys", "add", "--role", role, "--input", "-")


def test_unknown_account(ready: Shell) -> None:
    expect(ready, 7, "NOT_FOUND", "--account", "nobody", "keys", "list")


def test_bad_role_and_unknown_option(ready: Shell) -> None:
    expect(ready, 2, "USAGE", "keys", "add", "--role", "king", "--input", "-", stdin="{}")
    expect(ready, 2, "USAGE", "keys", "list", "--colour")


@pytest.mark.parametrize(
    "text",
    [
        b"this is no JSON",
        b"{}",
        b"[]",
        json.dumps({"name": "x", "api_key": "A" * 64, "secret_key": "B" * 30 + "\n" + "B" * 33}).encode(),
        b'{"name": "x", "api_key": "' + b"A" * 10_000_000 + b'"}',
    ],
    ids=["no-json", "empty-object", "no-object", "line-break", "ten-megabytes"],
)
def test_bad_input_then_good(ready: Shell, text: bytes) -> None:
    expect(ready, 2, "BAD_INPUT", *add("site"), stdin=text)
    ready.ok(*add("site"), stdin=ready.paper_key("site-1", "reading"))


def test_key_unknown_to_the_exchange_then_good(ready: Shell) -> None:
    unknown = json.dumps({"name": "x", "api_key": "Q" * 64, "secret_key": "Z" * 64})
    for role in ("site", "robot"):
        error = expect(ready, 3, "KEY_REJECTED", *add(role), stdin=unknown)
        assert error["details"]["reason"]  # type: ignore[index]
        assert error["exchange"]["code"] in (-2008, -2015)  # type: ignore[index]
    ready.ok(*add("site"), stdin=ready.paper_key("site-1", "reading"))
    ready.ok(*add("robot"), stdin=ready.paper_key("robot-1", "reading,spot_trading"))


def test_right_key_with_wrong_secret_then_good(ready: Shell) -> None:
    for role, permissions in (("site", "reading"), ("robot", "reading,spot_trading")):
        good = json.loads(ready.paper_key(f"{role}-1", permissions))
        wrong = json.dumps({**good, "secret_key": good["secret_key"][::-1]})
        error = expect(ready, 3, "KEY_REJECTED", *add(role), stdin=wrong)
        assert error["details"]["reason"] == "wrong_secret"  # type: ignore[index]
        ready.ok(*add(role), stdin=json.dumps(good))


@pytest.mark.parametrize(
    ("role", "permissions", "more"),
    [
        ("robot", "reading,spot_trading,withdrawals", ("--ip", "127.0.0.1")),
        ("robot", "reading", ()),
        ("site", "reading,spot_trading", ()),
    ],
    ids=["withdrawals", "robot-without-trading", "site-with-trading"],
)
def test_wrong_permissions_then_good(ready: Shell, role: str, permissions: str, more: tuple[str, ...]) -> None:
    bad = ready.paper_key("bad", permissions, *more)
    error = expect(ready, 4, "KEY_POLICY", *add(role), stdin=bad)
    details = error["details"]
    assert details["missing"] or details["excess"]  # type: ignore[index]
    good = {"site": "reading", "robot": "reading,spot_trading"}[role]
    ready.ok(*add(role), stdin=ready.paper_key("good", good))


def test_one_pair_for_both_roles(ready: Shell) -> None:
    pair = ready.paper_key("one", "reading,spot_trading")
    ready.ok(*add("robot"), stdin=pair)
    error = expect(ready, 4, "KEY_POLICY", "keys", "add", "--role", "site", "--input", "-", stdin=pair)
    assert error["details"]["reason"] == "shared_between_roles"  # type: ignore[index]


def test_key_of_another_account(ready: Shell) -> None:
    ready.ok(*add("site"), stdin=ready.paper_key("site-1", "reading"))
    ready.ok("paper", "accounts", "create", "stranger")
    foreign = ready.paper_key("robot-x", "reading,spot_trading", "--paper-account", "stranger")
    error = expect(ready, 4, "KEY_POLICY", *add("robot"), stdin=foreign)
    assert error["details"]["reason"] == "other_account"  # type: ignore[index]


def test_key_over_a_key(keyed: Shell) -> None:
    for role, permissions in (("site", "reading"), ("robot", "reading,spot_trading")):
        expect(keyed, 8, "CONFLICT", *add(role), stdin=keyed.paper_key(f"second-{role}", permissions))
    assert {key["name"] for key in keyed.ok("keys", "list")["keys"]} == {"site-1", "robot-1"}


def test_init_twice(ready: Shell) -> None:
    before = (ready.home / "vault.toml").read_bytes()
    expect(ready, 8, "CONFLICT", "init", "--exchange", "paper", "--slot", "keyfile")
    assert (ready.home / "vault.toml").read_bytes() == before


def test_robot_start_unconfigured_running_latched(keyed: Shell) -> None:
    expect(keyed, 8, "CONFLICT", "robot", "start")
    keyed.ok(*CONFIGURE)
    assert keyed.ok("robot", "start")["robot"]["state"] == "running"
    expect(keyed, 8, "CONFLICT", "robot", "start")
    done = keyed.run("panic-disconnect", "--yes")
    assert (done.code, done.error["code"]) == (12, "ACTION_REQUIRED")
    expect(keyed, 8, "CONFLICT", "robot", "start")


def test_wrong_passphrase(shell: Shell, paper: HostedExchange, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("correct horse battery staple\n")
    wrong.write_text("incorrect horse\n")
    for path in (right, wrong):
        path.chmod(0o600)
    given = ("--passphrase-file", str(right))
    shell.ok("init", "--exchange", "paper", "--slot", "passphrase", *given)
    shell.ok(*add("site"), *given, stdin=shell.paper_key("site-1", "reading"))
    expect(shell, 5, "VAULT_LOCKED", "keys", "list", "--passphrase-file", str(wrong))
    expect(shell, 5, "VAULT_LOCKED", "keys", "list")
    assert len(shell.ok("keys", "list", *given)["keys"]) == 1


def test_flipped_byte_in_the_vault(keyed: Shell) -> None:
    path = keyed.home / "vault.toml"
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2] + bytes([good[len(good) // 2] ^ 1]) + good[len(good) // 2 + 1 :])
    expect(keyed, 6, "VAULT_DAMAGED", "keys", "list")
    path.write_bytes(good)
    assert len(keyed.ok("keys", "list")["keys"]) == 2


def test_exchange_down(keyed: Shell, paper: HostedExchange) -> None:
    """Its ``server.json`` stays, as after a SIGKILL."""
    page = keyed.home / "paper" / "server.json"
    stale = page.read_bytes()
    paper.stop()
    page.write_bytes(stale)
    expect(keyed, 10, "EXCHANGE_UNREACHABLE", "keys", "verify", "--role", "site")
    expect(keyed, 10, "EXCHANGE_UNREACHABLE", "account", "balances")


def test_question_under_no_input(keyed: Shell) -> None:
    expect(keyed, 11, "CONFIRMATION_NEEDED", "--no-input", "panic-disconnect")
    assert len(keyed.ok("keys", "list")["keys"]) == 2


def test_panic_done_but_keys_alive(running: Shell) -> None:
    done = running.run("panic-disconnect", "--yes")
    assert (done.code, done.error["code"]) == (12, "ACTION_REQUIRED")
    assert {action["name"] for action in done.error["details"]["actions"]} == {"site-1", "robot-1"}
    assert done.data["steps"]
    expect(running, 7, "NOT_FOUND", "keys", "verify")
    again = running.run("panic-disconnect", "--yes")
    assert again.code == 12, "the keys still live at the exchange"


def test_panic_clear_needs_the_name(keyed: Shell) -> None:
    keyed.run("panic-disconnect", "--yes")
    expect(keyed, 11, "CONFIRMATION_NEEDED", "--yes", "panic-clear")
    keyed.ok("panic-clear", "--confirm", "default")
    assert keyed.status()["state"] != "latched"
    keyed.ok(*add("robot"), stdin=keyed.paper_key("robot-2", "reading,spot_trading"))


def test_interrupt(ready: Shell) -> None:
    """Ctrl-C at a prompt on a real terminal: 130, and nothing is written."""
    before = (ready.home / "vault.toml").read_bytes()
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        ready.argv("keys", "add", "--role", "site"),
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=follower,
        env=ready.environment,
        start_new_session=True,
    )
    os.close(follower)
    seen = b""
    deadline = time.monotonic() + 20
    while b"key" not in seen.lower() and time.monotonic() < deadline:
        if select.select([leader], [], [], 0.2)[0]:
            seen += os.read(leader, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    os.close(leader)
    assert process.stdout is not None
    process.stdout.close()
    assert (ready.home / "vault.toml").read_bytes() == before
    ready.ok(*add("site"), stdin=ready.paper_key("site-1", "reading"))
