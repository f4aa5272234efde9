"""Another user's home: a stranger gets one clear answer, and root's panic acts as the owner. Real users, as root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.harness import REPOSITORY, Ran, Shell, clean_environment

OWNER, STRANGER = 65534, 65533


def interpreter() -> tuple[str, dict[str, str]]:
    """Return a Python that other users can run, and its environment; skip the test if there is none."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    version = f"python{sysconfig.get_python_version()}"
    environment = clean_environment(
        PYTHONPATH=os.pathsep.join((str(REPOSITORY / "src"), sysconfig.get_path("purelib"))),
        PYTHONDONTWRITEBYTECODE="1",
    )
    for python in (os.environ.get("FORTCTL_UNDER_TEST"), f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        if python and os.path.exists(python):
            tried = subprocess.run(
                [python, "-c", "import fortctl.bootstrap.panic, cryptography.fernet"],
                user=STRANGER, group=STRANGER, extra_groups=[], cwd="/", env=environment, check=False,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            if tried.returncode == 0:
                return python, environment
    pytest.skip("other users cannot run this version of Python here (FORTCTL_UNDER_TEST names one)")


class UserShell(Shell):
    """Types commands as one user, in a home that may be another's."""

    python = ""

    def argv(self, *words: str) -> list[str]:
        return [self.python, "-m", "fortctl", "--home", str(self.home), *words]


@pytest.fixture
def owner() -> Iterator[UserShell]:
    python, environment = interpreter()
    folder = Path(tempfile.mkdtemp(prefix="fortctl-users-"))
    folder.chmod(0o755)
    os.mkdir(folder / "owner", 0o700)
    os.chown(folder / "owner", OWNER, OWNER)
    shell = UserShell(folder / "owner" / "home", environment, user=OWNER)
    shell.python = python
    try:
        yield shell
    finally:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in words:
                os.kill(int(process.name), 9)
        shutil.rmtree(folder, ignore_errors=True)


def as_user(owner: UserShell, user: int | None) -> UserShell:
    other = UserShell(owner.home, owner.environment, user=user)
    other.python = owner.python
    return other


COMMANDS = (
    ("keys", "list"),
    ("keys", "delete", "--role", "site", "--yes"),
    ("robot", "status"),
    ("robot", "start"),
    ("robot", "pair"),
    ("doctor",),
    ("audit", "verify"),
    ("vault", "status"),
    ("accounts", "add", "x", "--exchange", "paper"),
    ("init",),
    ("panic-disconnect", "--yes"),
    ("panic-clear", "--confirm", "default"),
)


def test_a_home_of_another_user_gives_every_command_one_clear_answer(owner: UserShell) -> None:
    owner.ok("init", "--exchange", "https://exchange.invalid", "--slot", "keyfile")
    stranger = as_user(owner, STRANGER)
    for words in COMMANDS:
        ran = stranger.run(*words)
        assert (ran.code, ran.error["code"]) == (7, "NOT_FOUND"), f"{words}: {ran.out}"
        assert "this home belongs to nobody" in ran.error["message"], ran.error
    assert stranger.run("explain", "-2015").code == 0


def panic(shell: UserShell, *words: str) -> Ran:
    return shell.run("panic-disconnect", *words)


def test_panic_typed_by_root_acts_as_the_owner(owner: UserShell) -> None:
    """The robot obeys it, its orders are cancelled, and every file that it writes belongs to the owner."""
    server = subprocess.Popen(
        owner.argv("paper", "serve", "--market", "synthetic:7", "--speed", "0.1", "--port", "0", "--json"),
        stdout=subprocess.PIPE,
        env=owner.environment,
        **owner.as_user(),
    )
    assert server.stdout is not None and server.stdout.readline()
    owner.ok("init", "--exchange", "paper", "--slot", "keyfile")
    for role, rights in (("site", "reading"), ("robot", "reading,spot_trading")):
        made = owner.ok("paper", "keys", "create", "--name", role, "--permissions", rights)
        owner.ok("keys", "add", "--role", role, "--input", "-", stdin=json.dumps(made))
    owner.ok(
        *("robot", "configure", "--symbol", "BTCUSDT", "--levels", "3", "--step", "0.3"),
        *("--take-profit", "0.3", "--order-quote", "50"),
    )
    owner.ok("robot", "start")
    owner.await_status(lambda status: status["orders_open"] == 3)
    ran = panic(as_user(owner, None), "--yes")
    assert ran.code == 12, ran.out
    assert "ACTING_AS_OWNER" in {warning["code"] for warning in ran.doc["warnings"]}
    open_now = owner.ok("paper", "requests")["requests"]
    cancels = [row for row in open_now if row["method"] == "DELETE" and row["status"] == 200]
    assert cancels, "its orders are cancelled"
    assert owner.status()["state"] == "latched"
    strange = [path for path in owner.home.rglob("*") if path.lstat().st_uid != OWNER]
    assert not strange
    server.terminate()
    server.wait()
