"""The frame every command hangs in: envelopes, globals, help, completion, what is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fortctl.cli.registry import ALIASES, COMMANDS
from fortctl.secret import Secret
from support.harness import Shell, clean_environment, run_text


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_text(words, **environment)


def test_the_static_table_is_true() -> None:
    """Every name's module, attribute and own name exist, and its one line of help is no stranger to it."""
    from importlib import import_module

    for name, (module, attribute, line) in COMMANDS.items():
        command = getattr(import_module(module), attribute)
        assert command.name == ALIASES.get(name, name)
        assert line.endswith(".") and len(line) < 70


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_refuses_what_it_does_not_know(name: str, tmp_path: Path) -> None:
    shown = run(name, "-h", FORTCTL_HOME=str(tmp_path / "home"))
    assert shown.returncode == 0 and "Usage: fortctl" in shown.stdout and "Global options" in shown.stdout
    bad = run(name, "--no-such-option", "--json", FORTCTL_HOME=str(tmp_path / "home"))
    assert bad.returncode == 2 and json.loads(bad.stdout)["error"]["code"] == "USAGE"
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_is_the_command_itself(alias: str, name: str, tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    shown, error = (run(alias, *words, FORTCTL_HOME=home) for words in (("-h",), ("--json", "--no-input")))
    assert shown.stdout == run(name, "-h", FORTCTL_HOME=home).stdout
    document = json.loads(error.stdout)
    assert document["command"] == name and document == json.loads(
        run(name, "--json", "--no-input", FORTCTL_HOME=home).stdout
    )


def test_globals_work_before_and_after_the_command(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    for words in (
        ("--json", "--home", home, "config", "path"),
        ("config", "--json", "path", "--home", home),
        ("config", "path", "--home", home, "--json"),
    ):
        document = json.loads(run(*words).stdout)
        assert document == {
            "ok": True,
            "command": "config path",
            "account": "default",
            "changed": False,
            "data": {"path": f"{home}/config.toml", "exists": False},
            "warnings": [],
        }
    assert json.loads(run("config", "path", FORTCTL_JSON="1", FORTCTL_HOME=home).stdout)["ok"] is True


def test_a_usage_error_names_the_nearest_command() -> None:
    bad = run("keyz")
    assert bad.returncode == 2 and bad.stdout == ""
    assert bad.stderr.splitlines()[0] == "error: no such command 'keyz' (did you mean 'keys'?)"
    assert bad.stderr.splitlines()[1].startswith("hint: ")


@pytest.mark.parametrize("value", ["Q7" * 32, "Q7" * 12 + "+/=", "-----BEGIN PRIVATE KEY-----\nQ7Q7Q7Q7"])
def test_a_secret_typed_as_an_argument_is_not_repeated(value: str) -> None:
    for words in (
        ("keys", "add", "--role", value),
        ("keys", "add", f"--role={value}"),
        ("keys", "add", "--role", "site", value),
        ("keys", value),
        (value,),
    ):
        for more in ((), ("--json",), ("-vv",)):
            bad = run(*words, *more)
            assert bad.returncode == 2 and "Q7Q7Q7Q7" not in bad.stdout + bad.stderr, words


def test_a_group_alone_is_a_usage_error() -> None:
    for words in ((), ("keys",), ("paper", "market")):
        bad = run(*words, "--json")
        assert (bad.returncode, json.loads(bad.stdout)["error"]["message"]) == (2, "a command is missing")


def test_an_error_is_two_lines_and_a_traceback_needs_vv_however_it_is_spelt(tmp_path: Path) -> None:
    none = ("--home", str(tmp_path / "none"))
    for words in (("keys", "list", *none), ("-q", *none, "keys", "list"), ("-v", *none, "keys", "list")):
        lines = run(*words).stderr.splitlines()
        assert [line.split(":")[0] for line in lines] == ["error", "hint"], words
    for words in (("-vv", *none, "keys", "list"), ("-v", *none, "keys", "list", "-v")):
        assert "Traceback" in run(*words).stderr, words


def test_a_home_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o600)
    for home, code in (
        ("~no-such-user/x", "USAGE"),
        (str(tmp_path / "file"), "CONFIG"),
        (str(tmp_path / "file" / "under"), "CONFIG"),
        (str(tmp_path / ("x" * 300)), "CONFIG"),
    ):
        for words in (("keys", "list"), ("init", "--exchange", "paper", "--slot", "keyfile")):
            ran = run("--home", home, *words, "--json")
            error = json.loads(ran.stdout)["error"]
            assert (ran.returncode, error["code"]) == (2, code), (home, words, error)


def test_odd_bytes_and_an_odd_terminal_still_give_valid_json(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable.encode(), b"-m", b"fortctl", b"\xff", b"--json"],
        capture_output=True,
        env=clean_environment(LC_ALL="C"),
        check=False,
    )
    assert done.returncode == 2 and json.loads(done.stdout.decode("utf-8"))["error"]["code"] == "USAGE"
    narrow = {"PYTHONIOENCODING": "ascii", "FORTCTL_HOME": str(tmp_path)}
    bad = run("keys", "add", "--role", "site", "--input", "/dev/null", "--json", **narrow)
    assert json.loads(bad.stdout)["error"]["code"] == "BAD_INPUT" and "…" in json.loads(bad.stdout)["error"]["hint"]
    assert run("keys", "add", "--role", "site", "--input", "/dev/null", **narrow).returncode == 2


