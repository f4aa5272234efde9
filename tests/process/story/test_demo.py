"""The demo: every proof holds, and it leaves nothing behind, also when it is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.harness import WAIT_S, clean_environment


def running() -> set[int]:
    found = set()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"fortctl-demo-" in entry.read_bytes():
                found.add(int(entry.parent.name))
        except (OSError, ValueError):
            continue
    return found


@pytest.mark.story
def test_every_proof_holds(tmp_path: Path) -> None:
    environment = clean_environment(TMPDIR=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "fortctl", "demo", "--fast", "--market", "synthetic:7", "--json"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=WAIT_S,
        check=False,
    )
    document = json.loads(done.stdout)
    story = document["data"]["story"]
    assert done.returncode == 0, [row for row in story if not row["held"]] or document.get("error")
    assert [row["step"] for row in story] == [
        *("paper exchange", "two keys", "trading", "rotation", "trading again", "key lost", "key replaced"),
        *("trading on", "account", "orders", "panic", "keys deleted", "secrets"),
    ]
    assert all(row["held"] for row in story)
    assert not list(tmp_path.iterdir())


@pytest.mark.story
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "fortctl", "demo", "--fast", "--market", "synthetic:7"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(TMPDIR=str(tmp_path)),
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "both keys added" in line.decode():
            break
    time.sleep(1)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert not list(tmp_path.iterdir())
    deadline = time.monotonic() + 10
    while any(str(tmp_path).encode() in _line(pid) for pid in running()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in running() if str(tmp_path).encode() in _line(pid)]


def _line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
