"""Two commands at once: what a command decides is read under the lock, and nothing that was accepted is lost."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.harness import Shell


def at_once(shell: Shell, *commands: tuple[tuple[str, ...], str | None]) -> list[tuple[int, dict[str, Any]]]:
    """Start all commands, give each its input only when all run, and return exit codes and documents."""
    running = [
        subprocess.Popen(
            shell.argv(*words, "--json"),
            env=shell.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for words, _given in commands
    ]
    for process, (_words, given) in zip(running, commands, strict=True):
        assert process.stdin is not None
        process.stdin.write(given or "")
        process.stdin.flush()
        process.stdin.close()
        process.stdin = None
    ended = []
    for process in running:
        out, err = process.communicate(timeout=120)
        assert out, err
        ended.append((process.returncode, json.loads(out)))
    return ended


CONFIGURE = (
    *("robot", "configure", "--symbol", "BTCUSDT", "--levels", "2", "--step", "0.3"),
    *("--take-profit", "0.3", "--order-quote", "50"),
)
RIGHTS = {"site": "reading", "robot": "reading,spot_trading"}


@pytest.mark.parametrize("role", ["site", "robot"])
def test_keys_add_twice_stores_one_key_and_refuses_the_other(ready: Shell, role: str) -> None:
    words = ("keys", "add", "--role", role, "--input", "-")
    ended = at_once(ready, *((words, ready.paper_key(f"{role}-{number}", RIGHTS[role])) for number in (1, 2)))
    assert Counter(code for code, _document in ended) == {0: 1, 8: 1}, ended
    (kept,) = [document["data"]["key"]["fingerprint"] for code, document in ended if code == 0]
    assert [key["fingerprint"] for key in ready.ok("keys", "list")["keys"]] == [kept]
    verified = ready.ok("keys", "verify", "--role", role)["results"]
    assert [row["accepted"] for row in verified] == [True]


@pytest.mark.parametrize("role", ["site", "robot"])
def test_keys_change_twice_is_one_after_the_other(keyed: Shell, role: str) -> None:
    words = ("keys", "change", "--role", role, "--input", "-")
    ended = at_once(keyed, *((words, keyed.paper_key(f"{role}-{number}", RIGHTS[role])) for number in (2, 3)))
    assert [code for code, _document in ended] == [0, 0], ended
    first = keyed.ok("keys", "list")["keys"]
    last = next(key["fingerprint"] for key in first if key["role"] == role)
    replaced = {
        document["data"]["replaced"]["fingerprint"]: document["data"]["key"]["fingerprint"] for _c, document in ended
    }
    assert len(replaced) == 2 and last in replaced.values() and set(replaced.values()) - {last} <= set(replaced), ended


def outcome(ended: list[tuple[int, dict[str, Any]]]) -> list[str]:
    """Return what two commands did, whichever was the first: ``changed``, ``unchanged`` or the error's code."""
    return sorted(
        ("changed" if document["changed"] else "unchanged") if code == 0 else document["error"]["code"]
        for code, document in ended
    )


def twice(shell: Shell, *words: str, stdin: str | None = None) -> list[str]:
    return outcome(at_once(shell, (words, stdin), (words, stdin)))


ONE_CHANGES = (["CONFLICT", "changed"], ["changed", "unchanged"])


def test_accounts_add_twice_makes_one_account(shell: Shell) -> None:
    shell.ok("init", "--exchange", "https://exchange.invalid", "--slot", "keyfile")
    assert twice(shell, "accounts", "add", "a", "--exchange", "https://exchange.invalid") in ONE_CHANGES
    assert {account["name"] for account in shell.ok("accounts", "list")["accounts"]} == {"a", "default"}
    assert shell.ok("audit", "verify")["intact"]


def test_vault_backup_twice_overwrites_nothing(ready: Shell, tmp_path: Path) -> None:
    assert twice(ready, "vault", "backup", "--output", str(tmp_path / "backup")) == ["CONFLICT", "changed"]


def test_keys_delete_twice_destroys_the_key_once(keyed: Shell) -> None:
    done = twice(keyed, "keys", "delete", "--role", "site", "--yes")
    assert done in (["NOT_FOUND", "changed"], ["changed", "unchanged"], ["ACTION_REQUIRED", "NOT_FOUND"]), done
    assert [key["role"] for key in keyed.ok("keys", "list")["keys"]] == ["robot"]


def test_robot_start_twice_is_one_start(running: Shell) -> None:
    running.ok(*CONFIGURE)
    for _ in range(2):
        done = twice(running, "robot", "start")
        assert set(done) <= {"changed", "unchanged", "CONFLICT"} and done != ["CONFLICT", "CONFLICT"], done
        assert running.status()["state"] == "running"
        assert set(twice(running, "robot", "stop", "--now")) <= {"changed", "unchanged"}
        assert running.status()["state"] == "stopped"


def test_robot_brought_up_twice_is_one_robot(ready: Shell) -> None:
    ended = at_once(ready, (CONFIGURE, None), (CONFIGURE, None))
    assert {code for code, _document in ended} <= {0, 8}, [document.get("error") for _code, document in ended]
    assert 0 in {code for code, _document in ended}
    assert ready.status()["pid"] is not None and ready.ok("audit", "verify")["intact"]


def test_panic_twice_latches_once_and_clear_twice_lifts_it(keyed: Shell) -> None:
    ended = at_once(keyed, (("panic-disconnect", "--yes"), None), (("panic-disconnect", "--yes"), None))
    assert {code for code, _document in ended} <= {0, 12}, ended
    assert keyed.status()["state"] == "latched"
    assert twice(keyed, "panic-clear", "--confirm", "default") in ONE_CHANGES
    assert keyed.status()["state"] != "latched" and keyed.ok("audit", "verify")["intact"]
