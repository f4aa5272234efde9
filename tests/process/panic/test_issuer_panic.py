"""Where a master account's key issues the keys, a panic deletes them at the exchange, and needs no person."""

from __future__ import annotations

import subprocess
import time

import pytest

from support.harness import WAIT_S, Shell, campaign

EMAIL = "robot-1@paper.example"


@pytest.fixture
def issued(ready: Shell) -> Shell:
    """A home that trades in a sub-account, its keys known to the master; one key there is a person's own."""
    own = ("--paper-account", "robot-1")
    ready.ok("paper", "accounts", "create", "robot-1", "--sub-of", "default", "--email", EMAIL)
    master = ready.paper_key("m-1", "reading,spot_trading")
    ready.ok("issuer", "set", "sub-account", "--email", EMAIL, "--input", "-", stdin=master)
    for role, permissions in (("site", "reading"), ("robot", "reading,spot_trading")):
        key = ready.paper_key(f"{role}-1", permissions, *own)
        ready.ok("keys", "add", "--role", role, "--input", "-", stdin=key)
    ready.paper_key("a-persons-own", "reading", *own)
    return ready


def left(shell: Shell) -> set[str]:
    return {key["name"] for key in shell.ok("paper", "keys", "list")["keys"]}


@campaign
@pytest.mark.parametrize("locked", [False, True], ids=["", "the other vaults shut"])
def test_the_keys_are_deleted_and_proved_dead(issued: Shell, locked: bool) -> None:
    if locked:
        (issued.home / "vault.key").rename(issued.home / "away")
    done = issued.run("panic-disconnect", "--yes", "--wait-dead", "10")
    steps = {step["name"]: step for step in done.data["steps"]}
    assert steps["delete at exchange"]["state"] == "done"
    names = {action.get("name") for action in done.data["actions"]}
    if locked:
        # A vault that stays shut tells no API key of its site key: that one is a person's to delete.
        assert done.code == 12 and names == {"site-1"} and left(issued) == {"m-1", "a-persons-own", "site-1"}
        return
    assert done.code == 0 and names == set() and steps["wait dead"]["state"] == "done"
    assert left(issued) == {"m-1", "a-persons-own"}
    again = issued.run("panic-disconnect", "--yes")
    assert again.code == 0, "nothing is left to do"


@campaign
def test_an_issuer_that_is_locked_leaves_it_to_a_person(issued: Shell) -> None:
    (issued.home / "issuer" / "vault.key").rename(issued.home / "away")
    done = issued.run("panic-disconnect", "--yes")
    assert done.code == 12 and {"site-1", "robot-1"} <= {action.get("name") for action in done.data["actions"]}
    steps = {step["name"]: step["state"] for step in done.data["steps"]}
    assert steps["delete at exchange"] == "failed" and steps["destroy keys"] == "done"


@campaign
@pytest.mark.parametrize("fault", [["slow:3"], ["cut-after-execute"]], ids=["slow", "its answer is lost"])
def test_a_key_that_a_rotation_is_having_made(issued: Shell, fault: list[str]) -> None:
    """The exchange makes it after the panic began, or has made it and said nothing; the list is silent for a while."""
    page = ("POST", "/sapi/*/sub-account/subAccountApi")
    issued.ok("paper", "fault", "set", *fault, "--match", *page, "--count", "1")
    if fault == ["cut-after-execute"]:
        issued.ok("paper", "fault", "set", "http-503", "--match", "GET", page[1], "--after", "4", "--count", "3")
    rotating = subprocess.Popen(
        issued.argv("keys", "rotate", "--role", "robot", "--mode", "overlap", "--yes", "--json"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=issued.environment,
    )
    deadline = time.monotonic() + 60
    while not any(b"fortctl-robot-" in path.read_bytes() for path in issued.home.glob("operations.sqlite*")):
        assert rotating.poll() is None and time.monotonic() < deadline, rotating.communicate()
        time.sleep(0.05)
    done = issued.run("panic-disconnect", "--yes")
    rotating.communicate(timeout=WAIT_S)
    assert left(issued) == {"m-1", "a-persons-own"}, done.out
    assert rotating.returncode != 0
    again = issued.run("panic-disconnect", "--yes")
    assert again.code == 0, again.doc
