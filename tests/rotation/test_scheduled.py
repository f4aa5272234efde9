"""The unit and the workflow in contrib/: what they would run, run here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import REPOSITORY, Shell

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
    return subprocess.run(words, env=environment, cwd=folder, capture_output=True, timeout=120, check=False).returncode


def test_young_keys_are_left_alone_and_old_ones_need_a_person_or_an_issuer(keyed: Shell, tmp_path: Path) -> None:
    unit = script_of_unit()
    assert run(keyed, unit, tmp_path, MAX_AGE="60d", MODE="overlap") == 0
    assert keyed.run("keys", "rotate", "--status").code == 7, "nothing was begun"
    assert run(keyed, unit, tmp_path, MAX_AGE="0h", MODE="overlap") == 12
    assert keyed.ok("keys", "rotate", "--status")["operation"]["step"] == "create"
    keyed.ok("keys", "rotate", "--abort")


def test_the_workflows_steps(keyed: Shell, tmp_path: Path) -> None:
    age, rotate, ask = scripts_of_workflow()
    outputs = tmp_path / "outputs"
    assert run(keyed, age, tmp_path, GITHUB_OUTPUT=str(outputs)) == 0 and outputs.read_text() == "code=0\n"
    assert run(keyed, age.replace("60d", "0h"), tmp_path, GITHUB_OUTPUT=str(outputs)) == 0
    assert outputs.read_text().splitlines()[-1] == "code=13"
    assert run(keyed, rotate, tmp_path, GITHUB_OUTPUT=str(outputs)) == 0
    assert outputs.read_text().splitlines()[-1] == "code=12"
    if shutil.which("jq") is None:
        pytest.skip("no jq here")
    bodies = tmp_path / "gh"
    bodies.write_text(f'#!/bin/sh\ncat > "{tmp_path}/issue"\n')
    bodies.chmod(0o755)
    script = f'PATH="{tmp_path}:$PATH"\n{ask}'
    assert run(keyed, script, tmp_path, GITHUB_REPOSITORY="x/y") == 0
    assert "- [ ] on Binance's API management page create a new site key" in (tmp_path / "issue").read_text()
