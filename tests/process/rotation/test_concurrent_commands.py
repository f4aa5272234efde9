"""A rotation beside other commands: a second rotation, hooks, a panic; real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.harness import Ran, Shell


class Beside:
    """A command that runs while the test goes on."""

    def __init__(self, shell: Shell, *words: str) -> None:
        self.process = subprocess.Popen(
            shell.argv(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=shell.environment,
            text=True,
        )
        self.said: list[str] = []
        self._heard = threading.Event()
        self._wanted = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if self._wanted and self._wanted in line:
                self._heard.set()

    def says(self, text: str) -> None:
        """Wait until its progress says something."""
        self._wanted = text
        if not any(text in line for line in self.said):
            assert self._heard.wait(60), f"'{text}' was never said: {self.said}"

    def end(self) -> int:
        code = self.process.wait(60)
        self._reader.join(10)
        return code


@contextmanager
def beside(shell: Shell, *words: str) -> Iterator[Beside]:
    one = Beside(shell, *words)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()
        assert one.process.stderr is not None
        one.process.stderr.close()


def hold_a_cycle_open(shell: Shell) -> None:
    """Have a buy filled and the market stand still below its sell: no drain comes to its end."""
    shell.ok("paper", "market", "pause")
    for _attempt in range(60):
        shell.ok("paper", "market", "step", "400")
        if "selling" in {cycle["state"] for cycle in shell.ok("robot", "cycles")["cycles"]}:
            return
    pytest.fail("no buy was filled")


def test_a_drain_is_waited_for_and_a_second_rotation_finds_the_first(trading: Shell) -> None:
    """``--on-timeout wait`` waits on, says so, and holds the lock: whoever comes second is told who works."""
    hold_a_cycle_open(trading)
    words = ("keys", "rotate", "--role", "robot", "--begin", "--timeout", "0.5", "--on-timeout", "wait")
    with beside(trading, *words) as first:
        first.says("still draining: ")
        trading.await_state("draining")
        generate = ("keys", "generate", "--role", "site")
        for second in (words, ("keys", "rotate", "--role", "site"), ("keys", "rotate", "--abort"), generate):
            refused = trading.run(*second)
            assert refused.code == 8, refused.doc
            owner = refused.error["details"]["owner"]
            assert owner["pid"] == first.process.pid and owner["what"] == "keys rotate (begin)"
            assert f"pid {first.process.pid}" in refused.error["message"]
        shown = trading.ok("keys", "rotate", "--status")["operation"]
        assert (shown["step"], shown["owner"]["pid"]) == ("drain", first.process.pid)
        # The market goes where the sell lies: the drain ends by itself, and the rotation goes on.
        trading.ok("paper", "market", "jump", "60%")
        trading.ok("paper", "market", "resume")
        assert first.end() == 12, first.said
    assert trading.ok("keys", "rotate", "--status")["operation"]["step"] == "create"
    status = trading.status()
    assert (status["state"], status["cycles"]["open"], status["orders_open"]) == ("stopped", 0, 0)
    assert status["cycles"]["closed"] >= 1


WRITE = "import sys; from pathlib import Path; Path(sys.argv[1]).write_text(sys.stdin.read())"


def failed_hooks(ran: Ran) -> list[str]:
    return [one["message"] for one in ran.doc["warnings"] if one["code"] == "HOOK_FAILED"]


def test_hooks_before_and_after(keyed: Shell, tmp_path: Path) -> None:
    """They get one JSON event; what fails or hangs is told, and the rotation goes on."""

    def hook(event: str, *argv: str) -> None:
        keyed.ok("config", "set", f"hooks.{event}", json.dumps([sys.executable, "-c", *argv]))

    hook("pre-rotate", WRITE, str(tmp_path / "before"))
    hook("post-rotate", WRITE, str(tmp_path / "after"))
    new = keyed.paper_key("site-2", "reading")
    assert keyed.run("keys", "rotate", "--role", "site", "--input", "-", stdin=new).code == 12
    keyed.ok("paper", "keys", "delete", "site-1")
    done = keyed.run("keys", "rotate", "--resume")
    assert (done.code, failed_hooks(done)) == (0, [])
    before, after = (json.loads((tmp_path / name).read_text()) for name in ("before", "after"))
    assert (before["event"], after["event"]) == ("pre-rotate", "post-rotate")
    assert before["account"] == after["account"] == "default"
    operation = done.data["operation"]
    assert before["facts"]["operation"]["step"] == "check" and before["facts"]["operation"]["id"] == operation["id"]
    assert (after["facts"]["operation"]["state"], after["facts"]["operation"]["id"]) == ("done", operation["id"])
    # One that complains, and one that never ends.
    hook("pre-rotate", "raise SystemExit('no change today')")
    hook("post-rotate", "import time; time.sleep(600)")
    keyed.ok("config", "set", "hooks.timeout", "1s")
    begun = keyed.run("keys", "rotate", "--role", "site")
    assert begun.code == 12 and failed_hooks(begun) == ["pre-rotate: it ended with 1: no change today"]
    ended = keyed.run("keys", "rotate", "--abort")
    assert ended.code == 0 and failed_hooks(ended) == ["post-rotate: it was killed after 1 s"]


def test_a_panic_destroys_what_an_overlap_keeps(trading: Shell) -> None:
    """Between the swap and the old keys' death there are two copies of each role's keys: all of them go."""
    new = {
        "site": json.loads(trading.paper_key("site-2", "reading")),
        "robot": json.loads(trading.paper_key("robot-2", "reading,spot_trading")),
    }
    swapped = trading.run(
        "keys", "rotate", "--role", "both", "--mode", "overlap", "--input", "-", stdin=json.dumps(new)
    )
    assert swapped.code == 12, swapped.doc
    homes = (trading.home / "erasure" / "default", trading.home / "robots" / "default" / "erasure" / "default")
    for folder in homes:
        assert len([path for path in folder.iterdir() if path.name.startswith("retiring-")]) == 1
    panic = trading.run("panic-disconnect", "--yes")
    assert panic.code == 12
    for folder in homes:
        assert not any(any(path.read_bytes()) for path in folder.iterdir()), "an erasure key was left"
    named = {(one["role"], one["name"]) for one in panic.data["actions"] if one["what"] == "delete_key_at_exchange"}
    assert named == {(role, f"{role}-{number}") for role in ("site", "robot") for number in (1, 2)}
    ended = trading.ok("keys", "rotate", "--status")["operation"]
    assert (ended["state"], ended["reason"]) == ("aborted", "panic")
    refused = trading.run("keys", "rotate", "--resume")
    assert (refused.code, refused.error["details"]["state"]) == (8, "latched")
