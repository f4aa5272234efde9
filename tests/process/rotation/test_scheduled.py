"""The unit and the workflow in contrib/: what they would run, run here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.harness import REPOSITORY, WAIT_S, Shell

CONTRIB = REPOSITORY / "contrib"


def script_of_unit() -> str:
    text = (CONTRIB / "systemd" / "fortctl-rotate@.service").read_text(encoding="utf-8").replace("\\\n", "")
    found = re.search(r"^ExecStart=/bin/sh -c '(.*)'$", text, re.MULTILINE)
    assert found is not None
    return found[1]


def scripts_of_workflow() -> list[str]:
    text = (CONTRIB / "ci" / "rotate.yml").read_text(encoding="utf-8")
    return [
        re.sub(r"^ {10}", "", block, flags=re.MULTILINE)
        for block in re.findall(r"^ +run: \|\n((?: {10}.*\n)+)", text, re.MULTILINE)
    ]


def run(shell: Shell, script: str, folder: Path, **more: str) -> int:
    environment = {**shell.environment, "FORTCTL_HOME": str(shell.home), "FORTCTL_ACCOUNT": "default", **more}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    words = ["sh", "-c", script] if "MODE" in more else ["bash", "-e", "-c", script]
    return subprocess.run(
        words, env=environment, cwd=folder, capture_output=True, timeout=WAIT_S, check=False
    ).returncode


def test_young_keys_are_left_alone_and_old_ones_need_a_person_or_an_issuer(keyed: Shell, tmp_path: Path) -> None:
    unit = script_of_unit()
    assert run(keyed, unit, tmp_path, MAX_AGE="60d", MODE="overlap") == 0
    assert keyed.run("keys", "rotate", "--status").code == 7, "nothing was begun"
    assert run(keyed, unit, tmp_path, MAX_AGE="0h", MODE="overlap") == 12
    assert keyed.ok("keys", "rotate", "--status")["operation"]["step"] == "create"
    assert run(keyed, unit, tmp_path, MAX_AGE="60d", MODE="overlap") == 12, "one that is open is not forgotten"
    keyed.ok("keys", "rotate", "--abort")
    assert run(keyed, unit, tmp_path, MAX_AGE="60d", MODE="overlap") == 0


def verified(folder: Path, name: str) -> list[str]:
    """Return what ``systemd-analyze verify`` says against a unit; skip where it cannot be asked."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed here")
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    done = subprocess.run(
        ["systemd-analyze", "verify", str(folder / name)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
        env=environment,
    )
    told = [line for line in done.stderr.splitlines() if "fortctl-" in line]
    if done.returncode != 0 and not told:
        pytest.skip(f"systemd-analyze cannot check units here: {done.stderr.strip()[-200:]}")
    # Growing pauses came with version 254; an older one says that it ignores them.
    newer = ("Unknown key 'RestartSteps'", "Unknown key 'RestartMaxDelaySec'")
    return [line for line in told if not any(text in line for text in newer)]


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    units = sorted((CONTRIB / "systemd").iterdir())
    assert {unit.suffix for unit in units} == {".service", ".timer"} and len(units) == 4
    for unit in units:
        # The program that a package would install is not there.
        text = unit.read_text(encoding="utf-8").replace("/usr/bin/fortctl", "/usr/bin/env fortctl")
        (tmp_path / unit.name).write_text(text)
    for unit in units:
        assert verified(tmp_path, unit.name) == []
    rotate = tmp_path / "fortctl-rotate@.service"
    rotate.write_text(rotate.read_text().replace("ExecStart=/bin/sh", "ExecStart=/no/such/sh"))
    assert any("/no/such/sh" in line for line in verified(tmp_path, rotate.name)), "it looks at what is started"


def test_the_workflows_steps(keyed: Shell, tmp_path: Path) -> None:
    go_on, age, rotate, ask = scripts_of_workflow()
    outputs = tmp_path / "outputs"
    assert run(keyed, go_on, tmp_path, GITHUB_OUTPUT=str(outputs)) == 0 and outputs.read_text() == "code=7\n"
    outputs.unlink()
    assert run(keyed, age, tmp_path, GITHUB_OUTPUT=str(outputs)) == 0 and outputs.read_text() == "code=0\n"
    assert run(keyed, age.replace("60d", "0h"), tmp_path, GITHUB_OUTPUT=str(outputs)) == 0
    assert outputs.read_text().splitlines()[-1] == "code=13"
    assert run(keyed, rotate, tmp_path, GITHUB_OUTPUT=str(outputs)) == 0
    assert outputs.read_text().splitlines()[-1] == "code=12"
    assert run(keyed, go_on, tmp_path, GITHUB_OUTPUT=str(outputs)) == 0
    assert outputs.read_text().splitlines()[-1] == "code=12", "it still waits for a person"
    if shutil.which("jq") is None:
        pytest.skip("no jq here")
    client, asked, told = tmp_path / "gh", tmp_path / "asked", tmp_path / "told"
    asked.write_text("")
    client.write_text(f'#!/bin/sh\nif [ "$2" = list ]; then cat "{asked}"; else echo "$2 $3" > "{told}"; fi\n')
    client.chmod(0o755)
    script = f'PATH="{tmp_path}:$PATH"\n{ask}'
    assert run(keyed, script, tmp_path, GITHUB_REPOSITORY="x/y") == 0
    assert told.read_text() == "create --repo\n"
    assert "- [ ] on Binance's API management page create a new site key" in (tmp_path / "issue.md").read_text()
    # One issue is open: it tells what is to be done now.
    asked.write_text("17\n")
    assert run(keyed, script, tmp_path, GITHUB_REPOSITORY="x/y") == 0 and told.read_text() == "edit 17\n"
