"""The page for an emergency: printed by the executable, shipped with the package, and true to the commands it names."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib

import click
import pytest

from fortctl.cli.app import root
from support.harness import REPOSITORY, clean_environment

PAGE = (REPOSITORY / "docs" / "emergency.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"^    (fortctl .+)$", PAGE, re.MULTILINE)) | set(re.findall(r"`(fortctl [^`]+)`", PAGE)))


def test_it_is_printed_and_packaged() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fortctl", "explain", "panic"],
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=True,
    )
    assert done.stdout.strip() == PAGE.strip()
    build = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert build["force-include"]["docs/emergency.md"] == "fortctl/emergency.md"


def test_it_is_one_page() -> None:
    assert len(PAGE.splitlines()) <= 80 and "fortctl panic-disconnect --yes" in PAGE.split("##")[0]


@pytest.mark.parametrize("line", NAMED)
def test_what_it_tells_one_to_type_exists(line: str) -> None:
    command: click.Command = root()
    context = click.Context(command)
    for word in shlex.split(line)[1:]:
        if word.startswith("--"):
            assert any(word in option.opts for option in command.get_params(context)), f"{line}: {word}"
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            assert found is not None, f"{line}: {word}"
            command = found
