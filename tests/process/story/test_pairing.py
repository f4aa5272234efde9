"""An operator and a robot on different hosts (here: two homes that share a mailbox): pairing, orders, revoking."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fortctl.mailbox.crypto import Identity
from fortctl.mailbox.sqlite import SqliteMailbox
from support.harness import STILL, WAIT_S, Shell, end_robots
from support.hosted_exchange import HostedExchange, serve

NOBODY = 65534
SETTINGS = (
    *("robot", "configure", "--symbol", "BTCUSDT", "--levels", "3", "--step", "0.3"),
    *("--take-profit", "0.3", "--order-quote", "50"),
)


class Hosts:
    """The operator's home and the robot's, and the mailbox between them."""

    def __init__(
        self,
        folder: Path,
        paper_shell: Shell,
        paper: HostedExchange,
        database: str | None = None,
        user: int | None = None,
    ) -> None:
        self.page = paper_shell
        self.operator, self.robot = Shell(folder / "operator"), Shell(folder / "robot", user=user)
        shared = folder / "shared"
        shared.mkdir(mode=0o770)
        if user is not None:
            # A folder of a group that both belong to; the robot's home is its own user's.
            os.chown(shared, 0, user)
            shared.chmod(0o2770)
            self.robot.home.mkdir(mode=0o700)
            os.chown(self.robot.home, user, user)
            self.robot.environment["HOME"] = str(self.robot.home)
        self.mailbox = shared / "mailbox.sqlite"
        self.url = database or f"sqlite://{self.mailbox}"
        for shell in (self.operator, self.robot):
            shell.ok("init", "--exchange", paper.ready["url"], "--slot", "keyfile")
        self.operator.ok("accounts", "set", "default", "--robot", "remote")

    def words(self) -> tuple[str, ...]:
        return ("robot", "pair", "--mailbox", self.url, "--timeout", str(round(WAIT_S)))

    def introduce(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Run ``robot pair`` on both hosts; return what each says."""
        other = subprocess.Popen(
            self.robot.argv(*self.words(), "--json"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.robot.environment,
            **self.robot.as_user(),
        )
        mine = self.operator.run(*self.words())
        out, err = other.communicate(timeout=WAIT_S)
        return mine.doc, json.loads(out or err)

    def pair(self) -> str:
        """Pair both; return the operator's name as the robot knows it."""
        mine, theirs = self.introduce()
        code = mine["data"]["code"]
        assert mine["error"]["exit_code"] == theirs["error"]["exit_code"] == 12
        assert code == theirs["data"]["code"] and len(code) == 9
        self.robot.ok("robot", "pair", "--confirm", code)
        self.operator.ok("robot", "pair", "--confirm", code)
        return str(theirs["data"]["other"])


@pytest.fixture
def hosts(tmp_path: Path, shell: Shell, request: pytest.FixtureRequest) -> Iterator[Hosts]:
    database = request.getfixturevalue("postgres") if getattr(request, "param", None) == "postgresql" else None
    paper = serve(shell, *STILL)
    both = Hosts(tmp_path, shell, paper, database)
    yield both
    for one in (both.operator, both.robot):
        end_robots(one.home)
    paper.stop()


def nothing_forged_is_shown(hosts: Hosts) -> None:
    """Who writes the mailbox says that the robot trades: it is not shown."""
    connection = sqlite3.connect(hosts.mailbox, timeout=10, isolation_level=None)
    body, signature = connection.execute("SELECT body, signature FROM card").fetchone()
    for false in (body.replace(b'"state":"stopped"', b'"state":"running"'), b"[", b"[1]"):
        assert false != body
        connection.execute("UPDATE card SET body = ?", (false,))
        shown = hosts.operator.run("robot", "status")
        assert (shown.code, shown.data["robot"]["state"]) == (0, "unknown"), shown.out
        assert "CARD_NOT_SIGNED" in [one["code"] for one in shown.doc["warnings"]]
    connection.execute("UPDATE card SET body = ?, signature = ?", (body, signature))
    connection.close()
    assert hosts.operator.status()["state"] == "stopped"


@pytest.mark.parametrize("hosts", ["sqlite", "postgresql"], indirect=True)
def test_a_robot_on_another_host(hosts: Hosts) -> None:
    operator_id = hosts.pair()
    operator = hosts.operator
    key = hosts.page.paper_key("robot-1", "reading,spot_trading")
    taken = operator.ok("keys", "add", "--role", "robot", "--input", "-", stdin=key)["key"]
    assert (taken["status"], taken["held_by"]) == ("ok", ["robot"])
    assert not list((operator.home / "robots").rglob("vault.toml")), "the robot's vault is on its own host"
    secret = json.loads(key)["secret_key"].encode()
    assert not [path for path in hosts.mailbox.parent.iterdir() if secret in path.read_bytes()]
    assert operator.ok("keys", "verify", "--role", "robot")["results"][0]["accepted"]
    operator.ok(*SETTINGS)
    operator.ok("robot", "start")
    operator.await_state("running")
    hosts.robot.await_state("running")
    operator.ok("robot", "stop", "--now")
    operator.await_state("stopped")
    if not hosts.url.startswith("postgresql"):
        nothing_forged_is_shown(hosts)
    # A second operator device: the robot's own host has been one from the start.
    assert hosts.robot.ok("keys", "verify", "--role", "robot")["results"][0]["accepted"]
    own = operator.run("robot", "pair", "--revoke", operator_id, "--yes")
    assert own.code == 8, "nobody locks itself out"
    hosts.robot.ok("robot", "pair", "--revoke", operator_id, "--yes")
    refused = operator.run("robot", "start")
    assert refused.code == 2 and refused.error["details"]["reason"] == "unpaired"
    assert hosts.robot.run("robot", "pair", "--revoke", "0" * 16, "--yes").code == 7


def test_a_robot_of_another_os_user(shell: Shell) -> None:
    """As root: the robot is another user's, and neither can read the other's files; they meet in a shared folder."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    python = shell.argv()[0]
    tried = (
        subprocess.run(
            [python, "-c", "import fortctl"], user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", check=False
        )
        if os.access(python, os.X_OK) and _reachable(Path(python).resolve())
        else None
    )
    if tried is None or tried.returncode != 0:
        pytest.skip("another user cannot run this interpreter (FORTCTL_UNDER_TEST names one)")
    folder = Path(tempfile.mkdtemp(prefix="fortctl-users-"))
    folder.chmod(0o755)
    paper = serve(shell, *STILL)
    hosts = Hosts(folder, shell, paper, user=NOBODY)
    try:
        hosts.pair()
        key = shell.paper_key("robot-1", "reading,spot_trading")
        taken = hosts.operator.ok("keys", "add", "--role", "robot", "--input", "-", stdin=key)["key"]
        assert (taken["status"], taken["held_by"]) == ("ok", ["robot"])
        hosts.operator.ok(*SETTINGS)
        hosts.operator.ok("robot", "start")
        hosts.operator.await_state("running")
        pid = hosts.robot.status()["pid"]
        assert Path(f"/proc/{pid}").stat().st_uid in (0, NOBODY)
        status = Path(f"/proc/{pid}/status").read_text()
        assert f"Uid:\t{NOBODY}\t{NOBODY}" in status
        vault = folder / "robot" / "robots" / "default" / "vault.toml"
        assert vault.stat().st_uid == NOBODY and not list((folder / "operator" / "robots").rglob("vault.toml"))
        peek = subprocess.run(
            ["cat", str(folder / "operator" / "vault.toml")],
            user=NOBODY,
            group=NOBODY,
            capture_output=True,
            check=False,
        )
        assert peek.returncode != 0 and peek.stdout == b""
        hosts.operator.ok("robot", "stop", "--now", "--cancel-orders")
        hosts.operator.ok("keys", "delete", "--role", "robot", "--yes")
    finally:
        for one in (hosts.operator, hosts.robot):
            end_robots(one.home)
        paper.stop()
        shutil.rmtree(folder)


def _reachable(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in path.parents)


def test_swapped_identities_give_different_codes(hosts: Hosts) -> None:
    """A mailbox administrator who puts an identity of his own in the robot's place is noticed by whoever compares."""
    SqliteMailbox(hosts.mailbox).close()
    own = base64.b64encode(Identity.generate().public_bytes()).decode()
    with closing(sqlite3.connect(hosts.mailbox, timeout=WAIT_S, isolation_level=None)) as administrator:
        administrator.execute(
            "CREATE TRIGGER swap AFTER INSERT ON pairing WHEN NEW.step = 'robot' BEGIN UPDATE pairing"
            f" SET body = CAST(json_set(CAST(NEW.body AS TEXT), '$.public', '{own}') AS BLOB)"
            " WHERE account = NEW.account AND step = 'robot'; END"
        )
    mine, theirs = hosts.introduce()
    assert mine["data"]["code"] != theirs["data"]["code"]
    wrong = hosts.operator.run("robot", "pair", "--confirm", theirs["data"]["code"])
    assert (wrong.code, wrong.error["code"]) == (2, "BAD_INPUT")


def test_what_is_not_paired_is_said(hosts: Hosts) -> None:
    ran = hosts.operator.run("robot", "resume")
    assert ran.code == 9 and "pair" in ran.error["hint"]
    assert hosts.operator.status()["reason"] == "not paired"
    assert hosts.operator.run("robot", "pair", "--confirm", "AAAA-AAAA").code == 7
    assert hosts.operator.run("robot", "pair", "--mailbox", "sqlite://relative").code == 2
    hosts.mailbox.parent.chmod(0o777)
    assert hosts.operator.run(*hosts.words()).code == 2, "a folder that everybody may write"
    hosts.mailbox.parent.chmod(0o770)
    lonely = hosts.operator.run(*hosts.words()[:-1], "0.5")
    assert (lonely.code, lonely.error["code"]) == (9, "ROBOT_TIMEOUT")


def test_an_account_that_is_only_watched(ready: Shell) -> None:
    ready.ok("keys", "add", "--role", "site", "--input", "-", stdin=ready.paper_key("site-1", "reading"))
    ready.ok("accounts", "set", "default", "--robot", "none")
    assert ready.ok("account", "balances")["balances"]
    for words in (("robot", "start"), ("keys", "verify", "--role", "robot"), ("robot", "resume")):
        assert ready.run(*words).code == 7
    key = ready.paper_key("robot-1", "reading,spot_trading")
    refused = ready.run("keys", "add", "--role", "robot", "--input", "-", stdin=key)
    assert refused.code == 7 and "only watched" in refused.error["message"]
    assert not os.path.exists(ready.home / "robots" / "default" / "vault.toml")