def test_settings_of_others_are_shown_as_json_whatever_they_are(ready: Shell) -> None:
    with (ready.home / "config.toml").open("a") as stream:
        stream.write("\n[other]\nday = 2026-01-02\nwide = inf\nlist = [{x = nan}]\n")
    shown = ready.ok("config", "show")["config"]
    assert shown["other"] == {"day": "2026-01-02", "wide": "inf", "list": [{"x": "nan"}]}
    assert ready.run("config", "show", json_mode=False).code == 0


def test_a_bad_account_name_is_usage() -> None:
    assert json.loads(run("--account", "../x", "keys", "list", "--json").stdout)["error"]["code"] == "USAGE"


def test_no_home_yet(tmp_path: Path) -> None:
    for words in (("keys", "list"), ("robot", "status"), ("doctor",), ("audit", "log"), ("account", "balances")):
        document = json.loads(run(*words, "--json", FORTCTL_HOME=str(tmp_path / "none")).stdout)
        assert (document["error"]["code"], document["error"]["exit_code"]) == ("NOT_FOUND", 7), words
    assert not (tmp_path / "none").exists()


def test_an_open_home_is_refused(ready: Shell) -> None:
    ready.home.chmod(0o755)
    ran = ready.run("keys", "list")
    assert (ran.code, ran.error["code"]) == (2, "CONFIG")
    ready.home.chmod(0o700)
    assert ready.run("keys", "list").code == 0


def test_an_unparsable_configuration(ready: Shell) -> None:
    (ready.home / "config.toml").write_text("[accounts\n")
    ran = ready.run("keys", "list")
    assert (ran.code, ran.error["code"]) == (2, "CONFIG")
    assert ready.run("panic-disconnect", "--yes").code == 0, "panic needs no configuration"


def test_a_target_changed_in_the_configuration_gets_no_key(keyed: Shell) -> None:
    path = keyed.home / "config.toml"
    path.write_text(path.read_text().replace('"paper"', '"https://evil.example"'))
    ran = keyed.run("account", "balances")
    assert (ran.code, ran.error["code"]) == (2, "CONFIG")


def imported(*words: str, home: Path | None = None, **environment: str) -> set[str]:
    """Return the modules that a command line imports."""
    script = (
        "import sys, runpy\n"
        f"sys.argv = ['fortctl', *{list(words)!r}]\n"
        "try:\n    runpy.run_module('fortctl', run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        "print('\\n' + ' '.join(sys.modules))"
    )
    given = {"FORTCTL_HOME": str(home)} if home else {}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=clean_environment(**given, **environment),
        stdin=subprocess.DEVNULL,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


