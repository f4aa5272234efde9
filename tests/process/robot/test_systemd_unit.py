"""The systemd unit: what it says, what systemd says to it, and how it comes and goes."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fortctl.errors import ConfigError, ConflictError
from fortctl.robot.process import systemd
from fortctl.robot.process.systemd import Systemd, give_way, in_homes, in_tmp, manager
from fortctl.robot.process.systemd_unit import NO_RESTART, UnitFacts, unit_text
from support.harness import REPOSITORY, Shell

TEMPLATE = REPOSITORY / "contrib" / "systemd" / "fortctl-robot@.service"
ODD = '/srv/a b/50%/$x/"q"/back\\slash'


def template_text() -> str:
    command = ["/usr/bin/fortctl", "--home", "/var/lib/fortctl", "--account", "%i", "--no-input"]
    head = (
        "# One robot an account, in a home below /var/lib that belongs to the user 'fortctl':\n"
        "#   systemctl enable --now fortctl-robot@default\n"
        "# 'fortctl robot service install' writes a unit for any other place. With a passphrase slot, add\n"
        "#   LoadCredentialEncrypted=fortctl-robot-passphrase:/etc/credstore.encrypted/fortctl-robot-%i.cred\n"
    )
    return head + unit_text(UnitFacts("%i", command, ["/var/lib/fortctl"], "fortctl"))


def directives(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def test_the_template_in_contrib_is_what_the_code_writes() -> None:
    assert TEMPLATE.read_text(encoding="utf-8") == template_text()


def test_a_unit_restarts_what_a_restart_can_mend() -> None:
    found = directives(unit_text(UnitFacts("a", ["/bin/f"], ["/srv"], "f")))
    assert found["RestartPreventExitStatus"] == "2 5 6 7 8" == " ".join(map(str, NO_RESTART))
    assert (found["Restart"], found["StartLimitIntervalSec"], found["RestartMaxDelaySec"]) == (
        "on-failure",
        "0",
        "5min",
    )
    older = directives(unit_text(UnitFacts("a", ["/bin/f"], ["/srv"], "f", systemd=252)))
    assert "RestartSteps" not in older and "RestartMaxDelaySec" not in older


def test_homes_and_tmp_are_not_hidden_from_a_robot_that_lives_there() -> None:
    assert in_homes([Path("/srv/x"), Path("/home/me/venv")]) and not in_homes([Path("/homestead/x")])
    assert in_tmp([Path("/tmp/x")]) and not in_tmp([Path("/srv/tmp")])
    found = directives(unit_text(UnitFacts("a", ["/bin/f"], ["/tmp/x"], "f", in_homes=True, in_tmp=True)))
    assert found["ProtectHome"] == "read-only" and "PrivateTmp" not in found


@pytest.mark.parametrize("user", ["root", None], ids=["system", "user"])
def test_systemd_accepts_the_unit_whatever_the_home_is_called(user: str | None) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed here")
    facts = UnitFacts("a", [sys.executable, "-m", "fortctl", "--home", ODD], [ODD], user, "/etc/x.cred", 252)
    one = Systemd(user is not None, Path("/nowhere"), manage=False)
    problem = one.problem("fortctl-robot-a.service", unit_text(facts))
    if "was not checked" in problem:
        pytest.skip(problem)
    assert problem == ""
    with pytest.raises(ConfigError) as caught:
        one.problem("fortctl-robot-a.service", unit_text(facts).replace("ExecStart=", "ExecStart=/no/such/program "))
    assert "/no/such/program" in caught.value.message
    wrong = unit_text(facts).replace("UMask=0077", "UMask=mine")
    assert "ignoring: mine" in one.problem("fortctl-robot-a.service", wrong)


def test_control_characters_cannot_add_a_line() -> None:
    with pytest.raises(ConfigError):
        unit_text(UnitFacts("a", ["/bin/f", "--home", "/srv/x\nUser=root"], ["/srv"], "f"))


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that writes down what it was told, and refuses when a file says so."""
    folder = tmp_path / "bin"
    folder.mkdir()
    told = tmp_path / "told"
    script = folder / "systemctl"
    refuse = f"[ -e {shlex.quote(str(tmp_path / 'refuse'))} ] && {{ echo 'Access denied' >&2; exit 4; }}"
    script.write_text(f'#!/bin/sh\n{refuse}\necho "$@" >> {shlex.quote(str(told))}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return told


def test_a_unit_comes_once_and_goes_once(tmp_path: Path, systemctl: Path) -> None:
    one = Systemd(False, tmp_path / "units" / "user")
    assert one.install("x.service", "# mine\n[Unit]\n", "# mine")
    assert not one.install("x.service", "# mine\n[Unit]\n", "# mine")
    assert one.install("x.service", "# mine\n[Unit]\nA=b\n", "# mine")
    one.enable("x.service")
    with pytest.raises(ConflictError):
        one.install("x.service", "# theirs\n", "# theirs")
    with pytest.raises(ConflictError):
        one.uninstall("x.service", "# theirs")
    assert [path.name for path in one.folder.iterdir()] == ["x.service"]
    assert one.uninstall("x.service", "# mine") and not one.uninstall("x.service", "# mine")
    reload = "--user daemon-reload"
    told = [reload, reload, "--user enable --now x.service", "--user disable --now x.service", reload]
    assert systemctl.read_text().splitlines() == told


def test_a_service_manager_that_refuses_is_told_exactly(tmp_path: Path, systemctl: Path) -> None:
    (tmp_path / "refuse").touch()
    with pytest.raises(ConfigError) as caught:
        Systemd(True, tmp_path).install("x.service", "# mine\n", "# mine")
    assert "Access denied" in caught.value.message
    (tmp_path / "in the way").touch()
    with pytest.raises(ConfigError):
        Systemd(True, tmp_path / "in the way").install("x.service", "# mine\n", "# mine")


def test_whose_manager(tmp_path: Path) -> None:
    assert manager(True, {}).folder == systemd.SYSTEM_FOLDER
    assert manager(False, {"XDG_CONFIG_HOME": "/c"}).folder == Path("/c/systemd/user")
    assert give_way(tmp_path) is None


def test_the_commands(ready: Shell, tmp_path: Path) -> None:
    ready.environment["XDG_CONFIG_HOME"] = str(tmp_path)
    ready.environment.pop("XDG_RUNTIME_DIR", None)
    shown = ready.ok("robot", "service", "install", "--user", "--print")
    assert "Type=notify" in shown["text"] and not (tmp_path / "systemd").exists()
    done = ready.run("robot", "service", "install", "--user")
    assert done.doc["changed"] and Path(done.data["path"]).read_text() == shown["text"]
    assert ready.run("robot", "service", "install", "--user").doc["changed"] is False
    ran = subprocess.run(
        [*shlex.split(shown["text"].split("ExecStart=")[1].splitlines()[0]), "--help"],
        capture_output=True,
        check=False,
        env=ready.environment,
    )
    assert ran.returncode == 0, "what the unit starts is there"
    assert ready.run("robot", "service", "uninstall", "--user").doc["changed"]
    assert not list((tmp_path / "systemd" / "user").iterdir())
    assert ready.run("robot", "service", "uninstall", "--user").doc["changed"] is False
    assert ready.run("robot", "service", "install", "--credential", str(tmp_path / "none")).code == 2
