"""``fortctl keys rotate`` through the executable: two calls, overlap, urgent, the issuer, refusals, aborts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.harness import Shell

RIGHTS = {"site": "reading", "robot": "reading,spot_trading"}
EMAIL = "sub@paper.example"


def key(shell: Shell, role: str, name: str, *more: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shell.paper_key(name, RIGHTS[role], *more))
    return found


def rotate(shell: Shell, *words: str, given: object = None) -> Any:
    stdin = None if given is None else json.dumps(given)
    return shell.run("keys", "rotate", *words, *(("--input", "-") if given is not None else ()), stdin=stdin)


def steps(operation: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["state"] for step in operation["steps"]}


def fingerprints(shell: Shell) -> dict[str, str]:
    return {one["role"]: one["fingerprint"] for one in shell.ok("keys", "list")["keys"]}


def test_both_keys_in_two_calls(trading: Shell) -> None:
    """The recommended sequence as CI types it, with each answer that a script relies on."""
    before = fingerprints(trading)
    assert [rotate(trading, word).code for word in ("--status", "--resume", "--abort", "--finish")] == [7, 7, 7, 7]
    assert rotate(trading).code == 2 and rotate(trading, "--begin", "--finish").code == 2
    begun = rotate(trading, "--role", "both", "--begin", "--timeout", "60")
    assert (begun.code, begun.error["code"]) == (12, "ACTION_REQUIRED"), begun.doc
    whats = [action["what"] for action in begun.error["details"]["actions"]]
    assert whats == ["create_key_at_exchange", "delete_key_at_exchange"] * 2 + ["enter_key"]
    operation = begun.data["operation"]
    assert (operation["mode"], operation["role"], operation["step"]) == ("drain", "both", "create")
    assert trading.status()["state"] == "stopped" and not trading.ok("account", "orders")["orders"]

    other = rotate(trading, "--role", "robot", "--mode", "overlap")
    assert (other.code, other.error["details"]["operation"]["id"]) == (8, operation["id"])
    again = rotate(trading, "--role", "both", "--begin")
    assert (again.code, again.data["operation"]["id"]) == (12, operation["id"])
    shown = trading.ok("keys", "rotate", "--status")
    assert shown["operation"]["waits_for"] and len(shown["actions"]) == 5

    finding = next(one for one in trading.ok("doctor")["checks"] if one["name"] == "rotation")
    assert finding["state"] == "warn" and operation["id"] in finding["reason"]
    new = {"site": key(trading, "site", "site-2"), "robot": key(trading, "robot", "robot-2")}
    assert rotate(trading, "--finish", given=new["site"]).code == 2, "one key where two are rotated"
    assert rotate(trading, "--finish", given={"site": {"api_key": "x"}, "robot": {}}).error["code"] == "BAD_INPUT"
    for name in ("site-1", "robot-1"):
        trading.ok("paper", "keys", "delete", name)
    finished = rotate(trading, "--finish", given=new)
    assert finished.code == 0 and finished.doc["changed"] is True, finished.doc
    done = finished.data["operation"]
    assert set(steps(done).values()) == {"done"} and done["id"] == operation["id"] and done["trading_gap_s"] > 0
    trading.await_state("running")
    after = fingerprints(trading)
    assert set(after) == set(before) and not set(after.values()) & set(before.values())
    repeated = rotate(trading, "--finish", given=new)
    assert (repeated.code, repeated.doc["changed"], repeated.data["operation"]["step"]) == (0, False, "done")
    fresh = {"site": key(trading, "site", "site-3"), "robot": key(trading, "robot", "robot-3")}
    assert rotate(trading, "--finish", given=fresh).code == 7
    metas = trading.ok("vault", "status")["records"] + trading.ok("vault", "status", "--of", "robot")["records"]
    assert not [one for one in metas if one["id"].startswith("retiring/")]
    whats = [entry["what"] for entry in trading.ok("audit", "log")["entries"]]
    assert "rotation" in whats and trading.ok("audit", "verify")["intact"] is True


def test_a_second_key_beside_the_first(trading: Shell) -> None:
    """Overlap: the robot trades on; the old key must be proved dead, and a refusal alone is no proof."""
    asked = rotate(trading, "--role", "robot", "--mode", "overlap")
    assert (asked.code, asked.data["operation"]["step"]) == (12, "create")
    trading.await_state("running")
    old = json.loads(json.dumps(asked.error["details"]["actions"][0]))
    assert old["tick"] == ["Enable Reading", "Enable Spot & Margin Trading"] and "robot-1" in old["ip"]
    new = key(trading, "robot", "robot-2")
    left = rotate(trading, "--finish", given=new)
    assert left.code == 12 and left.error["details"]["unproved"] == ["robot"], left.doc
    assert left.data["operation"]["trading_gap_s"] < 1
    trading.await_state("running")
    trading.ok("paper", "fault", "set", "code-2015", "--match", "GET", "/sapi/v1/account/apiRestrictions")
    assert rotate(trading, "--resume").code == 12, "-2015 may be an address or a ban"
    trading.ok("paper", "fault", "clear")
    trading.ok("paper", "keys", "delete", "robot-1")
    done = rotate(trading, "--finish", given=new)
    assert done.code == 0 and done.data["operation"]["step"] == "done", done.doc
    assert {order["status"] for order in trading.ok("account", "orders")["orders"]} == {"NEW"}


def test_new_keys_that_will_not_do(trading: Shell) -> None:
    """Refused, and the rotation waits for another one; nothing of the old one was touched."""
    before = fingerprints(trading)
    first = key(trading, "robot", "robot-2", "--ip", "127.0.0.1")
    assert rotate(trading, "--role", "robot", "--mode", "overlap").code == 12
    weak = json.loads(trading.paper_key("weak", "reading"))
    strong = json.loads(trading.paper_key("strong", "reading,spot_trading,margin"))
    trading.ok("paper", "accounts", "create", "other", "--deposit", "USDT=1000")
    foreign = key(trading, "robot", "foreign", "--paper-account", "other")
    wrong = {**first, "secret_key": strong["secret_key"]}
    for given, code, reason in (
        (weak, 4, "policy"),
        (strong, 4, "policy"),
        (foreign, 4, "other_account"),
        (wrong, 3, "wrong_secret"),
    ):
        refused = rotate(trading, "--finish", given=given)
        assert (refused.code, refused.error["details"]["reason"]) == (code, reason), refused.doc
        assert refused.data["operation"]["step"] == "deliver"
    assert fingerprints(trading) == before
    trading.await_state("running")
    trading.ok("paper", "keys", "delete", "robot-1")
    assert rotate(trading, "--finish", given=first).code == 0
    assert rotate(trading, "--role", "robot", "--mode", "overlap", given=first).error["details"]["reason"] == "same_key"
    assert rotate(trading, "--abort").code == 7, "it was refused before anything was begun"


def test_abort_before_a_new_key_is_in_use_leaves_the_robot_as_before(trading: Shell) -> None:
    before = fingerprints(trading)
    assert rotate(trading, "--role", "both", "--begin").code == 12
    aborted = trading.ok("keys", "rotate", "--abort")
    assert aborted["operation"]["state"] == "aborted" and not aborted["actions"]
    assert "the robot key is the old one" in aborted["left"] and "the robot is running" in aborted["left"]
    assert fingerprints(trading) == before
    trading.await_state("running")
    # Once the old key is dead there is no way back: a new one must be handed over.
    assert rotate(trading, "--role", "both", "--begin").code == 12
    trading.ok("paper", "keys", "delete", "robot-1")
    refused = rotate(trading, "--abort")
    assert (refused.code, refused.error["details"]["roles"]) == (8, ["robot"])


def test_abort_after_it_leaves_the_new_one(trading: Shell) -> None:
    before = fingerprints(trading)
    assert rotate(trading, "--role", "robot", "--mode", "overlap", given=key(trading, "robot", "robot-2")).code == 12
    aborted = trading.ok("keys", "rotate", "--abort")
    assert [action["name"] for action in aborted["actions"]] == ["robot-1"]
    assert fingerprints(trading)["robot"] != before["robot"]
    trading.await_state("running")
    assert not list((trading.home / "robots").rglob("retiring-*")), "its retiring copy is gone"
    assert rotate(trading, "--abort").code == 7


def test_a_drain_that_takes_too_long(trading: Shell) -> None:
    trading.ok("paper", "market", "pause")
    # A bought cycle keeps the drain waiting: its sell lies above a market that stands still.
    for _attempt in range(60):
        trading.ok("paper", "market", "step", "400")
        if "selling" in {cycle["state"] for cycle in trading.ok("robot", "cycles")["cycles"]}:
            break
    else:
        pytest.fail("no buy was filled")
    aborted = rotate(trading, "--role", "robot", "--timeout", "0.5")
    assert (aborted.code, aborted.error["details"]["reason"]) == (8, "drain_timed_out"), aborted.doc
    assert aborted.data["operation"]["state"] == "aborted"
    trading.await_state("running")
    kept = rotate(trading, "--role", "robot", "--timeout", "0.5", "--on-timeout", "keep", "--begin")
    assert kept.code == 12 and trading.status()["state"] == "stopped" and trading.status()["orders_open"] > 0
    assert rotate(trading, "--abort").code == 0
    cancelled = rotate(trading, "--role", "robot", "--timeout", "0.5", "--on-timeout", "cancel", "--begin")
    assert cancelled.code == 12 and trading.status()["orders_open"] == 0


def test_urgent_after_the_old_key_was_lost(trading: Shell) -> None:
    trading.ok("paper", "keys", "delete", "robot-1")
    trading.await_state("key_lost")
    drained = rotate(trading, "--role", "robot", "--begin")
    assert drained.code == 3 and "urgent" in drained.error["hint"], drained.doc
    assert trading.ok("keys", "rotate", "--status")["operation"]["state"] == "aborted"
    done = rotate(trading, "--role", "robot", "--mode", "urgent", given=key(trading, "robot", "robot-2"))
    assert done.code == 0 and done.data["operation"]["trading_gap_s"] > 0, done.doc
    trading.await_state("running")


def test_a_latched_account_rotates_nothing(trading: Shell) -> None:
    assert rotate(trading, "--role", "robot", "--mode", "overlap").code == 12
    assert trading.run("panic-disconnect", "--yes").code == 12
    refused = rotate(trading, "--role", "robot", "--mode", "overlap")
    assert (refused.code, refused.error["details"].get("state")) == (8, "latched"), refused.doc
    # The way back begins with panic-clear (docs/emergency.md): no key of either role is taken in before it.
    for role in RIGHTS:
        added = trading.run("keys", "add", "--role", role, "--input", "-", stdin=json.dumps(key(trading, role, role)))
        assert (added.code, added.error["details"].get("state")) == (8, "latched"), added.doc
        assert "panic-clear" in added.error["hint"]
    assert trading.run("keys", "generate", "--role", "site").error["details"]["state"] == "latched"
    assert trading.ok("keys", "list")["keys"] == []