def loaded(*words: str, home: Path | None = None, **environment: str) -> set[str]:
    """Return the top-level modules that a command line imports."""
    return {name.split(".")[0] for name in imported(*words, home=home, **environment)}


def test_version_loads_nothing() -> None:
    found = loaded("--version")
    assert not found & {"click", "pydantic", "typer", "cryptography", "binance", "asyncio", "aiohttp", "tomllib"}


COMPLETIONS = [("bash", "fortctl pa", "1"), ("zsh", "fortctl pa", "1"), ("fish", "fortctl pa", "pa")]


@pytest.mark.parametrize(("shell", "words", "cword"), COMPLETIONS)
def test_completion_of_a_name_loads_nothing(shell: str, words: str, cword: str) -> None:
    environment = {"_FORTCTL_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": cword}
    found = loaded(**environment)
    assert not found & {"click", "pydantic", "typer", "cryptography", "binance", "asyncio", "aiohttp"}
    shown = run(**environment).stdout
    assert "panic-disconnect" in shown and "paper" in shown and "keys" not in shown.split()


@pytest.mark.parametrize(
    ("shell", "words", "cword"), [*COMPLETIONS, ("bash", "fortctl ", "1"), ("fish", "fortctl ", "")]
)
def test_the_static_completion_says_what_click_would(shell: str, words: str, cword: str) -> None:
    """Same names, same form; the help differs by click's shortening alone."""
    environment = {"_FORTCTL_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": cword}
    ours = run(**environment)
    theirs = subprocess.run(
        [sys.executable, "-c", "from fortctl.cli.app import run; run([])"],
        capture_output=True,
        text=True,
        env=clean_environment(**environment),
        check=False,
    )

    def names(text: str) -> list[str]:
        return sorted(line.split("\t")[0] for line in text.splitlines() if " " not in line.split("\t")[0])

    assert ours.returncode == 0 and names(ours.stdout) == names(theirs.stdout)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_rest_of_the_completion_is_click_s(shell: str) -> None:
    source = run(_FORTCTL_COMPLETE=f"{shell}_source").stdout
    assert f"_FORTCTL_COMPLETE={shell}_complete" in source
    for words, cword, wanted in (
        ("fortctl keys ver", "2", "verify"),
        ("fortctl --json ke", "2", "keys"),
        ("fortctl --js", "1", "--json"),
    ):
        given = words.split()[-1] if shell == "fish" else cword
        shown = run(_FORTCTL_COMPLETE=f"{shell}_complete", COMP_WORDS=words, COMP_CWORD=given).stdout
        assert wanted in shown, words


# All of fortctl that a frequent command may import (a module costs about a millisecond), and of what is large.
FRAME = {
    *("__main__", "bootstrap", "cli", "commands", "config", "errors", "secret", "system", "timestamps"),
    *(
        "bootstrap.account_registry",
        "bootstrap.container",
        "config.file",
        "config.home",
        "system.clock",
        "system.users",
        "system.files",
    ),
    *(f"cli.{name}" for name in ("app", "commands", "context", "options", "output", "registry", "render")),
    *("terminal", "terminal.global_options", "terminal.printable", "terminal.prompts"),
    *("cli.result", "services", "services.accounts", "services.keys", "services.keys.listing", "services.robot"),
    *(
        "keys",
        "keys.serialization",
        "mailbox",
        "mailbox.sqlite",
        "model",
        "model.drift",
        "model.keys",
        "ports",
        "ports.mailbox",
    ),
    *("store", "store.sqlite"),
}
UNLOCKING = {
    *("bootstrap.unlock", "canonical_json", "keys.drift", "keys.fingerprint", "keys.generation", "mailbox.crypto"),
    *(
        "model.restrictions",
        "ports.host",
        "ports.vault",
        "services.site_vault",
        "services.stored_key",
        "services.vault",
        "store.audit_log",
    ),
    *("system.memory", "system.threads", "vault"),
    *(f"vault.{name}" for name in ("envelope", "erasure", "file", "format", "location", "passphrases", "slots")),
}
LOCAL_ROBOT = {
    *("robot", "robot.process", "robot.process.local_robot", "robot.process.owner_lock", "robot.process.proc"),
    *("robot.process.remote_robot", "robot.storage", "robot.storage.latch"),
}
LARGE = {
    *(
        "aiohttp",
        "asyncio",
        "binance",
        "concurrent.futures",
        "cryptography",
        "logging",
        "pydantic",
        "sqlalchemy",
        "ssl",
    ),
    *("subprocess", "typer"),
}


