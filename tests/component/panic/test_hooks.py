"""Hooks and notifications with real programs: what they get, what they never get, and what their failure does."""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fortctl.hooks.runner import SubprocessHookRunner, notification
from fortctl.ports import HookReport
from fortctl.services.hooks import HookPlan, Hooks, warnings_of
from fortctl.system.clock import SystemClock

PYTHON = (sys.executable, "-I", "-S", "-c")


def hooks(*argv: str, limit_s: float = 10.0, notify: tuple[str, ...] = ()) -> Hooks:
    plan = HookPlan({"on-held": argv}, notify, ("on-held",), limit_s)
    return Hooks("default", "trader", plan, SubprocessHookRunner(), SystemClock())


def program(tmp_path: Path, body: str) -> tuple[str, ...]:
    path = tmp_path / "hook.py"
    path.write_text(body)
    return (sys.executable, "-I", "-S", str(path), str(tmp_path))


def test_a_hook_gets_the_event_as_json_and_a_clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORTCTL_PASSPHRASE", "a passphrase that no hook may see")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials")
    monkeypatch.setenv("PGPASSWORD", "another one")
    monkeypatch.setenv("LC_TIME", "C")
    argv = program(
        tmp_path,
        "import json, os, sys; from pathlib import Path\n"
        "seen = {'event': json.load(sys.stdin), 'environment': dict(os.environ), 'fds': os.listdir('/proc/self/fd')}\n"
        "Path(sys.argv[1], 'seen').write_text(json.dumps(seen))\n",
    )
    (report,) = hooks(*argv).fire("on-held", {"reasons": ["GAP: 7 h"]})
    assert report == HookReport("on-held", "done", "")
    seen = json.loads((tmp_path / "seen").read_text())
    event = seen["event"]
    assert (event["v"], event["event"], event["account"], event["host"]) == (1, "on-held", "default", "trader")
    assert event["facts"] == {"reasons": ["GAP: 7 h"]} and event["at"].endswith("Z")
    names = set(seen["environment"])
    assert not {name for name in names if name.startswith("FORTCTL") or "PASS" in name or "CREDENTIALS" in name}
    assert {"PATH", "LC_TIME"} <= names
    assert len(seen["fds"]) <= 5, "nothing of fortctl's is open in it"


def test_an_event_never_carries_what_looks_like_a_key(tmp_path: Path) -> None:
    argv = program(tmp_path, "import sys; open(sys.argv[1] + '/seen', 'w').write(sys.stdin.read())")
    hooks(*argv).fire("on-held", {"text": "A" * 64})
    assert "A" * 20 not in (tmp_path / "seen").read_text()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((*PYTHON, "import sys; sys.exit('no such pager')"), "it ended with 1: no such pager"),
        ((*PYTHON, "import os; os.kill(os.getpid(), 9)"), "it ended with -9"),
        (("/no/such/program",), "it could not be started: No such file or directory"),
        ((*PYTHON, "import sys; sys.exit('key ' + 'B' * 64)"), "it ended with 1: key <secret>"),
    ],
    ids=["complains", "killed", "absent", "quotes a key"],
)
def test_a_failing_hook_is_told_and_nothing_more(argv: tuple[str, ...], said: str) -> None:
    (report,) = reports = hooks(*argv).fire("on-held", {})
    assert report.state == "failed"
    assert report.detail.replace("********", "<secret>") == said
    assert [code for code, _message in warnings_of(reports)] == ["HOOK_FAILED"]


def test_a_hook_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    argv = program(
        tmp_path,
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "open(sys.argv[1] + '/pids', 'w').write(f'{os.getpid()} {child.pid}')\n"
        "time.sleep(60)\n",
    )
    (report,) = hooks(*argv, limit_s=1.0).fire("on-held", {})
    assert (report.state, report.detail) == ("failed", "it was killed after 1 s")
    for pid in (int(text) for text in (tmp_path / "pids").read_text().split()):
        assert ended(pid)


def test_a_hook_may_outlive_its_caller_but_not_its_limit(tmp_path: Path) -> None:
    """Panic does not wait; the limit holds all the same."""
    argv = program(
        tmp_path,
        "import os, sys, time\nopen(sys.argv[1] + '/pid', 'w').write(str(os.getpid()))\nos.close(2)\ntime.sleep(60)\n",
    )
    (report,) = hooks(*argv, limit_s=1.0).fire("on-held", {}, wait_s=0.0)
    assert report.state == "running"
    deadline = time.monotonic() + 20
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    pid = int((tmp_path / "pid").read_text())
    while not ended(pid):
        assert time.monotonic() < deadline, "the supervisor has let it live"
        time.sleep(0.05)


def test_a_hook_that_reads_nothing_and_talks_much_is_no_trouble() -> None:
    noise = "import sys; sys.stderr.write('x' * 1_000_000); sys.stdout.write('y' * 1_000_000)"
    (report,) = hooks(*PYTHON, noise).fire("on-held", {"text": "z " * 10_000})
    assert report.state == "done"


def test_an_event_without_a_hook_runs_nothing() -> None:
    assert hooks().fire("on-held", {}) == () and hooks(*PYTHON, "").fire("on-panic", {}) == ()


# -- notifications through Apprise ---------------------------------------------------------------------------------


class Inbox(http.server.BaseHTTPRequestHandler):
    got: list[dict[str, str]]

    def do_POST(self) -> None:
        self.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def inbox() -> Iterator[tuple[str, list[dict[str, str]]]]:
    got: list[dict[str, str]] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Inbox,), {"got": got}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"json://operator:a-password@127.0.0.1:{server.server_port}/", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_notification_reaches_its_address(tmp_path: Path, inbox: tuple[str, list[dict[str, str]]]) -> None:
    pytest.importorskip("apprise")
    urls = tmp_path / "urls"
    urls.write_text(f"# where I read\n{inbox[0]}\n")
    urls.chmod(0o600)
    facts = {"reasons": ["DRIFT: 7 %"], "keys": [{"role": "robot", "name": "r-1"}]}
    (report,) = hooks(notify=notification(urls), limit_s=60.0).fire("on-held", facts)
    assert report == HookReport("notify", "done", "")
    (message,) = inbox[1]
    assert message["title"] == "fortctl: on-held (account default)"
    assert "reasons: DRIFT: 7 %" in message["message"] and "keys: role=robot name=r-1" in message["message"]


def test_addresses_that_others_may_read_are_refused_and_a_bad_one_is_never_repeated(tmp_path: Path) -> None:
    pytest.importorskip("apprise")
    urls = tmp_path / "urls"
    urls.write_text("nonsense-with-a-password\n")
    urls.chmod(0o644)
    (report,) = hooks(notify=notification(urls), limit_s=60.0).fire("on-held", {})
    assert report.state == "failed" and "chmod 600" in report.detail
    urls.chmod(0o600)
    (report,) = hooks(notify=notification(urls), limit_s=60.0).fire("on-held", {})
    assert report.state == "failed" and "nonsense" not in report.detail


def ended(pid: int) -> bool:
    """Return whether a process has ended (a zombie that nobody reaped has)."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True
