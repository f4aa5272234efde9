"""Preflight with reasons: each is provoked at the paper exchange, and told with how sure that is."""

from __future__ import annotations

import json

from support.harness import Shell


def test_each_reason_is_provoked_and_told(keyed: Shell) -> None:
    keyed.ok("paper", "keys", "edit", "robot-1", "--expires-in", "3600")
    for fault, role, code, reason, certainty in (
        ("key-deleted", "site", 3, "unknown_key", "certain"),
        ("ip-changed", "site", 3, "ip_not_listed", "likely"),
        ("permission-taken", "robot", 4, "policy", None),
        ("maintenance", "site", 10, "maintenance", None),
        ("http-429", "robot", 10, "rate_limited", None),
        ("http-418", "site", 10, "banned", None),
        ("cut-before", "site", 10, "no_connection", None),
    ):
        keyed.ok("paper", "fault", "set", fault)
        ran = keyed.run("keys", "verify", "--role", role)
        keyed.ok("paper", "fault", "clear")
        assert (ran.code, ran.error["details"]["reason"]) == (code, reason), (fault, ran.out)
        assert ran.error["details"].get("certainty") == certainty and ran.error["hint"], (fault, ran.out)
        if code == 3:
            [result] = ran.data["results"]
            assert (result["accepted"], result["why"] is not None, result["exchange"]["code"]) == (
                False,
                True,
                -2008 if reason == "unknown_key" else -2015,
            )
    for fault, warning in (
        ("trading-disabled", "ACCOUNT_MAY_NOT_TRADE"),
        ("clock-offset:90000", "CLOCK_OFF"),
        ("clock-offset:-90000", "CLOCK_OFF"),
    ):
        keyed.ok("paper", "fault", "set", fault)
        ran = keyed.run("keys", "verify", "--role", "robot")
        keyed.ok("paper", "fault", "clear")
        told = {one["code"]: one["message"] for one in ran.doc["warnings"]}
        assert ran.code == 0 and warning in told and "TRADING_RIGHT_LAPSES" in told, ran.out
        if warning == "CLOCK_OFF":
            assert 80_000 < abs(ran.data["results"][0]["clock_skew_ms"]) < 100_000
            assert "timedatectl" in told[warning] and ("behind" in told[warning]) == (":-" not in fault)
    keyed.ok("paper", "keys", "edit", "robot-1", "--expires-in", "0")
    lapsed = keyed.run("keys", "verify", "--role", "robot")
    assert (lapsed.code, lapsed.error["details"]["reason"]) == (4, "expired") and "IP" in lapsed.error["hint"]
    unknown = keyed.run("keys", "verify", "--role", "site")
    assert unknown.code == 0 and unknown.data["results"][0]["clock_skew_ms"] < 1000


def test_a_key_of_another_exchange_is_not_sent_there(keyed: Shell) -> None:
    """What this home knows as another exchange's key is refused before anybody is asked."""
    keyed.ok("accounts", "add", "second", "--exchange", "http://127.0.0.1:9")
    key = keyed.paper_key("site-2", "reading")
    keyed.ok("keys", "change", "--role", "site", "--input", "-", stdin=key)
    ran = keyed.run("--account", "second", "keys", "add", "--role", "site", "--input", "-", stdin=key)
    assert (ran.code, ran.error["details"]["reason"]) == (3, "other_exchange"), ran.out
    assert ran.error["details"]["account"] == "default"


def test_one_private_key_under_two_api_keys_is_one_pair(ready: Shell) -> None:
    first = json.loads(ready.paper_key("site-1", "reading"))
    ready.ok("keys", "add", "--role", "site", "--input", "-", stdin=json.dumps(first))
    other = json.loads(ready.paper_key("robot-1", "reading,spot_trading"))
    both = json.dumps({**other, "secret_key": first["secret_key"]})
    ran = ready.run("keys", "add", "--role", "robot", "--input", "-", stdin=both)
    assert (ran.code, ran.error["details"]["reason"]) == (4, "shared_between_roles")


def test_a_site_key_that_was_deleted_at_the_exchange(keyed: Shell) -> None:
    assert keyed.ok("account", "balances")["balances"]
    keyed.ok("paper", "keys", "delete", "site-1")
    refused = keyed.run("account", "balances")
    assert (refused.code, refused.error["details"]["role"], refused.error["details"]["stale"]) == (3, "site", True)
    assert refused.error["details"]["verified_at"] and refused.error["details"]["rejected_since"]
    [site, robot] = keyed.ok("keys", "list")["keys"]
    assert (site["status"], robot["status"]) == ("rejected", "ok")
    since = site["rejected_since"]
    assert since == refused.error["details"]["rejected_since"]
    assert keyed.run("account", "orders").code == 3, "nothing switches to the robot's key"
    assert keyed.ok("keys", "list")["keys"][0]["rejected_since"] == since, "since the first time"
    key = keyed.paper_key("site-2", "reading")
    keyed.ok("keys", "change", "--role", "site", "--input", "-", stdin=key)
    assert keyed.ok("account", "balances")["balances"]
    assert keyed.ok("keys", "list")["keys"][0]["rejected_since"] is None


def test_only_a_robot_key(ready: Shell) -> None:
    """The site reads through a copy, with a warning at each use, until a site key comes; then the copy is destroyed."""

    def names() -> list[str]:
        return sorted(path.name.rpartition("-")[0] for path in (ready.home / "erasure").rglob("*") if path.is_file())

    added = ready.run(
        *("keys", "add", "--role", "robot", "--input", "-"),
        stdin=ready.paper_key("robot-1", "reading,spot_trading"),
    )
    assert added.code == 0 and "READING_THROUGH_ROBOT_KEY" in [one["code"] for one in added.doc["warnings"]]
    assert added.data["key"]["held_by"] == ["robot"] and ready.ok("keys", "list")["keys"][0]["held_by"] == [
        "robot",
        "site",
    ]
    for _time in range(2):
        read = ready.run("account", "balances")
        assert read.code == 0 and [one["code"] for one in read.doc["warnings"]] == ["READING_THROUGH_ROBOT_KEY"]
    assert names() == ["copy"]
    changed = ready.run(
        *("keys", "change", "--role", "robot", "--input", "-"),
        stdin=ready.paper_key("robot-2", "reading,spot_trading"),
    )
    assert changed.code == 0 and names() == ["copy"], "the copy is changed with it"
    assert ready.ok("account", "balances")["balances"]
    site = ready.run("keys", "add", "--role", "site", "--input", "-", stdin=ready.paper_key("site-1", "reading"))
    assert "ROBOT_COPY_DESTROYED" in [one["code"] for one in site.doc["warnings"]] and names() == ["site"]
    told = [entry["what"] for entry in ready.ok("audit", "log")["entries"]]
    assert "copy of the robot key destroyed" in told
    ready.ok("keys", "delete", "--role", "site", "--yes")
    gone = ready.run("account", "balances")
    assert gone.code == 7 and "keys add --role site" in gone.error["hint"]
    ready.ok("keys", "delete", "--role", "robot", "--yes")
    refused = ready.run(
        *("keys", "add", "--role", "robot", "--no-site-copy", "--input", "-"),
        stdin=ready.paper_key("robot-3", "reading,spot_trading"),
    )
    assert refused.code == 0 and names() == [] and ready.run("account", "balances").code == 7
