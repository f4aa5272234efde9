"""docs/rotation.md: its drawings are the table's, and every shell block in it runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from support.harness import REPOSITORY, WAIT_S, Shell, clean_environment, end_robots
from tools.docgen import replace_section
from tools.rotation_diagram import NAME, generated

DOCUMENT = REPOSITORY / "docs" / "rotation.md"


def test_the_drawings_are_the_tables() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert replace_section(text, NAME, generated()) == text, "run: python -m tools.rotation_diagram"


def test_every_shell_block_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 7
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    script = "\n".join(["set -eu", "trap 'kill %1' EXIT", *blocks]).replace("$(mktemp -d)", str(home))
    environment = clean_environment(PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin")
    try:
        done = subprocess.run(
            ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=WAIT_S, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert "trading gap" in done.stdout
        shell = Shell(home)
        keys = shell.ok("--account", "bot", "keys", "list")["keys"]
        assert {key["status"] for key in keys} == {"ok"} and len(keys) == 2
    finally:
        end_robots(home)
