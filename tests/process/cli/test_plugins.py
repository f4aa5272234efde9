"""A command from another distribution; a broken one breaks nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.harness import REPOSITORY, clean_environment

QUITTER = """
import click, sys

@click.command()
@click.option("--raise", "fault", is_flag=True)
def command(fault):
    if fault:
        raise ValueError("of its own")
    sys.exit("why it ends")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example installed, and three that misbehave."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"),
            *("--no-index", "--no-build-isolation", "--target", str(folder)),
            str(REPOSITORY / "examples" / "fortctl-plugin-hello"),
        ],
        check=True,
        capture_output=True,
    )
    for name, code, entry in (
        ("broken", "raise RuntimeError('no')", "broken = broken_plugin:command"),
        ("leaver", "print('noise')\nraise SystemExit(0)", "leaver = leaver_plugin:command"),
        ("odd", "command = object()", "odd = odd_plugin:command"),
        ("absent", "", "absent = absent_plugin:nothing"),
        ("quitter", QUITTER, "quitter = quitter_plugin:command"),
        ("thief", "print('I ran')\ncommand = None", "keys = thief_plugin:command"),
    ):
        (folder / f"{name}_plugin.py").write_text(code)
        info = folder / f"{name}_plugin-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[fortctl.commands]\n{entry}\n")
    for name, metadata in (
        ("garbage", b"\xff\xfe[fortctl.commands"),
        ("nameless", b"[fortctl.commands]\nnone = x:y\n"),
    ):
        info = folder / f"{name}_plugin-1.0.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_bytes(metadata)
    return folder


def run(site: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fortctl", *words],
        capture_output=True,
        text=True,
        env=clean_environment(PYTHONPATH=str(site), FORTCTL_HOME=str(site / "home"), **environment),
        check=False,
    )


def test_both_kinds_run_with_help_options_and_exit_codes(site: Path) -> None:
    assert run(site, "hello", "--name", "Ada").stdout == "hello Ada, account default\n"
    assert run(site, "--account", "second", "hello").stdout == "hello world, account second\n"
    assert run(site, "hello", "--code", "5").returncode == 5
    assert run(site, "hello-click", "--name", "Ada").stdout.startswith("hello Ada, home ")
    for name in ("hello", "hello-click"):
        helped = run(site, name, "--help")
        assert helped.returncode == 0 and "--name" in helped.stdout
        wrong = run(site, name, "--colour")
        assert wrong.returncode == 2 and "Traceback" not in wrong.stderr and "--colour" in wrong.stderr


@pytest.mark.parametrize("name", ["hello", "hello-click"])
@pytest.mark.parametrize(("number", "code", "error"), [("SIGINT", 130, "INTERRUPTED"), ("SIGTERM", 143, "TERMINATED")])
def test_signals_in_a_plugin(site: Path, name: str, number: str, code: int, error: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "fortctl", "--json", name, "--wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(PYTHONPATH=str(site), PYTHONUNBUFFERED="1"),
    )
    assert process.stdout is not None and process.stdout.readline().startswith(b"hello")
    os.kill(process.pid, getattr(signal, number))
    out, err = process.communicate(timeout=10)
    assert process.returncode == code and b"Traceback" not in err
    document = json.loads(out)
    assert (document["error"]["code"], document["command"]) == (error, name)


def test_the_list_tells_what_failed_and_why(site: Path) -> None:
    rows = {row["name"]: row for row in json.loads(run(site, "plugins", "list", "--json").stdout)["data"]["plugins"]}
    assert (rows["hello"]["state"], rows["hello"]["kind"]) == ("ok", "typer")
    assert (rows["hello-click"]["state"], rows["hello-click"]["kind"]) == ("ok", "click")
    assert rows["hello"]["distribution"] == "fortctl-plugin-hello"
    assert rows["broken"]["state"] == "failed" and "RuntimeError: no" in rows["broken"]["error"]
    assert rows["odd"]["state"] == rows["absent"]["state"] == "failed" and rows["quitter"]["state"] == "ok"
    assert rows["leaver"]["state"] == "failed" and "SystemExit" in rows["leaver"]["error"]
    assert rows["keys"]["state"] == "shadowed"


def test_a_broken_plugin_breaks_itself_alone(site: Path) -> None:
    broken = run(site, "broken", "--json")
    assert broken.returncode == 1 and json.loads(broken.stdout)["error"]["code"] == "INTERNAL"
    assert "Traceback" not in broken.stderr
    assert run(site, "--help").returncode == 0
    assert "I ran" not in run(site, "keys", "list").stdout, "a plugin never overrides a core command"


def test_a_plugin_that_ends_in_its_own_way(site: Path) -> None:
    left = run(site, "quitter")
    assert (left.returncode, left.stderr) == (1, "why it ends\n")
    fault = run(site, "quitter", "--raise")
    assert fault.returncode == 1 and fault.stderr.startswith("error: unexpected ValueError\nhint: ")
    assert "of its own" in run(site, "-vv", "quitter", "--raise").stderr


def test_help_suggestions_and_completion_know_plugins_from_their_metadata(site: Path) -> None:
    assert "from fortctl-plugin-hello" in run(site, "--help").stdout
    assert "did you mean 'hello'?" in run(site, "helo").stderr
    environment = {"_FORTCTL_COMPLETE": "bash_complete", "COMP_WORDS": "fortctl hel", "COMP_CWORD": "1"}
    assert run(site, **environment).stdout.split() == ["plain,hello", "plain,hello-click"]


def test_panic_loads_no_plugin(site: Path) -> None:
    script = (
        "import sys\nfrom fortctl.cli.app import run\n"
        "code = run(['panic-disconnect', '--yes', '--json'])\n"
        "print(code, [name for name in sys.modules if name.endswith('_plugin') or 'plugin_hello' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=clean_environment(PYTHONPATH=str(site), FORTCTL_HOME=str(site / "home")),
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "7 []"
