"""A command in a fork does what a command that is started does (``support/fork_server.py``)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fortctl.errors import FortctlError
from support.fork_server import fork_server
from support.harness import THREE_LEVELS, Shell, clean_environment, end_robots, run_command


def started(shell: Shell, words: tuple[str, ...], data: bytes | None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        shell.argv(*words), input=data or b"", capture_output=True, env=shell.environment, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("words", "data"),
    [
        (("--version",), None),
        (("--help",), None),
        (("keys", "list", "--json"), None),
        (("nonsense",), None),
        (("keys", "add", "--role", "site", "--input", "-", "--json"), b"no key at all"),
        (("vault", "status", "--json"), None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_fork_prints_and_exits_as_a_started_process(shell: Shell, words: tuple[str, ...], data: bytes | None) -> None:
    forked = fork_server().run(shell.argv(*words)[3:], shell.environment, data, 60)
    real = started(shell, words, data)
    assert (forked.returncode, forked.stdout, forked.stderr) == (real.returncode, real.stdout, real.stderr)
    assert real.stdout or real.stderr


def test_fork_has_an_environment_and_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = clean_environment(FORTCTL_HOME="here")
    assert (
        fork_server().run(["init", "--exchange", "paper", "--slot", "keyfile"], environment, None, 60).returncode == 0
    )
    assert (tmp_path / "here" / "config.toml").is_file()
    assert "FORTCTL_HOME" not in fork_server().environment


def answers(shell: Shell) -> bool:
    try:
        shell.paper_key("k", "reading")
    except FortctlError:
        return False
    return True


def test_fork_that_takes_too_long_is_killed(shell: Shell) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        fork_server().run(shell.argv("paper", "serve", "--port", "0")[3:], shell.environment, None, 5)
    assert not answers(shell)
    assert fork_server().run(["--version"], shell.environment, None, 60).returncode == 0


def test_what_an_interpreter_reads_at_its_start_is_a_real_start(tmp_path: Path) -> None:
    assert fork_server().can_run(clean_environment(FORTCTL_JSON="1"))
    for name in ("PYTHONPATH", "LD_PRELOAD", "SSL_CERT_FILE", "LC_ALL"):
        assert not fork_server().can_run(clean_environment(**{name: str(tmp_path)}))
    (tmp_path / "sitecustomize.py").write_text("print('a real start')\n")
    done = run_command([sys.executable, "-m", "fortctl", "--version"], clean_environment(PYTHONPATH=str(tmp_path)))
    assert done.stdout.startswith(b"a real start\n")


def test_robot_of_a_forked_command_is_forked_by_the_server(running: Shell) -> None:
    """It is no child of the command, and is found by its command line as one that was started."""
    running.ok(*THREE_LEVELS, "--order-quote", "50")
    end_robots(running.home)
    running.await_status(lambda status: status["pid"] is None)
    running.ok("robot", "start")
    pid = running.await_status(lambda status: status["pid"] is not None)["pid"]
    words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    assert words[:4] == [sys.executable.encode(), b"-P", b"-m", b"fortctl"] and words[-1] == b"--brought-up"
    assert Path(f"/proc/{pid}/environ").read_bytes().split(b"\0").count(b"FORK_OF_A_TEST=1") == 1
    assert os.getsid(pid) == pid
    end_robots(running.home)
    running.await_status(lambda status: status["pid"] is None)
