"""Generated sections of the documents.

A section lies between two marks, ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``, and is replaced as a whole. The
programs beside this module generate the sections from the tables in the code; tests check that none is out of date.
"""

from __future__ import annotations

from pathlib import Path


def replace_section(text: str, name: str, body: str) -> str:
    """Return *text* with the section *name* replaced by *body*.

    Raises:
        ValueError: the text has no such section.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, opened, rest = text.partition(begin)
    _old, closed, after = rest.partition(end)
    if not (opened and closed):
        raise ValueError(f"the document has no section '{name}'")
    return f"{before}{begin}\n\n{body}\n\n{end}{after}"


def rewrite_section(path: Path, name: str, body: str) -> int:
    """Replace the section *name* of the file *path*; return the exit code for the calling program."""
    path.write_text(replace_section(path.read_text(encoding="utf-8"), name, body), encoding="utf-8")
    return 0
