"""Rotation with no hands: a master account's key makes, swaps and deletes, whatever answers are lost."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from support.harness import THREE_LEVELS, Shell

SUB = "/sapi/*/sub-account/subAccountApi"
EMAIL = "sub@paper.example"


@pytest.fixture
def issuing(ready: Shell) -> Shell:
    """A home whose account is a sub-account, its keys made by the master's key; a person's key lies beside them."""
    ready.ok("paper", "accounts", "create", "sub", "--sub-of", "default", "--email", EMAIL, "--deposit", "USDT=10000")
    ready.ok(
        *("issuer", "set", "sub-account", "--email", EMAIL, "--input", "-"),
        stdin=ready.paper_key("master", "reading,spot_trading", "--ip", "127.0.0.1"),
    )
    ready.paper_key("persons-own", "reading", "--paper-account", "sub")
    for role in ("site", "robot"):
        made = ready.ok("keys", "add", "--role", role, "--issue", "--ip", "127.0.0.1")
        assert (made["key"]["type"], made["key"]["ip_restricted"]) == ("ed25519", True)
    ready.ok(*THREE_LEVELS, "--order-quote", "50")
    ready.ok("robot", "start")
    ready.await_status(lambda status: status["orders_open"] == 3)
    return ready


def there(shell: Shell) -> set[str]:
    """The names of the sub-account's keys at the exchange."""
    return {one["name"] for one in shell.ok("paper", "keys", "list")["keys"] if one["account"] == "sub"}


def rotated(shell: Shell, *words: str) -> dict[str, Any]:
    before = there(shell)
    done = shell.ok("keys", "rotate", *words)["operation"]
    assert done["step"] == "done" and {step["state"] for step in done["steps"]} == {"done"}
    after = there(shell)
    assert "persons-own" in after and len(after) == len(before) == 3 and after != before
    cards = {one["name"]: one for one in shell.ok("keys", "list")["keys"]}
    assert set(cards) | {"persons-own"} == after
    assert all(one["ip_restricted"] and one["status"] == "ok" for one in cards.values())
    return done  # type: ignore[no-any-return]


def test_from_cron_with_no_hands(issuing: Shell) -> None:
    done = rotated(issuing, "--role", "both", "--mode", "overlap")
    assert done["trading_gap_s"] < 1
    issuing.await_state("running")
    # An exchange that does not know the second version of the call is asked by the first.
    issuing.ok("paper", "fault", "set", "http-404", "--match", "POST", SUB.replace("*", "v2"))
    rotated(issuing, "--role", "both", "--timeout", "30")
    issuing.ok("paper", "fault", "clear")
    issuing.await_state("running")
    # A sub-account that may have no more keys: nothing is lost, and the same command goes on once it may.
    before = there(issuing)
    issuing.ok("paper", "fault", "set", "keys-full")
    full = issuing.run("keys", "rotate", "--role", "robot", "--mode", "overlap")
    assert (full.code, full.error["exchange"]["code"], full.data["operation"]["step"]) == (2, -9000, "create"), full.doc
    assert "maximum number of API keys" in full.error["message"] and there(issuing) == before
    issuing.ok("paper", "fault", "clear")
    rotated(issuing)
    issuing.await_state("running")
    assert issuing.run("keys", "add", "--role", "robot", "--issue").code == 8
    assert issuing.run("keys", "add", "--role", "robot", "--issue", "--ip", "x").error["code"] == "BAD_INPUT"
    store = b"".join(path.read_bytes() for path in issuing.home.glob("operations.sqlite*"))
    assert b"PRIVATE" not in store


@pytest.mark.parametrize(("method", "kind"), [("POST", "cut-after-execute"), ("DELETE", "cut-before")])
def test_lost_answers_leave_no_key_behind(issuing: Shell, method: str, kind: str) -> None:
    issuing.ok("paper", "fault", "set", kind, "--match", method, SUB, "--count", "1")
    ran = issuing.run("keys", "rotate", "--role", "robot", "--mode", "overlap")
    if ran.code != 0:
        assert (ran.code, ran.error["code"]) == (10, "EXCHANGE_UNREACHABLE"), ran.doc
        issuing.await_state("running")
        assert issuing.run("keys", "rotate", "--resume").code == 0
    names = there(issuing)
    assert len(names) == 3 and "persons-own" in names
    cards = issuing.ok("keys", "list")["keys"]
    assert {one["name"] for one in cards} < names and all(one["status"] == "ok" for one in cards)


def test_an_abort_deletes_what_was_made_for_it(issuing: Shell) -> None:
    before = there(issuing)
    issuing.ok("paper", "fault", "set", "http-503", "--match", "GET", "/api/v3/account", "--after", "1")
    ran = issuing.run("keys", "rotate", "--role", "robot", "--mode", "overlap")
    assert ran.code == 10 and ran.data["operation"]["step"] == "deliver", ran.doc
    assert len(there(issuing)) == 4
    issuing.ok("paper", "fault", "clear")
    aborted = issuing.ok("keys", "rotate", "--abort")
    assert "the issuer's key" in aborted["left"] and there(issuing) == before
    assert json.dumps(aborted).count("fortctl-robot-") >= 1
    issuing.await_state("running")


def test_the_user_stream_logs_on_with_the_new_key_without_reconnecting(issuing: Shell) -> None:
    def logons() -> int:
        return sum(1 for one in issuing.ok("paper", "requests")["requests"] if one["method"] == "session.logon")

    # The old key lives on while its stream is handed over: its deletion does not come through at first.
    before = logons()
    issuing.ok("paper", "fault", "set", "http-503", "--match", "DELETE", SUB, "--count", "2")
    assert issuing.run("keys", "rotate", "--role", "robot", "--mode", "overlap").code == 10
    deadline = time.monotonic() + 30
    while logons() == before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert logons() == before + 1 and before > 0
    log = (issuing.home / "robots" / "default" / "robot.log").read_text()
    assert "user stream down" not in log
    issuing.await_state("running")
    assert issuing.ok("keys", "rotate", "--resume")["operation"]["trading_gap_s"] < 1