@pytest.mark.parametrize(
    ("words", "allowed", "large"),
    [
        (
            ("keys", "list"),
            FRAME | UNLOCKING | {"bootstrap.key_lock", "commands.keys", "mailbox.home_anchor", "services.robot.card"},
            {"cryptography"},
        ),
        (
            ("robot", "status"),
            FRAME | LOCAL_ROBOT | {"commands.robot", "commands.robot_service", "services.robot.status"},
            set(),
        ),
    ],
)
def test_a_frequent_command_imports_what_it_needs(
    running: Shell, words: tuple[str, ...], allowed: set[str], large: set[str]
) -> None:
    # A robot that does not answer yet is described from its journal, which takes more modules.
    running.await_status(lambda status: status["pid"] is not None and status["state"] != "unreachable")
    modules = imported(*words, "--json", home=running.home)
    own = {name.removeprefix("fortctl.") for name in modules if name.startswith("fortctl.")}
    assert sorted(own - allowed) == [], "import it where it is used, or allow it here"
    assert modules & LARGE == large


def test_help_imports_no_command() -> None:
    found = run("--help").stdout
    assert all(name in found for name in COMMANDS)
    assert "cryptography" not in loaded("--help")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("config", "path"), 0),
        (("config", "path", "--json"), 0),
        (("--version",), 0),
        (("keyz", "--json"), 2),
        (("keys", "list", "--json"), 7),
    ],
)
def test_a_broken_pipe_is_quiet(words: tuple[str, ...], code: int, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "fortctl", *words],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=clean_environment(FORTCTL_HOME=str(tmp_path / "none")),
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (code, b"")


def test_a_follower_whose_reader_went_away_ends_quietly(keyed: Shell) -> None:
    process = subprocess.Popen(
        keyed.argv("robot", "status", "--watch", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=keyed.environment,
    )
    assert process.stdout is not None and process.stderr is not None
    assert json.loads(process.stdout.readline())
    process.stdout.close()
    assert (process.wait(30), process.stderr.read()) == (0, b"")
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_an_output_that_cannot_be_written_is_an_error(more: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fortctl", "config", "path", *more],
            stdout=full,
            stderr=subprocess.PIPE,
            env=clean_environment(),
            check=False,
        )
    assert done.returncode == 1 and done.stderr.startswith(b"error: the output cannot be written")
    assert b"Traceback" not in done.stderr


def test_plain_output_has_no_escape_codes_through_a_pipe(keyed: Shell) -> None:
    for words in (("doctor",), ("keys", "list"), ("robot", "status")):
        assert "\x1b" not in keyed.run(*words, json_mode=False).out


def test_a_secret_stays_a_secret_in_an_internal_error() -> None:
    with pytest.raises(TypeError):
        f"{Secret('x')}"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_failure(closed: str, tmp_path: Path) -> None:
    """Nor does a file that is opened later stand in their place: what is printed would go into it."""
    home = tmp_path / "home"
    for words in ("init --exchange paper --slot keyfile", "vault status", "config show", "doctor", "audit verify"):
        line = f'exec "$0" -m fortctl --home "$1" {words} {closed}'
        done = subprocess.run(
            ["sh", "-c", line, sys.executable, str(home)], env=clean_environment(), capture_output=True, check=False
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    checks = json.loads(run("--home", str(home), "doctor", "--json").stdout)["data"]["checks"]
    assert {check["name"] for check in checks if check["state"] == "fail"} <= {"exchange", "clock"}, (
        "there is no exchange"
    )
