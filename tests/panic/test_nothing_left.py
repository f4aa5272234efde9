"""A panic that finds little or nothing: it says what it does not know, and never that all is well because of that."""

from __future__ import annotations

import shutil

from harness import Shell


def test_without_keys_there_is_nothing_to_do(ready: Shell) -> None:
    done = ready.run("panic-disconnect", "--yes")
    steps = {step["name"]: step["detail"] for step in done.data["steps"]}
    assert (done.code, done.data["actions"]) == (0, []) and steps["read keys"] == "the account has no key"
    assert ready.status()["state"] == "latched"


def test_what_cannot_be_named_is_said(ready: Shell) -> None:
    """The vault is gone, then the whole home: a key that lives at the exchange may have been in it."""
    ready.ok("keys", "add", "--role", "site", "--input", "-", stdin=ready.paper_key("site-1", "reading"))
    (ready.home / "vault.toml").unlink()
    for _again in range(2):
        done = ready.run("panic-disconnect", "--yes")
        told = [action["text"] for action in done.error["details"]["actions"]]
        assert done.code == 12 and any("every key that you gave to fortctl" in text for text in told), done.doc
    shutil.rmtree(ready.home)
    gone = ready.run("panic-disconnect", "--yes")
    assert (gone.code, gone.error["code"]) == (7, "NOT_FOUND")
    assert gone.error["message"].startswith("there is nothing to disconnect: no home at ")
    assert "every key that you gave to fortctl" in gone.error["hint"] and not ready.home.exists()
