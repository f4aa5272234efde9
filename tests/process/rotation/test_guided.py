"""``keys rotate`` on a terminal: it shows what to do, takes the keys at hidden prompts, waits, verifies, proves."""

from __future__ import annotations

import json
from pathlib import Path

from support.harness import Shell
from support.terminal import Terminal


def test_a_person_is_guided_through_it(keyed: Shell) -> None:
    weak = json.loads(keyed.paper_key("weak", "reading"))
    good = json.loads(keyed.paper_key("robot-2", "reading,spot_trading"))
    person = Terminal(keyed, "keys", "rotate", "--role", "robot", "--mode", "overlap")
    person.until("1. on Binance's API management page create a new robot key")
    person.until("the robot's host (127.0.0.1), the addresses of 'robot-1'")
    for made in (weak, good):
        person.types("Name of the new robot key", made["name"])
        person.types("API key: ", made["api_key"])
        person.types("secret key: ", made["secret_key"])
        if made is weak:
            person.until("refused: the exchange accepts the key, but its permissions")
    person.until("1. delete the old robot key 'robot-1'")
    person.types("Press Enter", "")
    # Pressed too early: it asks again, since the exchange still accepts the old key.
    person.types("Press Enter", "", before=lambda: keyed.ok("paper", "keys", "delete", "robot-1"))
    assert person.end() == 0, person.seen
    assert "done" in person.seen and good["secret_key"] not in person.seen and good["api_key"] not in person.seen
    assert keyed.ok("keys", "rotate", "--status")["operation"]["state"] == "done"


def test_the_public_half_of_a_pair_made_here_can_be_pasted(keyed: Shell, tmp_path: Path) -> None:
    """The private half is durable before that: a terminal that dies, or a typing error, takes it from nobody."""
    person = Terminal(keyed, "keys", "rotate", "--role", "both", "--mode", "overlap")
    pasted = [shown_public(person)]
    person.process.kill()
    person.end()
    person = Terminal(keyed, "keys", "rotate", "--role", "both", "--mode", "overlap")
    for role, rights in (("site", "reading"), ("robot", "reading,spot_trading")):
        pasted.append(shown_public(person))
        public = tmp_path / f"{role}.pem"
        public.write_text(pasted[-1])
        made = keyed.ok(
            *("paper", "keys", "create", "--name", f"{role}-2", "--type", "ed25519", "--public-key", str(public)),
            *("--permissions", rights),
        )
        for typed in ("nothing", made["api_key"]):
            person.types(f"Name of the new {role} key", f"{role}-2")
            person.types("API key: ", typed)
            person.types("secret key: ", "")
            if typed == "nothing":
                person.until("refused: api_key must be 64 letters and digits")
    assert pasted[0] == pasted[1] != pasted[2], "the key that was made at the exchange meanwhile is good"
    person.types(
        "Press Enter", "", before=lambda: [keyed.ok("paper", "keys", "delete", f"{r}-1") for r in ("site", "robot")]
    )
    assert person.end() == 0, person.seen
    shown = {one["role"]: (one["name"], one["type"]) for one in keyed.ok("keys", "list")["keys"]}
    assert shown == {role: (f"{role}-2", "ed25519") for role in ("site", "robot")} and "PRIVATE" not in person.seen


def shown_public(person: Terminal) -> str:
    person.until("-----BEGIN PUBLIC KEY-----")
    begun = person.seen.rindex("-----BEGIN PUBLIC KEY-----")
    person.until("-----END PUBLIC KEY-----")
    return person.seen[begun:].split("-----END")[0].replace("\r", "") + "-----END PUBLIC KEY-----\n"


def test_later_ends_it_there(keyed: Shell) -> None:
    good = json.loads(keyed.paper_key("site-2", "reading"))
    person = Terminal(keyed, "keys", "rotate", "--role", "site")
    person.types("Name of the new site key", "site-2")
    person.types("API key: ", good["api_key"])
    person.types("secret key: ", good["secret_key"])
    person.types("Press Enter", "later")
    assert person.end() == 12 and "error: the new key is in use" in person.seen
    keyed.ok("paper", "keys", "delete", "site-1")
    assert keyed.run("keys", "rotate").code == 0
