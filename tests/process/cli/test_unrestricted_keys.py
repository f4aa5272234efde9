"""Keys as Binance has them in 2026: a key that may trade has an IP list, or the operator accepts that it has none."""

from __future__ import annotations

import json

from support.harness import Shell, end_robots

ALLOW = ("--allow", "ip_unrestricted")
TRADING = "reading,spot_trading"


def codes(ran: object) -> list[str]:
    return [warning["code"] for warning in ran.doc["warnings"]]  # type: ignore[attr-defined]


def test_a_robot_key_without_an_ip_list_is_refused_unless_it_is_accepted(ready: Shell) -> None:
    add = ("keys", "add", "--role", "robot", "--input", "-")
    key = ready.paper_key("robot-1", TRADING, "--ip", "any")
    refused = ready.run(*add, stdin=key)
    assert (refused.code, refused.error["code"]) == (4, "KEY_POLICY"), refused.out
    assert refused.error["details"]["reason"] == "ip_unrestricted" and "--allow" in refused.error["hint"]
    assert ready.ok("keys", "list")["keys"] == []
    accepted = ready.run(*add, *ALLOW, stdin=key)
    assert accepted.code == 0 and codes(accepted)[0] == "IP_UNRESTRICTED"
    explained = ready.ok("explain", "ip_unrestricted")
    assert "any IP address" in explained["meaning"] and "--allow" in explained["remedy"]
    for words in (("keys", "list"), ("robot", "status")):
        assert codes(ready.run(*words)) == ["IP_UNRESTRICTED"], words
    doctor = {one["name"]: one for one in ready.run("doctor").data["checks"]}
    assert doctor["robot key"]["state"] == "warn" and "Binance deletes" in doctor["robot key"]["reason"]
    again = ready.run("keys", "change", "--role", "robot", "--input", "-", stdin=key)
    assert (again.code, again.error["details"]["reason"]) == (4, "ip_unrestricted")
    listed = ready.run("keys", "change", "--role", "robot", "--input", "-", stdin=ready.paper_key("robot-2", TRADING))
    assert listed.code == 0 and "IP_UNRESTRICTED" not in codes(listed)
    assert codes(ready.run("keys", "list")) == codes(ready.run("robot", "status")) == []


def test_a_stored_key_whose_ip_list_was_lifted_trades_on_with_a_warning(keyed: Shell) -> None:
    keyed.ok("paper", "keys", "edit", "robot-1", "--ip", "any")
    verified = keyed.run("keys", "verify")
    assert verified.code == 0
    assert sorted(codes(verified)) == ["IP_UNRESTRICTED", "KEY_DRIFT"], "the site key is warned of when it is added"
    for words in (("keys", "list"), ("robot", "status")):
        assert codes(keyed.run(*words)) == ["IP_UNRESTRICTED"], words
    doctor = {one["name"]: one for one in keyed.run("doctor").data["checks"]}
    for name, words in (("robot key", "IP list was lifted"), ("site key", "read the account")):
        assert doctor[name]["state"] == "warn" and words in doctor[name]["reason"], doctor[name]
    grid = ("--symbol", "BTCUSDT", "--levels", "2", "--step", "0.3", "--take-profit", "0.3", "--order-quote", "50")
    keyed.ok("robot", "configure", *grid)
    keyed.ok("robot", "start")
    keyed.await_status(lambda status: status["orders_open"] == 2)
    end_robots(keyed.home)


def test_a_site_key_without_an_ip_list_is_warned_of_once(ready: Shell) -> None:
    added = ready.run("keys", "add", "--role", "site", "--input", "-", stdin=ready.paper_key("site-1", "reading"))
    [warning] = added.doc["warnings"]
    assert added.code == 0 and warning["code"] == "IP_UNRESTRICTED" and "delete" not in warning["message"]
    for words in (("keys", "list"), ("keys", "verify", "--role", "site")):
        ran = ready.run(*words)
        assert ran.code == 0 and codes(ran) == []


def test_rotate_takes_allow_and_the_open_rotation_keeps_it(keyed: Shell) -> None:
    rotate = ("keys", "rotate", "--role", "robot", "--mode", "overlap")
    open_to_all = keyed.paper_key("robot-2", TRADING, "--ip", "any")
    refused = keyed.run(*rotate, "--input", "-", stdin=open_to_all)
    assert (refused.code, refused.error["details"]["reason"]) == (4, "ip_unrestricted"), refused.out
    assert keyed.run(*rotate, "--begin", *ALLOW).code == 12
    assert keyed.run("keys", "rotate", "--status", *ALLOW).code == 2
    keyed.ok("paper", "keys", "delete", "robot-1")
    keyed.ok("keys", "rotate", "--finish", "--input", "-", stdin=open_to_all)
    assert {key["name"] for key in keyed.ok("keys", "list")["keys"]} == {"site-1", "robot-2"}


def test_a_refused_key_can_be_accepted_when_the_rotation_is_finished(keyed: Shell) -> None:
    assert keyed.run("keys", "rotate", "--role", "robot", "--mode", "overlap", "--begin").code == 12
    open_to_all = keyed.paper_key("robot-2", TRADING, "--ip", "any")
    finish = ("keys", "rotate", "--finish", "--input", "-")
    assert keyed.run(*finish, stdin=open_to_all).error["details"]["reason"] == "ip_unrestricted"
    keyed.ok("paper", "keys", "delete", "robot-1")
    keyed.ok(*finish, *ALLOW, stdin=open_to_all)


def test_a_master_key_and_its_robot_keys_need_an_ip_list(ready: Shell) -> None:
    email = "sub@paper.example"
    ready.ok("paper", "accounts", "create", "sub", "--sub-of", "default", "--email", email)
    appoint = ("issuer", "set", "sub-account", "--email", email, "--input", "-")
    master = ready.paper_key("master", TRADING, "--ip", "any")
    refused = ready.run(*appoint, stdin=master)
    assert (refused.code, refused.error["details"]["reason"]) == (4, "ip_unrestricted"), refused.out
    assert codes(ready.run(*appoint, *ALLOW, stdin=master))[0] == "IP_UNRESTRICTED"
    assert codes(ready.run("issuer", "status")) == ["IP_UNRESTRICTED"]
    issue = ("keys", "add", "--role", "robot", "--issue")
    refused = ready.run(*issue)
    assert (refused.code, refused.error["details"]["reason"]) == (4, "ip_unrestricted") and "--ip" in refused.error[
        "hint"
    ]
    many = ",".join(f"203.0.113.{number}" for number in range(31))
    assert ready.run(*issue, "--ip", many).error["code"] == "BAD_INPUT"
    assert ready.ok(*issue, *ALLOW)["key"]["ip_restricted"] is False


def test_the_paper_exchange_deletes_unrestricted_trading_keys_by_itself(keyed: Shell) -> None:
    keyed.ok("paper", "keys", "edit", "robot-1", "--ip", "any")
    keyed.paper_key("robot-2", TRADING)
    later = json.loads(keyed.paper_key("robot-3", TRADING))
    assert set(later) >= {"api_key", "secret_key"}
    fault = keyed.ok("paper", "fault", "set", "unrestricted-deleted")["fault"]
    assert (fault["hits"], fault["last"]) == (1, "the key robot-1")
    assert {key["name"] for key in keyed.ok("paper", "keys", "list")["keys"]} == {"site-1", "robot-2", "robot-3"}
    verified = keyed.run("keys", "verify", "--role", "robot")
    assert (verified.code, verified.error["details"]["reason"]) == (3, "unknown_key"), verified.out
