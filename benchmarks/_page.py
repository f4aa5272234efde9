"""The page that the benchmarks write: each one replaces the section between its own marks and leaves the others."""

from __future__ import annotations

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


def facts(*packages: str) -> str:
    """Return date, versions and the machine's size, as every section begins."""
    versions = [f"{name} {version(name)}" for name in packages]
    machine = (f"Python {platform.python_version()}", f"{os.cpu_count()} processors")
    return ", ".join((time.strftime("%Y-%m-%d"), *machine, *versions))


def write_section(name: str, lines: list[str]) -> None:
    """Replace a benchmark's section, or add it at the end; print it."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = DOC.read_text(encoding="utf-8") if DOC.exists() else HEAD
    before, found, rest = text.partition(begin)
    after = rest.partition(end)[2] if found else "\n"
    gap = "" if found or before.endswith("\n\n") else "\n"
    DOC.write_text(before + gap + "\n".join([begin, *lines, end]) + after, encoding="utf-8")
    print("\n".join(lines))
