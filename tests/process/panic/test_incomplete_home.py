"""A panic that finds little or nothing: it says what it does not know, and never that all is well because of that."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from dataclasses import replace

import pytest

from fortctl.model import Role
from fortctl.ports import OperationOwner
from fortctl.robot.storage.latch import LatchFile
from fortctl.services.rotation.facts import IssueAttempts
from fortctl.services.rotation.journal import RotationJournal
from fortctl.services.rotation.plan import RotationMode, Scope
from fortctl.store.operations import SqliteOperations
from fortctl.system.clock import SystemClock
from support.harness import WAIT_S, Shell, end_robots
from support.panic_world import SETTINGS


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


def open_rotation(shell: Shell) -> SqliteOperations:
    """Return the home's operation store, with a rotation open in it that had a key made."""
    store = SqliteOperations(shell.home / "operations.sqlite")
    me = OperationOwner(1, "elsewhere", "1", "keys rotate", 1, 1)
    journal = RotationJournal("default", store, me, lambda owner: False, SystemClock())
    journal.acquire()
    begun = journal.begin(RotationMode.OVERLAP, Scope.ROBOT, "sub-account")
    made = {Role.ROBOT: IssueAttempts(names=("fortctl-robot-r1-1",))}
    journal.put(replace(begun, facts=replace(begun.facts, issue=made)))
    return store


def test_a_rotation_in_a_store_that_is_busy(ready: Shell) -> None:
    """It is said that it stays open and which key may live, and the clear ends it."""
    store = open_rotation(ready)
    store._connection.execute("BEGIN IMMEDIATE")
    done = ready.run("panic-disconnect", "--yes")
    told = {action["what"]: action for action in done.data["actions"]}
    assert done.code == 12 and set(told) == {"finish_step", "delete_key_at_exchange"}, done.doc
    assert told["delete_key_at_exchange"]["name"] == "fortctl-robot-r1-1"
    assert "the rotation of account default could not be ended" in told["finish_step"]["text"]
    assert ready.run("panic-clear", "--confirm", "default").code == 8, "the store is busy still"
    store._connection.execute("ROLLBACK")
    ready.ok("panic-clear", "--confirm", "default")
    operation = ready.ok("keys", "rotate", "--status")["operation"]
    assert (operation["state"], operation["reason"]) == ("aborted", "panic")
    store.close()


def test_a_rotation_that_stayed_open_is_ended_by_the_next_command(ready: Shell) -> None:
    open_rotation(ready).close()
    LatchFile(ready.home / "robots" / "default").set({})
    assert ready.run("keys", "rotate", "--resume").error["details"]["state"] == "latched"
    assert ready.ok("keys", "rotate", "--status")["operation"]["state"] == "aborted"


@pytest.mark.parametrize("site", [b"junk", None], ids=["junk", "cut off between two records"])
def test_a_vault_that_shows_less_than_was_in_it(keyed: Shell, site: bytes | None) -> None:
    """What its erasure keys tell of is said, beside the robot's key, and said again by every later run."""
    vault = keyed.home / "vault.toml"
    data = vault.read_bytes()
    vault.write_bytes(site or data[: data.index(b"[[record]]", data.index(b"[[record]]") + 1)])
    for _again in range(2):
        done = keyed.run("panic-disconnect", "--yes")
        told = [action["text"] for action in done.error["details"]["actions"]]
        assert done.code == 12 and any("the site key that you gave to fortctl" in text for text in told), told
        assert any("'robot-1'" in text for text in told)


def test_vaults_and_mailbox_are_junk(running: Shell) -> None:
    end_robots(running.home)
    for folder in (running.home, running.home / "robots" / "default"):
        (folder / "vault.toml").write_bytes(b'format = "fortctl-vault/1"\n')
    for path in running.home.glob("mailbox.sqlite*"):
        path.unlink()
    for _again in range(2):
        done = running.run("panic-disconnect", "--yes")
        told = [action["text"] for action in done.error["details"]["actions"]]
        assert done.code == 12 and any("every key that you gave to fortctl" in text for text in told), told


def test_a_key_on_its_way_to_the_robot(ready: Shell) -> None:
    """Nothing of it can be read, nor will be: that it lives is said, and said again."""
    key = ready.paper_key("robot-2", "reading,spot_trading")
    ready.ok(*SETTINGS)
    pid = ready.status()["pid"]
    os.kill(pid, signal.SIGSTOP)
    queued = ready.ok("keys", "add", "--role", "robot", "--no-wait", "--input", "-", stdin=key)
    assert queued["key"]["status"] == "queued"
    for _again in range(2):
        done = ready.run("panic-disconnect", "--yes")
        told = [action["text"] for action in done.error["details"]["actions"]]
        assert done.code == 12 and any("it never accepted" in text for text in told), told


def test_ctrl_c_while_the_keys_death_is_waited_for(running: Shell) -> None:
    def looks() -> int:
        requests = running.ok("paper", "requests")["requests"]
        return len([one for one in requests if one["path"] == "/sapi/v1/account/apiRestrictions"])

    command = running.argv("panic-disconnect", "--yes", "--wait-dead", "600", "--json")
    waiting = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=running.environment
    )
    # The robot has asked for its rights, too; whoever asks again after its end is the panic.
    while running.status()["pid"] is not None:
        assert waiting.poll() is None, waiting.communicate()
    before = looks()
    while looks() <= before:
        assert waiting.poll() is None, waiting.communicate()
    waiting.send_signal(signal.SIGINT)
    out, err = waiting.communicate(timeout=WAIT_S)
    assert waiting.returncode == 12 and b"Traceback" not in err, (waiting.returncode, err)
    document = json.loads(out)
    assert {one["name"] for one in document["data"]["actions"]} == {"site-1", "robot-1"}
    steps = {step["name"]: step["state"] for step in document["data"]["steps"]}
    assert (steps["destroy keys"], steps["wait dead"]) == ("done", "unproved")
