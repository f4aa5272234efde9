"""``fortctl issuer`` through the executable."""

from __future__ import annotations

import pytest

from support.harness import Shell

EMAIL = "robot-1@paper.example"


@pytest.fixture
def sub(ready: Shell) -> Shell:
    """A home whose paper account has a sub-account."""
    ready.ok("paper", "accounts", "create", "robot-1", "--sub-of", "default", "--email", EMAIL)
    return ready


def test_a_master_key_issues_once_it_has_proved_that_it_can(sub: Shell) -> None:
    assert sub.ok("issuer", "status")["issuer"] == {"kind": "person", "email": None, "key": None}
    appoint = ("issuer", "set", "sub-account", "--email", EMAIL, "--input", "-")
    for name, rights, more, code in (
        ("reads", "reading", (), 4),
        ("moves", "reading,spot_trading,universal_transfer", (), 4),
        ("robs", "reading,spot_trading,withdrawals", ("--ip", "127.0.0.1"), 4),
    ):
        refused = sub.run(*appoint, stdin=sub.paper_key(name, rights, *more))
        assert (refused.code, refused.error["details"]["role"]) == (code, "issuer"), refused.doc
    robber = sub.paper_key("robs-2", "reading,spot_trading,withdrawals", "--ip", "127.0.0.1")
    assert sub.run(*appoint, "--allow", "withdrawals", stdin=robber).code == 0
    strange = sub.run(
        *("issuer", "set", "sub-account", "--email", "nobody@paper.example", "--input", "-"),
        stdin=sub.paper_key("m-0", "reading,spot_trading"),
    )
    assert (strange.code, strange.error["code"]) == (2, "BAD_INPUT")
    assert sub.run("issuer", "set", "sub-account", "--input", "-", stdin="{}").code == 2
    found = sub.ok(*appoint, stdin=sub.paper_key("m-1", "reading,spot_trading"))["issuer"]
    assert (found["kind"], found["email"], found["key"]["name"]) == ("sub-account", EMAIL, "m-1")
    assert sub.ok("issuer", "status")["issuer"] == found
    place = sub.home / "issuer"
    assert oct(place.stat().st_mode)[-3:] == "700" and oct((place / "vault.toml").stat().st_mode)[-3:] == "600"
    (place / "vault.key").rename(sub.home / "elsewhere")
    assert sub.run("issuer", "status").code == 5, "the issuer's vault has slots of its own"
    (sub.home / "elsewhere").rename(place / "vault.key")
    assert sub.run("--no-input", "issuer", "set", "person").code == 11
    assert sub.run("issuer", "set", "person", "--yes").doc["changed"] is True
    assert sub.run("issuer", "set", "person", "--yes").doc["changed"] is False
    assert sub.ok("issuer", "status")["issuer"]["kind"] == "person"
    assert not list((place / "erasure").rglob("master-*"))


def test_a_sub_account_that_is_another_is_refused(sub: Shell) -> None:
    """Its list says nothing of this account's keys: a panic would ask the wrong one which of them live."""
    sub.ok("keys", "add", "--role", "site", "--input", "-", stdin=sub.paper_key("site-1", "reading"))
    master = sub.paper_key("m-1", "reading,spot_trading")
    refused = sub.run("issuer", "set", "sub-account", "--email", EMAIL, "--input", "-", stdin=master)
    assert (refused.code, refused.error["details"]["reason"]) == (2, "other_account"), refused.doc
    assert sub.ok("issuer", "status")["issuer"]["kind"] == "person"
