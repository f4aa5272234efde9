"""A pipe in the place of a file of the home: no command waits for it, and each says what is the matter."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.harness import Shell

ROBOT = "robots/default"


@contextmanager
def a_pipe(path: Path) -> Iterator[None]:
    """Put a pipe in a file's place for a while."""
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    os.mkfifo(path, 0o600)
    try:
        yield
    finally:
        aside.replace(path)


def test_no_command_waits_for_a_pipe(keyed: Shell) -> None:
    settings = "--levels 2 --step 0.5 --take-profit 0.5 --order-quote 20"
    keyed.ok("robot", "configure", "--symbol", "BTCUSDT", *settings.split())
    os.kill(keyed.status()["pid"], signal.SIGKILL)
    keyed.await_status(lambda one: one["pid"] is None)
    for name, words, code, error in (
        ("config.toml", ("config", "show"), 2, "CONFIG"),
        ("audit.jsonl", ("keys", "list"), 6, "VAULT_DAMAGED"),
        ("audit.jsonl", ("audit", "verify"), 6, "VAULT_DAMAGED"),
        ("audit.jsonl", ("keys", "delete", "--role", "site", "--yes"), 6, "VAULT_DAMAGED"),
        ("vault.toml", ("keys", "list"), 6, "VAULT_DAMAGED"),
        ("vault.key", ("keys", "list"), 5, "VAULT_LOCKED"),
        ("paper/server.json", ("paper", "keys", "list"), 10, "EXCHANGE_UNREACHABLE"),
        ("paper/server.json", ("keys", "verify", "--role", "site"), 2, "CONFIG"),
        (f"{ROBOT}/journal.sqlite", ("robot", "status"), 2, "CONFIG"),
        (f"{ROBOT}/robot.log", ("robot", "logs"), 2, "CONFIG"),
        (f"{ROBOT}/robot.log", ("robot", "start"), 2, "CONFIG"),
        (f"{ROBOT}/robot.lock", ("robot", "start"), 2, "CONFIG"),
        (f"{ROBOT}/identity.json", ("robot", "start"), 2, "CONFIG"),
        # What is not needed is passed over; and whatever lies there, a robot is stopped.
        (f"{ROBOT}/robot.lock", ("robot", "status"), 0, None),
        (f"{ROBOT}/crash.trace", ("keys", "verify", "--role", "robot"), 0, None),
        ("config.toml", ("panic-disconnect", "--yes", "--timeout", "2"), 12, "ACTION_REQUIRED"),
    ):
        with a_pipe(keyed.home / name):
            ran = keyed.run(*words)
        found = ran.error["code"] if not ran.doc["ok"] else None
        assert (ran.code, found) == (code, error), f"{name}: {' '.join(words)}: {ran.out}"
        assert found is None or ran.error["hint"]


def test_a_panic_waits_for_no_pipe(running: Shell) -> None:
    with a_pipe(running.home / f"{ROBOT}/robot.lock"), a_pipe(running.home / "audit.jsonl"):
        assert running.run("panic-disconnect", "--yes", "--timeout", "2").code == 12
    assert not list(running.home.rglob("site-*")) and not list(running.home.rglob("key-*"))


@pytest.mark.parametrize("whose", ["erasure", "erasure/default"])
def test_erasure_keys_behind_a_link_are_told_of_and_left_alone(ready: Shell, whose: str) -> None:
    ready.ok("keys", "add", "--role", "site", "--input", "-", stdin=ready.paper_key("site-1", "reading"))
    folder, elsewhere = ready.home / whose, ready.home / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    refused = ready.run("keys", "delete", "--role", "site", "--without-unlocking", "--yes")
    assert (refused.code, refused.error["code"]) == (6, "VAULT_DAMAGED") and "link" in refused.error["message"]
    assert len(list(elsewhere.rglob("site-*"))) == 1
    folder.unlink()
    elsewhere.rename(folder)
    assert len(ready.ok("keys", "delete", "--role", "site", "--without-unlocking", "--yes")["destroyed"]) == 1
