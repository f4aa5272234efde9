"""The shell blocks of README.md and docs/ run as they stand (docs/rotation.md has a test of its own)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.example_strategy import install
from support.harness import REPOSITORY, WAIT_S, clean_environment, end_robots

PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"
# What a page takes for granted: an exchange, a home, an account.
BEFORE = {
    "README.md": "",
    "docs/paper-exchange.md": "",
    "docs/plugins.md": "fortctl paper serve --market synthetic:1\nfortctl init --exchange paper --slot keyfile\n",
}


def blocks(page: str) -> str:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    found = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    # The README begins with the two commands that run this test and the demo.
    return "".join(block for block in found if not block.startswith("make "))


def script(text: str) -> Iterator[str]:
    """Yield a page's lines as a script: a server goes to the background, nobody is there to end a watch."""
    yield from ("set -eu", "trap 'kill %1' EXIT")
    for line in text.splitlines():
        command, _, remark = line.partition(" #")
        code = re.match(r" exit (\d+)", remark)
        if command.startswith("fortctl paper serve"):
            yield f'{command.rstrip(" &")} --port 0 --json > "$FORTCTL_HOME/ready" &'
            yield 'until [ -s "$FORTCTL_HOME/ready" ]; do sleep 0.1; done'
        elif code is not None:
            yield f"{command} && exit 99 || test $? -eq {code[1]}"
        elif command.startswith("fortctl robot stop --drain"):
            # How far the market has come depends on the machine: what the hint says follows a drain that is not over.
            yield f"{command} || {{ test $? -eq 9 && fortctl robot stop --now; }}"
        elif not command.startswith(("kill ", "export FORTCTL_HOME=")):
            yield command.replace(" --watch", "")


@pytest.mark.parametrize("page", BEFORE)
def test_the_shell_blocks_run(page: str, tmp_path: Path) -> None:
    home, site = tmp_path / "home", tmp_path / "site"
    home.mkdir(mode=0o700)
    if page == "docs/plugins.md":
        install(site)
    lines = [*script(BEFORE[page] + blocks(page))]
    assert any(line.startswith("fortctl") for line in lines)
    environment = clean_environment(PATH=PATH, FORTCTL_HOME=str(home), PYTHONPATH=str(site))
    try:
        done = subprocess.run(
            ["bash", "-c", "\n".join(lines)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    finally:
        end_robots(home)


def test_no_page_is_forgotten() -> None:
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "contrib").rglob("*.md")]
    with_blocks = {
        str(page.relative_to(REPOSITORY))
        for page in pages
        if re.search(r"^```(sh|bash|console)", page.read_text(), re.M)
    }
    assert with_blocks == {*BEFORE, "docs/rotation.md"}
