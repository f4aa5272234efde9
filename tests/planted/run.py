"""``make planted``: plant each bug in a copy of the source, and see that the named test fails against it.

``--only N`` takes one of them; ``--write`` writes the table in docs/robot.md anew.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from planted.bugs import BUGS, Bug
from tools.docgen import rewrite_section

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "robot.md"
NAME = "planted"


def plant(bug: Bug, source: Path) -> None:
    """Make one mutation in a copy of the source. Raises ``ValueError`` where the text is not there exactly once."""
    path = source / "fortctl" / bug.file
    text = path.read_text(encoding="utf-8")
    if text.count(bug.good) != 1:
        raise ValueError(f"'{bug.name}' finds its place {text.count(bug.good)} times in {bug.file}")
    path.write_text(text.replace(bug.good, bug.bad), encoding="utf-8")


def caught(bug: Bug) -> str:
    """Plant a bug and run its test; return what the test said, or nothing where it did not notice."""
    with tempfile.TemporaryDirectory(prefix="fortctl-planted-") as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        plant(bug, source)
        node, _space, words = bug.test.partition(" ")
        environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", "FORTCTL_WORLDS": "200"}
        argv = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=line", str(ROOT / node)]
        told = "import fortctl, sys; sys.stdout.write(fortctl.__file__)"
        where = subprocess.run(
            [sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=True
        )
        if not where.stdout.startswith(str(source)):
            raise ValueError(f"the copy is not what runs: {where.stdout}")
        done = subprocess.run(
            [*argv, *words.split()], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
    if done.returncode != 1:
        return ""
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR")) or "Error" in line]
    return lines[-1][:200] if lines else "failed"


def table() -> str:
    """Return the table of docs/robot.md."""
    rows = [f"| {bug.name} | {bug.rule} | `{bug.file}` | `{bug.test}` |" for bug in BUGS]
    head = "| planted bug | breaks | in | caught by |\n| --- | --- | --- | --- |"
    return "\n".join([head, *rows])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=int, help="the number of one bug")
    parser.add_argument("--write", action="store_true", help="write the table anew and plant nothing")
    given = parser.parse_args()
    if given.write:
        return rewrite_section(DOCUMENT, NAME, table())
    missed = []
    for number, bug in enumerate(BUGS, 1):
        if given.only not in (None, number):
            continue
        said = caught(bug)
        print(f"{number:2} {'caught' if said else 'MISSED'}: {bug.name}: {said}", flush=True)
        if not said:
            missed.append(bug.name)
    print(f"{len(missed)} of {len(BUGS)} were missed" if missed else "every one was caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
