"""An account that is removed leaves nothing that acts for it: no open rotation, no issuer."""

from __future__ import annotations

from support.harness import Shell

EMAIL = "sub@paper.example"


def test_not_while_a_rotation_is_open_and_its_issuer_goes_with_it(ready: Shell) -> None:
    ready.ok("paper", "accounts", "create", "sub", "--sub-of", "default", "--email", EMAIL)
    ready.ok("accounts", "add", "second", "--exchange", "paper")
    of = ("--account", "second")
    master = ready.paper_key("master", "reading,spot_trading", "--ip", "127.0.0.1")
    key = ready.paper_key("site-1", "reading", "--paper-account", "sub")
    ready.ok(*of, "keys", "add", "--role", "site", "--input", "-", stdin=key)
    assert ready.run(*of, "keys", "rotate", "--role", "site").code == 12
    open_ = ready.ok(*of, "keys", "rotate", "--status")["operation"]
    refused = ready.run("accounts", "remove", "second", "--confirm", "second")
    assert (refused.code, refused.error["details"]["operation"]["id"]) == (8, open_["id"])
    assert "second" in {row["name"] for row in ready.ok("accounts", "list")["accounts"]}
    ready.ok(*of, "keys", "rotate", "--abort")

    ready.ok(*of, "issuer", "set", "sub-account", "--email", EMAIL, "--input", "-", stdin=master)
    vault, away = ready.home / "issuer" / "vault.key", ready.home / "away"
    vault.rename(away)
    locked = ready.run("accounts", "remove", "second", "--confirm", "second")
    assert locked.code == 5 and ready.ok(*of, "keys", "list")["keys"], "nothing was destroyed"
    away.rename(vault)
    ready.ok("accounts", "remove", "second", "--confirm", "second")
    assert b"issuer/second" not in (ready.home / "issuer" / "vault.toml").read_bytes()
    assert not any(path.is_file() for path in (ready.home / "issuer" / "erasure").rglob("*"))
    # Under the same name there is another account now: a person makes its keys.
    ready.ok("accounts", "add", "second", "--exchange", "paper")
    assert ready.ok(*of, "issuer", "status")["issuer"]["kind"] == "person"
    assert ready.run(*of, "keys", "rotate", "--resume").code == 7
