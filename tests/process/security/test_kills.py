"""The real executable, killed at any of its calls that change something in the home: old or new, never neither."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.harness import Shell

SOURCE = Path(__file__).with_name("kill_at.c")
# How many of a command's calls are tried; ``make nightly``: all.
SAMPLES = int(os.environ.get("FORTCTL_KILLS", "3"))


@pytest.fixture(scope="module")
def preload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: the shim of tests/component/vault/test_crashes.py has to do")
    made = tmp_path_factory.mktemp("preload") / "kill_at.so"
    words = [compiler, "-shared", "-fPIC", "-o", str(made), str(SOURCE), "-ldl"]
    built = subprocess.run(words, capture_output=True, check=False)
    if built.returncode != 0:
        pytest.skip("the preload cannot be built here")
    return made


def slots(shell: Shell) -> object:
    return len(shell.ok("vault", "status")["slots"])


def accounts(shell: Shell) -> object:
    return [account["name"] for account in shell.ok("accounts", "list")["accounts"]]


COMMANDS: dict[str, tuple[tuple[str, ...], Callable[[Shell], object], object, object]] = {
    "a slot": (("vault", "slot", "add", "keyfile"), slots, 1, 2),
    "an account": (
        ("accounts", "add", "second", "--exchange", "https://exchange.invalid"),
        accounts,
        ["default"],
        ["default", "second"],
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_write(tmp_path: Path, preload: Path, name: str) -> None:
    words, see, old, new = COMMANDS[name]
    first = Shell(tmp_path / "first")
    first.ok("init", "--exchange", "https://exchange.invalid", "--slot", "keyfile")

    def run(at: int) -> tuple[Shell, int]:
        shell = Shell(tmp_path / f"home-{at}")
        shutil.copytree(first.home, shell.home)
        count = tmp_path / "count"
        more = {"LD_PRELOAD": str(preload), "KILL_AT": str(at), "KILL_UNDER": str(shell.home), "KILL_COUNT": str(count)}
        done = subprocess.run(shell.argv(*words), env={**shell.environment, **more}, capture_output=True, check=False)
        assert done.returncode == (0 if at == 0 else -9), done.stderr
        return shell, int(count.read_text()) if at == 0 else 0

    whole, calls = run(0)
    assert calls > 10 and see(whole) == new
    for at in sorted(random.Random(7).sample(range(1, calls + 1), min(SAMPLES, calls))):
        shell, _none = run(at)
        state = see(shell)
        assert state in (old, new), f"killed at call {at} of {calls}"
        if state == old:
            shell.ok(*words)
            assert see(shell) == new
        assert shell.ok("keys", "list") == {"keys": []}
        assert shell.ok("audit", "verify")["intact"]
