"""Rotation with the robot on another host: a new key goes through the mailbox, sealed."""

from __future__ import annotations

import json

from support.hosts import Hosts


def test_keys_are_rotated_through_the_mailbox(hosts: Hosts) -> None:
    """An overlap, then the recommended sequence in two calls; the operator's host keeps no robot key."""
    operator = hosts.operator
    pid = hosts.robot.status()["pid"]
    new = hosts.page.paper_key("robot-2", "reading,spot_trading")
    swapped = operator.run("keys", "rotate", "--role", "robot", "--mode", "overlap", "--input", "-", stdin=new)
    assert swapped.code == 12 and swapped.error["details"]["unproved"] == ["robot"], swapped.doc
    hosts.page.ok("paper", "keys", "delete", "robot-1")
    done = operator.ok("keys", "rotate", "--resume")["operation"]
    assert done["state"] == "done" and done["trading_gap_s"] < 1
    hosts.robot.await_state("running")
    assert shown(hosts) == ["robot-2"]

    begun = operator.run("keys", "rotate", "--role", "robot", "--begin", "--timeout", "60")
    assert (begun.code, begun.data["operation"]["step"]) == (12, "create"), begun.doc
    status = hosts.robot.status()
    assert (status["state"], status["orders_open"]) == ("stopped", 0)
    hosts.page.ok("paper", "keys", "delete", "robot-2")
    new = hosts.page.paper_key("robot-3", "reading,spot_trading")
    done = operator.run("keys", "rotate", "--finish", "--input", "-", stdin=new).data["operation"]
    assert done["state"] == "done" and done["trading_gap_s"] > 0
    hosts.robot.await_status(lambda status: (status["state"], status["orders_open"]) == ("running", 3))
    assert shown(hosts) == ["robot-3"] and hosts.robot.status()["pid"] == pid, "nobody restarted it"
    secret = json.loads(new)["secret_key"].encode()
    for folder in (hosts.operator.home, hosts.shared):
        assert not [path for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert not list(hosts.operator.home.rglob("robots/*/vault.toml")), "the robot's vault is on its own host"
    assert not list((hosts.robot.home / "robots").rglob("retiring-*")), "no copy of an old key is left"


def shown(hosts: Hosts) -> list[str]:
    """Return the robot's key as each host shows it, where they agree."""
    here, there = (
        [one["name"] for one in shell.ok("keys", "list")["keys"] if one["role"] == "robot"]
        for shell in (hosts.operator, hosts.robot)
    )
    assert here == there
    return here
