"""The example strategy of ``examples/``, installed as anybody would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.harness import REPOSITORY


def install(site: Path) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"),
            *("--no-index", "--no-build-isolation", "--target", str(site)),
            str(REPOSITORY / "examples" / "fortctl-strategy-dca"),
        ],
        check=True,
        capture_output=True,
    )
