"""The values of the global options, which every command accepts."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Globals(NamedTuple):
    """The values of the global options."""

    home: Path
    account: str = "default"
    json: bool = False
    yes: bool = False
    quiet: bool = False
    verbose: int = 0
    no_input: bool = False
    passphrase_file: str | None = None
    robot_passphrase_file: str | None = None
