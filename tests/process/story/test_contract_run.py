"""A whole run of the command line, line by line, as somebody would type it."""

from __future__ import annotations

import time

import pytest

from support.harness import Shell, recording, serve_paper


@pytest.mark.story
def test_the_run_in_the_contract(shell: Shell) -> None:
    market = recording("XRPETH-trades-2019-10-11.csv")
    paper = serve_paper(shell, "--market", str(market), "--speed", "max")
    try:
        assert paper.ready["symbols"] == ["XRPETH"]
        shell.ok("init", "--exchange", "paper", "--slot", "keyfile")
        site = shell.run("paper", "keys", "create", "--name", "site-1", "--permissions", "reading").out
        shell.ok("keys", "add", "--role", "site", "--input", "-", stdin=site)
        robot = shell.run("paper", "keys", "create", "--name", "robot-1", "--permissions", "reading,spot_trading").out
        shell.ok("keys", "add", "--role", "robot", "--input", "-", stdin=robot)
        results = shell.ok("keys", "verify")["results"]
        assert [(one["role"], one["accepted"], one["policy"]["ok"]) for one in results] == [
            ("site", True, True),
            ("robot", True, True),
        ]
        shell.ok(
            *("robot", "configure", "--symbol", "XRPETH", "--levels", "8", "--step", "0.3", "--take-profit", "0.3"),
            *("--order-quote", "0.05", "--max-quote", "2"),
        )
        started = time.monotonic()
        assert shell.ok("robot", "start")["robot"]["state"] == "running"
        shell.await_status(lambda status: status["cycles"]["closed"] >= 20, timeout=45, what="the 20th closed cycle")
        assert time.monotonic() - started < 45
        drained = shell.run("robot", "stop", "--drain", "--timeout", "60")
        if drained.code != 0:
            # The recording may end below the last sells: then the drain says so honestly and goes on.
            assert (drained.code, drained.error["code"]) == (9, "ROBOT_TIMEOUT")
            assert shell.ok("paper", "market", "status")["ended"] is True
        panic = shell.run("panic-disconnect", "--yes")
        assert (panic.code, panic.error["code"]) == (12, "ACTION_REQUIRED")
        assert shell.run("keys", "verify").code == 7
        assert shell.run("robot", "start").code == 8
    finally:
        paper.stop()
