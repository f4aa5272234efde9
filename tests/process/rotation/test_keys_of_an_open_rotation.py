"""While a rotation is open its keys are changed by nothing else, and no issuer is changed; real processes."""

from __future__ import annotations

import json

from support.harness import Shell

EMAIL = "sub@paper.example"


def rotates_its_site_key(shell: Shell) -> None:
    """Up to where both keys live."""
    new = shell.paper_key("site-2", "reading")
    assert shell.run("keys", "rotate", "--role", "site", "--input", "-", stdin=new).code == 12


def test_nothing_else_touches_them(keyed: Shell) -> None:
    rotates_its_site_key(keyed)
    open_ = keyed.ok("keys", "rotate", "--status")["operation"]["id"]
    another = keyed.paper_key("site-3", "reading")
    for words, given in (
        (("keys", "delete", "--role", "site", "--yes"), None),
        (("keys", "add", "--role", "site", "--input", "-"), another),
        (("keys", "change", "--role", "site", "--input", "-"), another),
        (("keys", "change", "--role", "site", "--force-replace", "--input", "-"), another),
        (("keys", "generate", "--role", "site"), None),
        (("issuer", "set", "person", "--yes"), None),
        (("issuer", "set", "sub-account", "--email", EMAIL, "--input", "-"), another),
    ):
        refused = keyed.run(*words, stdin=given)
        assert (refused.code, refused.error["details"]["operation"]["id"]) == (8, open_), (words, refused.doc)
        assert open_ in refused.error["message"] and "--abort" in refused.error["hint"]
    # The other role's key is none of it.
    robot = keyed.paper_key("robot-2", "reading,spot_trading")
    keyed.ok("keys", "change", "--role", "robot", "--input", "-", stdin=robot)
    # The old key lives: nothing of all this was taken for its death.
    assert keyed.run("keys", "rotate", "--resume").code == 12
    keyed.ok("paper", "keys", "delete", "site-1")
    assert keyed.ok("keys", "rotate", "--resume")["operation"]["state"] == "done"


def test_what_is_destroyed_without_unlocking_ends_it_and_says_what_may_live(keyed: Shell) -> None:
    rotates_its_site_key(keyed)
    gone = keyed.ok("keys", "delete", "--role", "site", "--without-unlocking", "--yes")
    assert {one[: one.rindex("-")] for one in gone["destroyed"]} == {"default/site", "default/retiring"}
    assert (gone["operation"]["state"], gone["operation"]["reason"]) == ("aborted", "key_destroyed")
    assert [one["name"] for one in gone["actions"]] == ["site-1", "site-2"]
    assert keyed.run("keys", "rotate", "--resume").code == 7
    shown = keyed.ok("keys", "rotate", "--status")
    assert "may still exist" in json.dumps(shown["left"]) and shown["actions"] == gone["actions"]
