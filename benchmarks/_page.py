"""Shared by all benchmarks: ``--quick``, and docs/performance.md, where each writes the section between its marks."""

from __future__ import annotations

import argparse
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

DOC = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
HEAD = """# Performance

Machines are shared and noisy: a figure counts as a ratio to a peer measured in the same run (A B A B …), or as a count.
`make bench` measures again and writes this page.

"""


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """Return a benchmark's parser: its description, and ``--quick``."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="play one short round of everything, print it and write no page"
    )
    return parser


def facts(*packages: str) -> str:
    """Return date, versions and the machine's size, with which every section begins."""
    versions = [f"{name} {version(name)}" for name in packages]
    machine = (f"Python {platform.python_version()}", f"{os.cpu_count()} processors")
    return ", ".join((time.strftime("%Y-%m-%d"), *machine, *versions))


def write_section(name: str, lines: list[str], *, quick: bool) -> None:
    """Print a benchmark's section and, unless it was a quick round, write it into the page."""
    print("\n".join(lines))
    if quick:
        return
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = DOC.read_text(encoding="utf-8") if DOC.exists() else HEAD
    before, found, rest = text.partition(begin)
    after = rest.partition(end)[2] if found else "\n"
    gap = "" if found or before.endswith("\n\n") else "\n"
    DOC.write_text(before + gap + "\n".join([begin, *lines, end]) + after, encoding="utf-8")
